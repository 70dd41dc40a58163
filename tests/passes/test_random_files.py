"""Random files under random plans: the hardware graph computes what the integer graph does, and is generated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.passes.test_to_hardware import random_plan
from tests.random_curves import random_curves
from tests.random_geometry import random_geometry
from tests.random_wide import random_wide
from tests.verdicts import lowered
from toolchain.boards import load_board
from toolchain.errors import UserError
from toolchain.hls_templates.generate import generate
from toolchain.ir.encode import answers, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.passes.pipeline import to_hardware


@pytest.mark.parametrize("generator", [random_wide, random_curves, random_geometry])
@pytest.mark.parametrize("seed", range(8))
def test_hardware_graphs_of_random_files_compute_the_same_and_are_generated(
    generator: Callable[..., Path], seed: int, tmp_path: Path
) -> None:
    """Channels padded or not."""
    found = lowered(generator(tmp_path / "net.onnx", seed))
    if isinstance(found, UserError):
        return
    graph = found[1]
    hardware = to_hardware(graph, random_plan(graph, seed, padded=True))
    assert graph.encoding is not None and hardware.encoding is not None
    x = random_inputs(graph.encoding, (3, *graph.input.shape))
    before, after = evaluate(graph, encode(graph, x)), evaluate(hardware, encode(hardware, x))

    for output, end in zip(graph.outputs, hardware.outputs, strict=True):
        np.testing.assert_array_equal(answers(end, after[end.value]), answers(output, before[output.value]))
    assert "src/top.cpp" in generate(hardware, load_board("zu3eg"), 250.0)


def test_a_requantizer_behind_products_of_signs_that_clips_nothing_is_exact(tmp_path: Path) -> None:
    """Its network once had no hardware graph."""
    test_hardware_graphs_of_random_files_compute_the_same_and_are_generated(random_wide, 236, tmp_path)
