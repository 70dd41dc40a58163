"""Single weights that become zero and stay zero."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from toolchain.train.budgets import top_indices
from toolchain.train.structure import Edit, Mask, mask_instead, mask_weight


def keep_largest_weights(model: nn.Module, scores: Mapping[str, Tensor], share: float, *, uniform: bool) -> list[Edit]:
    """Keep the weights of largest score: exactly ``round(share * n)`` of all n, or of every layer's n, at least one.

    Args:
        scores: a value a weight, by the layer's name.
        share: of the weights to keep.
        uniform: the same share of every layer.
    """
    if uniform:
        kept = {name: largest(score, share) for name, score in scores.items()}
    else:
        kept = parted(largest(torch.cat([score.flatten() for score in scores.values()]), share), scores)
    return keep_masked(model, kept)


def keep_masked(model: nn.Module, masks: Mapping[str, Tensor], *, instead: bool = False) -> list[Edit]:
    """Keep the weights at zero where the masks are false; returns the edits that repeat it.

    With ``instead`` the masks take the place of the layers' last parametrizations.
    """
    keep = mask_instead if instead else mask_weight
    for name, mask in masks.items():
        keep(model.get_submodule(name), mask)
    return [Mask(name) for name in masks]


def largest(scores: Tensor, share: float) -> Tensor:
    """True at the ``round(share * n)`` largest of n scores, at least one."""
    return chosen(scores, top_indices(scores, max(1, round(share * scores.numel()))))


def chosen(scores: Tensor, indices: list[int]) -> Tensor:
    """True at ``indices`` of the flattened ``scores``, shaped like them."""
    kept = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    kept[indices] = True
    return kept.reshape(scores.shape)


def parted(flat: Tensor, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A mask over all ``parts``, one behind the other, as one a part."""
    pieces = flat.split([part.numel() for part in parts.values()])
    return {name: piece.reshape(part.shape) for piece, (name, part) in zip(pieces, parts.items(), strict=True)}
