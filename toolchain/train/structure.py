"""Changes of a network's structure as data, so that a saved network is rebuilt from its run file and its edits."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from toolchain.errors import UserError
from toolchain.train.blocks import Residual
from toolchain.train.maker import LayerMaker
from toolchain.train.shrink import remove_channels

_INNER_BITS = 8  # bits of the two activations inside a factorized convolution


@dataclass(frozen=True)
class Remove:
    """The layer is replaced by the identity."""

    layer: str

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place."""
        model.set_submodule(self.layer, nn.Identity(), strict=True)


@dataclass(frozen=True)
class Bias:
    """The layer has a bias, zero at first."""

    layer: str

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place."""
        layer = model.get_submodule(self.layer)
        assert isinstance(layer.weight, Tensor)
        layer.register_parameter("bias", nn.Parameter(layer.weight.new_zeros(len(layer.weight))))


@dataclass(frozen=True)
class Channels:
    """A removal: of the channels that ``layer`` writes, and all that go with them, only ``kept`` remain."""

    layer: str
    kept: list[int]

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place."""
        remove_channels(model, self.layer, self.kept)


@dataclass(frozen=True)
class Branch:
    """The residual block ``layer`` has no branch: its shortcut is left, or nothing where the input itself is added."""

    layer: str

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place."""
        block = model.get_submodule(self.layer)
        assert isinstance(block, Residual)
        if isinstance(block.shortcut, nn.Identity):
            model.set_submodule(self.layer, nn.Identity(), strict=True)
        else:
            block.drop_branch()


@dataclass(frozen=True)
class Mask:
    """Some weights of the layer stay zero, whatever is trained; which ones, the state dict tells."""

    layer: str

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place."""
        layer = model.get_submodule(self.layer)
        assert isinstance(layer.weight, Tensor)
        mask_weight(layer, torch.ones_like(layer.weight, dtype=torch.bool))


@dataclass(frozen=True)
class Tucker:
    """The convolution becomes three: 1x1 to ``rank_in`` channels, the kernel to ``rank_out``, 1x1 to the outputs.

    Signed quantizers of 8 bits, or more, stand between them: with fewer they cost more accuracy than the ranks.
    """

    layer: str
    rank_in: int
    rank_out: int

    def apply(self, model: nn.Module, make: LayerMaker) -> None:
        """Change ``model`` in place; the new weights are not set."""
        conv = model.get_submodule(self.layer)
        assert isinstance(conv, nn.Conv2d)
        inner = {"stride": conv.stride[0], "padding": int(conv.padding[0])}
        layers = OrderedDict(
            reduce=make.conv(f"{self.layer}.reduce", conv.in_channels, self.rank_in, 1),
            reduced=make.signed(f"{self.layer}.reduced", _INNER_BITS),
            core=make.conv(f"{self.layer}.core", self.rank_in, self.rank_out, conv.kernel_size[0], **inner),
            convolved=make.signed(f"{self.layer}.convolved", _INNER_BITS),
            restore=make.conv(f"{self.layer}.restore", self.rank_out, conv.out_channels, 1),
        )
        model.set_submodule(self.layer, nn.Sequential(layers), strict=True)


def can_be_three(conv: nn.Conv2d) -> bool:
    """Return whether `Tucker` can replace ``conv``: square, above 1x1, moved alike both ways, no groups, no bias."""
    square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding))
    plain = conv.dilation == (1, 1) and conv.groups == 1 and conv.bias is None
    return square and plain and conv.kernel_size[0] > 1


Edit = Remove | Bias | Channels | Branch | Mask | Tucker
_KINDS: dict[str, type[Edit]] = {
    "remove": Remove, "bias": Bias, "channels": Channels, "branch": Branch, "mask": Mask, "tucker": Tucker
}  # fmt: skip


class KeptZeros(nn.Module):
    """A parametrization: the weight, zero where the mask is false; the quantizer sees the result."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        """The masked weight."""
        return weight * self.mask


def mask_weight(layer: nn.Module, mask: Tensor) -> None:
    """Keep the weights of ``layer`` zero where ``mask`` is false from now on."""
    parametrize.register_parametrization(layer, "weight", KeptZeros(mask.to(trained_weight(layer).device)))


def trained_weight(layer: nn.Module) -> nn.Parameter:
    """The parameter behind a layer's weight, to be changed in place: the weight itself, or what is parametrized."""
    owner = layer.parametrizations["weight"] if parametrize.is_parametrized(layer, "weight") else None  # type: ignore[index]
    weight = layer.weight if owner is None else owner.original  # type: ignore[union-attr]
    assert isinstance(weight, nn.Parameter)
    return weight


def weight_quantizer_of(layer: nn.Module) -> nn.Module | None:
    """What quantizes the weights of ``layer``; None where nothing does."""
    found: nn.Module | None = getattr(getattr(layer, "weight_quant", None), "tensor_quant", None)
    return found


def before_last(layer: nn.Module) -> Tensor:
    """The weight as the last parametrization of ``layer`` takes it, differentiable."""
    *earlier, _ = parametrizations(layer)
    value = trained_weight(layer)
    for parametrization in earlier:
        value = parametrization(value)
    return value


def mask_instead(layer: nn.Module, mask: Tensor) -> None:
    """Keep the weights of ``layer`` zero where ``mask`` is false; this takes the place of the last parametrization.

    Nothing is removed: Brevitas makes a quantizer anew whose weight is registered again, and its steps would be lost.
    """
    parametrizations(layer)[-1] = KeptZeros(mask.to(trained_weight(layer).device))


def parametrizations(layer: nn.Module) -> parametrize.ParametrizationList:
    """Those of the weight of ``layer``, in the order in which they are applied."""
    found = layer.parametrizations.weight  # type: ignore[union-attr]
    assert isinstance(found, parametrize.ParametrizationList)
    return found


def apply_edits(model: nn.Module, edits: Sequence[Edit], make: LayerMaker) -> None:
    """Replay edits on a freshly built network, in place; ``make`` makes what they add.

    Raises:
        UserError: an edit names a layer the network has not.
    """
    for edit in edits:
        try:
            edit.apply(model, make)
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
