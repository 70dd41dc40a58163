"""Weights to codes: the rounding that keeps a layer's output, not the weights, closest to the float network's.

The layer reads x' from the quantized network where the float network has x. With the second moments over the
calibration images, G = E[x' x'^T] and C = E[x x'^T] around their means, the weights that would reproduce the float
output W x best from x' are W C G^-1 (least squares). They are rounded column by column, each column's error being made
up for by the columns not rounded yet (Frantar et al., GPTQ, eq. 2 and 3, on the Cholesky factor of G^-1). The means go
into the bias, which is the usual bias correction.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toolchain.train.quantizers import Levels, nearest

DAMPING = 0.01
"""Added to the diagonal of G, relative to its mean; more where there are few samples."""
FINE_BITS = 7
"""The bits from which on nearest rounding is as good: other errors cancel less than the float input differs."""
_CANDIDATES = tuple(2 ** (-k / 8) for k in range(13))  # steps tried, over the one that reaches the largest weight
_BLOCK = 64  # columns that are finished before the rest is updated
_SMALLEST = 2.0**-24
_NOISE = 2.0**-44  # error of a double's moments around the mean, relative to those around zero


@dataclass
class Moments:
    """Sums over the samples of a layer's inputs, a group of channels at a time.

    Args:
        own: of the quantized network's inputs x' (groups, columns).
        float: of the float network's x, alike.
        gram: of x' x'^T (groups, columns, columns).
        cross: of x x'^T, alike.
        samples: how many.
    """

    own: Tensor
    float: Tensor
    gram: Tensor
    cross: Tensor
    samples: int = 0

    @staticmethod
    def empty(groups: int, columns: int) -> Moments:
        """Return the moments of no samples."""
        vector, matrix = (groups, columns), (groups, columns, columns)
        own, plain, gram, cross = (torch.zeros(shape).double() for shape in (vector, vector, matrix, matrix))
        return Moments(own, plain, gram, cross)

    def add(self, own: Tensor, plain: Tensor) -> None:
        """Take in the inputs (groups, columns, samples) of both networks."""
        own, plain = own.double(), plain.double()
        self.own += own.sum(2)
        self.float += plain.sum(2)
        self.gram += own @ own.transpose(1, 2)
        self.cross += plain @ own.transpose(1, 2)
        self.samples += own.shape[2]

    def centred(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mean of x', mean of x, G and C."""
        own, plain = self.own / self.samples, self.float / self.samples
        gram = self.gram / self.samples - own[:, :, None] * own[:, None, :]
        gram = (gram + gram.transpose(1, 2)) / 2
        cross = self.cross / self.samples - plain[:, :, None] * own[:, None, :]
        return own, plain, gram, cross

    def noise(self) -> Tensor:
        """Bound of what rounding makes of the eigenvalues of G, a group at a time."""
        largest = self.gram.diagonal(dim1=1, dim2=2).amax(1) / self.samples
        return _NOISE * self.gram.shape[1] * largest


@dataclass(frozen=True)
class Rounded:
    """Weights on their grid (groups, rows, columns), one step a row (groups, rows), and what to add to the bias."""

    weight: Tensor
    step: Tensor
    shift: Tensor


def round_weights(weight: Tensor, moments: Moments, levels: Levels, *, per_channel: bool) -> Rounded:
    """Round ``weight`` (groups, rows, columns) to the codes ``levels``; ``per_channel`` gives each row its own step."""
    weight = weight.double()
    own, plain, gram, cross = moments.centred()
    importance = gram.diagonal(dim1=1, dim2=2).clamp_min(1e-12)
    if levels.bits >= FINE_BITS:
        step = _step(weight, importance, levels, per_channel)
        rounded = nearest(weight, step[..., None], levels)
    else:
        damped, crossed = _damped(moments, gram, cross, importance)
        target = torch.linalg.solve(damped, (weight @ crossed).transpose(1, 2)).transpose(1, 2)
        step = _step(target, importance, levels, per_channel)
        rounded = _round_columns(target, damped, step, levels)
    shift = torch.einsum("grc,gc->gr", weight, plain) - torch.einsum("grc,gc->gr", rounded, own)
    return Rounded(rounded, step, shift)


def _damped(moments: Moments, gram: Tensor, cross: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
    """G and C with as much added to both that G has an inverse; G has the diagonal ``importance``.

    A group whose G is none of moments gets a diagonal in place of both, with which rounding is to the nearest.
    """
    share = DAMPING + gram.shape[1] / moments.samples
    size = torch.maximum(share * importance.mean(1), moments.noise())
    damping = torch.diag_embed(size[:, None].expand_as(importance))
    damped, crossed = gram + damping, cross + damping
    unsound = torch.linalg.cholesky_ex(damped).info > 0
    damped[unsound] = crossed[unsound] = torch.diag_embed(importance[unsound])
    return damped, crossed


def _step(weight: Tensor, importance: Tensor, levels: Levels, per_channel: bool) -> Tensor:
    """The step (groups, rows) with the least squared error, each column counted by its ``importance``."""
    size = weight.abs()
    if levels.bipolar:
        mean = size.mean(2) if per_channel else size.mean().expand(size.shape[:2])
        return mean.clamp_min(_SMALLEST)
    largest = size.amax(2) if per_channel else size.amax().expand(size.shape[:2])
    best = widest = (largest / levels.high).clamp_min(_SMALLEST)
    least = torch.full_like(best, torch.inf)
    for share in _CANDIDATES:
        step = widest * share
        error = ((weight - nearest(weight, step[..., None], levels)).square() * importance[:, None]).sum(2)
        error = error if per_channel else error.sum().expand_as(error)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    return best


def _round_columns(weight: Tensor, gram: Tensor, step: Tensor, levels: Levels) -> Tensor:
    """``weight`` on the grid of ``step``, errors passed on to later columns; the important columns come first."""
    order = gram.diagonal(dim1=1, dim2=2).argsort(1, descending=True)
    ordered = torch.stack([g[o][:, o] for g, o in zip(gram, order, strict=True)])
    factor = torch.linalg.cholesky(torch.linalg.inv(ordered), upper=True)
    left = weight.gather(2, order[:, None].expand_as(weight))
    done = torch.empty_like(left)
    columns = weight.shape[2]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        errors = torch.empty_like(left[:, :, start:stop])
        for column in range(start, stop):
            done[:, :, column] = nearest(left[:, :, column], step, levels)
            error = (left[:, :, column] - done[:, :, column]) / factor[:, column, column, None]
            left[:, :, column + 1 : stop] -= error[..., None] * factor[:, None, column, column + 1 : stop]
            errors[:, :, column - start] = error
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return torch.empty_like(done).scatter_(2, order[:, None].expand_as(done), done)
