"""Random networks are exact or refused."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.random_curves import random_curves
from tests.random_geometry import random_geometry
from tests.random_qonnx import agreement, exact_or_refused, random_qonnx
from tests.random_tokens import random_tokens
from tests.random_wide import random_wide
from tests.verdicts import demand_verdict, lowered
from toolchain.errors import UserError
from toolchain.flow.inputs import choose
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.input_types import noted_input, parse_input
from toolchain.ir.types import Encoding, QInt
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.pipeline import hardware_form


@pytest.mark.parametrize("first", range(0, 300, 20))
def test_random_networks_are_exact_or_refused(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + 20):
        exact_or_refused(random_qonnx(tmp_path / f"{seed}.onnx", seed), seed)


@pytest.mark.parametrize("seed", range(30))
def test_sums_groups_wide_codes_and_meeting_names_are_exact_or_refused_and_checked_alike(seed: int) -> None:
    _exact_or_refused_and_checked_alike(random_wide, seed)


@pytest.mark.parametrize("seed", range(30))
def test_functions_and_products_are_exact_or_refused_and_checked_alike(seed: int) -> None:
    _exact_or_refused_and_checked_alike(random_curves, seed)


@pytest.mark.parametrize("seed", [*range(30), 55, 155, 248, 337, 340, 3325])
def test_moved_maps_are_exact_or_refused_and_checked_alike(seed: int) -> None:
    """18, 55, 155: a shuffled quantizer whose other reader wants the file's order, or that is put out; 248: every
    second position of a part of the map; 337: a ReLU that is put out and refused later than a quantizer behind it;
    340: the input is an output."""
    _exact_or_refused_and_checked_alike(random_geometry, seed)


@pytest.mark.parametrize("seed", range(40))
def test_tokens_are_exact_or_refused_and_checked_alike(seed: int) -> None:
    _exact_or_refused_and_checked_alike(random_tokens, seed)


@pytest.mark.parametrize("seed", [4180, 4638])
def test_wide_networks_that_once_failed(seed: int) -> None:
    """4180: a sign behind a ReLU's batch norm of two sums, which in some channels is the same for every input; 4638: a
    quantizer whose codes are moved, refused."""
    _exact_or_refused_and_checked_alike(random_wide, seed)


def _exact_or_refused_and_checked_alike(draw: Callable[[Path, int], Path], seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = draw(Path(folder) / "net.onnx", seed)
        built = lowered(path)
        demand_verdict(path, built if isinstance(built, UserError) else None)
        if not isinstance(built, UserError):
            agreement(*built, seed)


TYPES = ["BIPOLAR", "TERNARY", "INT3", "UINT4", "UINT12", "FIXED<9,4>", "int8:0.05:-3", "int5:1/3", "uint6:0.1:60"]


@pytest.mark.parametrize("seed", range(90))
def test_random_networks_are_exact_on_every_input_type(seed: int, tmp_path: Path) -> None:
    """Against the float32 execution on integers of the whole type, and from the codes that the hardware is sent."""
    text = TYPES[seed % len(TYPES)]
    encoding = Encoding(noted_input(text) or parse_input(text))
    path = random_qonnx(tmp_path / "net.onnx", seed, quantized=0.0 if encoding.input.rounds else 0.3)
    try:
        model = read_qonnx(path)
        encoding, _ = choose(encoding, "", model.graph, None)
        integer = to_integer(model.graph, encoding)
    except UserError:
        return
    assert integer.encoding is not None
    images = random_inputs(encoding, (4, *integer.input.shape), seed)
    compare(model, integer, images)
    sent = hardware_form(integer)
    answers = [evaluate(graph, encode(graph, images))[graph.output] for graph in (integer, sent)]
    np.testing.assert_array_equal(*answers)
    if encoding.bipolar and sent.input.type == QInt(1, False):
        assert sent.encoding is not None and sent.encoding.signs_as_bits


@pytest.mark.parametrize("seed", [343, 431, 536, 2378])
def test_networks_that_once_failed(seed: int, tmp_path: Path) -> None:
    """A bipolar quantizer with rounding mode FLOOR at a tie; a sign behind scales of many bits; one code only."""
    found = exact_or_refused(random_qonnx(tmp_path / "net.onnx", seed, maps=False), seed)
    assert (found is None) == (seed == 431)


@pytest.mark.parametrize("seed", range(30))
def test_most_random_networks_are_built(seed: int, tmp_path: Path) -> None:
    """The generator is no list of refusals."""
    built = [exact_or_refused(random_qonnx(tmp_path / "net.onnx", 100 * seed + i), i) is not None for i in range(6)]
    assert any(built)
