"""Nuclear-norm rank minimization factorization (Ran et al., ICPR 2020): low-rank training, then Tucker-2.

Source: the authors' slides; the paper's body could not be read. Their term, (1 / 2M) sum(tr(W1 W1') + tr(W2 W2')) over
M kernels with the unfoldings W1 and W2, is the mean squared Frobenius norm: weight decay on these kernels. It is
``norm = "frobenius"``. ``norm = "nuclear"`` is what the name promises, the sum of the singular values of both
unfoldings, by its proximal step after each step of the optimizer; it is not the authors'. Neither are budgets: the
paper's only knob is the energy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from toolchain.config.pruning import NrmfConfig
from toolchain.train.budgets import Budget, Size, cannot_be_met
from toolchain.train.methods.base import Context, Method
from toolchain.train.quantizers import Quantizer
from toolchain.train.statistics import Shape, named_weighted_layers, pixels
from toolchain.train.structure import Edit, Tucker, can_be_three, trained_weight, weight_quantizer_of

_BISECTIONS = 40  # steps in the search for the energy that meets a budget
_SWEEPS = 3  # sweeps of higher-order orthogonal iteration after the truncated SVD
_NOISE_CANDIDATES = 400  # noise variances tried by `vbmf_rank`, evenly on a logarithmic scale


class Factors(NamedTuple):
    """A kernel (T, S, D, D) as 1x1 (R_in, S), core (R_out, R_in, D, D) and 1x1 (T, R_out)."""

    reduce: Tensor
    core: Tensor
    restore: Tensor


class Nrmf(Method):
    """Trains for low ranks; when the stage ends every convolution with a kernel above 1x1 that gains becomes three.

    One that gains takes fewer weights, or fewer multiply-accumulates under a budget of these.
    """

    removes_at_end = True

    def __init__(self, config: NrmfConfig) -> None:
        super().__init__()
        self.config = config
        self.context: Context
        self.budget = Budget()

    def foresee(self, model: nn.Module, context: Context, left: Size) -> None:
        """Check that kernels of the least ranks meet the budget; None, as the layers after the stage are others."""
        _check(model, context, Budget.share_of(left, self.config), self.config.multiple)

    def prepare(self, model: nn.Module, context: Context) -> None:
        """Check the budget; the network is changed when the stage ends."""
        self.context = context
        self.budget = Budget.share_of(Size.of_model(model, context.data.shape), self.config)
        _check(model, context, self.budget, self.config.multiple)

    def penalty(self, model: nn.Module) -> Tensor | None:
        """The authors' term, weight decay in effect."""
        if self.config.norm == "nuclear":
            return None
        return self.config.strength * squared_norm([conv.weight for conv in _kernels(model).values()])

    @torch.no_grad()
    def after_step(self, model: nn.Module, progress: float) -> None:
        """The proximal step of the nuclear norm on both unfoldings, one after the other."""
        if self.config.norm == "nuclear":
            for conv in _kernels(model).values():
                weight = trained_weight(conv)
                for axis in (1, 0):
                    weight.copy_(shrink_singular_values(weight, axis, self.config.strength))

    @torch.no_grad()
    def observe(self, model: nn.Module) -> dict[str, float]:
        """The ranks that the kernels would get now."""
        kernels = {name: conv.weight.detach() for name, conv in _kernels(model).items()}
        ranks = self._ranks(model, kernels, _sizes(model, self.context.data.shape))
        sides = {"in": 0, "out": 1}
        return {f"nrmf_rank_{name}_{side}": pair[at] for name, pair in ranks.items() for side, at in sides.items()}

    @torch.no_grad()
    def finalize(self, model: nn.Module) -> list[Edit]:
        """Factorize at the ranks that the energy or VBMF says, where that takes fewer weights."""
        kernels = {name: conv.weight.detach().clone() for name, conv in _kernels(model).items()}
        sizes = _sizes(model, self.context.data.shape)
        edits: list[Edit] = []
        for name, ranks in self._ranks(model, kernels, sizes).items():
            if not sizes[name].gains(ranks, self.budget):
                continue
            edit, weight = Tucker(name, *ranks), kernels[name]
            edit.apply(model, self.context.make)
            model.get_submodule(name).to(weight.device)
            factors = tucker(weight, *ranks)
            for part, value in zip(("reduce", "core", "restore"), factors, strict=True):
                layer = model.get_submodule(f"{name}.{part}")
                kernel = trained_weight(layer)
                kernel.copy_(value.reshape(kernel.shape))
                quantizer = weight_quantizer_of(layer)
                if isinstance(quantizer, Quantizer):
                    quantizer.initialise(kernel)
            edits.append(edit)
        return edits

    def _ranks(
        self, model: nn.Module, kernels: Mapping[str, Tensor], sizes: Mapping[str, _Sizes]
    ) -> dict[str, tuple[int, int]]:
        """Ranks of the unfoldings by inputs and by outputs: at the energy, or at the largest that meets the budget."""
        multiple = self.config.multiple
        if self.config.ranks == "vbmf":
            found = {name: (vbmf_rank(unfolded(w, 1)), vbmf_rank(unfolded(w, 0))) for name, w in kernels.items()}
            return {name: sizes[name].rounded(ranks, multiple) for name, ranks in found.items()}
        shares = {name: (energy_shares(unfolded(w, 1)), energy_shares(unfolded(w, 0))) for name, w in kernels.items()}

        def at(energy: float) -> dict[str, tuple[int, int]]:
            ranks = {name: (energy_rank(a, energy), energy_rank(b, energy)) for name, (a, b) in shares.items()}
            return {name: sizes[name].rounded(pair, multiple) for name, pair in ranks.items()}

        rest = _rest(model, self.context.data.shape, sizes)
        low, high = 0.0, self.config.energy
        if _meets(sizes, at(high), rest, self.budget):
            return at(high)
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            low, high = (middle, high) if _meets(sizes, at(middle), rest, self.budget) else (low, middle)
        return at(low)


@dataclass(frozen=True)
class _Sizes:
    """A kernel's ``shape`` (T, S, D, D), and the values a channel that it reads and writes."""

    shape: torch.Size
    read: int
    written: int

    @property
    def whole(self) -> Size:
        """Size of the kernel as one convolution."""
        weights = math.prod(self.shape)
        return Size(weights * self.written, weights)

    def factorized(self, ranks: tuple[int, int]) -> Size:
        """Return the size as three convolutions; the first works on what is read."""
        (outputs, inputs, *kernel), (rank_in, rank_out) = self.shape, ranks
        behind = math.prod(kernel) * rank_in * rank_out + rank_out * outputs
        return Size(inputs * rank_in * self.read + behind * self.written, tucker_weights(self.shape, *ranks))

    def rounded(self, ranks: tuple[int, int], multiple: int) -> tuple[int, int]:
        """``ranks`` by inputs and by outputs, up to a multiple of ``multiple`` or to all there are."""
        outputs, inputs, *kernel = self.shape
        most = min(inputs, outputs * math.prod(kernel)), min(outputs, inputs * math.prod(kernel))
        rank_in, rank_out = (min(-(-r // multiple) * multiple, limit) for r, limit in zip(ranks, most, strict=True))
        return rank_in, rank_out

    def gains(self, ranks: tuple[int, int], budget: Budget) -> bool:
        """Return whether three convolutions take less of the resource that the budget limits."""
        kind = "params" if budget.macs is None else "macs"
        return bool(getattr(self.factorized(ranks), kind) < getattr(self.whole, kind))

    def left(self, ranks: tuple[int, int], budget: Budget) -> Size:
        """Return the size that is left with the ranks."""
        return self.factorized(ranks) if self.gains(ranks, budget) else self.whole


def _sizes(model: nn.Module, shape: Shape) -> dict[str, _Sizes]:
    seen = pixels(model, shape)
    return {name: _Sizes(conv.weight.shape, *seen[name]) for name, conv in _kernels(model).items()}


def _rest(model: nn.Module, shape: Shape, sizes: Mapping[str, _Sizes]) -> Size:
    """Return the size of what is not factorized, biases included."""
    whole = Size.of_model(model, shape)
    return Size(
        whole.macs - sum(kernel.whole.macs for kernel in sizes.values()),
        whole.params - sum(kernel.whole.params for kernel in sizes.values()),
    )


def _meets(sizes: Mapping[str, _Sizes], ranks: Mapping[str, tuple[int, int]], rest: Size, budget: Budget) -> bool:
    left = [kernel.left(ranks[name], budget) for name, kernel in sizes.items()]
    return all(
        getattr(rest, kind) + sum(getattr(size, kind) for size in left) <= limit
        for kind, limit in budget.limits.items()
    )


def _check(model: nn.Module, context: Context, budget: Budget, multiple: int) -> None:
    """Check that kernels of rank 1, or of the first multiple, meet the budget.

    Raises:
        UserError: they do not.
    """
    sizes = _sizes(model, context.data.shape)
    rest = _rest(model, context.data.shape, sizes)
    least = {name: kernel.rounded((1, 1), multiple) for name, kernel in sizes.items()}
    for kind, limit in budget.limits.items():
        takes = {name: getattr(kernel.left(least[name], budget), kind) for name, kernel in sizes.items()}
        takes["the other layers"] = getattr(rest, kind)
        if sum(takes.values()) > limit:
            raise cannot_be_met(f"{limit:,} {kind}", f"rank {multiple} in every kernel", takes)


def _kernels(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {
        name: layer
        for name, layer in named_weighted_layers(model).items()
        if isinstance(layer, nn.Conv2d) and can_be_three(layer)
    }


def squared_norm(weights: list[Tensor]) -> Tensor:
    """The authors' L_n: the mean squared Frobenius norm, whose gradient is 2 W / M."""
    return sum((weight.square().sum() for weight in weights), torch.zeros(())) / max(1, len(weights))


def unfolded(weight: Tensor, axis: int) -> Tensor:
    """The kernel as a matrix, a row an entry of ``axis``: 0 for outputs, 1 for inputs."""
    return weight.movedim(axis, 0).flatten(1)


def shrink_singular_values(weight: Tensor, axis: int, amount: float) -> Tensor:
    """The proximal map of ``amount`` times the nuclear norm of one unfolding: a soft threshold."""
    u, s, vh = torch.linalg.svd(unfolded(weight, axis), full_matrices=False)
    moved = weight.movedim(axis, 0)
    return ((u * (s - amount).clamp_min(0)) @ vh).reshape(moved.shape).movedim(0, axis)


def energy_shares(matrix: Tensor) -> Tensor:
    """The shares that the largest 1, 2, ... eigenvalues of ``M M'`` above rounding make up of their sum."""
    values = torch.linalg.svdvals(matrix.double()).square()
    values = values[values > values[0] * torch.finfo(matrix.dtype).eps ** 2 * max(matrix.shape) ** 2]
    return values.cumsum(0) / values.sum()


def energy_rank(shares: Tensor, energy: float) -> int:
    """The least number of eigenvalues, at least 1, whose ``shares`` (see ``energy_shares``) make up ``energy``."""
    return 1 + int((shares < energy - 1e-12).sum()) if len(shares) else 1


def vbmf_rank(matrix: Tensor) -> int:
    """The rank by empirical variational Bayes with unknown noise (Nakajima et al., JMLR 2013), at least 1.

    The noise variance minimises their free energy over a grid between the bounds of their theorem; singular values
    above the threshold that it sets count.
    """
    values = torch.linalg.svdvals(matrix.double())
    rows, columns = sorted(matrix.shape)
    alpha = rows / columns
    tau = 2.5129 * math.sqrt(alpha)
    edge = (1 + tau) * (1 + alpha / tau)
    squares = values.square()
    upper = float(squares.sum()) / (rows * columns)
    cut = min(math.ceil(rows / (1 + alpha)), rows) - 1
    tail = squares[cut:]
    lower = max(float(squares[min(cut, rows - 1)]) / (columns * edge), float(tail.mean()) / columns, upper * 1e-9)
    if upper <= 0:
        return 1
    candidates = torch.logspace(math.log10(min(lower, upper)), math.log10(upper), _NOISE_CANDIDATES).double()
    energies = torch.stack([_free_energy(squares / (columns * noise), alpha, edge) for noise in candidates])
    noise = float(candidates[energies.argmin()])
    return max(1, int((squares > columns * noise * edge).sum()))


def _free_energy(x: Tensor, alpha: float, edge: float) -> Tensor:
    """Twice the free energy a column, up to a constant, with x the squared singular values over M sigma^2."""
    x = x.clamp_min(1e-300)
    small, large = x[x <= edge], x[x > edge]
    product = (large - (1 + alpha)).square() - 4 * alpha
    tau = ((large - (1 + alpha)) + product.clamp_min(0).sqrt()) / 2
    kept = large - tau + torch.log((tau + 1) / large) + alpha * torch.log(tau / alpha + 1)
    return (small - small.log()).sum() + kept.sum()


def tucker(weight: Tensor, rank_in: int, rank_out: int) -> Factors:
    """Tucker-2 by truncated higher-order SVD and a few sweeps of orthogonal iteration; exact at full ranks.

    The squared error is at most the sum of the discarded eigenvalues of both unfoldings.
    """
    inputs = _leading(unfolded(weight, 1), rank_in)
    outputs = _leading(unfolded(weight, 0), rank_out)
    for _ in range(_SWEEPS):
        inputs = _leading(unfolded(torch.einsum("tsxy,tq->qsxy", weight, outputs), 1), rank_in)
        outputs = _leading(unfolded(torch.einsum("tsxy,sr->trxy", weight, inputs), 0), rank_out)
    core = torch.einsum("tsxy,sr,tq->qrxy", weight, inputs, outputs)
    return Factors(inputs.T, core, outputs)


def _leading(matrix: Tensor, rank: int) -> Tensor:
    """The first ``rank`` left singular vectors, as columns; of a matrix with fewer, some that complete them."""
    return torch.linalg.svd(matrix, full_matrices=rank > min(matrix.shape)).U[:, :rank]


def tucker_weights(shape: torch.Size | tuple[int, ...], rank_in: int, rank_out: int) -> int:
    """Weights of the three convolutions that replace a kernel of ``shape`` (T, S, D, D)."""
    outputs, inputs, *kernel = shape
    return inputs * rank_in + math.prod(kernel) * rank_in * rank_out + rank_out * outputs
