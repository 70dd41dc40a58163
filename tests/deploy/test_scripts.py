"""The scripts to the bitstream, interpreted: their commands exist, come in order and name what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.deploy.placed import facts_of
from tests.golden_files import FOLDER, assert_golden
from tests.graphs import mlp
from tests.hardware import Target, serial
from toolchain.boards import load_board
from toolchain.deploy.package import SUMS, Deployable, script_files, sums
from toolchain.files import write_files
from toolchain.flow.project import Project
from toolchain.hls_templates.generate import generate
from toolchain.ir.graph import Graph

STANDINS = Path(__file__).with_name("vivado.tcl")
DESIGN = "mlp_0123abcd"
TK = "import sys, tkinter; tkinter.Tcl().evalfile(sys.argv[1])"


def interpreter() -> list[str]:
    """A Tcl interpreter: tclsh, or the one inside Python's tkinter. Without either the tests fail: they must run."""
    found = shutil.which("tclsh")
    if found is None and subprocess.run([sys.executable, "-c", "import tkinter"], check=False).returncode:
        pytest.fail("no tclsh and no tkinter; install tcl (apt install tcl)")
    return [found] if found else [sys.executable, "-c", TK]


def scripts_of(graph: Graph) -> dict[str, str]:
    """The scripts of ``graph``."""
    build = Deployable(graph, graph.output, load_board("zu3eg"), "NC", facts_of(graph, axes="NC"))
    return {path: str(text) for path, text in script_files(build).items()}


@pytest.fixture(scope="module")
def scripts() -> dict[str, str]:
    """The scripts of a small network."""
    return scripts_of(serial(mlp()))


@dataclass(frozen=True)
class Done:
    code: int
    said: str
    error: str
    root: Path


def run_build(
    root: Path, text: str, options: str = "", fault: str = "", bundles: str = "gmem0 gmem1", top: str = "mlp"
) -> Done:
    """Interpret build.tcl with the stand-ins, in a deployment below ``root``."""
    (root / "ip").mkdir(parents=True)
    (root / "board").mkdir()
    (root / "build.tcl").write_text(text)
    facts = {"script": str(root / "build.tcl"), "argv": options, "fault": fault, "bundles": bundles, "top_name": top}
    settings = "".join(f"set {name} {{{value}}}\n" for name, value in facts.items())
    (root / "main.tcl").write_text(settings + STANDINS.read_text())
    done = subprocess.run([*interpreter(), str(root / "main.tcl")], capture_output=True, text=True, check=False)
    return Done(done.returncode, done.stdout, done.stderr, root)


@pytest.mark.parametrize("name", ["build.tcl", "run.sh", "README.md"])
def test_the_scripts_are_golden(scripts: dict[str, str], name: str) -> None:
    assert_golden(f"deploy/{name}", scripts[name])


def test_the_commands_of_the_readme_hold_no_name_that_a_shell_would_part() -> None:
    readme = scripts_of(replace(serial(mlp()), name="my net; ls"))["README.md"].splitlines()
    assert readme[0] == "# my net; ls on Ultra96-V2 (Zynq UltraScale+ ZU3EG)"
    assert {"    scp -r board xilinx@BOARD:my_net_ls", "    cd my_net_ls"} <= set(readme)


@pytest.mark.parametrize("options", ["", "part", "smartconnect", "part smartconnect"])
def test_the_block_design_is_whole(scripts: dict[str, str], options: str, tmp_path: Path) -> None:
    """Every pin, interface and address is connected; the bitstream and what goes with it are in place."""
    done = run_build(tmp_path, scripts["build.tcl"], options)
    assert done.code == 0, done.error
    name = options.replace(" ", "_") or "board"
    assert_golden(f"deploy/{name}.txt", done.said.replace(str(tmp_path), "ROOT"))
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {f"board/{DESIGN}.bit", f"board/{DESIGN}.hwh", f"{DESIGN}.xsa", "vivado.json"} <= made
    assert json.loads((tmp_path / "vivado.json").read_text()) == {
        "kind": "vivado",
        "design": DESIGN,
        "version": "2024.1",
        "clock_mhz": 249.997498,
        "timing": {"wns_ns": 0.054, "whs_ns": 0.01},
        "resources": {"lut": 11934, "ff": 15873, "dsp": 24, "bram18": 11},
        "accelerator": {"lut": 7012, "ff": 9120, "dsp": 24, "bram18": 7},
    }


@pytest.mark.parametrize("bits", [32, 64])
def test_a_memory_port_that_is_narrower_than_the_accelerators_has_a_smartconnect(bits: int, tmp_path: Path) -> None:
    graph, board = serial(mlp()), load_board("zu3eg")
    narrow = board.model_copy(update={"memory": board.memory.model_copy(update={"port_bits": bits})})
    build = Deployable(graph, graph.output, narrow, "NC", facts_of(graph, axes="NC"))
    done = run_build(tmp_path, str(script_files(build)["build.tcl"]))

    assert done.code == 0, done.error
    ours = (FOLDER / "deploy/smartconnect.txt").read_text().replace("DATA_WIDTH 128", f"DATA_WIDTH {bits}")
    assert done.said.replace(str(tmp_path), "ROOT") == ours


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no board files", "no board files for avnet.com:ultra96v2:part0:*; install them"),
        ("no ip", "no IP xilinx.com:hls:mlp:* in the catalog"),
        ("no route", "the implementation stopped: route_design ERROR; see vivado/mlp_0123abcd.runs"),
        ("no handoff", "Vivado wrote no mlp_0123abcd.hwh"),
    ],
)
def test_what_stops_vivado_is_named(scripts: dict[str, str], fault: str, message: str, tmp_path: Path) -> None:
    done = run_build(tmp_path, scripts["build.tcl"], fault=fault)
    assert done.code != 0
    assert message in done.error
    assert not list((tmp_path / "board").iterdir())


def test_ultraram_is_counted_where_a_board_has_it(tmp_path: Path) -> None:
    graph = serial(mlp())
    build = Deployable(graph, graph.output, load_board("kv260"), "NC", facts_of(graph, axes="NC"))
    done = run_build(tmp_path, str(script_files(build)["build.tcl"]), "part")

    assert done.code == 0, done.error
    assert json.loads((tmp_path / "vivado.json").read_text())["resources"]["uram"] == 5


def test_timing_that_is_not_met_ends_with_status_3(scripts: dict[str, str], tmp_path: Path) -> None:
    done = run_build(tmp_path, scripts["build.tcl"], fault="slow")
    assert done.code == 3
    assert "timing is not met: the worst slack is -0.211 ns" in done.said
    assert json.loads((tmp_path / "vivado.json").read_text())["timing"]["wns_ns"] == -0.211


NEEDED = (
    "update_ip_catalog",
    "connect_bd_net [get_bd_pins ps/pl_resetn0]",
    "clocked reset/",
    "reset_by accelerator",
    "connect_bd_intf_net [get_bd_intf_pins ps/M_AXI",
    "connect_bd_intf_net [get_bd_intf_pins registers/M00",
    "        connect_bd_intf_net $master $port",
    "    clocked ps/saxihp",
    "    lappend settings",
    "set_property -dict $settings",
    "create_bd_design",
    "validate_bd_design",
    "save_bd_design",
    "launch_runs",
    "wait_on_run",
    "open_run",
)


@pytest.mark.parametrize("line", NEEDED)
def test_a_line_that_is_missing_is_found(scripts: dict[str, str], line: str, tmp_path: Path) -> None:
    """The stand-ins are strict: without any of these lines the design is not whole, and they say so."""
    text, count = re.subn(rf"(?m)^{re.escape(line)}.*$", "", scripts["build.tcl"])
    assert count == 1
    assert run_build(tmp_path, text).code != 0


@pytest.fixture(scope="module")
def project() -> dict[str, str]:
    """The HLS project of the same network."""
    return generate(serial(mlp()), Target(), 250.0)


def tools(folder: Path, **programs: str) -> dict[str, str]:
    """An environment whose PATH has only the shell's own tools and ``programs``, name to shell text."""
    folder.mkdir()
    for name in ("sh", "dirname", "find", "head", "mkdir", "mv", "rm", "unzip", "cat", "touch", "env", "sha256sum"):
        found = shutil.which(name)
        if found:
            (folder / name).symlink_to(found)
    extract = (
        f'exec {sys.executable} -c "import sys, zipfile; zipfile.ZipFile(sys.argv[2]).extractall(sys.argv[4])" "$@"'
    )
    for name, text in {"unzip": extract, **programs}.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> "$LOG"\n{text}\n')
        (folder / name).chmod(0o755)
    return {"PATH": str(folder), "LOG": str(folder.parent / "log")}


ZIP = f"{sys.executable} -c \"import zipfile; zipfile.ZipFile('mlp.zip', 'w').writestr('component.xml', 'x')\""
VITIS_RUN = f'case "$*" in *--package*) {ZIP} ;; esac'


@pytest.mark.parametrize(
    ("programs", "log"),
    [
        ({"vitis_hls": ZIP}, ["vitis_hls -f ../hls/run_hls.tcl csynth export"]),
        (
            {"vitis-run": VITIS_RUN, "v++": ""},
            [
                "v++ -c --mode hls --config hls_config.cfg --work_dir ../vitis/work",
                "vitis-run --mode hls --package --config hls_config.cfg --work_dir ../vitis/work",
            ],
        ),
    ],
)
def test_run_sh_goes_from_hls_to_the_bitstream_with_both_tools(
    programs: dict[str, str], log: list[str], scripts: dict[str, str], project: dict[str, str], tmp_path: Path
) -> None:
    known = sums(Project("", {path: text.encode() for path, text in project.items()}))
    for folder, files in (("hls", project), ("deploy", scripts | {SUMS: known})):
        for path, text in files.items():
            (tmp_path / folder / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / path).write_text(text)
    environment = tools(tmp_path / "bin", vivado="", **programs)
    command = ["sh", "deploy/run.sh", "ip", "bitstream", "--", "part"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "deploy/ip/component.xml").read_text() == "x"
    said = [line for line in (tmp_path / "log").read_text().splitlines() if not line.startswith("unzip")]
    assert said == [*log, "vivado -mode batch -nojournal -log vivado.log -source build.tcl -tclargs part"]


@pytest.mark.parametrize(
    ("programs", "arguments", "message"),
    [
        ({}, [], "no vitis_hls and no vitis-run: source settings64.sh of Vitis first"),
        ({"vitis_hls": ""}, ["ip"], "the export wrote no mlp.zip below vitis/ or hls/"),
        ({}, ["bitstream"], "no ip/: ./run.sh ip makes it"),
        ({}, ["bit"], "unknown stage 'bit'"),
    ],
)
def test_run_sh_says_what_is_missing(
    programs: dict[str, str], arguments: list[str], message: str, scripts: dict[str, str], tmp_path: Path
) -> None:
    for folder in ("deploy", "hls", "vitis"):
        (tmp_path / folder).mkdir()
    (tmp_path / "vitis/mlp.zip").write_text("of an earlier design, which must not be taken")
    (tmp_path / "deploy/run.sh").write_text(scripts["run.sh"])
    (tmp_path / "hls/top.cpp").touch()
    (tmp_path / "deploy" / SUMS).write_text(sums(Project("", {"top.cpp": b""})))
    environment = tools(tmp_path / "bin", **programs)
    command = ["sh", "deploy/run.sh", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, message + "\n")


HLS = """
proc say {args} { puts [join $args] }
foreach name {open_project set_top add_files open_solution set_part create_clock set_clock_uncertainty config_interface
              csim_design csynth_design cosim_design export_design} { interp alias {} $name {} say $name }
rename exit quit
proc exit {} { quit 0 }
set argv {csynth export}
source hls/run_hls.tcl
"""


def test_the_hls_script_synthesizes_and_exports_an_ip(project: dict[str, str], tmp_path: Path) -> None:
    """run_hls.tcl with the stages that run.sh asks for, its commands printed; it works in vitis/, beside hls/."""
    write_files(project, tmp_path / "hls")
    (tmp_path / "main.tcl").write_text(HLS)
    done = subprocess.run([*interpreter(), "main.tcl"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_golden("deploy/run_hls.txt", done.stdout)
    named = re.findall(r"^add_files (?:-tb )?(\S+)", done.stdout, re.MULTILINE)
    assert named and all((tmp_path / "vitis" / path).is_file() for path in named)


def test_tkinter_is_an_interpreter_too(scripts: dict[str, str], tmp_path: Path) -> None:
    """Where Python has it: the same output as by tclsh."""
    pytest.importorskip("tkinter")
    done = run_build(tmp_path / "a", scripts["build.tcl"])
    command = [sys.executable, "-c", TK, "main.tcl"]
    again = tmp_path / "b"
    shutil.copytree(done.root, again, ignore=shutil.ignore_patterns("vivado"))
    (again / "main.tcl").write_text((again / "main.tcl").read_text().replace(str(done.root), str(again)))
    other = subprocess.run(command, cwd=again, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert other.stdout.replace(str(again), "ROOT") == done.said.replace(str(done.root), "ROOT")


def test_a_board_without_board_files_takes_its_part(tmp_path: Path) -> None:
    """No preset is applied and none is asked for; the rest of the design is as whole."""
    graph = serial(mlp())
    found = Deployable(graph, graph.output, load_board("aup-zu3-4gb"), "NC", facts_of(graph, axes="NC"))
    text = str(script_files(found)["build.tcl"])
    done = run_build(tmp_path, text)
    assert done.code == 0, done.error
    assert "create_project mlp_0123abcd xczu3eg-sfvc784-2-e" in done.said
    assert "apply_bd_automation" not in done.said
