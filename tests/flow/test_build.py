"""A build is read once, is told apart from a person's work, and refuses what was made of something else."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import toolchain.dse.explore
import toolchain.flow.build
import toolchain.flow.stages
import toolchain.flow.streaming
from tests.onnx_models import conv_bn_relu
from toolchain.boards import load_board
from toolchain.cli import main
from toolchain.engine.tables import TABLE_BEATS
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import Build
from toolchain.flow.engine import Engine
from toolchain.flow.engine_found import Found
from toolchain.flow.project import write_project
from toolchain.flow.records import Hls4mlRecord, write_result
from toolchain.flow.streaming import Streaming
from toolchain.ir.text import to_text
from toolchain.report.data import Hls4ml

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Call:
    """Run the command line beside the network net.onnx; returns exit code, standard output and the error line."""
    monkeypatch.chdir(tmp_path)
    conv_bn_relu(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(0, 1, (4, 3, 8, 8)).astype(np.float32))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fpgaflow", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        output, error = capsys.readouterr()
        lines = [line.removeprefix("fpgaflow: ") for line in error.splitlines() if line.startswith("fpgaflow: ")]
        return code, output, "\n".join(lines)

    return call


STALE = "hls/ was made from another plan.json or board.toml [b]; run 'fpgaflow generate' again"
EXPORT = ("export", "net.onnx", "--out", "b", "--images", "x.npy", "--qonnx-images", "0")


@pytest.mark.parametrize("command", ["report", "deploy", "measure"])
def test_a_folder_that_is_no_build_is_called_that(run: Call, tmp_path: Path, command: str) -> None:
    (tmp_path / "b").mkdir()
    arguments = ("board.json",) if command == "measure" else ()
    (tmp_path / "board.json").write_text("{}")
    code, _, line = run(command, "b", *arguments)
    assert (code, line) == (2, "no build [b]; name the folder that 'fpgaflow export' wrote")


@pytest.mark.needs_gxx
def test_an_export_reads_its_graph_at_most_once_and_builds_the_hardware_twice(
    run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once for the depths; the explorer's own calls are counted apart. A stage alone reads each part once."""
    counts = Counter[str]()

    def counted(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: object, **keys: object) -> object:
            counts[f"{module.__name__}.{name}"] += 1
            return real(*arguments, **keys)

        monkeypatch.setattr(module, name, call)

    counted(toolchain.flow.build, "load")
    counted(toolchain.flow.build, "read_record")
    counted(toolchain.flow.build, "read_result")
    counted(toolchain.flow.build, "read_project")
    counted(toolchain.flow.streaming, "to_hardware")
    counted(toolchain.flow.streaming, "read_plan")
    counted(toolchain.dse.explore, "to_hardware")
    assert run(*EXPORT)[0] == 0
    assert counts.pop("toolchain.dse.explore.to_hardware") > 0
    assert counts["toolchain.flow.build.load"] <= 1 and counts["toolchain.flow.streaming.to_hardware"] <= 2

    counts.clear()
    assert run("report", "b")[0] == 0
    assert counts == {
        "toolchain.flow.build.load": 1,
        "toolchain.flow.build.read_record": 2,  # model, build
        "toolchain.flow.build.read_result": 1,
        "toolchain.flow.build.read_project": 1,
        "toolchain.flow.streaming.read_plan": 1,
        "toolchain.flow.streaming.to_hardware": 1,
    }


@pytest.mark.needs_gxx
def test_what_export_knows_is_what_a_stage_reads(run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = list[Build]()
    real = toolchain.flow.stages.report
    monkeypatch.setattr(toolchain.flow.stages, "report", lambda build: known.append(build) or real(build))
    assert run(*EXPORT)[0] == 0
    (before,), after = known, Build(tmp_path / "b")

    assert (before.model, before.record, before.simulation) == (after.model, after.record, after.simulation)
    assert before.project == after.project and before.network.digest == after.network.digest
    assert isinstance(before.design, Streaming) and isinstance(after.design, Streaming)
    assert before.design.plan == after.design.plan and before.design.digest == after.design.digest
    assert to_text(before.design.hardware) == to_text(after.design.hardware)


@pytest.mark.needs_gxx
def test_everything_made_of_a_plan_carries_its_digest(run: Call, tmp_path: Path) -> None:
    assert run(*EXPORT)[0] == 0
    read = {name: json.loads((tmp_path / "b" / name).read_text()) for name in FILES}
    digests = {table["design"] for table in read.values()}

    assert digests == {Build(tmp_path / "b").design.digest}


FILES = ("hls/manifest.json", "simulation.json", "report.json")


@pytest.mark.needs_gxx
def test_a_new_plan_is_reported_and_simulated_only_when_hls_is_its_own(run: Call) -> None:
    assert run(*EXPORT)[0] == 0
    assert run("explore", "b", "--target-fps", "5000")[0] == 0
    for command in ("report", "simulate"):
        code, _, error = run(command, "b")
        assert (code, error) == (2, STALE)
    assert run("generate", "b")[0] == 0
    code, _, error = run("report", "b")
    assert (code, error) == (2, "simulation.json is of another hls/ [b]; run 'fpgaflow simulate' again")
    assert run("simulate", "b", "--images", "x.npy")[0] == run("report", "b")[0] == 0


@pytest.mark.needs_gxx
@pytest.mark.parametrize("architecture", ["streaming", "engine"])
def test_the_report_tells_the_budget_that_was_asked_for(architecture: str, run: Call, tmp_path: Path) -> None:
    shares = ("--budget", "lut=0.65", "--budget", "dsp=0.5")
    assert run(*EXPORT, "--architecture", architecture, *shares)[0] == 0
    for _ in range(2):
        usage = json.loads((tmp_path / "b" / "report.json").read_text())["resources"]
        assert (usage["lut"]["budget"], usage["dsp"]["budget"]) == (int(0.65 * 70_560), 180)
        assert run("report", "b")[0] == 0


def test_a_budget_may_leave_out_a_resource(run: Call, tmp_path: Path) -> None:
    """Products then are made of LUTs."""
    assert run("lower", "net.onnx", "--out", "b")[0] == 0
    assert run("explore", "b", "--budget", "dsp=0")[0] == 0
    plan = json.loads((tmp_path / "b" / "plan.json").read_text())
    assert plan["solver"]["budget"] == {"dsp": 0.0}
    assert {node.get("products_per_dsp", 0) for node in plan["nodes"].values()} == {0}


def test_a_build_is_explored_for_its_own_board(run: Call, tmp_path: Path) -> None:
    """That of the lowering, then that of the plan, unless another one is named."""

    def board(*arguments: str) -> str:
        assert run("explore", "b", *arguments)[0] == 0
        return str(json.loads((tmp_path / "b" / "plan.json").read_text())["board"])

    assert run("lower", "net.onnx", "--out", "b", "--board", "kv260")[0] == 0
    assert [board(), board("--board", "zcu104"), board()] == ["kv260", "zcu104", "zcu104"]
    assert run("lower", "net.onnx", "--out", "b")[0] == 0, "at another price of a slice the plan may be stale"
    (tmp_path / "b" / "plan.json").unlink()
    assert board() == "zu3eg"


def test_a_plan_that_is_given_is_held_against_its_own_board_and_nothing_is_asked_of_it(
    run: Call, tmp_path: Path
) -> None:
    assert run("explore", "net.onnx", "--out", "a", "--board", "kv260")[0] == 0
    (tmp_path / "p.json").write_bytes((tmp_path / "a" / "plan.json").read_bytes())
    for source in ("net.onnx", "b"):
        code, output, _ = run("explore", source, *(["--out", "b"] if source == "net.onnx" else []), "--plan", "p.json")
        assert code == 0 and "budget, kv260" in output and "71,984" in output
    assert json.loads((tmp_path / "b" / "model.json").read_text())["board"] == "kv260"

    for option, value in (("--clock", "100"), ("--target-fps", "9"), ("--budget", "lut=0.5")):
        for command in ("explore", "export"):
            code, _, error = run(command, "net.onnx", "--plan", "p.json", option, value)
            assert (code, error) == (2, f"{option} does not go with a plan; a plan that is given is taken as it is")
    code, _, error = run("export", "net.onnx", "--plan", "p.json", "--board", "zcu104")
    hint = 'leave --board out, or change "board" in the plan'
    assert (code, error) == (2, f"the plan is for the board kv260, --board says zcu104 [p.json]; {hint}")


def test_a_build_is_explored_where_it_stands(run: Call, tmp_path: Path) -> None:
    assert run("lower", "net.onnx", "--out", "b")[0] == 0
    code, _, error = run("explore", "b", "--out", "c")
    assert (code, error) == (2, "--out c with the build b; it is explored where it stands")


@pytest.mark.needs_gxx
def test_a_build_for_a_board_whose_file_has_changed_since_is_not_reported(run: Call, tmp_path: Path) -> None:
    board = tmp_path / "mine" / "board.toml"
    board.parent.mkdir()
    text = 'extends = "zu3eg"\ntitle = "mine"\n[planning]\nlut = { value = %s, source = "%s" }\n'
    board.write_text(text % (0.6, "a guess"))
    assert run(*EXPORT, "--board", "mine")[0] == 0
    board.write_text(text % (0.6, "a measurement"))
    assert run("report", "b")[0] == 0, "another source of the same number is no other board"

    board.write_text(text % (0.5, "a measurement"))
    assert run("report", "b")[::2] == run("compare", "b", "b")[::2] == (2, STALE)
    for command in ("explore", "generate", "simulate"):
        assert run(command, "b", *(["--images", "x.npy"] if command == "simulate" else []))[0] == 0
    old = "report.json is of another accelerator [b]; run 'fpgaflow report' again"
    assert run("compare", "b", "b")[::2] == (2, old)
    assert run("report", "b")[0] == run("compare", "b", "b")[0] == 0


@pytest.mark.needs_gxx
def test_an_hls4ml_project_that_is_not_the_simulated_one_is_left_out_and_named(run: Call, tmp_path: Path) -> None:
    assert run(*EXPORT)[0] == 0
    counts = {"images": 4, "outputs": 8, "mismatches": 0, "classes": 0, "max_deviation": 0.0, "max_steps": 0.0}
    told = Hls4ml(version="1", io_type="io_stream", reuse={}, compile_seconds=1.0, simulate_seconds=1.0, **counts)
    path, folder = tmp_path / "b" / "hls4ml.json", tmp_path / "b" / "hls4ml"
    design = Build(tmp_path / "b").design.digest
    for of, source, what in (
        (design, "as it was", None),
        ("another", "as it was", "of another plan"),
        (design, "mine", "not as it was simulated"),
        (design, None, "gone or incomplete"),
    ):
        write_project({"net.cpp": "as it was"}, folder, design)
        folder.joinpath("net.cpp").write_text(source) if source else folder.joinpath("net.cpp").unlink()
        write_result(Hls4mlRecord(design=of, found=told), path)
        assert run("report", "b")[0] == 0
        report = json.loads((tmp_path / "b" / "report.json").read_text())
        assert (report["hls4ml"] is None) == (what is not None)
        stale = f"hls4ml/ is {what} and left out: 'fpgaflow export --backend hls4ml' makes it again"
        assert (stale in report["notes"]) == (what is not None)


@pytest.mark.needs_gxx
def test_hls_that_was_changed_by_hand_is_simulated_before_it_is_reported_and_is_named(
    run: Call, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(*EXPORT)[0] == 0
    source = next((tmp_path / "b" / "hls" / "src" / "units").iterdir())
    source.write_text(source.read_text() + "// mine\n")
    code, _, error = run("report", "b")
    assert (code, error) == (2, "hls/ was changed after it was simulated [b]; run 'fpgaflow simulate' again")
    assert run("simulate", "b", "--images", "x.npy")[0] == run("report", "b")[0] == 0
    changed = f"changed since generated: {source.relative_to(tmp_path / 'b' / 'hls')} in hls/; "
    note = changed + "proven is only what the C simulation runs of them"
    assert note in json.loads((tmp_path / "b" / "report.json").read_text())["notes"]
    assert run("deploy", "b", "--images", "x.npy")[0] == 0 and note in caplog.messages

    code, _, error = run("generate", "b")
    assert code == 2
    assert error == f"b/hls would be replaced, and this tool did not write b/{source.relative_to(tmp_path / 'b')}; " + (
        "move it away or give --overwrite"
    )
    source.unlink()
    code, _, error = run("simulate", "b")
    assert code == 2 and error.endswith("run 'fpgaflow generate' again")


@pytest.mark.needs_gxx
def test_cycles_that_are_not_the_models_and_integers_that_are_not_the_files_fail_the_build(
    run: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every code is right: only the count of one unit is not, or the float32 executor has others."""
    from toolchain.flow import pace

    def differs(*_: object) -> None:
        raise VerificationError("node 'y' deviates")

    real = pace.frame_cycles
    monkeypatch.setattr(pace, "frame_cycles", lambda node, graph: real(node, graph) + 1)
    code, _, error = run(*EXPORT)

    assert code == 3
    assert re.fullmatch(
        r"the build is not exact: 0 codes of the C simulation differ; unit '\w+' took [\d,]+ cycles for 4 images, "
        r"the model says [\d,]+",
        error,
    )
    assert run("report", "b")[0] == 3

    monkeypatch.setattr(pace, "frame_cycles", real)
    monkeypatch.setattr("toolchain.flow.simulate.compare_with_qonnx", differs)
    told = "the build is not exact: 0 codes of the C simulation differ; node 'y' deviates"
    for command in (("simulate", "b", "--images", "x.npy"), ("report", "b"), ("deploy", "b", "--images", "x.npy")):
        assert run(*command)[::2] == (3, told)


@pytest.mark.needs_gxx
def test_an_engine_reports_and_simulates_its_own_hls(
    run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed memory image is simulated, and found; a streaming plan makes its project stale; both records stay."""
    assert run(*EXPORT, "--architecture", "engine")[0] == 0
    memory = tmp_path / "b" / "hls" / "memory.bin"
    image = memory.read_bytes()
    design = Build(tmp_path / "b").design
    assert isinstance(design, Engine)
    changes = ({"placement": {"a map": 1}}, {"clock_mhz": 100.0}, {"shape": {}})
    others = [Found(design.found.graph, design.found.record.model_copy(update=change)) for change in changes]
    others.append(replace(design.found))
    vars(others[-1])["board"] = load_board("kv260")
    assert design.digest not in [replace(design, found=other).digest for other in others], "hls/ of another is stale"
    behind = design.found.program.passes * TABLE_BEATS * 16  # addresses stay, weights and constants change
    memory.write_bytes(image[:behind] + bytes(byte ^ 0x05 for byte in image[behind:]))
    assert run("report", "b")[0] == 2
    assert run("simulate", "b", "--images", "x.npy")[0] == 3
    memory.write_bytes(b"short")
    assert run("simulate", "b", "--images", "x.npy")[::2] == (
        2,
        "memory.bin is of another engine; run 'fpgaflow generate' again",
    )
    assert run("generate", "b", "--overwrite")[0] == 0
    assert run("simulate", "b", "--images", "x.npy")[0] == 0
    real = Found.unit_cycles
    with monkeypatch.context() as patch:  # every code is right, the cycles of one unit are not the model's
        patch.setattr(Found, "unit_cycles", lambda found: real(found) | {"convolve": 1})
        code, _, error = run("simulate", "b", "--images", "x.npy")
    assert code == 3
    assert re.search(r"; unit 'convolve' took [\d,]+ cycles for 4 images, the model says 4$", error)
    assert run("simulate", "b", "--images", "x.npy")[0] == 0
    assert run("explore", "b")[0] == 0
    assert run("report", "b")[::2] == (2, STALE)
    assert Build(tmp_path / "b").record.architecture == "streaming"
    assert run(*EXPORT)[0] == 0, "nothing here is a person's"


@pytest.mark.needs_gxx
@pytest.mark.parametrize("name", ["notes.txt", "vitis/vitis_project/design.bit", "hls/vitis_project/design.bit"])
def test_what_a_person_put_into_a_build_is_not_replaced_unless_asked_to(name: str, run: Call, tmp_path: Path) -> None:
    assert run(*EXPORT)[0] == 0
    own = tmp_path / "b" / name
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_bytes(b"\x00\xffhours of work")
    before = {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    code, _, error = run(*EXPORT)

    assert code == 2
    assert error == (
        f"the build b would be replaced, and this tool did not write b/{name}; move it away or give --overwrite"
    )
    assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == before
    for command in ("simulate", "report"):
        assert run(command, "b")[0] == 0
    assert run("generate", "b")[0] == (2 if name.startswith("hls/") else 0)
    assert own.is_file()
    assert run(*EXPORT, "--overwrite")[0] == 0
    assert not own.exists() and not list(tmp_path.glob(".b*"))


@pytest.mark.needs_gxx
def test_a_plan_by_hand_is_built_but_nothing_is_proved_of_it_and_no_search_replaces_it(
    run: Call, tmp_path: Path
) -> None:
    assert run(*EXPORT)[0] == 0
    path = tmp_path / "b" / "plan.json"
    path.write_text(path.read_text().replace('"clock_mhz": 250.0', '"clock_mhz": 200.0'))
    assert run("generate", "b")[0] == run("simulate", "b", "--images", "x.npy")[0] == run("report", "b")[0] == 0
    report = json.loads((tmp_path / "b" / "report.json").read_text())

    assert (report["clock_mhz"], report["solver"]["status"], report["solver"]["gap"]) == (200.0, "given by hand", None)
    for command, what in ((("explore", "b"), "the plan"), (EXPORT, "the build b")):
        code, _, error = run(*command)
        assert code == 2
        assert error == f"{what} would be replaced, and this tool did not write b/plan.json; " + (
            "move it away or give --overwrite"
        )
    assert run("explore", "b", "--overwrite")[0] == 0 and "250.0" in path.read_text()


@pytest.mark.needs_gxx
@pytest.mark.parametrize("mhz", ["250.0", "200.0"])
def test_of_a_plan_that_is_given_nothing_is_proved_whether_it_was_changed_or_not(
    mhz: str, run: Call, tmp_path: Path
) -> None:
    """The explorer's own plan carries its proof, which is of no other plan."""
    assert run("lower", "net.onnx", "--out", "a")[0] == run("explore", "a")[0] == 0
    found = (tmp_path / "a" / "plan.json").read_text()
    assert json.loads(found)["solver"]["status"] == "optimal"
    (tmp_path / "p.json").write_text(found.replace('"clock_mhz": 250.0', f'"clock_mhz": {mhz}'))

    assert run(*EXPORT, "--plan", "p.json")[0] == 0
    assert json.loads((tmp_path / "b" / "plan.json").read_text())["solver"] is None
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    assert report["clock_mhz"] == float(mhz)
    assert report["solver"] == {"name": "none", "status": "given by hand", "gap": None, "seconds": 0.0}


@pytest.mark.parametrize("failing", ["write_record", "save"])
def test_lowering_goes_on_where_it_was_killed(
    failing: str, run: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of its files: what follows names lower, and lower then works."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(toolchain.flow.stages, failing, killed)
        assert run("lower", "net.onnx", "--out", "b")[0] == 130
    assert run("explore", "b")[2].endswith("run 'fpgaflow lower' first") or failing == "write_record"
    assert run("lower", "net.onnx", "--out", "b")[0] == run("explore", "b")[0] == 0


def test_what_killed_commands_leave_behind_is_not_a_persons_and_goes(run: Call, tmp_path: Path) -> None:
    assert run("explore", "net.onnx", "--out", "b")[0] == 0
    for name in (".hls.12-0123abcd.partial", ".hls4ml.x_1a2b3c.partial"):
        (tmp_path / "b" / name).mkdir()
        (tmp_path / "b" / name / "half").write_text("x")
    (tmp_path / "b" / ".plan.json.12-0123abcd").write_text("x")
    assert [*toolchain.flow.build.foreign_files(tmp_path / "b")] == []
    assert run("generate", "b")[0] == 0
    assert [*(tmp_path / "b").glob(".*")] == []


def test_what_an_editor_keeps_beside_an_opened_file_is_a_persons_and_stays(run: Call, tmp_path: Path) -> None:
    assert run("lower", "net.onnx", "--out", "b")[0] == 0
    swap = tmp_path / "b" / ".plan.json.swp"
    swap.write_text("x")
    assert run("explore", "b")[0] == 0 and swap.is_file()
    refusal = "the build b would be replaced, and this tool did not write b/.plan.json.swp; move it away or give"
    assert run(*EXPORT)[2].startswith(refusal) and swap.is_file()


def test_lowering_into_another_folder_or_a_file_is_refused(run: Call, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "graph.json").write_text("x")
    assert run("lower", "net.onnx", "--out", "mine")[::2] == (
        2,
        "the folder mine holds something else than a build; give another --out",
    )
    assert run("lower", "net.onnx", "--out", "x.npy")[::2] == (2, "x.npy is a file; give a folder with --out")
    assert run("report", "gone")[::2] == (
        2,
        "no build folder: gone; run 'fpgaflow lower' or 'fpgaflow export' first",
    )


def test_a_manifest_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    from toolchain.flow.project import read_project

    (tmp_path / "manifest.json").write_text(json.dumps({"design": "", "files": {"../secret": ""}, "fpgaflow": "0"}))
    with pytest.raises(UserError, match=re.escape("the path '../secret' leads out of the folder")):
        read_project(tmp_path, "fpgaflow generate")


@pytest.mark.needs_gxx
def test_a_build_is_as_readable_as_the_umask_says(run: Call, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert run(*EXPORT)[0] == 0
    finally:
        os.umask(before)
    modes = {path.is_dir(): path.stat().st_mode & 0o777 for path in (tmp_path / "b").rglob("*")}
    assert modes == {True: 0o755, False: 0o644}
