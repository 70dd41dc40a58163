"""Single units of a compiled project, called on arrays: the words of their streams as they lie in memory."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import READ, unit_ids, write_units
from toolchain.hls_templates.streams import streams, to_ir_order
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, QInt
from toolchain.simulate.compiler import pointer
from toolchain.units.order import stream_order

MESSAGE_BYTES = 512


class _Ports(ctypes.Structure):
    """``Ports`` of sim/simulation.hpp."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("inputs", "given", "outputs", "room", "written")]


def stored_bytes(kind: QInt) -> int:
    """Bytes in which ap_types keep an integer of at most 64 bits."""
    return next(size for size in (1, 2, 4, 8) if kind.bits <= 8 * size)


def element_dtype(kind: QInt) -> np.dtype[np.signedinteger] | np.dtype[np.unsignedinteger]:
    """Return the dtype in which ap_types keep an integer of at most 63 bits: the least of 1, 2, 4 or 8 bytes."""
    size = stored_bytes(kind)
    if size == 8:
        return np.dtype(np.int64)  # an unsigned one of at most 63 bits fits it as well
    return np.dtype(f"{'i' if kind.signed else 'u'}{size}")


def in_stream_order(graph: Graph, name: str, value: Array) -> Array:
    """Elements of ``value`` (N, H, W, C), in the IR's order, as the stream of the value ``name`` carries them."""
    order = stream_order(graph, name)
    return value if np.array_equal(order, np.arange(len(order))) else value[..., order]


def run_unit(library: ctypes.CDLL, graph: Graph, name: str, inputs: Sequence[Array]) -> tuple[Array, ...]:
    """Outputs (N, H, W, C) of the unit called ``name`` for its ``inputs`` (N, H, W, C), in the IR's order.

    The outputs are of the types in which the streams hold them.

    Raises:
        VerificationError: the unit read an empty stream, left words over or wrote too many or too few.
    """
    ids, carried, frames = unit_ids(graph), streams(graph), len(inputs[0])
    names_in: tuple[str, ...]
    names_out: tuple[str, ...]
    writers = dict(zip(write_units(graph), (output.value for output in graph.outputs), strict=True))
    if name == READ or name in writers:
        names_in = names_out = (writers.get(name, graph.input.name),)
    else:
        node = next(node for node in graph.nodes if node.name == name)
        names_in, names_out = node.inputs, tuple(value.name for value in node.outputs)
    codes = np.dtype(np.int64)  # the host packs and unpacks these
    types_in = [codes if name == READ else element_dtype(carried[n].type) for n in names_in]
    types_out = [codes if name in writers else element_dtype(carried[n].type) for n in names_out]
    given = [
        np.ascontiguousarray(in_stream_order(graph, n, x), dtype=t)
        for n, x, t in zip(names_in, inputs, types_in, strict=True)
    ]
    results = [np.zeros((frames, *graph.value(n).shape), dtype=t) for n, t in zip(names_out, types_out, strict=True)]
    words_in = [x.size // carried[n].lanes for n, x in zip(names_in, given, strict=True)]
    room = [x.size // carried[n].lanes for n, x in zip(names_out, results, strict=True)]
    written = _call(library, ids[name], frames, given, words_in, results, room, len(ids))
    for value, count, wanted in zip(names_out, written, room, strict=True):
        if count != wanted:
            raise VerificationError(f"{count} words of '{value}' were written, {wanted} expected")
    return tuple(to_ir_order(graph, n, x.reshape(-1)) for n, x in zip(names_out, results, strict=True))


def _call(
    library: ctypes.CDLL,
    unit: int,
    frames: int,
    given: Sequence[Array],
    words: Sequence[int],
    results: Sequence[Array],
    room: Sequence[int],
    counters: int,
) -> list[int]:
    """Words written by output."""
    written = (ctypes.c_size_t * len(results))()
    arrays = (
        (ctypes.c_void_p * len(given))(*[x.ctypes.data for x in given]),
        (ctypes.c_size_t * len(given))(*words),
        (ctypes.c_void_p * len(results))(*[x.ctypes.data for x in results]),
        (ctypes.c_size_t * len(results))(*room),
        written,
    )
    ports = _Ports(*[ctypes.addressof(array) for array in arrays])
    cycles = np.zeros(counters, dtype=np.uint64)
    message = ctypes.create_string_buffer(MESSAGE_BYTES)
    failed = library.fpgaflow_drive(unit, ctypes.byref(ports), frames, pointer(cycles), message, MESSAGE_BYTES)
    if failed:
        raise VerificationError(message.value.decode(errors="replace"))
    return list(written)
