"""The window unit: rows in a ring of memory, one tap of some channels a cycle or all taps at once."""

from __future__ import annotations

import numpy as np

from toolchain.ir.graph import Graph
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Parallelism, Value
from toolchain.resources import Resources, total
from toolchain.units.call import Buffer, Call, Constant, Storage, check_unroll, impl
from toolchain.units.fabric_costs import choice, counters, delay, logic, memory
from toolchain.units.lanes import divisors
from toolchain.units.order import parallelism, require_order
from toolchain.units.schedule import NEVER, Phase, Runs, Schedule, first
from toolchain.units.unit import Unit, Units


def is_parallel(node: Window, lanes: Parallelism) -> bool:
    """Return whether the window unit emits all taps of a channel group at once (else one tap a cycle)."""
    return node.taps > 1 and lanes.lanes_out == node.taps * lanes.lanes_in


def row_words(x: Value, lanes: int) -> int:
    """Stream words of one row of ``x``."""
    return x.shape[1] * x.shape[2] // lanes


def buffer_rows(node: Window, x: Value) -> int:
    """Input rows that the window unit stores: those the kernel spans, those read meanwhile, and the frame's rest."""
    return node.extent[0] + node.stride[0] + max(0, x.shape[0] - node.stride[0] * node.output.shape[0])


class WindowUnit(Unit[Window]):
    """The unit in ``window.hpp``."""

    makes_windows = True

    def options(self, node: Window, x: Value, upstream: Parallelism | None) -> list[Parallelism]:
        """One tap of L channels a cycle, or all taps at once."""
        lanes = divisors(x.shape[2])
        serial = [Parallelism(n, n) for n in lanes]
        return serial if node.taps == 1 else serial + [Parallelism(n, n * node.taps) for n in lanes]

    def schedule(self, node: Window, x: Value, lanes: Parallelism) -> Schedule:
        """The rows under the kernel, then a phase a row of windows.

        It leaves while the rows that the next one needs come in; the phase lasts as long as the longer. The last one
        reads what is left of the frame and the next frame's first rows; where windows reach far below the map, the last
        phases read nothing.
        """
        words, rows = row_words(x, lanes.lanes_in), node.output.shape[0]
        emit, writes = _emission(node, x, lanes)
        step, whole = node.stride[0] * words, x.shape[0] * words
        full = min(rows - 1, whole // step)
        rest, usual = whole - full * step, max(emit, step)
        phases = [(usual, step, full)]
        if full == rows - 1:
            phases += [(max(emit, rest), rest, 1)]
        else:
            phases += [(usual, rest, 1), (usual, 0, rows - 2 - full), (emit, 0, 1)]
        once = max(0, node.extent[0] - node.pads[0]) * words
        return Schedule(
            tuple(Phase(length, (first(reads),), writes, count) for length, reads, count in phases if count),
            head=(Phase(once, (first(once),), NEVER, ends_early=True),) if once else (),
        )

    def cost(self, node: Window, x: Value, lanes: Parallelism, *others: Value) -> Resources:
        """Counters, addresses, the row buffer; in parallel one bank a row, a rotation by row, and a kernel row's words.

        Words of one group wait in registers for the next column, those of several in shift registers.
        """
        rows, words, width = buffer_rows(node, x), row_words(x, lanes.lanes_in), lanes.lanes_in * x.qint.bits
        (height, columns, _), groups = x.shape, x.shape[2] // lanes.lanes_in
        below, span = height + node.extent[0], columns + node.extent[1]
        phases = (_emission(node, x, lanes)[0], words, height, height, height, node.output.shape[0], below, rows)
        if not is_parallel(node, lanes):
            taps = (*node.kernel, groups, node.output.shape[1], span, span * groups, below, rows * words, rows * words)
            return total(
                (counters(*phases, *taps), memory(rows * words, width, ultra=lanes.ultra), Resources(ff=width))
            )
        places = (words, words, rows, groups, span, node.extent[1])
        rotation = logic(node.kernel[0] * (width * choice(rows) + below.bit_length()))
        shifts = delay(groups, width) * (node.kernel[0] * (node.extent[1] - 1))
        found = (rotation, shifts, Resources(ff=node.taps * width), memory(words, width, ultra=lanes.ultra) * rows)
        return total((counters(*phases, *places), *found))

    def template(self, node: Window, graph: Graph) -> Call:
        """The rows' memory, in parallel one bank a row."""
        require_order(graph, node, np.arange)
        x, lanes = graph.value(node.inputs[0]), parallelism(node)
        (height, width, channels), (out_height, out_width, _) = x.shape, node.output.shape
        parallel = is_parallel(node, lanes)
        check_unroll(node, lanes.lanes_out)
        words, bits = row_words(x, lanes.lanes_in), lanes.lanes_in * x.qint.bits
        if parallel:
            storage = Storage(impl(words, bits, ultra=lanes.ultra), partition=(1,))
        else:
            storage = Storage(impl(buffer_rows(node, x) * words, bits, ultra=lanes.ultra))
        return Call(
            "window",
            "window_parallel" if parallel else "window_serial",
            {
                "height": height,
                "width": width,
                "channels": channels,
                "lanes": lanes.lanes_in,
                "out_height": out_height,
                "out_width": out_width,
                "kernel_h": node.kernel[0],
                "kernel_w": node.kernel[1],
                "stride_h": node.stride[0],
                "stride_w": node.stride[1],
                "dilation_h": node.dilation[0],
                "dilation_w": node.dilation[1],
                "pad_top": node.pads[0],
                "pad_left": node.pads[1],
            },
            {"type": x.qint},
            buffers=(Buffer("rows", "WindowRows", storage, packed=True),),
            numbers={"pad_value": Constant(node.pad_value, x.qint)},
        )


def _emission(node: Window, x: Value, lanes: Parallelism) -> tuple[int, Runs]:
    """Return the cycles in which an output row leaves, and those with a word.

    Taps leave in turn; in parallel, every padded column takes a cycle, with a word where the window meets the stride.
    """
    columns, groups, span = node.output.shape[1], x.shape[2] // lanes.lanes_in, node.extent[1] - 1
    if not is_parallel(node, lanes):
        return columns * groups * node.taps, first(columns * groups * node.taps)
    length = ((columns - 1) * node.stride[1] + span + 1) * groups
    return length, Runs(span * groups, groups, columns, node.stride[1] * groups)


UNITS: Units = {Window: WindowUnit()}
