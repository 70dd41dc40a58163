"""Runs yosys in a process of its own: SystemVerilog to the LUTs, registers and memories of an UltraScale+."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchain.errors import FlowError, UserError
from toolchain.files import write_files
from toolchain.programs import run_program
from toolchain.rtl.generate import PACKAGE

SYNTHESIS = "synth_xilinx -family xcup -flatten -nodsp -uram -noiopad -noclkbuf -top all"
SCRIPT = (
    "read_verilog -sv -defer {sources}",
    "hierarchy -top all",
    "setattr -mod -set keep_hierarchy 1 {tops}",
    "blackbox =*fpgaflow_dsp*",
    f"{SYNTHESIS} -run begin:coarse",
    "techmap -map carry_chains.v",
    f"{SYNTHESIS} -run coarse:",
    "select {tops}",
    "write_json -selected netlist.json",
)
"""A synthesis for Xilinx devices in which an addition is one carry chain and a product in LUTs a tree of these."""

SECONDS = 900
"""Processor seconds that one run of yosys may take."""

_RUN = (
    "import resource, sys; from pyosys import libyosys\n"
    "resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[1]),) * 2)\n"
    "resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)\n"
    "libyosys.run_pass('tee -q -o log script run.ys', libyosys.Design())\n"
)


def demand_yosys() -> None:
    """Raise UserError where yosys is not installed."""
    if find_spec("pyosys") is None:
        raise UserError("SystemVerilog is counted by yosys", hint="install it: pip install 'fpgaflow[rtl]'")


def tool() -> str:
    """Name and version."""
    return f"yosys {version('pyosys')}"


def identity() -> list[str]:
    """Return the parts of a cache key that a netlist depends on beside its sources: script, cells, yosys' version."""
    return [version("pyosys"), *SCRIPT, _carry_chains()]


def netlists(
    tops: Sequence[str], sources: Mapping[str, str], memory: int, before: Sequence[str] = ()
) -> dict[str, Any]:
    """The modules ``tops`` as ``write_json`` of yosys tells them, by name; those of DSP slices stay cells.

    Nothing is optimized from one of them to another. ``sources`` are SystemVerilog and the memories that it reads;
    yosys may take ``memory`` bytes. It runs the commands ``before`` first.

    Raises:
        FlowError: yosys failed, ran out of memory or time, or was killed.
    """
    instances = "\n".join(f"    (* keep *) {top} unit{number} ();" for number, top in enumerate(tops))
    texts = {**sources, "all.sv": f"module all;\n{instances}\nendmodule\n", "carry_chains.v": _carry_chains()}
    named = " ".join(path for path in sorted(texts) if path.endswith(".sv"))
    script = *before, *(command.format(sources=named, tops=" ".join(tops)) for command in SCRIPT)
    texts["run.ys"] = "".join(f"{command}\n" for command in script)
    with tempfile.TemporaryDirectory(prefix="fpgaflow-yosys-") as name:
        folder = Path(name)
        write_files(texts, folder)
        command = [sys.executable, "-c", _RUN, str(SECONDS), str(memory)]
        done = run_program(command, folder, {**os.environ, "TMPDIR": name})  # where it leaves what it did not end
        if done.returncode != 0 or not (folder / "netlist.json").is_file():
            raise FlowError(_reason(done, folder / "log", memory))
        return dict(json.loads((folder / "netlist.json").read_text(encoding="utf-8"))["modules"])


def _reason(done: subprocess.CompletedProcess[str], log: Path, memory: int) -> str:
    told = log.read_text(encoding="utf-8") if log.is_file() else ""
    errors = [line for line in told.splitlines() if "ERROR" in line]
    if errors:
        return errors[0]
    if "bad_alloc" in done.stderr or "MemoryError" in done.stderr:
        return f"it needs more than the {memory / 1e9:.1f} GB of --memory"
    if done.returncode == -signal.SIGXCPU:
        return f"it took more than {SECONDS} s of processor time"
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    return f"it ended with {done.returncode}"


@cache
def _carry_chains() -> str:
    return (files(PACKAGE) / "carry_chains.v").read_text(encoding="utf-8")
