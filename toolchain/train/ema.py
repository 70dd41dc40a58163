"""An exponential moving average of the weights, which is evaluated in their place and kept at the end."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

_FIRST_STEPS = 10  # the decay rises to its value over about so many steps times 1 / (1 - decay)


class WeightAverage(Callback):
    """Averages parameters and buffers of a `Classifier`'s network after every step.

    Lightning's own averages a copy of the whole module, data included. Here two sets of tensors change places.

    Args:
        decay: of the average; smaller in the first steps, whose weights are far away.
    """

    def __init__(self, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self.average: dict[str, Tensor] = {}
        self._swapped = False

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Begin anew when the float phase is over: before it the quantizers' scales are not set."""
        if trainer.current_epoch == pl_module.config.train.pretrain_epochs:
            self.steps, self.average = 0, {}

    @torch.no_grad()
    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        """Take in the weights of the step."""
        decay = min(self.decay, (1 + self.steps) / (_FIRST_STEPS + self.steps))
        self.steps += 1
        for name, value in pl_module.model.state_dict().items():
            average = self.average.get(name)
            if average is None or not value.is_floating_point():
                self.average[name] = value.clone()
            else:
                self.average[name] = average.to(value.device).lerp_(value, 1 - decay)

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Evaluate the average."""
        if trainer.state.fn == TrainerFn.FITTING and self.average:
            self._swap(pl_module.model)

    def on_validation_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Go on from the weights."""
        if self._swapped:
            self._swap(pl_module.model)

    def on_fit_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Keep the average."""
        if self.average:
            self._swap(pl_module.model)
            self._swapped = False

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self.steps, self.average = state_dict["steps"], state_dict["average"]

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for name, value in module.state_dict().items():
            kept = value.clone()
            value.copy_(self.average[name])
            self.average[name] = kept
        self._swapped = not self._swapped
