"""The public interface in Python: results are typed, nothing heavy is imported early."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fpgaflow
from toolchain.report.data import Report

ROOT = Path(__file__).resolve().parents[1]
SMALL = {
    "model": {"name": "cnn", "width": 0.5},
    "train": {"epochs": 1, "batch_size": 64, "accelerator": "cpu", "threads": 1},
}


def test_importing_it_imports_neither_torch_nor_onnx_nor_numpy() -> None:
    code = "import sys, fpgaflow; print(sorted({'torch', 'onnx', 'numpy', 'pydantic', 'lightning'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_all_names_are_there_and_others_are_refused() -> None:
    assert all(hasattr(fpgaflow, name) for name in fpgaflow.__all__) and fpgaflow.Report is Report
    assert issubclass(fpgaflow.UserError, fpgaflow.FpgaflowError)
    assert issubclass(fpgaflow.VerificationError, fpgaflow.FpgaflowError)
    with pytest.raises(AttributeError, match="module 'fpgaflow' has no attribute 'trian'"):
        fpgaflow.trian  # noqa: B018


def test_a_mapping_is_a_run_file_and_settings_leave_it_alone(tmp_path: Path) -> None:
    run = fpgaflow.train(SMALL, out=tmp_path / "run", settings=["model.width=0.25"])
    assert SMALL["model"] == {"name": "cnn", "width": 0.5}
    assert (run.folder, run.file) == (tmp_path / "run", tmp_path / "run" / "model.onnx")
    assert run.metrics["model"] == "cnn" and run.top1 == run.metrics["top1"] and run.params < 1200
    assert fpgaflow.check(run).supported and fpgaflow.check(str(run.folder)) == fpgaflow.check(run.file)


def test_a_float_network_has_no_file_and_says_what_makes_one(tmp_path: Path) -> None:
    run = fpgaflow.train(SMALL, out=tmp_path / "run", settings=["train.float=true"])
    with pytest.raises(fpgaflow.UserError, match="run is a float run; run 'fpgaflow quantize .*run' first"):
        fpgaflow.export(run, out=tmp_path / "build")
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8)
    small = fpgaflow.quantize(run, weights=6, bits={"fc": 8}, images=images, count=20, out=tmp_path / "q")
    assert small.top1 is None and small.agreement is not None and small.metrics["agreement_images"] == 20


def test_no_count_is_all_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts, file = [], tmp_path / "net.onnx"
    file.touch()
    monkeypatch.setattr("toolchain.flow.stages.export", lambda _, __, ___, check, **_____: counts.append(check.count))
    for given in ({}, {"count": 7}, {"count": None}):
        fpgaflow.export(file, **given)  # type: ignore[arg-type]
    assert counts == [1000, 7, 0]  # 0 of `Check` is all


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fpgaflow.train({"model": {"nam": "cnn"}}), "unknown key 'model.nam'; did you mean 'model.name'?"),
        (lambda: fpgaflow.train("no.toml"), "no such run file: no.toml"),
        (lambda: fpgaflow.export("none.onnx"), "no such file: none.onnx"),
        (lambda: fpgaflow.export("none.onnx", architecture="both"), "unknown architecture 'both'"),
        (lambda: fpgaflow.export("none.onnx", budget={"luts": 0.5}), "unknown resource 'luts'"),
        (lambda: fpgaflow.quantize("none.onnx", weights=9), "9 bits for weights; give 1 to 8"),
        (lambda: fpgaflow.check("none.onnx"), "no such file: none.onnx"),
    ],
)  # fmt: skip
def test_faults_are_one_line(call: object, message: str) -> None:
    with pytest.raises(fpgaflow.FpgaflowError) as caught:
        call()  # type: ignore[operator]
    assert message.replace("; did", " [the mapping]; did") in str(caught.value) and "\n" not in str(caught.value)
