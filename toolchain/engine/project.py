"""The whole project of an engine: its sources, a testbench with stored frames, scripts, memory image and host code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toolchain.engine.generate import TOP, generate
from toolchain.engine.hosts import answer_names
from toolchain.engine.layers import Pass
from toolchain.engine.tables import Program
from toolchain.hls_templates.generate import Target, clock_facts, testbench_frames
from toolchain.hls_templates.host import host_facts, host_files
from toolchain.hls_templates.literals import LONG_LONG, array_text, native_type
from toolchain.hls_templates.render import render
from toolchain.ir.encode import random_codes
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.argmax import ArgMax
from toolchain.ir.ops.window import Window
from toolchain.ir.types import Array, Value

MEMORY = "memory.bin"


def project(graph: Graph, found: Program, board: Target, clock_mhz: float) -> dict[str, str | bytes]:
    """The project of an engine that runs ``graph`` by path, relative to its folder."""
    frames = testbench_frames(graph)
    answers = _answers(graph, found)
    variables: dict[str, Any] = {
        "top": TOP,
        "board": board.name,
        "part": board.part,
        **clock_facts(clock_mhz),
        "sources": ["src/top.cpp"],
        "data": [MEMORY],
        "bursts_in_luts": found.shape.bursts_in_luts,
        "frames": frames,
        "host": host_facts(graph),
        "passes": found.passes,
        "memory_words": len(found.memory),
        "input": _input_facts(graph, found),
        "answers": answers,
        "input_type": native_type(graph.input.qint),
    }
    return {
        **generate(found.shape, len(found.memory)),
        **host_files(graph),
        **_vectors(graph, answers, frames),
        **{
            f"host/corrections{a.suffix}.inc": array_text(a.corrections, LONG_LONG, "a correction of sums")
            for a in answers
        },
        "host/encode.hpp": render("engine_encode.hpp", variables),
        "tb/testbench.cpp": render("engine_testbench.cpp", variables),
        "run_hls.tcl": render("run_hls.tcl", variables),
        "hls_config.cfg": render("hls_config.cfg", variables),
        "run.sh": render("run.sh", variables),
        "README.txt": render("engine_README.txt", variables),
        MEMORY: found.memory.tobytes(),
    }


def _input_facts(graph: Graph, found: Program) -> dict[str, int]:
    """Return how the codes of a frame lie in memory, in the terms of ``host.hpp``."""
    height, width, channels = graph.input.shape
    first, zero = found.cut.passes[0], found.zero(graph.input.name)
    located = found.maps[first.source]
    facts = {
        "height": height, "width": width, "channels": channels, "kernel_rows": 1, "kernel_columns": 1, "stride_rows": 1,
        "stride_columns": 1, "dilation_rows": 1, "dilation_columns": 1, "top": 0, "left": 0, "pad": zero,
        "rows": located.shape[0], "columns": located.shape[1], "position_codes": located.words * found.shape.lanes,
        "zero": zero, "bits": found.shape.act_bits, "address": located.address,
    }  # fmt: skip
    if found.cut.folded:
        node = next(n for n in graph.nodes if isinstance(n, Window))
        for name, pair in (("kernel", node.kernel), ("stride", node.stride), ("dilation", node.dilation)):
            facts |= dict(zip((f"{name}_rows", f"{name}_columns"), pair, strict=True))
        facts |= {"top": node.pads[0], "left": node.pads[1], "pad": node.pad_value + zero}
    return facts


@dataclass(frozen=True)
class _Answer:
    """The place of an answer in memory, of C++ ``type``; ``largest``: the network ends with the index of the largest.

    ``corrections``: what its sums lack, of every channel; a zero where codes leave.
    """

    suffix: str
    output: str
    value: Value
    facts: dict[str, int]
    corrections: Array
    largest: bool

    @property
    def type(self) -> str:
        """The C++ type of a stored vector's codes."""
        return native_type(self.value.qint)


def _answers(graph: Graph, found: Program) -> tuple[_Answer, ...]:
    answers = []
    makers, shape = graph.producers(), found.shape
    for number, (output, name, p) in enumerate(zip(graph.outputs, answer_names(graph), found.cut.read, strict=True)):
        end, located = makers.get(output.value), found.maps[p.result]
        height, width, channels = p.out
        facts = {
            "height": height, "width": width, "channels": channels, "lanes": shape.lanes,
            "position_words": located.words, "bits": shape.act_bits, "zero": found.zero(p.stored),
            "digits": shape.digits if p.raw else 1, "address": located.address,
            "last_of_equals": isinstance(end, ArgMax) and end.last,
        }  # fmt: skip
        suffix = "" if len(graph.outputs) == 1 else f"_{number}"
        value, largest = graph.value(name), isinstance(end, ArgMax)
        answers.append(_Answer(suffix, output.name, value, facts, _corrections(p), largest))
    return tuple(answers)


def _corrections(p: Pass) -> Array:
    if not p.raw:
        return np.zeros(1, dtype=np.int64)
    assert p.conv is not None and p.conv.correction is not None
    return p.conv.correction


def _vectors(graph: Graph, answers: Sequence[_Answer], frames: int) -> dict[str, str]:
    """Random input codes of a fixed seed and the codes that the evaluator answers."""
    codes = random_codes(graph, frames)
    values = evaluate(graph, codes, taps=[answer.value.name for answer in answers])
    found = {"tb/input_codes.inc": array_text(codes.reshape(-1), graph.input.qint, "a test vector")}
    for answer in answers:
        expected = values[answer.value.name].reshape(-1)
        found[f"tb/expected_codes{answer.suffix}.inc"] = array_text(expected, answer.value.qint, "an answer")
    return found
