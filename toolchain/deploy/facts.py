"""network.json: everything that a driver must know of a network, its accelerator and its board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toolchain import __version__
from toolchain.boards import Board
from toolchain.hls_templates.generate import End, ends, top_name
from toolchain.ir.encode import host_rule, pixel_codes, worth_terms
from toolchain.ir.graph import Graph
from toolchain.ir.types import Decoding, Encoding

BASE_ADDRESS = 0xA000_0000
"""Where M_AXI_HPM0_FPD of a Zynq UltraScale+ begins (AMD UG1085)."""

INSTANCE = "accelerator"
DIGITS = 8
"""Of the digest, in the design's name."""

_FIRST_ARGUMENT, _WORD = 0x10, 4
_CONTROL = {"CTRL": 0x00, "GIER": 0x04, "IP_IER": 0x08, "IP_ISR": 0x0C}


@dataclass(frozen=True)
class Interface:
    """The accelerator's function as hardware: pointers and then one 32-bit count in the order of its arguments.

    ``masters`` are the bundles of its memory ports; ``count_value`` is written to ``count`` where it is no number of
    frames. ``memory`` tells where the frame lies in a memory image, see `toolchain.deploy.driver`.
    """

    top: str
    pointers: tuple[str, ...]
    count: str
    masters: tuple[str, ...]
    count_value: int | None = None
    memory: dict[str, Any] | None = None


def streaming_interface(graph: Graph) -> Interface:
    """The interface of ``top.cpp.j2``; Vitis HLS renames ``in`` and ``out``, which are words of VHDL."""
    return Interface(top_name(graph), ("in_r", "out_r"), "frames", ("gmem0", "gmem1"))


def register_map(pointers: Sequence[str], count: str) -> dict[str, int]:
    """Offset of every register of an ``s_axilite`` bundle with 64-bit pointers and behind them a 32-bit scalar.

    Vitis HLS gives each argument its words and one that is reserved, from 0x10 on (AMD UG1399).
    """
    found, at = dict(_CONTROL), _FIRST_ARGUMENT
    for name in pointers:
        found[name], at = at, at + 3 * _WORD
    return found | {count: at}


def network_facts(
    graph: Graph,
    board: Board,
    clock_mhz: float,
    interface: Interface,
    *,
    axes: str,
    digest: str,
    estimate: dict[str, float],
    classes: Sequence[str] | None,
) -> dict[str, Any]:
    """The contents of network.json for the HARDWARE ``graph`` of a streaming build.

    ``axes`` are those of the images the user has, ``digest`` tells this accelerator from others.
    """
    reader, writer = ends(graph)
    return {
        "fpgaflow": __version__,
        "name": graph.name,
        "design": f"{interface.top}_{digest[:DIGITS]}",
        "top": interface.top,
        "instance": INSTANCE,
        "board": board.name,
        "clock_mhz": clock_mhz,
        "base": BASE_ADDRESS,
        "registers": register_map(interface.pointers, interface.count),
        "ports": list(interface.pointers),
        "count": {"register": interface.count, "value": interface.count_value},
        "memory": interface.memory,
        "input": input_facts(graph, axes) | packing_facts(reader),
        "output": output_facts(graph) | packing_facts(writer),
        "classes": None if classes is None else list(classes),
        "estimate": estimate,
    }


def packing_facts(end: End) -> dict[str, Any]:
    """How the codes of a frame lie in memory."""
    return {"bits": end.stream.type.bits, "signed": end.stream.type.signed, "lanes": end.stream.lanes}


def input_facts(graph: Graph, axes: str) -> dict[str, Any]:
    """How images become codes: `toolchain.ir.encode` in numbers."""
    encoding = graph.encoding
    assert encoding is not None
    given, rule = encoding.input, host_rule(encoding)
    steps, starts, whole = worth_terms(given)
    return {
        "shape": list(graph.input.shape),
        "axes": axes,
        "low": given.low,
        "high": given.high,
        "scale": [float(v) for v in given.scale],
        "offset": [float(v) for v in given.offset],
        "bipolar": given.bipolar,
        "rounds": given.rounds,
        "quantized": encoding.quantizer is not None,
        "signs_as_bits": encoding.signs_as_bits,
        "table": _table(encoding),
        "worth": {"steps": steps, "starts": starts, "whole": whole},
        "rule": {
            "scale": rule.scale.tolist(),
            "zero": rule.zero.tolist(),
            "low": rule.low,
            "high": rule.high,
            "rounding": rule.rounding.value,
            "bipolar": rule.bipolar,
        },
    }


def output_facts(graph: Graph) -> dict[str, Any]:
    """Shape of the answer and what its codes are worth."""
    decoding: Decoding | None = graph.decoding
    return {
        "shape": list(graph.value(graph.output).shape),
        "scale": None if decoding is None else [float(v) for v in decoding.scale],
        "offset": None if decoding is None else [float(v) for v in decoding.offset],
    }


def _table(encoding: Encoding) -> list[list[int]] | None:
    """The code of every pixel, where it is not the pixel itself."""
    if not encoding.input.is_pixel or (encoding.quantizer is None and not encoding.signs_as_bits):
        return None
    table: list[list[int]] = pixel_codes(encoding).tolist()
    return table
