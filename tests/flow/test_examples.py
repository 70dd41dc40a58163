"""The run files of ``examples/`` on data of other kinds than MNIST: from files to a verified build, by the commands."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from examples.make_data import STATES, write
from tests.flow.test_export import run  # noqa: F401  a fixture

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    ("name", "shape", "better_than"),
    [("machine", [1, 1, 60], 0.6), ("tone", [1, 1000, 1], 0.4), ("shapes", [48, 64, 3], 0.5)],
)
def test_tables_signals_and_pictures_become_verified_builds(name, shape, better_than, run, tmp_path):  # noqa: F811
    """Few samples and epochs: learned more than chance, exact in C simulation, the host's rule in report and header."""
    write(tmp_path / "data", 0.3)
    shutil.copy(EXAMPLES / f"{name}.toml", tmp_path)
    few = [f"train.{s}" for s in ("epochs=4", "pretrain_epochs=2", "batch_size=16", "accelerator=cpu", "threads=1")]
    code, output, error = run("train", f"{name}.toml", *(part for setting in few for part in ("--set", setting)))
    assert code == 0, error
    assert "test images" in output and "train 4/4, loss" in error
    code, output, error = run("export", f"runs/{name}", "--count", "40", "--time-limit", "5", "--threads", "1")
    assert code == 0, error
    report = json.loads((tmp_path / "build" / name / "report.json").read_text())

    assert report["verification"]["csim_mismatches"] == 0
    assert report["accuracy"]["images"] == 40 and report["accuracy"]["top1"] > better_than
    assert report["input"]["shape"] == shape
    encoder = (tmp_path / "build" / name / "hls" / "host" / "encode.hpp").read_text()
    if name == "machine":
        assert tuple(report["classes"]) == tuple(sorted(STATES)) and '"worn bearing"' in encoder
        _demand_moments(tmp_path / "data" / "machine_train.csv", report["input"])
    if name == "shapes":
        assert report["classes"] == ["box", "cross", "disc"] and "encode_pixels(const std::uint8_t" in encoder
    else:
        assert "encode_measured" in encoder and "encode_pixels(const std::uint8_t" not in encoder


def _demand_moments(table: Path, found: dict[str, list[float]]) -> None:
    """Mean and deviation of every column are those that the report has."""
    with table.open(encoding="utf-8") as file:
        rows = np.array([[float(x) for x in row[:-1]] for row in list(csv.reader(file))[1:]])
    np.testing.assert_allclose(found["mean"], rows.mean(0), rtol=1e-5, atol=1e-6)  # of float32 numbers
    np.testing.assert_allclose(found["deviation"], rows.std(0), rtol=1e-3)
