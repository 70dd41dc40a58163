"""Factors on the channels of a network, applied where a zero removes the channel for all its readers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from toolchain.errors import UserError
from toolchain.train.own.kinds import Norm
from toolchain.train.shrink import Group, Structure


class Gates:
    """Multiplies the channels of every free group by ``factors[group]``, where there is an entry.

    The factors act behind the batch norm: in front of it a factor would be normalised away.
    """

    def __init__(self, model: nn.Module, structure: Structure) -> None:
        self.factors: dict[str, Tensor] = {}
        self._handles = [
            model.get_submodule(gate).register_forward_hook(self._hook(group.name))
            for group in structure.free
            for gate in group.gates
        ]

    def remove(self) -> None:
        """Leave the network without factors."""
        for handle in self._handles:
            handle.remove()

    def _hook(self, group: str) -> Any:
        def multiply(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> Tensor:
            factor = self.factors.get(group)
            if factor is None:
                return output
            return output * factor.reshape(1, -1, *(1,) * (output.dim() - 2))

        return multiply


def undotted(name: str) -> str:
    """A group's name as that of a buffer or parameter, which holds no dot."""
    return name.replace(".", "/")


def all_scales(model: nn.Module, structure: Structure, method: str) -> dict[str, Tensor]:
    """The mean |scale| of every free group's batch norms by channel, differentiable.

    Raises:
        UserError: ``method`` finds none behind a group.
    """
    return {group.name: _norm_scales(model, group, method) for group in structure.free}


def _norm_scales(model: nn.Module, group: Group, method: str) -> Tensor:
    norms = [model.get_submodule(name) for name in group.norms]
    if not norms:
        hint = "put one there, or prune with magnitude, transport or qcqp"
        raise UserError(f"{method} needs a batch norm behind '{group.name}'", hint=hint)
    scales = [norm.weight.abs() for norm in norms if isinstance(norm, Norm)]
    return sum(scales[1:], scales[0]) / len(scales)
