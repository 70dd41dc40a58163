"""The public interface in Python: results are typed, nothing heavy is imported early."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import fpgaflow
from toolchain.errors import NoRoom, UserError, VerificationError
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
    with pytest.raises(fpgaflow.UserError, match="run is a float run; first: fpgaflow quantize .*run$"):
        fpgaflow.export(run, out=tmp_path / "build")
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8)
    small = fpgaflow.quantize(run, weights=6, bits={"fc": 8}, images=images, count=20, out=tmp_path / "q")
    assert small.top1 is None and small.agreement is not None and small.metrics["agreement_images"] == 20


def test_a_run_that_is_to_go_on_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("")
    with pytest.raises(fpgaflow.UserError, match=r"^resume with overwrite; go on with the earlier run, or remove it$"):
        fpgaflow.train("digits", out=tmp_path, resume=True, overwrite=True)
    assert (tmp_path / "run.toml").exists()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (UserError("a", hint="use --overwrite or another --out"), "a; use overwrite or another out"),
        (UserError("--budget lut=2: too much", where="--memory"), "budget lut=2: too much [--memory]"),
        (
            NoRoom("x", hint="give --pixel-scale 1/255, --input int8:0.05 or --clock auto"),
            "x; give input uint8:1/255, input int8:0.05 or clock_mhz auto",
        ),
        (
            UserError("x", hint="first: fpgaflow quantize a --out b; or fpgaflow rtl --overwrite, not --qonnx-images"),
            "x; first: fpgaflow quantize a --out b; or fpgaflow rtl --overwrite, not qonnx_images",
        ),
        (VerificationError("wrong with --threads"), "wrong with threads"),
    ],
)
def test_faults_name_arguments_where_the_command_line_has_options(
    said: fpgaflow.FpgaflowError, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **__: object) -> None:
        raise said

    monkeypatch.setattr("toolchain.flow.stages.export", export)
    (tmp_path / "net.onnx").touch()
    with pytest.raises(type(said)) as caught:
        fpgaflow.export(tmp_path / "net.onnx")
    assert caught.value is said and str(said) == told


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
        (lambda: fpgaflow.export("none.onnx", architecture="both"), "export(architecture=...) is 'both'; it takes Lit"),
        (lambda: fpgaflow.export("none.onnx", budget={"luts": 0.5}), "unknown resource 'luts'"),
        (lambda: fpgaflow.export("none.onnx", budget="lut=0.5"),
         "export(budget=...) is 'lut=0.5'; it takes Mapping[str, float] | None"),
        (lambda: fpgaflow.export("none.onnx", input=1 / 4), "export(input=...) is 0.25; it takes str | None"),
        (lambda: fpgaflow.export(None), "export(model=...) is None; it takes str | os.PathLike[str] | Network"),
        (lambda: fpgaflow.train("digits", settings="train.epochs=5"),
         "train(settings=...) is 'train.epochs=5'; it takes Sequence[str]"),
        (lambda: fpgaflow.train("digits", settings=["train.epochs"]),
         "settings train.epochs: expected KEY=VALUE; for example settings train.epochs=5"),
        (lambda: fpgaflow.train("digits", settings=["train.epoch=1"]), "digits.toml with settings train.epoch=1]"),
        (lambda: fpgaflow.quantize("none.onnx", weights=9), "9 bits for weights; give 1 to 8"),
        (lambda: fpgaflow.quantize("none.onnx", weights=4.5), "quantize(weights=...) is 4.5; it takes int"),
        (lambda: fpgaflow.quantize("none.onnx", bits={"fc": "x"}), "quantize(bits=...) is {'fc': 'x'}; it takes Map"),
        (lambda: fpgaflow.check("none.onnx"), "no such file: none.onnx"),
    ],
)  # fmt: skip
def test_faults_are_one_line(call: object, message: str) -> None:
    with pytest.raises(fpgaflow.FpgaflowError) as caught:
        call()  # type: ignore[operator]
    assert message.replace("; did", " [the mapping]; did") in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"clock_mhz": -5}, "-5.0 is no clock; give MHz from 1 to 1000, or auto"),
        ({"clock_mhz": "fast"}, "export(clock_mhz=...) is 'fast'; it takes float | Literal['auto'] | None"),
        ({"target_fps": 0}, "target_fps is 0.0; give a number of at least 0.001"),
        ({"target_fps": math.nan}, "target_fps is nan; give a number of at least 0.001"),
        ({"target_fps": math.inf}, "target_fps is inf; give a number of at least 0.001"),
        ({"time_limit": -1}, "time_limit is -1.0; give a number of at least 0.001"),
        ({"time_limit": 10**400}, f"export(time_limit=...) is 1{59 * '0'}; it takes float"),
        ({"time_limit": "long"}, "export(time_limit=...) is 'long'; it takes float"),
        ({"count": -3}, "count is -3; give a whole number of at least 0"),
        ({"count": 2.5}, "export(count=...) is 2.5; it takes int | None"),
        ({"qonnx_images": -1}, "qonnx_images is -1; give a whole number of at least 0"),
        ({"threads": -2}, "threads is -2; give a whole number from 1 to 256"),
        ({"threads": 1000}, "threads is 1000; give a whole number from 1 to 256"),
    ],
)
def test_numbers_of_an_export_that_cannot_be_are_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    with pytest.raises(fpgaflow.UserError) as error:
        fpgaflow.export(tmp_path / "net.onnx", out=tmp_path / "build", **given)
    assert str(error.value) == message and not (tmp_path / "build").exists()


def test_an_export_takes_numpys_numbers_and_a_clock_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.onnx").touch()
    monkeypatch.setattr("toolchain.flow.stages.export", lambda _, __, search, check, **___: (search, check))
    wide, long, many = np.float32(200), np.float64(5), np.int64(8)
    given: dict[str, Any] = {"target_fps": wide, "time_limit": long, "count": many, "threads": many}
    search, check = cast(Any, fpgaflow.export(tmp_path / "net.onnx", clock_mhz="auto", **given))
    found = (search.target_fps, search.time_limit, check.count, check.threads)
    assert found == (200.0, 5.0, 8, 8) and [type(number) for number in found] == [float, float, int, int]
    assert (search.clock_mhz, search.clock_auto) == (None, True)
