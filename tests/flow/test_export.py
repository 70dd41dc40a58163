"""From a QONNX file to a verified build, and what happens when the input is wrong."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.onnx_models import PIXELS, Net, bipolar, conv_bn_relu, depthwise, few_bits_qdq, multi_threshold, residual
from toolchain.cli import main
from toolchain.flow import project, streaming
from toolchain.ir.ops.products import Product
from toolchain.ir.store import load
from toolchain.ir.types import QInt

CONTRACT = {
    "model": {"file", "sha256", "macs", "params"},
    "estimate": {"fps", "latency_ms", "cycles_per_frame", "bytes_per_frame"},
    "bound": {"fps", "limited_by"},
    "resources": {"lut", "ff", "dsp", "bram18", "uram"},
    "solver": {"name", "status", "gap", "seconds"},
    "verification": {
        "images",
        "qonnx_top1_agreement",
        "qonnx_code_mismatches",
        "csim_mismatches",
        "csim_seconds",
    },
}


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fpgaflow", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def model(tmp_path) -> Path:
    return conv_bn_relu(tmp_path / "net.onnx")


def one_line(error: str) -> str:
    """The error text without progress bars."""
    (line,) = [line for line in error.splitlines() if line.startswith("fpgaflow: ")]
    return line.removeprefix("fpgaflow: ")


def small_lenet(path: Path) -> Path:
    """Pixels into a convolution, padded max pool, flatten, two linear layers."""
    net = Net((1, 1, 9, 9), seed=8)
    net.metadata = PIXELS
    x = net.quant(net.add("Relu", net.conv("x", net.weight(4, 1, 3, 3))), 4, 0.1, signed=0)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
    x = net.quant(net.add("Relu", net.linear(net.add("Flatten", x), 36, 10)), 2, 0.2, signed=0)
    return net.save(path, net.linear(x, 10, 4))


@pytest.mark.needs_gxx
@pytest.mark.parametrize("make", [residual, depthwise, small_lenet, bipolar, multi_threshold, few_bits_qdq])
def test_builds_are_exact(make, run, tmp_path):
    """Residual, depthwise, grouped, dilated, flattened, bipolar, FINN and few-bit QDQ networks simulate exactly."""
    make(tmp_path / "net.onnx")
    code, _, error = run("export", "net.onnx", "--count", "16")
    report = json.loads((tmp_path / "build" / "net" / "report.json").read_text())

    assert code == 0, error
    assert report["verification"]["csim_mismatches"] == 0
    assert report["verification"]["qonnx_top1_agreement"] is not None
    driven = [n["vectors"] for n in report["nodes"] if n["op"] != "Shell"]
    assert min(driven) >= 4 and sum(driven) == report["verification"]["vectors"]
    assert all(n["counted_cycles"] in (n["cycles"], None) for n in report["nodes"])
    before = ["input_reader"]
    for n in report["nodes"][1:-1]:
        assert n["inputs"] and set(n["inputs"]) <= set(before)
        before.append(n["name"])
    products = {node.name: node for node in load(tmp_path / "build" / "net").graph.nodes if isinstance(node, Product)}
    told = {n["name"]: n for n in report["nodes"] if n["weights"]}
    assert products.keys() & told.keys()
    for name in products.keys() & told.keys():
        low, high = int(products[name].weight.min()), int(products[name].weight.max())
        assert (told[name]["weights"]["low"], told[name]["weights"]["high"]) == (low, high)
        assert told[name]["weights"]["needed"] == QInt.holding(low, high).bits
        assert told[name]["values"]["needed"] <= told[name]["values"]["bits"]


@pytest.mark.needs_gxx
def test_a_network_that_the_memory_does_not_feed_runs_at_the_memorys_rate(run, tmp_path):
    """As fast as the bound says; what the memory keeps up is noted beside it."""
    net = Net((1, 16, 32, 32))
    net.save(tmp_path / "net.onnx", net.quant(net.quant("x", 8, 1 / 64), 4, 0.25))
    code, output, error = run("export", "net.onnx", "--count", "2")
    report = json.loads((tmp_path / "build" / "net" / "report.json").read_text())

    assert code == 0, error
    moved = report["estimate"]["bytes_per_frame"]
    assert report["estimate"]["fps"] == report["bound"]["fps"] == pytest.approx(4.264e9 / moved)
    assert report["estimate"]["limited_by"] == f"memory: {moved} bytes a frame at 4.26 GB/s"
    assert 250e6 / report["estimate"]["cycles_per_frame"] > report["bound"]["fps"]
    note = f"the units take 244,141 fps; the 3.2 GB/s that the memory keeps up are {3.2e9 / moved:,.0f} fps"
    assert note in report["notes"]
    code, output, error = run("explore", "net.onnx", "--out", "b")
    assert code == 0 and f"{4.264e9 / moved:,.0f} fps, 1,024 cycles a frame" in output, error


@pytest.mark.needs_gxx
def test_any_names_build(run, tmp_path):
    """Quotes, comments, spaces, Unicode, C++ keywords, line ends, and names that the tool itself would give."""
    net = Net((1, 2, 4, 4), seed=9)
    x = net.quant("x", 4, 0.1, name="int")
    x = net.conv(x, net.weight(3, 2, 2, 2), name="quote\"d 'x' \\ */ // $(rm) {{ a }}", out="std\n")
    x = net.quant(x, 4, 0.3, name="quote_d_x_rm_a_window", out="层 ünïcödé")
    x = net.conv(x, net.weight(2, 3, 1, 1), name="", out="input")
    net.save(tmp_path / 'my "net" ü;.onnx', net.quant(x, 4, 0.3, name="层 ünïcödé", out="main"))
    code, _, error = run("export", 'my "net" ü;.onnx', "--count", "4", "--out", "b")
    report = json.loads((tmp_path / "b" / "report.json").read_text())

    assert code == 0, error
    assert report["verification"]["csim_mismatches"] == 0
    assert "层 ünïcödé" in [name for node in report["nodes"] for name in node["origin"]]


@pytest.mark.needs_gxx
def test_report_has_the_keys_scripts_read(model, run, tmp_path):
    """The contract's keys are there; labels give an accuracy; stages run again from their files to the same result."""
    images = np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", np.zeros(10, dtype=np.int64))
    code, _, error = run(
        "export", "net.onnx", "--out", "b", "--pixel-scale", "1/255", "--images", "x.npy", "--labels", "y.npy"
    )
    first = json.loads((tmp_path / "b" / "report.json").read_text())

    assert code == 0, error
    assert all(keys <= set(first[part]) for part, keys in CONTRACT.items())
    assert (first["board"], first["architecture"], first["clock_mhz"]) == ("zu3eg", "streaming", 250.0)
    assert first["accuracy"]["images"] == 10
    plan = (tmp_path / "b" / "plan.json").read_text()
    for command in (["explore", "b"], ["generate", "b"], ["simulate", "b", "--images", "x.npy"], ["report", "b"]):
        assert run(*command)[0] == 0, command
    second = json.loads((tmp_path / "b" / "report.json").read_text())
    assert second["nodes"] == first["nodes"]
    assert json.loads(plan)["nodes"] == json.loads((tmp_path / "b" / "plan.json").read_text())["nodes"]


def test_lower_prints_the_integer_network(model, run, tmp_path):
    """The stage alone writes its files and shows the graph."""
    code, output, _ = run("lower", "net.onnx", "--out", "b")

    assert code == 0
    assert "MatVec" in output
    assert load(tmp_path / "b").graph.input.shape == (8, 8, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "gone.onnx"], "no such file: gone.onnx"),
        (["export", "net.onnx", "--board", "zu3e"], "unknown board 'zu3e'; did you mean 'zu3eg'?"),
        (["export", "net.onnx", "--data", "minst"], "unknown data set 'minst'; did you mean 'mnist'?"),
        (
            ["export", "net.onnx", "--budget", "lut=2"],
            "--budget lut=2: the share must lie from 0 to 1; write lut=0.7",
        ),
        (["export", "net.onnx", "--budget", "luts=0.5"], "unknown resource 'luts'; did you mean 'lut'?"),
        (
            ["export", "net.onnx", "--pixel-scale", "1/0"],
            "--pixel-scale 1/0 is no positive fraction within float32; write 1/255 or 0.0039",
        ),
        (["export", "net.onnx", "--images", "gone.npy"], "cannot read gone.npy: No such file or directory"),
        (
            ["export", "net.onnx", "--images", "net.onnx"],
            "net.onnx is no .npy file of numbers; write it with numpy.save",
        ),
        (["export", "net.onnx", "--labels", "y.npy"], "labels without images; give --images as well"),
        (["export", "net.onnx", "--images", "empty.npy"], "no images [empty.npy]"),
        (
            ["export", "net.onnx", "--images", "wide.npy"],
            "images of shape (3, 8, 9) do not fit the network's input (3, 8, 8) [wide.npy]",
        ),
        (
            ["export", "net.onnx", "--pixel-scale", "1/255", "--images", "int.npy"],
            "images reach 256..256, the input takes 0..255",
        ),
        (["export", "net.onnx", "--images", "nan.npy"], "the images hold NaN or infinity"),
        (["train", "digts"], None),
        (["report", "nowhere"], None),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(arguments, message, model, run, tmp_path):
    """Nothing is written, and what is wrong is told with what to do."""
    for name, array in {
        "empty": np.zeros((0, 3, 8, 8), np.uint8),
        "wide": np.zeros((1, 3, 8, 9), np.uint8),
        "int": np.full((1, 3, 8, 8), 256),
        "nan": np.full((1, 3, 8, 8), np.nan, np.float32),
    }.items():
        np.save(tmp_path / f"{name}.npy", array)
    code, _, error = run(*arguments)

    assert code == 2, error
    assert message is None or one_line(error) == message
    assert len(one_line(error).splitlines()) == 1
    assert not list(tmp_path.glob("build/*")) and not list(tmp_path.glob("build/.*"))


def test_broken_models_are_refused(run, tmp_path):
    """A float ONNX, an unsupported operation, NaN weights, a dynamic map, text: each is named."""
    net = Net((1, 3, 8, 8))
    net.save(tmp_path / "float.onnx", net.conv("x", net.const(np.ones((2, 3, 3, 3)))))
    net = Net((1, 3, 8, 8))
    net.save(tmp_path / "op.onnx", net.add("Sinh", net.quant("x", 8, 0.01), name="strange one"))
    net = Net((1, 3, 8, 8))
    weight = net.quant(net.const(np.full((2, 3, 3, 3), np.nan)), 4, 0.1)
    net.save(tmp_path / "nan.onnx", net.conv(net.quant("x", 8, 0.01), weight))
    net = Net((1, 3, "height", "width"))
    net.save(tmp_path / "dynamic.onnx", net.quant("x", 8, 0.01))
    (tmp_path / "text.onnx").write_text("hello")
    words = {"float": "Quant", "op": "strange one", "nan": "NaN", "dynamic": "height", "text": "ONNX"}

    for name, word in words.items():
        code, _, error = run("export", f"{name}.onnx")
        assert code == 2, name
        assert word in one_line(error), one_line(error)


def test_infeasible_names_the_resource(model, run):
    """A budget that nothing fits, and a rate that nothing reaches, tell what is short and what would fit."""
    code, _, error = run("export", "net.onnx", "--budget", "lut=0.143")
    assert code == 2
    assert "lut" in one_line(error).lower()

    code, _, error = run("export", "net.onnx", "--target-fps", "200000000")
    assert code == 2
    assert "fps" in one_line(error)


def test_a_failed_export_leaves_the_earlier_build(model, run, tmp_path, monkeypatch):
    """A full disk and a kill in the middle keep what was there; running again just works."""
    run("lower", "net.onnx", "--out", "b")
    before = sorted(p.name for p in (tmp_path / "b").iterdir())

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for failure, expected in ((full, 2), (killed, 130)):
        monkeypatch.setattr(project, "write_files", failure)
        code, _, error = run("export", "net.onnx", "--out", "b")
        assert code == expected, error
        assert sorted(p.name for p in (tmp_path / "b").iterdir()) == before
        assert not list(tmp_path.glob(".b.*"))


@pytest.mark.needs_gxx
def test_leftovers_of_a_kill_are_cleared(model, run, tmp_path):
    """A partial folder that a killed run could not remove does not disturb the next one."""
    (tmp_path / ".b.partial").mkdir()
    (tmp_path / ".b.partial" / "junk").write_text("x")

    assert run("export", "net.onnx", "--out", "b", "--count", "2")[0] == 0
    assert not list(tmp_path.glob(".b.*"))


def test_foreign_folders_are_not_overwritten(model, run, tmp_path):
    """A folder that holds something else than a build is left alone."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    code, _, error = run("export", "net.onnx", "--out", "mine")

    assert code == 2
    assert one_line(error) == "the folder mine holds something else than a build; give another --out"


def test_a_missing_compiler_is_told_before_any_work(model, run, tmp_path, monkeypatch):
    """Without g++ the export stops at once with what to install."""
    from toolchain.simulate import compiler

    compiler.compiler.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    code, _, error = run("export", "net.onnx")
    compiler.compiler.cache_clear()

    assert code == 2
    assert one_line(error).startswith("the C simulation needs g++, and CXX is 'no-such-compiler', which is no C++")
    assert not (tmp_path / "build").exists()


@pytest.mark.needs_gxx
def test_a_wrong_accelerator_never_exits_0(model, run, tmp_path, monkeypatch):
    """When the C simulation differs from the integer network the exit code is 3 and the first node is named."""
    real = streaming.generate

    def sabotage(*arguments: object) -> dict[str, str]:
        files = dict(real(*arguments))
        (path,) = [p for p in files if "Conv" in p and "static void dot(" in files[p]]  # its weights are logic
        wrong = files[path].replace("= fpgaflow::sum<s", "= fpgaflow::difference<s", 1)
        return files | {path: wrong}

    monkeypatch.setattr(streaming, "generate", sabotage)
    code, _, error = run("export", "net.onnx", "--count", "4", "--out", "b")
    report = json.loads((tmp_path / "b" / "report.json").read_text())

    assert code == 3
    assert "Conv" in one_line(error)
    assert report["verification"]["csim_mismatches"] > 0


@pytest.mark.needs_gxx
def test_a_unit_that_is_wrong_beyond_the_images_never_exits_0(model, run, tmp_path, monkeypatch):
    """Black images do not reach the fault: the unit's vectors do, and the line names unit, vector, found, expected."""
    real = streaming.generate
    limit = "rounded > high ? high"

    def sabotage(*arguments: object) -> dict[str, str]:
        files = dict(real(*arguments))
        header, threshold = "include/fpgaflow/mul_shift.hpp", "include/fpgaflow/threshold.hpp"
        assert limit in files[header] and "value >= thresholds" in files[threshold]
        files[header] = files[header].replace(limit, "rounded > high - 1 ? static_cast<sum_t>(high - 1)")
        files[threshold] = files[threshold].replace("value >= thresholds", "value > thresholds")
        return files

    monkeypatch.setattr(streaming, "generate", sabotage)
    np.save(tmp_path / "black.npy", np.zeros((2, 3, 8, 8), dtype=np.uint8))
    code, _, error = run("export", "net.onnx", "--pixel-scale", "1/255", "--images", "black.npy", "--out", "b")
    found = json.loads((tmp_path / "b" / "report.json").read_text())["verification"]

    assert code == 3
    assert re.search(r"; unit '\w+' on vector '.+': value '\w+' at .+ is -?\d+, should be -?\d+", one_line(error))
    assert (found["csim_mismatches"], found["vector_mismatches"] > 0) == (0, True)


def test_an_edited_graph_is_not_taken_for_the_plans(model, run, tmp_path):
    """A plan of another graph is refused."""
    run("lower", "net.onnx", "--out", "b")
    assert run("explore", "b")[0] == 0
    changed = onnx.load(tmp_path / "net.onnx")
    scale = next(i for i in changed.graph.initializer if i.float_data or len(i.raw_data) == 4)
    scale.CopyFrom(onnx.numpy_helper.from_array(np.float32(0.37) * np.ones(tuple(scale.dims), np.float32), scale.name))
    onnx.save(changed, tmp_path / "net.onnx")
    run("lower", "net.onnx", "--out", "b")
    code, _, error = run("generate", "b")

    assert code == 2
    assert "plan.json was made for another graph" in one_line(error)


def test_boards_and_version(run):
    """The board table names the part's totals; the version is the package's."""
    code, output, _ = run("boards")
    assert code == 0
    assert "70,560" in output

    assert run("--version")[1].startswith("fpgaflow 0.")
