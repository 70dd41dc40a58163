"""Vectors that drive a unit to its ends: what random images reach rarely or never.

A vector is what one result depends on: a position of a unit that works position by position, a row of a row
convolution, else a frame. Vectors are packed into as few frames as they fit in, behind each other; the rest is random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

import numpy as np

from toolchain.ir.ops.node import Node
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Range, Shape
from toolchain.memory import DEFAULT_MEMORY, Memory
from toolchain.simulate.boundaries import Group, boundary_vectors
from toolchain.simulate.ports import stored_bytes

SEED = 20

Kind = np.dtype[np.signedinteger]
INT64: Kind = np.dtype(np.int64)

OPERATIONS = 1 << 25
"""Multiplications that driving a unit may take, some hundredths of a second, unless the fewest frames take more."""

ELEMENT_OPERATIONS = 32
"""Cost of a stream's element in simulation and comparison, in multiplications."""

FEWEST_FRAMES, FEWEST_LARGE, LARGE_FRAME = 4, 2, 1 << 21
"""Fewest frames, those of more than ``LARGE_FRAME`` elements with their results, and that limit."""

COPIES = 5
"""Copies of an element in memory: in the frames, in stream order, in its type, and two in the stream."""

ENDS = 4
"""Vectors of one input with all elements at an end."""

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
        """Number of vectors that the frames hold, random ones included."""
        return len(self.inputs[0]) * self.slots

    def name(self, slot: int) -> str:
        """Return the purpose of the vector in ``slot``, which is counted over all frames."""
        for first, group in self.groups:
            if first <= slot < first + len(group):
                return f"{group.name} ({slot - first + 1} of {len(group)})"
        return f"random ({slot})"


def directed(
    node: Node, shapes: Sequence[Shape], ranges: Sequence[Range], memory: Memory = DEFAULT_MEMORY
) -> Directed | None:
    """Frames that drive ``node`` to its ends; ``shapes`` and ``ranges`` are those of its inputs. Seeded.

    The numbers are of the narrowest type. None where a frame does not fit ``memory``.
    """
    rng, kind = np.random.default_rng(SEED), _narrowest(node, ranges)
    slots, frames = node.vectors(shapes[0]), most_frames(node, shapes)
    frames = min(frames, memory.room // frame_bytes(node, shapes, kind))
    if frames == 0:
        return None
    lengths = [prod(shape) // slots for shape in shapes]
    groups: list[Group] = []

    def room(kept: int = 0) -> int:
        return max(0, frames * slots - sum(map(len, groups)) - kept)

    if node.moves:
        groups.append(numbered(ranges, lengths, room(), kind))
    elif slots > 1 and frames > ENDS + 1:
        repeated = tuple(x.repeat(slots, axis=0) for x in ends(ranges, lengths, ENDS, kind).vectors)
        groups.append(Group("frames of the largest, the least, zeros", repeated))
    groups.append(ends(ranges, lengths, room(), kind))
    if room(RANDOM_ENDS):
        groups += (group for group in boundary_vectors(node, shapes[0], ranges, room(RANDOM_ENDS)) if len(group))
    groups.append(_random_ends(rng, ranges, lengths, room(), kind))
    count = min(frames, ceil(sum(map(len, groups)) / slots) + 1)
    return _packed(groups, rng, shapes, ranges, slots, count, kind)


def _narrowest(node: Node, ranges: Sequence[Range]) -> np.dtype[np.signedinteger]:
    """The narrowest signed type that holds all inputs of ``node``, and what it pads with."""
    held = [*(end for r in ranges for end in r), *([node.pad_value] if isinstance(node, Window) else [])]
    return np.result_type(*(np.min_scalar_type(-abs(end) - 1) for end in held))


def frame_bytes(node: Node, shapes: Sequence[Shape], kind: Kind) -> int:
    """Bytes that driving ``node`` with a frame of elements of ``kind`` takes."""
    given = sum(prod(shape) for shape in shapes) * kind.itemsize
    answered = sum(value.size * stored_bytes(value.qint) for value in node.outputs)
    return COPIES * (given + answered)


def most_frames(node: Node, shapes: Sequence[Shape]) -> int:
    """Frames that drive ``node`` within ``OPERATIONS``, at least the fewest."""
    elements = sum(prod(shape) for shape in (*shapes, *(value.shape for value in node.outputs)))
    work = elements * ELEMENT_OPERATIONS + node.operations(shapes[0])
    fewest = FEWEST_FRAMES if elements <= LARGE_FRAME else FEWEST_LARGE
    return max(fewest, OPERATIONS // work)


def ends(ranges: Sequence[Range], lengths: Sequence[int], most: int, kind: Kind = INT64) -> Group:
    """All elements of an input at one end, one end behind the other, in the combinations of two inputs; and zeros."""
    count = len(ranges)
    choices: list[tuple[int | None, ...]] = [(1,) * count, (0,) * count]
    if count > 1:
        choices += [tuple(int(i == j) for i in range(count)) for j in range(count)]
    choices += [(1,) * count, (None,) * count]
    vectors = []
    for i, (r, length) in enumerate(zip(ranges, lengths, strict=True)):
        column = [_nearest_to_zero(r) if choice[i] is None else r[choice[i] or 0] for choice in choices[:most]]
        vectors.append(np.repeat(np.array(column, dtype=kind)[:, None], length, axis=1))
    return Group("the largest, the least, zeros", tuple(vectors))


def _nearest_to_zero(r: Range) -> int:
    return min(max(0, r[0]), r[1])


def numbered(ranges: Sequence[Range], lengths: Sequence[int], most: int, kind: Kind = INT64) -> Group:
    """Vectors that together give every element a number of its own, one digit a vector, as far as the range allows."""
    span = min(high - low + 1 for low, high in ranges)
    total, digits = sum(lengths), 1
    while digits < min(NUMBERED_FRAMES, most) and span**digits < total:
        digits += 1
    vectors, first = [], 0
    for (low, _), length in zip(ranges, lengths, strict=True):
        rows = np.empty((digits, length), dtype=kind)
        moved = np.zeros(length, dtype=np.int64)
        for d in reversed(range(digits)):
            # each digit is moved by the next ones, so that neighbours far apart differ in the first vector too
            moved += np.arange(first, first + length, dtype=np.int64) // span**d
            rows[d] = moved % span + low
        vectors.append(rows)
        first += length
    return Group("elements that all differ", tuple(vectors))


def _random_ends(
    rng: np.random.Generator, ranges: Sequence[Range], lengths: Sequence[int], most: int, kind: Kind
) -> Group:
    vectors = []
    for (low, high), length in zip(ranges, lengths, strict=True):
        sides = rng.integers(0, 2, (min(RANDOM_ENDS, most), length), dtype=np.int8)
        vectors.append(np.array([low, high], dtype=kind)[sides])
    return Group("elements at one end or the other", tuple(vectors))


def _packed(
    groups: Sequence[Group],
    rng: np.random.Generator,
    shapes: Sequence[Shape],
    ranges: Sequence[Range],
    slots: int,
    frames: int,
    kind: Kind,
) -> Directed:
    """``frames`` frames with as many of the ``groups`` as fit in and random vectors behind them."""
    inputs = [np.empty((frames * slots, prod(shape) // slots), dtype=kind) for shape in shapes]
    places: list[tuple[int, Group]] = []
    start = 0
    for group in groups:
        kept = Group(group.name, tuple(x[: frames * slots - start] for x in group.vectors))
        for array, vectors in zip(inputs, kept.vectors, strict=True):
            array[start : start + len(kept)] = vectors
        places.append((start, kept))
        start += len(kept)
    for array, r in zip(inputs, ranges, strict=True):
        array[start:] = rng.integers(*r, array[start:].shape, dtype=kind, endpoint=True)
    whole = (array.reshape(frames, *shape) for array, shape in zip(inputs, shapes, strict=True))
    return Directed(tuple(whole), slots, tuple(places))
