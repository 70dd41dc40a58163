"""Builds for the engine: all stages, the choice between architectures, and what users get wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.engine.networks import curved_maps, gated_maps, joined_maps
from tests.onnx_models import conv_bn_relu, depthwise
from toolchain.boards import load_board
from toolchain.cli import main
from toolchain.dse.bits import nearest
from toolchain.engine.cut import cut
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.engine_found import memory_rate
from toolchain.flow.engine_report import _kind
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.products import MatVec

PIXELS = ("--pixel-scale", "1/255")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command line in an empty folder; returns exit code, standard output and error."""
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (4, 3, 8, 8), dtype=np.uint8))

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


@pytest.mark.needs_gxx
def test_an_engine_build_is_exact_and_its_stages_run_again(run, tmp_path: Path) -> None:
    """Export, simulate and report; exploring anew makes a streaming build of it."""
    model = conv_bn_relu(tmp_path / "net.onnx")
    code, _, _ = run("export", str(model), *PIXELS, "--out", "b", "--images", "x.npy", "--architecture", "engine")
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    record = json.loads((tmp_path / "b" / "engine.json").read_text())

    assert code == 0
    assert report["architecture"] == "engine"
    assert report["verification"]["csim_mismatches"] == 0
    driven = [node["vectors"] for node in report["nodes"] if node["vectors"]]
    assert sum(driven) == report["verification"]["vectors"] > 0
    assert report["verification"]["qonnx_top1_agreement"] == 1.0
    units = [node for node in report["nodes"] if node["counted_cycles"] is not None]
    assert len(units) == 8 and all(node["counted_cycles"] == node["cycles"] for node in units)
    assert report["estimate"]["fps"] == pytest.approx(250e6 / record["cycles"])
    assert len((tmp_path / "b" / "hls" / "memory.bin").read_bytes()) % 16 == 0
    assert not (tmp_path / "b" / "plan.json").exists()
    assert run("simulate", "b", "--images", "x.npy")[0] == run("report", "b")[0] == 0
    assert run("explore", "b")[0] == 0
    assert Build(tmp_path / "b").record.architecture == "streaming"


@pytest.mark.needs_gxx
def test_auto_takes_the_faster_architecture_and_says_why(run, tmp_path: Path) -> None:
    model = conv_bn_relu(tmp_path / "net.onnx")
    code, _, _ = run("export", str(model), *PIXELS, "--out", "b", "--images", "x.npy", "--architecture", "auto")
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    (note,) = [note for note in report["notes"] if note.startswith("auto chose")]

    assert code == 0
    assert report["architecture"] == "streaming"  # one layer that fits: nothing to share
    assert note == f"auto chose streaming, {report['estimate']['fps']:,.0f} fps; no engine is faster"
    assert Build(tmp_path / "b").record.architecture == "streaming"


def test_an_unknown_architecture(run, tmp_path: Path) -> None:
    model = conv_bn_relu(tmp_path / "net.onnx")
    code, _, error = run("export", str(model), "--out", "b", "--architecture", "engin")

    assert (code, error) == (2, "fpgaflow: unknown architecture 'engin'; did you mean 'engine'?\n")


def test_check_says_whether_the_engine_runs_a_network(run, tmp_path: Path, monkeypatch) -> None:
    """One with dilated and grouped convolutions runs; every refusal is a line and the exit code is 2."""
    model = depthwise(tmp_path / "net.onnx")
    code, output, _ = run("check", str(model), "--engine")
    monkeypatch.setattr("toolchain.flow.engine.refusals", lambda graph: [("Pool 'p'", "no unit runs it")])
    refused, lines, _ = run("check", str(model), "--engine")

    assert (code, refused) == (0, 2)
    assert output.endswith("the engine runs it\n")
    assert lines.endswith("Pool 'p': no unit runs it\n")


def test_a_search_of_bits_prints_a_front_and_writes_it(run, tmp_path: Path) -> None:
    """With the noise of rounded weights, with a table of one's own, and with words that are wrong."""
    model = conv_bn_relu(tmp_path / "net.onnx")
    code, output, _ = run("explore", str(model), "--out", "b", "--bits", "search", "--widths", "2,3,4")
    found = json.loads((tmp_path / "b" / "bits.json").read_text())

    assert code == 0 and output.rstrip().endswith("bits.json")
    assert len(found["front"]) > 1
    assert all(row["engine_bits"] in (2, 3, 4) for row in found["front"])
    (layer,) = found["sensitivity"]
    (tmp_path / "table.json").write_text(json.dumps({layer: {"2": 0.0, "4": 0.0}}))
    assert (
        run("explore", "b", "--bits", "search", "--widths", "2,4", "--sensitivity", "table.json", "--loss", "0")[0] == 0
    )
    (best,) = json.loads((tmp_path / "b" / "bits.json").read_text())["front"]
    assert (best["loss"], best["bits"]) == (0.0, {layer: best["engine_bits"]})
    assert run("explore", "b", "--bits", "four")[0] == 2
    assert run("explore", "b", "--bits", "search", "--widths", "4;8")[0] == 2
    assert run("explore", "b", "--bits", "search", "--widths", "9")[0] == 2


def test_losses_are_measured_on_images(run, tmp_path: Path) -> None:
    """What the outputs change with one layer rounded, over their squares; more bits change less."""
    model = conv_bn_relu(tmp_path / "net.onnx")
    x = np.random.default_rng(0).normal(size=(8, 3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    words = ("--bits", "search", "--widths", "2,3,4", "--images", "x.npy")
    code, output, _ = run("explore", str(model), "--out", "b", *words)
    graph = Build(tmp_path / "b").network.graph
    found = json.loads((tmp_path / "b" / "bits.json").read_text())["sensitivity"]

    assert code == 0, output
    (losses,) = found.values()
    assert losses["2"] > losses["3"] >= losses["4"] == 0
    (node,) = (n for n in graph.nodes if isinstance(n, MatVec))
    rounded = replace(node, weight=np.rint(nearest(node.weight, 2)).astype(np.int64))
    codes = encode(graph, x.transpose(0, 2, 3, 1))
    other = graph.with_nodes([rounded if n is node else n for n in graph.nodes])
    a, b = (evaluate(g, codes)[graph.output].astype(float) for g in (graph, other))
    assert losses["2"] == pytest.approx(((a - b) ** 2).sum() / (a**2).sum())
    both = ("--images", "x.npy", "--sensitivity", "t.json")
    assert run("explore", "b", "--bits", "search", *both)[0] == 2
    assert run("explore", "b", "--bits", "search", "--images", "none.npy")[0] == 2


def test_a_board_without_memory_data() -> None:
    board = load_board("zu3eg")
    bare = board.model_copy(update={"memory": board.memory.model_copy(update={"sustained_bytes_per_second": None})})
    with pytest.raises(UserError) as failure:
        memory_rate(bare, 250.0)

    assert str(failure.value) == (
        "the board zu3eg has no memory.sustained_bytes_per_second, which the engine needs; add it to its board.toml"
    )


def test_a_pass_is_told_by_its_units() -> None:
    found = [_kind(p) for graph in (curved_maps(), gated_maps(), joined_maps()) for p in cut(graph).passes]
    assert {"table, largest 3x3", "conv 3x3, table, filter 3x3, table", "conv 1x1, table, add"} < {*found}
    assert {"largest 2x2", "quantize", "upsample 4x4, conv 3x3", "multiply", "conv 1x1, multiply"} < {*found}
