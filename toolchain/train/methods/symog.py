"""Weights drawn to fixed-point modes while they train in float.

Enderich et al., SYMOG: learning symmetric mixture of Gaussian modes for improved fixed-point quantization,
Neurocomputing 2020, and its precursor SGM, arXiv 1907.07220.

Each layer has one power-of-two step D, found by a line search over its trained weights, and the modes
``D * {-n..n}``, n = 2^(bits-1) - 1. The loss gains ``strength * sum (w - Q(w))^2``, Q(w) the nearest mode taken as a
constant, or weights are drawn as much after each step, and the strength grows exponentially; weights are rounded once,
at the end, and batch norms then take the statistics of the rounded network, which no paper says. SYMOG also clips
weights to the outermost modes after each step; that SGM does not is our reconstruction. Papers average the sum over a
layer, or not: we could not see which; here a weight is drawn alike in every layer.

Source: the abstracts; everything else is recalled or derived. The strengths and the proximal form are our own.
"""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from toolchain import files
from toolchain.config.run import SymogConfig
from toolchain.train.figures import histograms_svg
from toolchain.train.methods.base import Context, Granularity, Scale
from toolchain.train.methods.injectors import weight_injector
from toolchain.train.methods.lsq import Lsq
from toolchain.train.own.kinds import Weighted
from toolchain.train.quantizers import Levels
from toolchain.train.statistics import named_weighted_layers
from toolchain.train.structure import Edit, trained_weight, weight_quantizer_of

log = logging.getLogger(__name__)

_EXPONENTS = range(-24, 9)  # exponents of the steps that are tried
_PULL = 13.0  # the proximal draw per strength over the stage; with the defaults distances shrink by exp(20) in all
BINS = 20  # bins of the histograms for each distance between two modes


class FixedStep(nn.Module):
    """A quantizer of one power-of-two step that is chosen once and not trained.

    Args:
        levels: the integer codes, symmetric.
    """

    def __init__(self, levels: Levels) -> None:
        super().__init__()
        self.levels = levels
        self.step: Tensor
        self.chosen: Tensor
        self.zero: Tensor
        self.bits: Tensor
        self.register_buffer("step", torch.tensor(1.0))
        self.register_buffer("chosen", torch.tensor(False))
        self.register_buffer("zero", torch.tensor(0.0), persistent=False)
        self.register_buffer("bits", torch.tensor(float(levels.bits)), persistent=False)

    @property
    def limit(self) -> Tensor:
        """The value of the outermost mode."""
        return self.step * self.levels.high

    @torch.no_grad()
    def choose(self, weight: Tensor) -> None:
        """Take the power of two with the least squared error on ``weight``."""
        self.step.copy_(power_of_two_step(weight, self.levels))
        self.chosen.fill_(True)

    @torch.no_grad()
    def adopt(self, before: nn.Module) -> None:
        """Other bits have other modes: choose again."""
        assert isinstance(before, FixedStep)
        if before.levels != self.levels:
            self.chosen.fill_(False)

    def nearest(self, weight: Tensor) -> Tensor:
        """The modes nearest to the weights, ties to even."""
        return (weight / self.step).clamp_(self.levels.low, self.levels.high).round_().mul_(self.step)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Quantize; returns (value, scale, zero point, bits) as Brevitas proxies expect."""
        return self.nearest(x), self.step, self.zero, self.bits


def power_of_two_step(weight: Tensor, levels: Levels) -> Tensor:
    """The power of two whose multiples, up to ``levels``, have the least squared distance from ``weight``."""
    flat = weight.detach().flatten()
    steps = torch.tensor([2.0**exponent for exponent in _EXPONENTS], dtype=flat.dtype, device=flat.device)
    errors = [(flat - (flat / s).clamp(levels.low, levels.high).round() * s).square().sum() for s in steps]
    return steps[torch.stack(errors).argmin()]


class Symog(Lsq):
    """Soft fixed-point weights; activations, where they are quantized, take LSQ's quantizer.

    Args:
        config: the run file's ``[quant.symog]``.
        clip: keep weights within the outermost modes (SYMOG) or not (SGM).
    """

    moves_weights = True

    def __init__(self, config: SymogConfig, *, clip: bool) -> None:
        super().__init__()
        self.config, self.clip = config, clip
        self._first_epoch, self._start, self._pull = 0, 0.0, 0.0
        self._names: list[str] = []
        self._context: Context | None = None
        self._soft = self._ends_soft = self._frozen = False
        self.progress: Tensor
        self.histograms: Tensor
        self.register_buffer("progress", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("histograms", torch.zeros(0, 0, 0, dtype=torch.int64))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """A run that goes on with more epochs has more histograms than its checkpoint."""
        saved, grown = state_dict[f"{prefix}histograms"], self.histograms.clone()
        rows = min(len(saved), len(grown))
        grown[:rows] = saved[:rows]
        state_dict[f"{prefix}histograms"] = grown
        super()._load_from_state_dict(state_dict, prefix, *args)

    def refusal(self, bits: int, *, scale: Scale, granularity: Granularity) -> str | None:
        """One step a layer, and one bit has no symmetric modes."""
        if granularity == "channel":
            return "has one step a layer; set quant.weight_granularity = 'tensor'"
        return "needs 2 weight bits or more" if bits < 2 else None

    def weight_quantizer(self, bits: int, *, scale: Scale, granularity: Granularity) -> type:
        """A Brevitas weight quantizer of 2..8 bits; its scale is a power of two whatever ``scale`` says."""
        levels = Levels.weight(bits)
        return weight_injector(levels, "tensor", lambda shape, weight: FixedStep(levels))

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Size the histograms: one for each quantized epoch's start, and the last before the weights are rounded."""
        train = context.config.train
        self._context = context
        self._frozen = bool(context.stage and context.stage.freeze_weights)
        if self._frozen:
            self.moves_weights = False
        self._first_epoch, self._start = train.pretrain_epochs, train.pretrain_epochs / train.epochs
        self._pull = _PULL / max(1.0, (1 - self._start) * context.steps)
        layers = _soft_layers(model)
        self._names = list(layers)
        self._ends_soft = bool(self._names) and self._start < 1 and not self._frozen
        bins = max((_bins(quantizer.levels) for _, quantizer in layers.values()), default=0)
        moments = max(0, train.epochs - train.pretrain_epochs) + 1
        self.histograms = torch.zeros(moments, len(layers), bins, dtype=torch.int64)

    def start_epoch(self, model: nn.Module, epoch: int, epochs: int) -> None:
        """Choose the steps when the float phase is over, and keep the weights soft, unless they are frozen."""
        modes = epoch >= self._first_epoch and bool(self._names)  # a float network has none
        self._soft = modes and not self._frozen
        for layer, quantizer in _soft_layers(model).values() if modes else ():
            if not quantizer.chosen:
                quantizer.choose(layer.weight)
            layer.weight_quant.disable_quant = self._soft  # type: ignore[union-attr]
        if not self._soft:
            return
        if not self.histograms[epoch - self._first_epoch].any():  # as in an epoch that has ended and was saved
            self._record(model, epoch - self._first_epoch)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The squared distances from the modes times the present strength."""
        if not self._soft or self.config.proximal:
            return None
        distances = [
            (layer.weight - quantizer.nearest(layer.weight.detach())).square().sum()
            for layer, quantizer in _soft_layers(model).values()
        ]
        return torch.stack(distances).sum() * self.strength()

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """Draw the weights to their modes, if that is left to this moment, and clip them."""
        if not self._soft:
            return
        draw = self._pull * self.strength()
        self.progress.fill_(max(0.0, (progress - self._start) / (1 - self._start)))
        for layer, quantizer in _soft_layers(model).values():
            weight = trained_weight(layer)
            if self.config.proximal:
                weight.add_(quantizer.nearest(weight), alpha=draw).div_(1 + draw)
            if self.clip:
                weight.clamp_(-quantizer.limit, quantizer.limit)

    @torch.no_grad()
    def observe(self, model: nn.Module) -> dict[str, float]:
        """The largest distance of a weight from its mode, in steps: one half at the worst, within the modes."""
        if not self._soft:
            return {}
        return {"symog_distance": max(_distance(*each) for each in _soft_layers(model).values())}

    @torch.no_grad()
    def finalize(self, model: nn.Module) -> list[Edit]:
        """Round the weights to their modes and leave the figure of how they came there."""
        if not self._ends_soft:
            return []
        layers = _soft_layers(model)
        for layer, quantizer in layers.values():
            if not quantizer.chosen:  # of a layer that a factorization has made when the stage ended
                quantizer.choose(layer.weight)
        self._record(model, len(self.histograms) - 1)
        for name, (layer, quantizer) in layers.items():
            weight = trained_weight(layer)
            distance = _distance(layer, quantizer)
            log.info("layer %s: weights within %.3f steps of their modes before rounding", name, distance)
            weight.copy_(quantizer.nearest(weight))
        self._write_figure(model)
        return []

    def strength(self) -> float:
        """The factor of the squared distances at this moment of the stage."""
        return self.config.strength * math.exp(self.config.growth * float(self.progress))

    def _record(self, model: nn.Module, moment: int) -> None:
        """Count where the weights are between the modes."""
        for index, (layer, quantizer) in self._recorded(model).items():
            bins = _bins(quantizer.levels)
            place = (layer.weight.detach() / quantizer.step + quantizer.levels.high + 1) * BINS
            counts = torch.bincount(place.long().clamp_(0, bins - 1).flatten(), minlength=bins)
            self.histograms[moment, index, :bins] = counts.to(self.histograms.device)

    def _recorded(self, model: nn.Module) -> dict[int, tuple[Weighted, FixedStep]]:
        """The layers that the stage began with and still has, by their places in the histograms."""
        found = _soft_layers(model)
        return {index: found[name] for index, name in enumerate(self._names) if name in found}

    @rank_zero_only
    def _write_figure(self, model: nn.Module) -> None:
        assert self._context is not None
        layers = {
            self._names[index]: self.histograms[:, index, : _bins(quantizer.levels)].tolist()
            for index, (_, quantizer) in self._recorded(model).items()
        }
        stage = self._context.stage
        name = f"modes-{stage.name}.svg" if stage else "modes.svg"
        if layers:
            files.write_text(self._context.folder / name, histograms_svg(layers, "weight in steps", 1 / BINS))


def _distance(layer: Weighted, quantizer: FixedStep) -> float:
    weight = layer.weight.detach()
    return float((weight - quantizer.nearest(weight)).abs().max() / quantizer.step)


def _bins(levels: Levels) -> int:
    """Bins from one step below the lowest mode to one above the highest."""
    return 2 * (levels.high + 1) * BINS


def _soft_layers(model: nn.Module) -> dict[str, tuple[Weighted, FixedStep]]:
    """The layers whose weights have modes, by name, with their quantizers."""
    return {
        name: (layer, quantizer)
        for name, layer in named_weighted_layers(model).items()
        if isinstance(quantizer := weight_quantizer_of(layer), FixedStep)
    }
