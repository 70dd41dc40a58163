"""Bits of layers chosen together with the lanes of a streaming design, by a user."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.flow.test_export import run  # noqa: F401  a fixture
from tests.onnx_models import conv_bn_relu, flatten_linear
from toolchain.flow.options import Search
from toolchain.flow.sensitivity import Asked, output_errors
from toolchain.flow.stages import lower
from toolchain.flow.streaming_bits import RANDOM_INPUTS, search_lane_bits


def test_a_front_is_printed_and_written_with_its_proof(run, tmp_path: Path) -> None:  # noqa: F811
    """By a table of the user's, whose loss is kept to; words that are wrong are refused."""
    model = conv_bn_relu(tmp_path / "net.onnx")
    code, output, error = run("explore", str(model), "--out", "b", "--bits", "search", "--architecture", "streaming",
                          "--widths", "2,4", "--budget", "lut=0.3")  # fmt: skip
    assert code == 0, error
    found = json.loads((tmp_path / "b" / "bits.json").read_text())
    assert output.rstrip().endswith("bits.json")
    assert (found["architecture"], found["losses"]) == ("streaming", RANDOM_INPUTS)
    losses = [row["loss"] for row in found["front"]]
    assert losses == sorted(losses, reverse=True) and all(0 <= row["gap"] < 1 for row in found["front"])
    (layer,) = found["sensitivity"]
    (tmp_path / "table.json").write_text(json.dumps({layer: {"2": 0.5, "4": 0.0}}))
    asked = ("explore", "b", "--bits", "search", "--architecture", "streaming", "--widths", "2,4", "--sensitivity")
    assert run(*asked, "table.json", "--loss", "0.1")[0] == 0
    (best,) = json.loads((tmp_path / "b" / "bits.json").read_text())["front"]
    assert (best["loss"], best["bits"]) == (0.0, {layer: 4})
    assert run(*asked, "table.json", "--widths", "2", "--loss", "0.1")[0] == 2
    assert run("explore", "b", "--bits", "search", "--architecture", "hls")[0] == 2


@pytest.mark.parametrize(
    "given",
    [
        ("--architecture", "engine"),
        ("--widths", "2,4"),
        ("--loss", "0"),
        ("--sensitivity", "table.json"),
        ("--images", "x.npy"),
        ("--bits", "search", "--pareto"),
        ("--bits", "search", "--plan", "plan.json"),
        ("--bits", "search", "--target-fps", "100"),
    ],
)
def test_what_the_asked_search_does_not_read_is_refused(given: tuple[str, ...], run, tmp_path: Path) -> None:  # noqa: F811
    """A limit of the loss without a search of bits is no limit, and a rate beside one is no target."""
    lower(conv_bn_relu(tmp_path / "net.onnx"), tmp_path / "b")
    code, _, error = run("explore", "b", *given)
    assert (code, "bits search" in error) == (2, True)
    assert not (tmp_path / "b" / "plan.json").exists() and not (tmp_path / "b" / "bits.json").exists()


@pytest.mark.parametrize("limit", [None, 0.0])
def test_losses_without_data_are_those_on_random_inputs(limit: float | None, tmp_path: Path) -> None:
    """The widest bits lose nothing and end the front; a limit of 0 leaves them alone."""
    build = lower(flatten_linear(tmp_path / "net.onnx"), tmp_path / "b")
    front, clock = search_lane_bits(build, Search(clock_mhz=100.0, time_limit=20.0), Asked((2, 8), loss=limit))
    table = json.loads((tmp_path / "b" / "bits.json").read_text())["sensitivity"]
    x = np.zeros((1, *build.network.graph.input.shape), dtype=np.int64)
    assert clock == 100.0 and set(table) == set(output_errors(build.network.graph, (2,), x))
    assert front[-1].loss == 0.0 and set(front[-1].bits.values()) == {8}
    assert limit is None or len(front) == 1
