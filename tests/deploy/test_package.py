"""``fpgaflow deploy``: what it writes, what it keeps, what it refuses, and its trial on the mock board."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.conftest import CHECK
from toolchain.cli.deploying import deploy as command
from toolchain.deploy.package import deploy, deployable
from toolchain.deploy.trial import BATCHES, Trial, try_driver
from toolchain.errors import UserError, VerificationError
from toolchain.flow.build import Build
from toolchain.flow.options import Search
from toolchain.flow.simulate import simulate
from toolchain.flow.stages import export, generate, report
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.store import load
from toolchain.locks import locked

pytestmark = pytest.mark.needs_gxx


def test_a_deployment_is_whole_and_its_archive_repeats_it(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = deploy(Build(build), CHECK)
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    board = {"board/accelerator.py", "board/network.json", "board/samples.npz"}
    native = {path for path in files if path.startswith("board/cpp/")}
    kria = {path for path in files if path.startswith("kria/")}
    assert files - native - kria == {"build.tcl", "run.sh", "README.md", "hls.sha256", "manifest.json", *board}
    assert {f"board/cpp/{name}" for name in ("main.cpp", "network.hpp", "host/encode.hpp", "samples.bin")} <= native
    assert {Path(path).suffix for path in kria} == {".dts", ".bif", ".json"}
    assert (target / "run.sh").stat().st_mode & 0o111
    with zipfile.ZipFile(build / "deploy.zip") as archive:
        names = set(archive.namelist())
        assert {f"build/deploy/{name}" for name in files - {"manifest.json"}} <= names
        assert {"build/hls/run_hls.tcl", "build/hls/src/top.cpp"} <= names
        assert archive.read("build/deploy/board/network.json") == (target / "board/network.json").read_bytes()
    first = (build / "deploy.zip").read_bytes()
    deploy(Build(build), CHECK)
    assert (build / "deploy.zip").read_bytes() == first

    def full(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("toolchain.deploy.package.write_bytes", full)
    with pytest.raises(OSError):
        deploy(Build(build), CHECK)
    assert not (build / "deploy.zip").exists(), "none beside a deploy/ that may be another design's"


def test_the_samples_answers_are_the_integer_networks(build: Path) -> None:
    target = deploy(Build(build), CHECK)
    with np.load(target / "board/samples.npz", allow_pickle=False) as samples:
        images, codes = samples["images"], samples["codes"]
    graph = load(build).graph
    assert images.shape == (8, *(graph.input.shape[i] for i in (2, 0, 1)))  # the network's own axes
    expected = evaluate(graph, encode(graph, images.transpose(0, 2, 3, 1)))[graph.output]
    np.testing.assert_array_equal(codes, expected)


def test_the_driver_runs_on_the_mock_board_of_the_build(build: Path) -> None:
    deploy(Build(build), CHECK)
    found = try_driver(Build(build))
    assert [trial.batch for trial in found] == list(BATCHES)
    assert all(trial.images == 8 and trial.wrong_codes == 0 for trial in found)
    assert [trial.starts for trial in found] == [8, 2, 1]


def test_a_trial_finds_a_wrong_answer_and_names_what_was_changed(build: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One code of the stored answers is changed: the trial fails. It does not run all of network.json."""
    path = deploy(Build(build), CHECK) / "board/samples.npz"
    with np.load(path, allow_pickle=False) as samples:
        arrays = dict(samples)
    arrays["codes"][0, 0, 0, 0] += 1
    np.savez(path, **arrays)
    with pytest.raises(
        VerificationError, match=r"^the driver's answers differ: 1 of \d+ codes of samples.npz, batch 1$"
    ):
        try_driver(Build(build))
    note = "changed since generated: board/samples.npz in deploy/; proven is only what the trial runs of them"
    assert caplog.messages == [note]
    for name, told in (("samples.npz", "^the driver stopped: "), ("network.json", "^not valid JSON: .*--overwrite")):
        damaged = path.with_name(name)
        damaged.write_bytes(damaged.read_bytes()[:60])
        with pytest.raises(UserError, match=told):
            try_driver(Build(build))


def test_a_trial_has_the_build_for_itself(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes the report: an export meanwhile would get that of the build before."""

    def trial(found: Build, **_: object) -> list[Trial]:
        in_use = pytest.raises(UserError, match="build is in use by 'deploy --try', process ")
        with in_use, locked(found.folder, "export", wait=0):
            pass
        return []

    monkeypatch.setattr("toolchain.deploy.trial.try_driver", trial)
    command(build, trial=True)


def test_a_trial_without_a_deployment_says_what_to_do(build: Path) -> None:
    with pytest.raises(UserError) as error:
        try_driver(Build(build))
    assert str(error.value) == f"no {build}/deploy/board; run 'fpgaflow deploy' without --try first"


def test_synthesis_results_of_the_same_design_are_kept_and_of_another_refused(build: Path) -> None:
    target = deploy(Build(build), CHECK)
    design = json.loads((target / "board/network.json").read_text())["design"]
    (target / "vivado").mkdir()
    (target / "vivado/hours.dcp").write_text("work")
    (target / f"board/{design}.bit").write_text("bits")
    deploy(Build(build), CHECK)
    assert (target / "vivado/hours.dcp").read_text() == "work"
    assert (target / f"board/{design}.bit").read_text() == "bits"

    other = build / "plan.json"
    plan = json.loads(other.read_text())
    other.write_text(json.dumps({**plan, "clock_mhz": 200.0}))
    again = simulate(generate(Build(build)), CHECK)
    assert deployable(again).facts["design"] != design
    with pytest.raises(UserError) as error:
        deploy(again, CHECK)
    assert str(error.value) == (
        f"{target} would be replaced, and this tool did not write {target}/board/{design}.bit; "
        "move it away or give --overwrite"
    )
    assert (target / "vivado/hours.dcp").read_text() == "work"
    deploy(again, CHECK, overwrite=True)
    assert not (target / "vivado").exists()


def test_a_script_that_a_person_changed_is_not_replaced(build: Path) -> None:
    script = deploy(Build(build), CHECK) / "build.tcl"
    script.write_text(script.read_text() + "# mine\n")
    with pytest.raises(UserError, match=rf"this tool did not write {script}; move it away or give --overwrite$"):
        deploy(Build(build), CHECK)
    assert script.read_text().endswith("# mine\n")
    deploy(Build(build), CHECK, overwrite=True)
    assert not script.read_text().endswith("# mine\n")

    (build / "deploy/manifest.json").write_text("{")  # a power cut: whose the files are is not known
    with pytest.raises(UserError, match=r"this tool did not write .*; move it away or give --overwrite$"):
        deploy(Build(build), CHECK)
    deploy(Build(build), CHECK, overwrite=True)


def test_another_hls_is_not_synthesized_under_the_name_of_the_deployed_design(build: Path) -> None:
    target = deploy(Build(build), CHECK)
    stale = (2, "../hls is not the one that deploy/ was made of: run 'fpgaflow deploy' again\n")
    same = (2, "no vitis_hls and no vitis-run: source settings64.sh of Vitis first\n")

    def ip() -> tuple[int, str]:
        done = subprocess.run(["sh", target / "run.sh", "ip"], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert ip() == same
    source = build / "hls/src/top.cpp"
    design = deployable(Build(build)).facts["design"]
    source.write_text(source.read_text() + "// mine\n")
    assert ip() == stale
    deploy(simulate(Build(build), CHECK), CHECK)
    assert ip() == same
    assert deployable(Build(build)).facts["design"] != design, "a bitstream of the hls/ before is not taken for its own"
    source.unlink()
    assert ip() == stale


def test_an_export_over_a_deployment_keeps_what_vivado_made(build: Path) -> None:
    """Without results another export may replace deploy/, with them it may not."""
    model = Path(Build(build).model.file)
    target = deploy(Build(build), CHECK)
    (target / "vivado").mkdir()
    (target / "vivado/hours.dcp").write_text("work")
    with pytest.raises(UserError, match=r"this tool did not write .*/deploy/vivado/hours.dcp"):
        export(model, build, Search(architecture="streaming"), CHECK)
    (target / "vivado/hours.dcp").unlink()
    export(model, build, Search(architecture="streaming"), CHECK)
    assert not target.exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("hls", "no such file [BUILD/hls/manifest.json]; run 'fpgaflow generate' first"),
        ("simulation.json", "no such file [BUILD/simulation.json]; run 'fpgaflow simulate' first"),
    ],
)
def test_a_build_that_is_not_finished_is_refused(missing: str, message: str, build: Path) -> None:
    path = build / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError) as error:
        deploy(Build(build), CHECK)
    assert str(error.value) == message.replace("BUILD", str(build))
    assert not (build / "deploy").exists()


@pytest.mark.parametrize(
    ("name", "found", "other", "hint"),
    [
        ("simulation.json", '"images": ', '"images": 1', "run 'fpgaflow simulate' first"),
        ("simulation.json", '"csim_mismatches": ', '"csim_mismatches": 1', "run 'fpgaflow simulate' first"),
        ("simulation.json", '"@read": ', '"@read": 1', "run 'fpgaflow simulate' first"),
        ("counts.json", "{", "{", "run 'fpgaflow count' again"),
        ("measured.json", "{", "{", "remove it, and let 'fpgaflow measure' read what the board showed again"),
    ],
)
def test_a_result_that_was_changed_is_refused(name: str, found: str, other: str, hint: str, build: Path) -> None:
    path = build / name
    before = path.read_text() if path.is_file() else "{}"
    assert found in before
    path.write_text(before.replace(found, other, 1))
    for use in (report, lambda changed: deploy(changed, CHECK)):
        with pytest.raises(UserError) as error:
            use(Build(build))
        assert str(error.value) == f"not as it was written [{path}]; {hint}"


def test_a_deployment_of_another_accelerator_is_not_tried(build: Path) -> None:
    path = deploy(Build(build), CHECK) / "board/network.json"
    path.write_text(path.read_text().replace('"design": "', '"design": "x'))
    with pytest.raises(UserError, match=r"deploy is of another accelerator; run 'fpgaflow deploy' again$"):
        try_driver(Build(build))
