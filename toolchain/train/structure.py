"""Changes of a network's structure as data, so that a saved network is rebuilt from its run file and its edits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from toolchain.errors import UserError


@dataclass(frozen=True)
class Remove:
    """The layer is replaced by the identity."""

    layer: str

    def apply(self, model: nn.Module) -> None:
        """Change ``model`` in place."""
        model.set_submodule(self.layer, nn.Identity(), strict=True)


Edit = Remove
_KINDS: dict[str, type[Edit]] = {"remove": Remove}


def normalized_layers(model: nn.Module) -> list[tuple[nn.Module, str, nn.BatchNorm1d | nn.BatchNorm2d]]:
    """The batch norms by name, each with the layer whose outputs it normalizes: the one defined last before it."""
    found = []
    layer: nn.Module | None = None
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            layer = module
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            assert layer is not None and len(layer.weight) == module.num_features  # type: ignore[arg-type]
            found.append((layer, name, module))
    return found


def apply_edits(model: nn.Module, edits: Sequence[Edit]) -> None:
    """Replay edits on a freshly built network, in place.

    Raises:
        UserError: an edit names a layer the network has not.
    """
    for edit in edits:
        try:
            edit.apply(model)
        except AttributeError as error:
            raise UserError(f"the saved network changes a layer that its model has not: {edit.layer}") from error


def to_json(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """Edits as plain values."""
    names = {kind: name for name, kind in _KINDS.items()}
    return [{"edit": names[type(edit)], **asdict(edit)} for edit in edits]


def from_json(values: Sequence[dict[str, Any]]) -> list[Edit]:
    """The inverse of `to_json`.

    Raises:
        UserError: an unknown edit or unknown fields.
    """
    edits = []
    for value in values:
        fields = dict(value)
        try:
            edits.append(_KINDS[fields.pop("edit")](**fields))
        except (KeyError, TypeError) as error:
            raise UserError(f"not a change of structure: {value}") from error
    return edits
