"""The state of a MODEL -> INTEGER run, and the steps by which rewrites bring a value to one integer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import singledispatch
from math import gcd, lcm
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.ir.channels import shrink
from toolchain.ir.names import Names
from toolchain.ir.ops.add import Add
from toolchain.ir.ops.maps import DepthToSpace
from toolchain.ir.ops.node import Node
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.rules import MOST
from toolchain.ir.types import QInt, Value
from toolchain.lowering.scaled import Numbers, Scaled, Term, settle, zipped

_ANY = QInt(8, False)


@dataclass(frozen=True)
class Curved:
    """A real value that is a function of one integer a channel.

    ``nodes``, of MODEL level and in order, compute it from ``roots``: values by name, all of the same single term.
    ``moves``, of MODEL level too, then move its numbers, which is still to come.
    """

    roots: Mapping[str, Scaled]
    nodes: tuple[Node, ...]
    output: str
    moves: tuple[Node, ...] = ()

    @property
    def term(self) -> Term:
        """The integer that the value is a function of."""
        (term,) = next(iter(self.roots.values())).terms
        return term


@dataclass(frozen=True)
class RampSum:
    """The sum by ``node`` of ``ramp``, a line that is cut at 0, and of ``line``, then clamped at ``floor``."""

    ramp: Scaled
    line: Scaled
    node: Node
    floor: tuple[Fraction | None, ...] = (None,)


@dataclass(frozen=True)
class Extreme:
    """The larger of ``operands`` or, of ``sign`` -1, the smaller."""

    operands: tuple[Scaled, ...]
    sign: int


@dataclass
class Lowering:
    """State of one run: the integer nodes so far, and the scaled integers of each MODEL value.

    A DSP slice costs ``lut_per_dsp`` LUTs where two ways to compute a node are compared. ``names`` are those of the
    MODEL graph and of added nodes, ``joined`` holds the terms that each Concat joins. Functions of one
    integer are in ``curves``, sums with a ReLU that is not quantized in ``ramps``, maxima and minima that only
    quantizers read in ``extremes``.
    """

    lut_per_dsp: int
    nodes: list[Node] = field(default_factory=list)
    reals: dict[str, Scaled] = field(default_factory=dict)
    names: Names = field(default_factory=Names)
    defined: set[str] = field(default_factory=set)
    joined: dict[str, tuple[Term, ...]] = field(default_factory=dict)
    curves: dict[str, Curved] = field(default_factory=dict)
    ramps: dict[str, RampSum] = field(default_factory=dict)
    extremes: dict[str, Extreme] = field(default_factory=dict)

    def emit(
        self, op: type[Node], source: Node, inputs: tuple[Term, ...], shape: tuple[int, int, int], **attributes: Any
    ) -> Term:
        """Append ``op`` for the MODEL node ``source``; returns its output with the range it can take, scale 1.

        ``suffix`` extends the name where ``source`` becomes several nodes.
        """
        suffix = attributes.pop("suffix", "")
        name, value = source.name, source.output.name
        if suffix or name in self.defined:
            name = self.names.fresh(name + suffix)
            value = self.names.fresh(f"{name}_out")
        self.defined.add(name)
        node = op(
            name=name,
            inputs=tuple(t.value.name for t in inputs),
            outputs=(Value(value, shape, _ANY),),  # append finds the type
            origin=source.origin,
            **attributes,
        )
        return self.append(node, inputs)

    def append(self, node: Node, inputs: tuple[Term, ...]) -> Term:
        """Append ``node`` with the narrowest output type; returns its output, scale 1."""
        low, high = node.output_range(inputs[0].value.shape, *((t.low, t.high) for t in inputs))
        if max(-low, high) >= MOST:
            raise TooWide(
                "its integers need more than 62 bits",
                where=where(node),
                hint="quantize its inputs with fewer bits, or what is added with one scale",
            )
        value = Value(node.output.name, node.output.shape, QInt.holding(low, high))
        self.nodes.append(replace(node, outputs=(value,)))
        return Term(value, (Fraction(1),), low, high)


class Blamed(UserError):
    """A fault of another node than the one that shows it."""

    def __init__(self, what: str, node: Node, *, hint: str) -> None:
        super().__init__(what, where=where(node), hint=hint)
        self.node = node


class TooWide(UserError):
    """Integers that leave no room for exact arithmetic in 64 bits."""


@singledispatch
def lower_node(node: Node, state: Lowering, *inputs: Scaled) -> Scaled:
    """Append the integer nodes of one MODEL node; returns its real value as scaled integers."""
    raise TypeError(f"no lowering for {type(node).__name__}")


def where(node: Node) -> str:
    """Return the place of a fault: the name of ``node``, and those of its ONNX nodes."""
    return f"{node.name}, ONNX {', '.join(node.origin)}" if node.origin else node.name


def single(state: Lowering, node: Node, x: Scaled) -> Scaled:
    """Return ``x`` as one integer value without a clamp; several terms are added up."""
    x = settle(x)
    if not x.plain:
        raise UserError(
            "a ReLU whose result is not quantized", where=where(node), hint="put an activation quantizer behind it"
        )
    if len(x.terms) == 1:
        return x
    a, b = x.terms
    zero = 0 in (*a.scale, *b.scale)
    ratios = set() if zero else set(zipped(lambda s, t: s / t, a.scale, b.scale))
    if len(ratios) != 1:
        parts = [even(state, node, Scaled((term,), (Fraction(0),))) for term in x.terms]
        return single(state, node, Scaled(tuple(part.terms[0] for part in parts), x.offset))
    ratio = ratios.pop()
    if max(abs(ratio.numerator), ratio.denominator) >= MOST:
        raise TooWide(
            "the scales of what it adds share no unit of 62 bits",
            where=where(node),
            hint="quantize what it adds with one scale",
        )
    multipliers = tuple(np.array([n], dtype=np.int64) for n in (ratio.numerator, ratio.denominator))
    total = state.emit(Add, node, x.terms, a.value.shape, multipliers=multipliers, suffix="_sum")
    scale = tuple(s / ratio.numerator for s in a.scale)
    return Scaled((Term(total.value, scale, total.low, total.high),), x.offset)


def merged(state: Lowering, node: Node, x: Scaled) -> Scaled:
    """``x`` with its terms added to one; its bend and clamp stay."""
    x = settle(x)
    return x if len(x.terms) == 1 else replace(x, terms=single(state, node, Scaled(x.terms, x.offset)).terms)


def even(state: Lowering, node: Node, x: Scaled, *, rising: bool = False) -> Scaled:
    """Return the plain single term ``x`` with one scale, not 0, and one offset: integers are multiplied by channel.

    The scale is the largest number that all those of the channels, and offsets that differ, are multiples of. With
    ``rising`` it is positive.
    """
    (term,), offset = x.terms, shrink(x.offset)
    first = term.scale[0]
    if len(shrink(term.scale)) == len(offset) == 1 and (first > 0 or (first < 0 and not rising)):
        return x
    inside, outside = (offset, (Fraction(0),)) if len(offset) > 1 else ((Fraction(0),), offset)
    unit, numbers = multiples((*term.scale, *inside))
    mul, add = numbers[: len(term.scale)], numbers[len(term.scale) :]
    kind = term.value.qint
    what, hint = "the scales of its input's channels", "quantize its input with one scale"
    reach = _reach(mul, add, max(-kind.min, kind.max), node, what, hint)
    out = multiplied(state, node, term, mul, add, reach, "_align")
    return Scaled((Term(out.value, (unit,), out.low, out.high),), outside)


def without_offset(state: Lowering, node: Node, x: Scaled) -> Term:
    """``x`` as one integer that is 0 where the value is: an offset is brought to a unit with its channel's scale."""
    x = single(state, node, x)
    (term,) = x.terms
    if not any(x.offset):
        return term
    found = [multiples(pair) for pair in zipped(lambda s, o: (s, o), term.scale, x.offset)]
    units = tuple(unit for unit, _ in found)
    mul, add = ([numbers[i] for _, numbers in found] for i in (0, 1))
    what, hint = "the scale and the offset of a factor", "quantize what it multiplies"
    reach = _reach(mul, add, max(-term.low, term.high), node, what, hint)
    out = multiplied(state, node, term, mul, add, reach, "_factor")
    return Term(out.value, units, out.low, out.high)


def _reach(mul: list[int], add: list[int], largest: int, node: Node, what: str, hint: str) -> int:
    """Return a bound of ``|mul[c] * q + add[c]|`` for integers q of magnitude up to ``largest``.

    Raises:
        TooWide: it takes more than 62 bits; ``what`` names the numbers of ``node`` that share no unit.
    """
    reach = max(map(abs, mul)) * largest + max(map(abs, add))
    if reach >= MOST:
        raise TooWide(f"{what} share no unit of 62 bits", where=where(node), hint=hint)
    return reach


def multiplied(
    state: Lowering, node: Node, term: Term, mul: Sequence[int], add: Sequence[int], reach: int, suffix: str
) -> Term:
    """Append ``mul[c] * q + add[c]`` for the integer q of ``term``, of magnitude up to ``reach``; its scale is 1."""
    numbers = {key: np.array(v, dtype=np.int64) for key, v in (("mul", mul), ("add", add))}
    limits = {"shift": 0, "low": -reach, "high": reach}
    return state.emit(MulShift, node, (term,), term.value.shape, suffix=suffix, **numbers, **limits)


def multiples(numbers: Numbers) -> tuple[Fraction, list[int]]:
    """Return the largest unit that all ``numbers`` are whole multiples of, and these multiples."""
    unit = Fraction(1, lcm(*(f.denominator for f in numbers)))
    wholes = [int(f / unit) for f in numbers]
    common = gcd(*wholes) or 1
    return unit * common, [n // common for n in wholes]


def placed(state: Lowering, node: Node, x: Scaled) -> Scaled:
    """Return ``x`` rearranged by its view, if it has one."""
    view = x.view
    if view is None:
        return x
    x = settle(replace(x, view=None))
    if not x.plain:
        raise UserError(
            "a ReLU of channels of unlike scales, made into a map and not quantized",
            where=where(node),
            hint=f"put an activation quantizer behind {where(view)}",
        )
    x = even(state, view, x)
    return replace(x, terms=(rearranged(state, view, view, x.terms[0]),))


def rearranged(state: Lowering, node: Node, view: DepthToSpace, term: Term) -> Term:
    """Rearrange the integers of ``term`` by ``view``; the result is the output of ``node``."""
    facts = {"block": view.block, "channels_first": view.channels_first}
    out = state.emit(DepthToSpace, node, (term,), view.output.shape, **facts)
    return Term(out.value, term.scale, out.low, out.high)


def uniform(values: tuple[Any, ...], node: Node, what: str) -> Any:
    """Return the one entry of ``values``, which is told of all channels.

    Raises:
        UserError: they have several; ``what`` names the number.
    """
    values = shrink(values)
    if len(values) > 1:
        raise UserError(f"{what} differs by channel", where=where(node), hint="quantize this tensor with one scale")
    return values[0]
