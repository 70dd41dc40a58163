"""Integer-only training in the training loop of the other methods: the same data, logs, checkpoints and resume."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor

from toolchain.config.run import RunConfig
from toolchain.train.data import Dataset
from toolchain.train.module import Classifier
from toolchain.train.niti.checks import IntegerOnly
from toolchain.train.niti.inputs import input_format, to_block
from toolchain.train.niti.loss import error
from toolchain.train.niti.matmul import check_device
from toolchain.train.niti.network import Network, build_integer
from toolchain.train.niti.numbers import Block


class IntegerDescent(torch.optim.Optimizer):
    """Subtracts the gradients that the layers of a network hold, with the learning rate ``mu`` of its only group."""

    def __init__(self, network: Network, mu: int, decay_bits: int | None) -> None:
        self.network = network
        weights = [layer.weight for _, layer in network.weighted()]
        super().__init__([{"params": weights}], {"mu": mu, "decay_bits": decay_bits})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every layer once; ``closure`` is called first, as the trainer expects."""
        if closure is not None:
            closure()
        (group,) = self.param_groups
        for _, layer in self.network.weighted():
            layer.update(group["mu"], group["decay_bits"])


class IntegerClassifier(Classifier):
    """Trains an integer network on ``data`` as ``config`` says."""

    model: Network

    def __init__(self, data: Dataset, config: RunConfig) -> None:
        super().__init__(build_integer(config, data.shape, data.classes), data, config)
        self.automatic_optimization = False
        self.format = input_format(data, config.data.normalize, config.niti.variant)
        self.codes: Tensor
        self.register_buffer("codes", torch.from_numpy(self.format.table(data.pixel_levels)), persistent=False)
        self.generator = torch.Generator().manual_seed(config.train.seed)  # rounds the error at the logits

    def input(self, pixels: Tensor) -> Block:
        """The network's input for pixels (B, C, H, W) in uint8."""
        return to_block(pixels, self.codes, self.format.exponent)

    def forward(self, pixels: Tensor) -> Tensor:
        """Mantissas of the logits (B, classes) of pixels (B, C, H, W) in uint8."""
        logits: Block = self.model(self.input(pixels))
        return logits.mantissa

    def on_fit_start(self) -> None:
        """Trust the device's int8 product only after it has been compared."""
        check_device(self.device)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate of the epoch; say whether its end is evaluated."""
        self.evaluate_if_due()
        niti = self.config.niti
        phase = sum(self.current_epoch >= milestone for milestone in niti.milestones)
        self.optimizers().param_groups[0]["mu"] = niti.mu[phase]  # type: ignore[union-attr]

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:  # type: ignore[override]
        """One step in integers; only the logged share of wrong answers is a float."""
        pixels, labels = batch
        with IntegerOnly() if self.config.niti.check else contextlib.nullcontext():
            logits: Block = self.model(self.input(pixels))
            self.model.backward(error(logits, labels, self.generator))
            self.optimizers().step()  # type: ignore[union-attr]
            wrong = int((logits.mantissa.argmax(1) != labels).sum())
        self.log("error", wrong / len(labels), on_step=False, on_epoch=True, prog_bar=True)

    def configure_optimizers(self) -> IntegerDescent:  # type: ignore[override]
        """The integer update with the first learning rate."""
        return IntegerDescent(self.model, self.config.niti.mu[0], self.config.niti.decay_bits)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the state of the random integers as well."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["fpgaflow"]["generator"] = self.generator.get_state()
        checkpoint["fpgaflow"]["gradients"] = self.model.generator.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the state of the random integers."""
        super().on_load_checkpoint(checkpoint)
        self.generator.set_state(checkpoint["fpgaflow"]["generator"].cpu())
        self.model.generator.set_state(checkpoint["fpgaflow"]["gradients"].cpu())
