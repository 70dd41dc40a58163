"""``fpgaflow deploy``: what it writes, what it keeps, what it refuses, and its trial on the mock board."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import conv_bn_relu
from toolchain.deploy.package import deploy, load_deployable
from toolchain.deploy.trial import BATCHES, try_driver
from toolchain.errors import UserError, VerificationError
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.store import load

pytestmark = pytest.mark.needs_gxx
CHECK = Check(count=8, qonnx_images=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of a small network, verified on images that are kept beside it."""
    folder = tmp_path_factory.mktemp("exported")
    model = conv_bn_relu(folder / "net.onnx")
    export(model, folder / "build", Search(architecture="streaming"), CHECK)
    return folder / "build"


@pytest.fixture
def build(exported: Path, tmp_path: Path) -> Path:
    """A copy of it to work on."""
    return Path(shutil.copytree(exported, tmp_path / "build"))


def test_a_deployment_is_whole_and_its_archive_repeats_it(build: Path) -> None:
    target = deploy(build, CHECK)
    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    board = {"board/accelerator.py", "board/network.json", "board/samples.npz"}
    assert files == {"build.tcl", "run.sh", "README.md", *board}
    assert (target / "run.sh").stat().st_mode & 0o111
    with zipfile.ZipFile(build / "deploy.zip") as archive:
        names = set(archive.namelist())
        assert {f"build/deploy/{name}" for name in files} <= names
        assert {"build/hls/run_hls.tcl", "build/hls/src/top.cpp"} <= names
        assert archive.read("build/deploy/board/network.json") == (target / "board/network.json").read_bytes()
    first = (build / "deploy.zip").read_bytes()
    deploy(build, CHECK)
    assert (build / "deploy.zip").read_bytes() == first


def test_the_samples_answers_are_the_integer_networks(build: Path) -> None:
    target = deploy(build, CHECK)
    with np.load(target / "board/samples.npz", allow_pickle=False) as samples:
        images, codes = samples["images"], samples["codes"]
    graph = load(build)
    assert images.shape == (8, *(graph.input.shape[i] for i in (2, 0, 1)))  # the network's own axes
    expected = evaluate(graph, encode(graph, images.transpose(0, 2, 3, 1)))[graph.output]
    np.testing.assert_array_equal(codes, expected)


def test_the_driver_runs_on_the_mock_board_of_the_build(build: Path) -> None:
    deploy(build, CHECK)
    found = try_driver(build)
    assert [trial.batch for trial in found] == list(BATCHES)
    assert all(trial.images == 8 and trial.wrong_codes == 0 for trial in found)
    assert [trial.starts for trial in found] == [8, 2, 1]


def test_a_trial_finds_a_wrong_answer(build: Path) -> None:
    """One code of the stored answers is changed: the trial fails."""
    path = deploy(build, CHECK) / "board/samples.npz"
    with np.load(path, allow_pickle=False) as samples:
        arrays = dict(samples)
    arrays["codes"][0, 0, 0, 0] += 1
    np.savez(path, **arrays)
    with pytest.raises(
        VerificationError, match=r"^the driver's answers differ: 1 of \d+ codes of samples.npz, batch 1$"
    ):
        try_driver(build)


def test_a_trial_without_a_deployment_says_what_to_do(build: Path) -> None:
    with pytest.raises(UserError) as error:
        try_driver(build)
    assert str(error.value) == f"no {build}/deploy/board; run 'fpgaflow deploy' without --try first"


def test_synthesis_results_of_the_same_design_are_kept_and_of_another_refused(build: Path) -> None:
    target = deploy(build, CHECK)
    design = json.loads((target / "board/network.json").read_text())["design"]
    (target / "vivado").mkdir()
    (target / "vivado/hours.dcp").write_text("work")
    (target / f"board/{design}.bit").write_text("bits")
    deploy(build, CHECK)
    assert (target / "vivado/hours.dcp").read_text() == "work"
    assert (target / f"board/{design}.bit").read_text() == "bits"

    (build / "hls/src/top.cpp").write_text((build / "hls/src/top.cpp").read_text() + "// another\n")
    assert load_deployable(build).facts["design"] != design
    with pytest.raises(UserError) as error:
        deploy(build, CHECK)
    assert str(error.value) == (
        f"{target} holds synthesis results of another accelerator: vivado, board/{design}.bit; "
        "move them away, or give --overwrite to remove them"
    )
    assert (target / "vivado/hours.dcp").read_text() == "work"
    deploy(build, CHECK, overwrite=True)
    assert not (target / "vivado").exists()


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("hls", "no hls/ to deploy [BUILD]; run 'fpgaflow generate' and 'simulate' first"),
        ("report.json", "cannot read the report: No such file or directory [BUILD/report.json]"),
    ],
)
def test_a_build_that_is_not_finished_is_refused(missing: str, message: str, build: Path) -> None:
    path = build / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(UserError) as error:
        deploy(build, CHECK)
    assert str(error.value).split("; give")[0] == message.replace("BUILD", str(build))
    assert not (build / "deploy").exists()
