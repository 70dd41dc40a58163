"""The whole project of an engine: its sources, a testbench with stored frames, scripts, memory image and host code."""

from __future__ import annotations

from typing import Any

import numpy as np

from toolchain.engine.generate import TOP, generate
from toolchain.engine.hosts import answer_name
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
from toolchain.ir.types import Array

MEMORY = "memory.bin"


def project(graph: Graph, found: Program, board: Target, clock_mhz: float) -> dict[str, str | bytes]:
    """The project of an engine that runs ``graph`` by path, relative to its folder."""
    frames = testbench_frames(graph)
    last = graph.nodes[-1]
    corrections = _corrections(found)
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
        "answer": _answer_facts(graph, found) | {"last_of_equals": isinstance(last, ArgMax) and last.last},
        "largest": isinstance(last, ArgMax),
        "corrections": len(corrections),
        "input_type": native_type(graph.input.qint),
        "answer_type": native_type(graph.value(answer_name(graph)).qint),
    }
    return {
        **generate(found.shape, len(found.memory)),
        **host_files(graph),
        **_vectors(graph, frames),
        "host/corrections.inc": array_text(corrections, LONG_LONG, "a correction of sums"),
        "host/encode.hpp": render("engine_encode.hpp", variables),
        "tb/testbench.cpp": render("engine_testbench.cpp", variables),
        "run_hls.tcl": render("run_hls.tcl", variables),
        "hls_config.cfg": render("hls_config.cfg", variables),
        "run.sh": render("run.sh", variables),
        "README.txt": render("engine_README.txt", variables),
        MEMORY: found.memory.tobytes(),
    }


def _input_facts(graph: Graph, found: Program) -> dict[str, int]:
    """Where the codes of a frame lie, as ``host.hpp`` wants it."""
    height, width, channels = graph.input.shape
    first, zero = found.cut.passes[0], found.zero(graph.input)
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


def _answer_facts(graph: Graph, found: Program) -> dict[str, int]:
    """Where the answer lies."""
    last, shape = found.cut.passes[-1], found.shape
    height, width, channels = last.out
    located = found.maps[last.result]
    return {
        "height": height, "width": width, "channels": channels, "lanes": shape.lanes, "position_words": located.words,
        "bits": shape.act_bits, "zero": found.zero(graph.value(last.result)), "digits": shape.digits if last.raw else 1,
        "address": located.address,
    }  # fmt: skip


def _corrections(found: Program) -> Array:
    """What the sums of the answer lack, of every channel; a zero where codes leave."""
    last = found.cut.passes[-1]
    if not last.raw:
        return np.zeros(1, dtype=np.int64)
    assert last.conv is not None and last.conv.correction is not None
    return last.conv.correction


def _vectors(graph: Graph, frames: int) -> dict[str, str]:
    """Random input codes of a fixed seed and the codes that the evaluator answers."""
    codes, name = random_codes(graph, frames), answer_name(graph)
    answers = evaluate(graph, codes, taps=[name])[name]
    return {
        "tb/input_codes.inc": array_text(codes.reshape(-1), graph.input.qint, "a test vector"),
        "tb/expected_codes.inc": array_text(answers.reshape(-1), graph.value(name).qint, "an answer"),
    }
