"""Base of training methods: a few hooks, each of which does nothing unless a method needs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, runtime_checkable

import brevitas.config
import brevitas.nn as qnn
from brevitas.nn.quant_layer import QuantNonLinearActLayer
from torch import Tensor, nn

from toolchain.config.run import RunConfig, StageConfig
from toolchain.train.budgets import Size
from toolchain.train.data import Dataset
from toolchain.train.maker import LayerMaker
from toolchain.train.structure import Edit

# A saved state holds all of a quantizer; made anew by Brevitas on loading, it would forget what it was connected to.
brevitas.config.REINIT_ON_STATE_DICT_LOAD = False

Scale = Literal["float", "pot"]
Granularity = Literal["tensor", "channel"]


@dataclass(frozen=True)
class Context:
    """Facts that a method may read when a stage begins.

    Args:
        config: the run file with the stage's own settings in place.
        data: the training images and their classes.
        float_top1: accuracy of the network before any method changed it, None when there was no float phase.
        make: makes layers as the stage's network has them.
        folder: the run's; a method may leave figures there.
        stage: what the run file says about the stage; None for a run without stages.
        processes: those that train together, each of which takes its share of the batches.
    """

    config: RunConfig
    data: Dataset
    float_top1: float | None
    make: LayerMaker
    folder: Path
    stage: StageConfig | None = None
    processes: int = 1

    @property
    def steps(self) -> int:
        """Steps of the optimizer in the stage."""
        train = self.config.train
        return train.epochs * max(1, len(self.data.train_x) // train.batch_size // self.processes)


class Method(nn.Module):
    """One method in one stage. Parameters and buffers it holds are trained, checkpointed and resumed with the network.

    The order of the hooks: ``restructure`` and ``prepare`` before the optimizer is made, ``start_epoch``, then
    ``penalty`` and ``after_step`` for every step, ``observe`` after every epoch, ``finalize`` when the stage is over.

    Attributes:
        moves_weights: ``finalize`` changes weights so far that the batch norms need statistics of the new ones.
        removes_at_end: ``finalize`` takes something away that the network has been trained with.
    """

    moves_weights = False
    removes_at_end = False

    def foresee(self, model: nn.Module, context: Context, left: Size) -> Size | None:
        """Return the most that is left after the stage, of ``left`` before it; called before the first stage trains.

        Args:
            model: the network the run begins with; not to be changed.
            context: the stage's.
            left: bounds on what the stages before leave of it.

        Returns:
            None when the layers then are others, so that nothing can be said about later stages.

        Raises:
            UserError: the method cannot do what it is asked, whatever the stages before leave.
        """
        return left

    def restructure(self, model: nn.Module, context: Context) -> list[Edit]:
        """Change what the stage trains; returns the changes of structure, already made."""
        return []

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Attach to the network in place: parametrizations, parameters of the method itself."""

    def start_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Epoch ``epoch`` of the stage's ``epochs`` begins, counted from 0; the quantizers are already switched."""

    def penalty(self, model: nn.Module) -> Tensor | None:
        """A scalar to add to the loss of this step; None for nothing."""
        return None

    def after_step(self, model: nn.Module, progress: float) -> None:
        """The optimizer has stepped; ``progress`` of the stage in (0, 1] is over."""

    def observe(self, model: nn.Module) -> dict[str, float]:
        """Return observations by name; they are logged after every epoch, and the last are kept with the stage."""
        return {}

    def finalize(self, model: nn.Module) -> list[Edit]:
        """Leave the network as it is deployed, free of the method; returns the changes of structure."""
        return []


class QuantMethod(Method):
    """A method that makes the quantizers of weights and activations the layers are built with."""

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas injector for weights of 1..8 bits."""
        raise NotImplementedError

    def act_quantizer(self, bits: int, *, signed: bool, scale: Scale) -> type:
        """A Brevitas injector for activations of 1..8 bits, one scale a tensor; unsigned after a ReLU."""
        raise NotImplementedError

    def leaning_quantizer(self, bits: int, *, scale: Scale) -> type:
        """A Brevitas injector for values that reach much further above zero than below: signed, unless a method can."""
        return self.act_quantizer(bits, signed=True, scale=scale)

    def refusal(self, bits: int, *, scale: Scale, granularity: Granularity) -> str | None:
        """Return why a layer's weights cannot be quantized so, or None if they can."""
        return None

    def relu(self, bits: int, *, scale: Scale) -> nn.Module:
        """ReLU, then the unsigned quantizer."""
        return qnn.QuantReLU(act_quant=self.act_quantizer(bits, signed=False, scale=scale))  # type: ignore[no-any-return]

    def attach(self, layer: nn.Module, bits: int) -> None:
        """Complete a convolution or fully connected layer that was just made; part of building, not of training."""


@runtime_checkable
class Serving(Protocol):
    """A function in front of an activation's quantizer that depends on that quantizer."""

    def serve(self, quantizer: Any) -> None:
        """Take ``quantizer`` as the one that the function depends on."""


def activation(function: type[Serving], act_quant: type) -> nn.Module:
    """A layer that applies a module of type ``function`` and then the quantizer it serves."""
    layer: nn.Module = QuantNonLinearActLayer(
        act_impl=function, passthrough_act=True, input_quant=None, act_quant=act_quant, return_quant_tensor=False
    )
    fused = layer.act_quant.fused_activation_quant_proxy  # type: ignore[union-attr]
    fused.activation_impl.serve(fused.tensor_quant)  # type: ignore[union-attr, operator]
    return layer


@runtime_checkable
class OwnRate(Protocol):
    """A module whose own parameters learn at another rate than the weights, without weight decay."""

    def rate(self, optimizer: str) -> float:
        """Their learning rate over that of the weights, for ``"adam"`` or ``"sgd"``."""


def own_rates(model: nn.Module) -> dict[nn.Parameter, OwnRate]:
    """The parameters that learn at a rate of their own, each with the module that tells it."""
    return {
        parameter: module
        for module in model.modules()
        if isinstance(module, OwnRate)
        for parameter in cast(nn.Module, module).parameters(recurse=False)
    }


@runtime_checkable
class Switched(Protocol):
    """A module that computes something else while the quantizers are off."""

    def switch(self, on: bool) -> None:
        """The quantizers go on or off; they are on in a network that was just built."""


@runtime_checkable
class Adopting(Protocol):
    """A module that takes over its state from the same module of the stage before, which may have other bits."""

    def adopt(self, before: nn.Module) -> None:
        """Change the state that was just loaded from ``before`` so that it means the same here."""
