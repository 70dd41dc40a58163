"""`fpgaflow export --backend hls4ml`: hls4ml's project beside this one, and how far it is from the integer network."""

from __future__ import annotations

import json
import re
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import Net, multi_threshold
from toolchain.cli import main
from toolchain.flow import hls4ml
from toolchain.report.data import Hls4ml


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder; returns exit code, standard output and the error line."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fpgaflow", *arguments])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        output, error = capsys.readouterr()
        lines = [line for line in error.splitlines() if line.startswith("fpgaflow: ")]
        return code, output, "".join(lines).removeprefix("fpgaflow: ")

    return call


def mlp(path: Path) -> Path:
    """Two linear layers, all scales powers of two; names that a shell or a compiler would take amiss."""
    net = Net((1, 6), seed=5)
    x = net.quant("x", 6, 1 / 16, name='"); system("touch pwned"); //')
    weights = [net.quant(net.const(net.rng.normal(0, 0.4, shape)), 4, 1 / 8) for shape in ((6, 4), (4, 3))]
    x = net.quant(net.add("Relu", net.add("MatMul", x, weights[0], name="$(touch pwned)")), 4, 0.25, signed=0)
    return net.save(path, net.add("MatMul", x, weights[1]))


def thirds(path: Path) -> Path:
    """Every third input, times a float32 a little above 1/3, lies a little above a tie; times fewer bits, below it."""
    net = Net((1, 6), seed=5)
    x = net.add("MatMul", net.quant("x", 6, 1 / 32, signed=0), net.quant(net.const(np.eye(6)), 2, 1.0))
    return net.save(path, net.quant(net.add("Mul", x, net.const(1 / 3)), 6, 1 / 16))


@pytest.mark.needs_gxx
def test_powers_of_two_are_exact(run, tmp_path):
    """No code differs; the design's keys stay; the project has the plan's reuse factors and no name of the model."""
    mlp(tmp_path / "net.onnx")
    code, output, error = run("export", "net.onnx", "--backend", "hls4ml", "--count", "16")
    build = tmp_path / "build" / "net"
    report = json.loads((build / "report.json").read_text())
    found = report["hls4ml"]

    assert code == 0, error
    assert (found["images"], found["outputs"], found["mismatches"], found["classes"]) == (16, 48, 0, 0)
    assert found["max_deviation"] == 0.0
    assert report["verification"]["csim_mismatches"] == 0
    assert "is exact: 0 of 48 output codes of 16 images differ" in " ".join(output.split())
    lanes = {node["name"]: node["parallelism"] for node in report["nodes"]}
    sizes = zip(found["reuse"].items(), (24, 12), strict=True)
    assert all(factor == ceil(size / (lanes[n]["PE"] * lanes[n]["SIMD"])) for (n, factor), size in sizes)
    parameters = (build / "hls4ml" / "firmware" / "parameters.h").read_text()
    used = {int(n) for n in re.findall(r"reuse_factor = (\d+);", parameters)}
    assert set(found["reuse"].values()) <= used
    assert (build / "hls4ml" / "build_prj.tcl").is_file() and (build / "hls").is_dir()
    assert not list(tmp_path.rglob("pwned")) and not list(build.glob(".*"))
    texts = [path.read_text(errors="replace") for path in (build / "hls4ml").glob("*.*") if path.is_file()]
    assert not any("touch pwned" in text for text in [parameters, *texts])


@pytest.mark.needs_gxx
def test_an_average_at_the_end_is_exact(run, tmp_path):
    """Its map of one position is the output, which hls4ml has no flattening behind."""
    net = Net((1, 3, 4, 4), seed=5)
    x = net.quant(net.add("Relu", net.quant("x", 6, 1 / 16)), 4, 0.25, signed=0)
    net.save(tmp_path / "net.onnx", net.add("GlobalAveragePool", x))
    code, output, error = run("export", "net.onnx", "--backend", "hls4ml", "--count", "8")

    assert code == 0, error
    assert "is exact: 0 of 24 output codes of 8 images differ" in " ".join(output.split())


@pytest.mark.needs_gxx
def test_an_inexact_project_exits_3_with_the_counts(run, tmp_path, monkeypatch):
    """The build and its report are there and say how far off it is; --allow-inexact takes the same project."""
    thirds(tmp_path / "net.onnx")
    code, _, error = run("export", "net.onnx", "--backend", "hls4ml")
    report = json.loads((tmp_path / "build" / "net" / "report.json").read_text())
    found = report["hls4ml"]

    assert code == 3
    assert report["verification"]["csim_mismatches"] == 0
    assert found["mismatches"] > 0
    counts = f"{found['mismatches']} of 384 output codes of 64 images differ, up to 1 steps"
    assert re.match(rf"hls4ml \S+ \(io_parallel\) is not exact: {counts}", error)
    assert error.endswith("; --allow-inexact takes it all the same")

    monkeypatch.setattr(hls4ml, "build", lambda *_: Hls4ml.model_validate(found))  # it need not compile twice
    code, output, error = run("export", "net.onnx", "--backend", "hls4ml", "--allow-inexact")
    assert code == 0, error
    assert counts in " ".join(output.split())


def test_what_hls4ml_gets_wrong_is_refused_before_any_work(run, tmp_path):
    """One line with the reason, exit code 2, nothing written."""
    multi_threshold(tmp_path / "net.onnx")
    code, _, error = run("export", "net.onnx", "--backend", "hls4ml")

    assert code == 2
    assert re.match(r"hls4ml \S+ has no MultiThreshold \[\S+, ONNX MultiThreshold_3\]; export without", error)
    assert not list(tmp_path.glob("build/*")) and not list(tmp_path.glob("build/.*"))


def test_an_unknown_back_end_is_named(run, tmp_path):
    mlp(tmp_path / "net.onnx")
    assert run("export", "net.onnx", "--backend", "hls4m")[::2] == (
        2,
        "unknown backend 'hls4m'; did you mean 'hls4ml'?",
    )


@pytest.mark.needs_gxx
def test_a_slow_compiler_is_stopped(run, tmp_path):
    """The time limit ends the worker and all that it started; this tool's own build is whole, of hls4ml nothing."""
    mlp(tmp_path / "net.onnx")
    code, _, error = run("export", "net.onnx", "--backend", "hls4ml", "--count", "4", "--hls4ml-seconds", "1")

    assert code == 2
    assert re.match(r"hls4ml \S+ did not finish in 1 s; ", error)
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["net"]
    report = json.loads((tmp_path / "build" / "net" / "report.json").read_text())
    assert (report["verification"]["csim_mismatches"], report["hls4ml"]) == (0, None)
    assert not list((tmp_path / "build" / "net").glob("*hls4ml*"))
