"""synth.tcl, interpreted: its commands come in order, and the sources and memories that it reads are whole."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.deploy.test_scripts import interpreter
from tests.graphs import mlp
from tests.hardware import serial
from toolchain.boards import load_board
from toolchain.files import write_files
from toolchain.hls_templates.generate import place_units
from toolchain.rtl.generate import generate_rtl, synthesis

STANDINS = Path(__file__).with_name("vivado.tcl")
GRAPH = serial(mlp())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project of a small network."""
    folder = tmp_path_factory.mktemp("synth")
    write_files(generate_rtl(GRAPH) | synthesis(GRAPH, load_board("zu3eg"), 250), folder)
    return folder


def interpreted(project: Path, arguments: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """synth.tcl run with the stand-ins, from another folder than its own."""
    main = tmp_path / "main.tcl"
    main.write_text(f"set script {{{project / 'synth.tcl'}}}\nset argv {{{arguments}}}\n{STANDINS.read_text()}")
    return subprocess.run([*interpreter(), str(main)], capture_output=True, text=True, check=False, cwd=tmp_path)


def said(name: str, clock: str, top: str) -> list[str]:
    """What the stand-ins say of one synthesis."""
    reports = [f"report reports/{name}_{kind}.txt" for kind in ("utilization", "timing")]
    return ["create_project xczu3eg-sbva484-1-i", f"synth_design {top}", f"create_clock {clock} 4.000", *reports]


def test_all_of_it_is_synthesized_for_the_clock_of_the_plan(project: Path, tmp_path: Path) -> None:
    done = interpreted(project, "", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == said("mlp_top", "ap_clk", "mlp_top")


def test_it_is_placed_and_routed_on_demand(project: Path, tmp_path: Path) -> None:
    done = interpreted(project, "route", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rest = ["write_checkpoint reports/routed.dcp", *said("routed", "", "")[-2:]]
    assert done.stdout.splitlines() == [*said("mlp_top", "ap_clk", "mlp_top"), *rest]


def test_every_unit_is_synthesized_by_itself(project: Path, tmp_path: Path) -> None:
    names = [placed.name for placed in place_units(GRAPH)]
    done = interpreted(project, "units", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [line for name in names for line in said(name, "clk", f"alone_{name}")]
    assert interpreted(project, names[1], tmp_path).stdout.splitlines() == said(names[1], "clk", f"alone_{names[1]}")
    wrong = interpreted(project, "nothing", tmp_path)
    assert wrong.returncode != 0 and f"no unit 'nothing'; there are: {' '.join(names)}" in wrong.stderr


@pytest.mark.parametrize("gone", ["modules/control.sv", "data", "mlp_core.sv"])
def test_what_is_missing_is_found_by_the_stand_ins(gone: str, project: Path, tmp_path: Path) -> None:
    path = project / gone
    path.rename(project / "gone")
    done = interpreted(project, "", tmp_path)
    (project / "gone").rename(path)
    assert done.returncode != 0
