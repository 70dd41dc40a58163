"""The wheel holds everything it needs and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.onnx_models import Net

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {
    "toolchain": "toolchain",
    "fpgaflow": "fpgaflow",
    "boards": "toolchain/_data/boards",
    "sim": "toolchain/_data/sim",
}
FILES = {"toolchain/_data/constraints.txt"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("fpgaflow-*.whl")
    return path


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder the wheel is unpacked in."""
    folder = tmp_path_factory.mktemp("site")
    zipfile.ZipFile(wheel).extractall(folder)
    return folder


def _fpgaflow(site: Path, folder: Path, *arguments: str) -> str:
    """Standard output of the command of the unpacked wheel, run in ``folder``."""
    code = f"import toolchain, toolchain.cli\nassert toolchain.__file__.startswith({str(site)!r})\ntoolchain.cli.main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package_and_its_data(wheel: Path) -> None:
    expected = {
        f"{inside}/{path.relative_to(ROOT / folder)}"
        for folder, inside in SOURCES.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | FILES
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert inside == expected


def test_the_wheel_carries_its_licence_and_names_it(wheel: Path) -> None:
    names = {name.partition(".dist-info/")[2]: name for name in zipfile.ZipFile(wheel).namelist()}
    metadata = zipfile.ZipFile(wheel).read(names["METADATA"]).decode()
    assert "License-Expression: Apache-2.0\n" in metadata
    assert zipfile.ZipFile(wheel).read(names["licenses/LICENSE"]) == (ROOT / "LICENSE").read_bytes()


def test_the_wheel_has_what_each_stage_reads_from_disk(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "toolchain/_data/boards/zu3eg/board.toml",
        "toolchain/_data/sim/harness.cpp",
        "toolchain/hls_templates/include/fpgaflow/matvec.hpp",
        "toolchain/hls_templates/templates/top.cpp.j2",
        "toolchain/train/recipes/digits.toml",
    ):
        assert name in inside
    assert not [name for name in inside if name.startswith(("tests", "benchmarks"))]


def test_the_boards_are_listed_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    assert "zu3eg" in _fpgaflow(unpacked, tmp_path, "boards")
    assert not list(tmp_path.iterdir())


def test_a_model_is_lowered_explored_and_generated_from_an_empty_folder(unpacked: Path, tmp_path: Path) -> None:
    net = Net((1, 3, 8, 8))
    x = net.quant("x", 8, 1 / 128, signed=0)
    net.save(tmp_path / "net.onnx", net.conv(x, net.weight(4, 3, 3, 3)))
    _fpgaflow(unpacked, tmp_path, "lower", "net.onnx")
    _fpgaflow(unpacked, tmp_path, "explore", "build/net")
    _fpgaflow(unpacked, tmp_path, "generate", "build/net")
    assert (tmp_path / "build" / "net" / "hls" / "src" / "top.cpp").is_file()
