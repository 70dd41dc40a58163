"""The host's side of the engine: images to the input map and the result map to codes."""

from __future__ import annotations

import numpy as np

from toolchain.engine.layers import Pass
from toolchain.engine.shape import BEAT_BITS, SUM_BITS, Shape
from toolchain.engine.tables import Located, Program, pack, unpack
from toolchain.ir.blocks import windows
from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array
from toolchain.passes.stride_blocks import stride_blocks


def answer_names(graph: Graph) -> tuple[str, ...]:
    """The values that the engine answers with, one an output: an index of the largest is left to the host."""
    makers = graph.producers()
    names = (output.value for output in graph.outputs)
    return tuple(n.inputs[0] if isinstance(n := makers.get(name), ArgMax) else name for name in names)


def first_window(graph: Graph) -> Window:
    """The window of the first layer, which the host lays out where a cut is ``folded``; of positions, not of blocks."""
    return next(node for node in stride_blocks(graph).nodes if isinstance(node, Window))


def input_beats(graph: Graph, found: Program, codes: Array) -> Array:
    """The input map (beats, 2) of one frame of input ``codes`` (H, W, C)."""
    zero = found.zero(graph.input.name)
    stored = codes + zero
    if found.cut.folded:
        node = first_window(graph)
        view = windows(stored[None], node.kernel, node.stride, node.pads, node.dilation, node.pad_value + zero)
        stored = view.reshape(*view.shape[1:3], -1)
    return map_beats(stored, found.shape)


def map_beats(codes: Array, shape: Shape) -> Array:
    """A stored map (beats, 2) of ``codes`` (H, W, C), all unsigned."""
    height, width, channels = codes.shape
    padded = np.zeros((height, width, shape.words(channels) * shape.lanes), dtype=np.int64)
    padded[..., :channels] = codes
    return pack(padded.reshape(-1, BEAT_BITS // shape.act_bits), shape.act_bits)


def map_codes(memory: Array, located: Located, shape: Shape) -> Array:
    """The stored codes (H, W, C) of a map in ``memory`` (beats, 2); of sums see ``sums``."""
    height, width, channels = located.shape
    words = height * width * located.words
    beats = memory[located.address : located.address + -(-words // shape.packed)]
    codes = unpack(beats, shape.act_bits, BEAT_BITS // shape.act_bits).reshape(-1)[: words * shape.lanes]
    return codes.reshape(height, width, -1)[..., : None if located.words > shape.words(channels) else channels]


def result_codes(graph: Graph, found: Program, last: Pass, memory: Array) -> Array:
    """The result (H, W, C) of the pass ``last`` in ``memory`` after a run, in the graph's own codes."""
    shape = found.shape
    codes = map_codes(memory, found.maps[last.stored], shape)
    if last.slot is not None:
        codes = codes[..., last.slot.start : last.slot.start + last.out[2]]
    if last.kept is not None:
        codes = codes[..., last.kept]
    if not last.raw:
        return found.cut.forms[last.stored].codes(codes)
    digits = codes.reshape(*codes.shape[:2], -1, shape.digits, shape.lanes)
    weights = 1 << (shape.act_bits * np.arange(shape.digits))
    sums = (digits * weights[:, None]).sum(axis=3) - (1 << (SUM_BITS - 1))
    sums = sums.reshape(*codes.shape[:2], -1)[..., : last.out[2]]
    assert last.conv is not None and last.conv.correction is not None
    return sums + last.conv.correction
