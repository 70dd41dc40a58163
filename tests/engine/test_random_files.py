"""What onnxruntime quantizes runs on an engine code for code."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from tests.engine.test_csim import engine_for
from tests.random_static import random_static
from toolchain.engine.csim import EngineSim
from toolchain.engine.cut import cut, refusals
from toolchain.engine.drive import drive_passes
from toolchain.engine.shape import Formats
from toolchain.engine.tables import program
from toolchain.frontend.read import read_qonnx
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ranges import input_range
from toolchain.lowering.pipeline import to_integer

SEEDS = range(12)


@pytest.mark.needs_gxx
def test_random_networks_that_onnxruntime_quantized_run_on_one_engine(tmp_path: Path) -> None:
    """Whole, and every pass alone. Requantizers of all networks get one shift, for which factors are raised."""
    graphs = [to_integer(read_qonnx(random_static(tmp_path / f"{seed}.onnx", seed)).graph) for seed in SEEDS]
    graphs = [graph for graph in graphs if not refusals(graph)]
    assert len(graphs) >= len(SEEDS) - 2
    networks = [cut(graph) for graph in graphs]
    widest = {f.name: max(getattr(n.formats, f.name) for n in networks) for f in fields(Formats)}
    raised = {"mul_bits": widest["mul_bits"] + 8, "add_bits": widest["add_bits"] + 8, "mul_shift": 0, "entry_bits": 128}
    merging = {"merge_bits": widest["merge_bits"] + 8, "merge_add_bits": widest["merge_add_bits"] + 8}
    shape = engine_for(networks, tile_depth=512, **raised, **merging)
    odd, joined, curved, products = 0, 0, 0, 0
    for graph, network in zip(graphs, networks, strict=True):
        simulation = EngineSim(graph, program(network, shape, {}))
        low, high = input_range(graph)
        codes = np.random.default_rng(0).integers(low, high + 1, (2, *graph.input.shape))
        expected = evaluate(graph, codes)
        for output, answer in zip(graph.outputs, simulation.run(codes).answers, strict=True):
            np.testing.assert_array_equal(answer, expected[output.value])
        assert drive_passes(simulation).mismatches == 0
        odd += any(form.zero % 2 for form in network.forms.values())
        joined += any(p.kept is not None for p in network.passes)
        curved += any(r.curve is not None for r in network.requants)
        products += any(m.zeros is not None for m in network.merges)
    assert min(odd, joined, curved, products) > 1
