"""Batches of a data set held in memory: one index operation a batch, augmentation on the whole batch at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

_PADDING = 4  # pixels added on each side before the random crop, as usual on CIFAR


@dataclass(frozen=True)
class Augmentation:
    """Augmentation of pictures: a random ``crop`` of the zero-padded one, a ``flip`` left to right of every other.

    ``alternating``: which of them are mirrored is drawn once, and changes places with the others after every epoch.
    """

    crop: bool = False
    flip: bool = False
    alternating: bool = False


def augmentation(chosen: bool | str) -> Augmentation:
    """Return what ``data.augment`` of a run file asks for: both, one by name, both with alternating flips, or none."""
    alternating = chosen == "alternating"
    return Augmentation(chosen in (True, "crop") or alternating, chosen in (True, "flip") or alternating, alternating)


class Batches:
    """An iterable of (samples (B, C, ...), labels int64 (B,)).

    The order and the augmentation of an epoch depend on ``seed`` and the epoch alone, so that a resumed run sees what
    an uninterrupted one would have seen.

    Args:
        x: samples (N, C, ...), pixels in uint8 or numbers.
        y: labels (N,).
        size: images a batch; the last, smaller batch of a shuffled epoch is left out unless it is the only one.
        seed: None keeps the order and does not augment.
        augment: what is done to pictures (C, H, W).
        epoch: the epoch's number, asked at the start of each pass.
        share: (rank, ranks): every rank-th of the ranks' batches, for training in several processes.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        size: int,
        *,
        seed: int | None = None,
        augment: Augmentation = Augmentation(),
        epoch: Callable[[], int] = lambda: 0,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        self.x, self.y, self.size, self.seed, self.augment = x, y, size, seed, augment
        self.epoch, self.share = epoch, share

    def __len__(self) -> int:
        whole, rest = divmod(len(self.x), self.size)
        batches = whole + (1 if rest and (self.seed is None or not whole) else 0)
        return batches // self.share[1] if batches >= self.share[1] else 1

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        rank, ranks = self.share
        if self.seed is None:
            order, generator = torch.arange(len(self.x)), torch.Generator()
        else:
            generator = torch.Generator().manual_seed((self.seed << 24) + self.epoch())
            order = torch.randperm(len(self.x), generator=generator)
        turned = self._turned() if self.seed is not None and self.augment.alternating else None
        for i in range(len(self)):
            start = (i * ranks + rank) * self.size
            chosen = order[start : start + self.size]
            x = self.x[chosen]
            if self.seed is not None:
                x = augmented(x, generator, self.augment, None if turned is None else turned[chosen])
            yield x, self.y[chosen]

    def _turned(self) -> Tensor:
        """Return the mask (N,) of pictures that are mirrored in this epoch; the others are in the next."""
        assert self.seed is not None
        first = torch.rand(len(self.x), generator=torch.Generator().manual_seed(self.seed)) < 0.5
        return first ^ bool(self.epoch() % 2)


def augmented(x: Tensor, generator: torch.Generator, how: Augmentation, turned: Tensor | None = None) -> Tensor:
    """Return pictures (B, C, H, W), each shifted by up to 4 pixels and perhaps mirrored.

    Zeros move in. A picture is mirrored where ``turned`` (B,) says so, or with probability one half.
    """
    if not how.crop and not how.flip:
        return x
    batch, _, height, width = x.shape
    columns = torch.arange(width).expand(batch, width)
    rows = torch.arange(height).expand(batch, height)
    if how.crop:
        top, left = torch.randint(0, 2 * _PADDING + 1, (2, batch), generator=generator)
        x, rows, columns = torch.nn.functional.pad(x, (_PADDING,) * 4), rows + top[:, None], columns + left[:, None]
    if how.flip:
        mirrored = torch.rand(batch, generator=generator) < 0.5 if turned is None else turned
        columns = torch.where(mirrored[:, None], columns.flip(1), columns)
    images = torch.arange(batch)[:, None, None]
    return x.permute(0, 2, 3, 1)[images, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
