"""network.json: everything that a driver must know of a network, its accelerator and its board."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from toolchain import __version__
from toolchain.boards import Board
from toolchain.errors import FlowError
from toolchain.frontend.several_inputs import Joined
from toolchain.hls_templates.generate import End
from toolchain.hls_templates.generate import ends as stream_ends
from toolchain.ir.encode import host_rule, pixel_codes, worth_terms
from toolchain.ir.graph import Graph, Output
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.types import Decoding, Encoding, Standardization

BASE_ADDRESS = 0xA000_0000
"""First address of M_AXI_HPM0_FPD of a Zynq UltraScale+ (AMD UG1085)."""

INSTANCE = "accelerator"
DIGITS = 8
"""Hexadecimal digits of the digest in the design's name."""

_VHDL = ("in", "out")
_FIRST_ARGUMENT, _WORD = 0x10, 4
_CONTROL = {"CTRL": 0x00, "GIER": 0x04, "IP_IER": 0x08, "IP_ISR": 0x0C}


@dataclass(frozen=True)
class Interface:
    """The accelerator's function as hardware: pointers and then one 32-bit count in the order of its arguments.

    ``masters`` are the bundles of its memory ports.
    """

    top: str
    pointers: tuple[str, ...]
    count: str
    masters: tuple[str, ...]


def read_interface(top: str, source: str) -> Interface:
    """The interface of the function ``top`` by its C++ ``source``.

    Vitis HLS renames arguments that are words of VHDL: ``in_r``, ``out_r``.

    Raises:
        FlowError: it has other arguments than pointers to words and then a number.
    """
    found = re.search(rf"^void {top}\(([^)]*)\)", source, re.MULTILINE)
    arguments = [argument.split() for argument in found[1].split(",")] if found else []
    names = [f"{words[-1]}_r" if words[-1] in _VHDL else words[-1] for words in arguments]
    pointers = ["*" in words[-2] for words in arguments]
    if not names or pointers != [True] * (len(names) - 1) + [False]:
        raise FlowError(f"no function {top} of pointers and one number in the project's top")
    masters = dict.fromkeys(re.findall(r"^#pragma HLS INTERFACE m_axi .*\bbundle=(\w+)", source, re.MULTILINE))
    return Interface(top, tuple(names[:-1]), names[-1], tuple(sorted(masters)))


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
    ends: Ends,
    *,
    axes: str,
    digest: str,
    estimate: dict[str, float],
    classes: Sequence[str] | None,
    joined: Joined | None = None,
    host: dict[str, Any] | None = None,
    first: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The contents of network.json for an accelerator of ``graph``.

    ``axes`` are those of the images the user has, ``joined`` how those of several inputs become one, ``digest`` tells
    this accelerator from others. ``host`` is what the driver runs behind it, ``first`` in front.
    """
    return {
        "fpgaflow": __version__,
        "name": graph.name,
        "design": f"{interface.top}_{digest[:DIGITS]}",
        "top": interface.top,
        "instance": INSTANCE,
        "board": board.title,
        "clock_mhz": clock_mhz,
        "base": BASE_ADDRESS,
        "registers": register_map(interface.pointers, interface.count),
        "masters": list(interface.masters),
        "ports": list(interface.pointers),
        "count": {"register": interface.count, "value": ends.count},
        "memory": ends.memory,
        "input": input_facts(graph, axes) | {"joined": None if joined is None else asdict(joined)} | ends.input,
        "outputs": [
            output_facts(graph, output, answer) | packing
            for output, answer, packing in zip(graph.outputs, ends.answers, ends.outputs, strict=True)
        ],
        "host": host,
        "first": first,
        "classifier": None if graph.classifier is None else graph.classifier.name,
        "classes": None if classes is None else list(classes),
        "estimate": estimate,
    }


@dataclass(frozen=True)
class Ends:
    """Layout of frames in memory, see `toolchain.deploy.driver`: buffers of their own, or a ``memory`` image.

    ``count`` is written to the count's register where it is no number of frames; ``answers`` are the values that the
    accelerator writes, one an output.
    """

    answers: tuple[str, ...]
    input: dict[str, Any]
    outputs: tuple[dict[str, Any], ...]
    memory: dict[str, Any] | None = None
    count: int | None = None


def streaming_ends(graph: Graph) -> Ends:
    """Return the ends of a streaming build: its streams' groups of lanes in words."""

    def packing(end: End) -> dict[str, Any]:
        kind = end.stream.type
        return {
            "size": end.stream.size,
            "bits": kind.bits,
            "signed": kind.signed,
            "lanes": end.stream.lanes,
            "map": None,
        }

    reader, *writers = stream_ends(graph)
    return Ends(tuple(o.value for o in graph.outputs), packing(reader), tuple(map(packing, writers)))


def input_facts(graph: Graph, axes: str) -> dict[str, Any]:
    """Return the numbers by which the driver encodes images as `toolchain.ir.encode` does."""
    assert graph.encoding is not None
    return encoding_facts(graph.encoding, graph.given_shape, axes)


def encoding_facts(encoding: Encoding, shape: Sequence[int], axes: str) -> dict[str, Any]:
    """The same of frames of ``shape`` (H, W, C)."""
    given, rule = encoding.input, host_rule(encoding)
    steps, starts, whole = worth_terms(given)
    return {
        "shape": list(shape),
        "axes": axes,
        "low": given.low,
        "high": given.high,
        "scale": [float(v) for v in given.scale],
        "offset": [float(v) for v in given.offset],
        "bipolar": given.bipolar,
        "rounds": given.rounds,
        "quantized": encoding.quantizer is not None,
        "coded": encoding.coded,
        "standard": _standard(encoding.standard),
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


def output_facts(graph: Graph, output: Output, answer: str) -> dict[str, Any]:
    """Shape of the value ``answer`` and what its codes are worth, which is known where it is that of ``output``.

    Where an index of the largest is left to the host, ``last`` tells which of equal ones it is. ``samples`` is the
    array of samples.npz that holds the output's codes.
    """
    end = graph.producers().get(output.value)
    decoding: Decoding | None = output.decoding if answer == output.value else None
    return {
        "name": output.name,
        "samples": "codes" if len(graph.outputs) == 1 else f"codes_{output.name}",
        "shape": list(graph.shape_of(output) if answer == output.value else graph.value(answer).shape),
        "last": answer != output.value and isinstance(end, ArgMax) and end.last,
        "scale": None if decoding is None else [float(v) for v in decoding.scale],
        "offset": None if decoding is None else [float(v) for v in decoding.offset],
    }


def _standard(standard: Standardization | None) -> dict[str, list[float]] | None:
    """Return the means and deviations that standardize real numbers, one a channel or one in all."""
    if standard is None:
        return None
    return {"mean": [float(v) for v in standard.mean], "deviation": [float(v) for v in standard.deviation]}


def _table(encoding: Encoding) -> list[list[int]] | None:
    """The code of every pixel, where it is not the pixel itself."""
    if not encoding.input.is_pixel or (encoding.coded and not encoding.signs_as_bits):
        return None
    table: list[list[int]] = pixel_codes(encoding).tolist()
    return table
