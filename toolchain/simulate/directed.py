"""Vectors that drive a unit to its ends: what random images reach rarely or never.

A vector is what one result depends on: a position of a unit that works position by position, a row of a row
convolution, else a frame. Vectors are packed into as few frames as they fit in, behind each other; the rest is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, prod

import numpy as np

from toolchain.ir.ops import (
    Add,
    ArgMax,
    Array,
    Concat,
    DepthToSpace,
    Depthwise,
    Fork,
    GroupedMatVec,
    MatVec,
    MulShift,
    Node,
    Pool,
    RowConv,
    Slice,
    Threshold,
    Upsample,
    WidthConvert,
    Window,
)
from toolchain.ir.ranges import Range, Shape
from toolchain.simulate.boundaries import Group, boundary_vectors

SEED = 20

OPERATIONS = 1 << 25
"""Multiplications that driving a unit may take, some hundredths of a second, unless the fewest frames take more."""

ELEMENT_OPERATIONS = 32
"""What an element of a stream costs the simulation and the comparison, in multiplications."""

FEWEST_FRAMES = ((1 << 22, 4), (1 << 26, 2))
"""Elements of a frame with its results, and how many frames there are at least; larger ones come alone."""

RANDOM_ENDS = 8
"""Vectors whose elements are each at one end or the other."""

NUMBERED_FRAMES = 4
"""Most frames that tell the elements of a frame apart."""


@dataclass(frozen=True)
class Directed:
    """Frames for a unit, (N, H, W, C) an input, each of ``slots`` vectors; ``groups`` stand at their first slot."""

    inputs: tuple[Array, ...]
    slots: int
    groups: tuple[tuple[int, Group], ...]

    @property
    def vectors(self) -> int:
        """How many vectors the frames hold, random ones included."""
        return len(self.inputs[0]) * self.slots

    def name(self, slot: int) -> str:
        """What the vector in ``slot``, counted over all frames, is for."""
        for first, group in self.groups:
            if first <= slot < first + len(group):
                return f"{group.name} ({slot - first + 1} of {len(group)})"
        return f"random ({slot})"


def directed(node: Node, shapes: Sequence[Shape], ranges: Sequence[Range]) -> Directed:
    """Frames that drive ``node`` to its ends; ``shapes`` and ``ranges`` are those of its inputs. Seeded."""
    rng = np.random.default_rng(SEED)
    slots, frames = slots_of(node, shapes[0]), most_frames(node, shapes)
    lengths = [prod(shape) // slots for shape in shapes]
    both = ends(ranges, lengths)
    mixed = _random_ends(rng, ranges, lengths)
    moves = isinstance(node, Window | Concat | Slice | Upsample | DepthToSpace | Fork | WidthConvert)
    first = [numbered(ranges, lengths)] if moves else []
    if slots > 1 and frames > len(both) + 1:
        repeated = tuple(x.repeat(slots, axis=0) for x in both.vectors)
        first = [Group("frames of the largest, the least, zeros", repeated)]
    room = frames * slots - sum(len(group) for group in (*first, both, mixed))
    special = boundary_vectors(node, shapes[0], ranges, room) if room > 0 else []
    groups = [*first, both, *(group for group in special if len(group)), mixed]
    count = min(frames, ceil(sum(len(group) for group in groups) / slots) + 1)
    found = _packed(groups, rng, shapes, ranges, slots, count)
    if moves:  # computes nothing: the narrowest numbers are enough
        held = [*(end for r in ranges for end in r), *([node.pad_value] if isinstance(node, Window) else [])]
        kind = np.result_type(*(np.min_scalar_type(-abs(end) - 1) for end in held))  # signed
        found = replace(found, inputs=tuple(x.astype(kind) for x in found.inputs))
    return found


def slots_of(node: Node, shape: Shape) -> int:
    """Vectors in a frame of ``shape`` that ``node`` reads."""
    if isinstance(node, MatVec | GroupedMatVec | Depthwise | Pool | Threshold | MulShift | Add | ArgMax):
        return shape[0] * shape[1]
    return shape[0] if isinstance(node, RowConv) else 1


def most_frames(node: Node, shapes: Sequence[Shape]) -> int:
    """Frames that drive ``node`` within ``OPERATIONS``, at least the fewest."""
    elements = sum(prod(shape) for shape in (*shapes, *(value.shape for value in node.outputs)))
    work = elements * ELEMENT_OPERATIONS
    if isinstance(node, MatVec | GroupedMatVec | RowConv):
        work += shapes[0][0] * shapes[0][1] * node.weight.size
    elif isinstance(node, Threshold):
        work += prod(shapes[0]) * node.thresholds.shape[1]
    fewest = next((least for size, least in FEWEST_FRAMES if elements <= size), 1)
    return max(fewest, OPERATIONS // work)


def ends(ranges: Sequence[Range], lengths: Sequence[int]) -> Group:
    """All elements of an input at one end, one end behind the other, in the combinations of two inputs; and zeros."""
    count = len(ranges)
    choices: list[tuple[int | None, ...]] = [(1,) * count, (0,) * count]
    if count > 1:
        choices += [tuple(int(i == j) for i in range(count)) for j in range(count)]
    choices += [(1,) * count, (None,) * count]
    vectors = []
    for i, (r, length) in enumerate(zip(ranges, lengths, strict=True)):
        column = [_nearest_to_zero(r) if choice[i] is None else r[choice[i] or 0] for choice in choices]
        vectors.append(np.repeat(np.array(column, dtype=np.int64)[:, None], length, axis=1))
    return Group("the largest, the least, zeros", tuple(vectors))


def _nearest_to_zero(r: Range) -> int:
    return min(max(0, r[0]), r[1])


def numbered(ranges: Sequence[Range], lengths: Sequence[int]) -> Group:
    """Vectors that together give every element a number of its own, one digit a vector, as far as the range allows."""
    span = min(high - low + 1 for low, high in ranges)
    total, digits = sum(lengths), 1
    while digits < NUMBERED_FRAMES and span**digits < total:
        digits += 1
    vectors, first = [], 0
    for (low, _), length in zip(ranges, lengths, strict=True):
        number = np.arange(first, first + length, dtype=np.int64)
        # each digit is moved by the next ones, so that neighbours far apart differ in the first vector too
        places = [number // span**d for d in range(digits)]
        vectors.append(low + np.stack([sum(places[d:]) % span for d in range(digits)]))
        first += length
    return Group("elements that all differ", tuple(vectors))


def _random_ends(rng: np.random.Generator, ranges: Sequence[Range], lengths: Sequence[int]) -> Group:
    vectors = (
        np.where(rng.integers(0, 2, (RANDOM_ENDS, length), dtype=np.int8), high, low).astype(np.int64)
        for (low, high), length in zip(ranges, lengths, strict=True)
    )
    return Group("elements at one end or the other", tuple(vectors))


def _packed(
    groups: Sequence[Group],
    rng: np.random.Generator,
    shapes: Sequence[Shape],
    ranges: Sequence[Range],
    slots: int,
    frames: int,
) -> Directed:
    """``frames`` frames with as many of the ``groups`` as fit in and random vectors behind them."""
    places: list[tuple[int, Group]] = []
    start = 0
    for group in groups:
        kept = Group(group.name, tuple(x[: frames * slots - start] for x in group.vectors))
        places.append((start, kept))
        start += len(kept)
    inputs = []
    for i, (shape, r) in enumerate(zip(shapes, ranges, strict=True)):
        rest = (frames * slots - start, prod(shape) // slots)
        parts = [group.vectors[i] for _, group in places]
        parts.append(rng.integers(*r, rest, dtype=np.int64, endpoint=True))
        inputs.append(np.concatenate(parts).reshape(frames, *shape))
    return Directed(tuple(inputs), slots, tuple(places))
