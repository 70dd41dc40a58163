"""LUTs, flip-flops, DSP slices and block RAMs of the units in SystemVerilog, counted by yosys one by one.

Nothing is optimized across units, and nothing is placed. Multipliers that are to lie in DSP slices are modules of their
own (``modules/dsp.sv``) and counted as the slices that hold them; yosys would pack fewer of their additions.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from toolchain.errors import FlowError, UserError
from toolchain.files import write_files, write_text
from toolchain.hls_templates.generate import place_units
from toolchain.hls_templates.streams import Stream, streams
from toolchain.ir.graph import Graph
from toolchain.resources import Resources, multiplier_slices, total
from toolchain.rtl.generate import PACKAGE, Module, alone, modules, unit_files, unit_module
from toolchain.rtl.packing import packed_luts
from toolchain.simulate.cache import cache_folder, in_use, touch
from toolchain.simulate.compiler import digest

SYNTHESIS = "synth_xilinx -family xcup -flatten -nodsp -noiopad -noclkbuf -top alone"
SCRIPT = (
    "read_verilog -sv -defer {sources}",
    "hierarchy -top alone",
    "blackbox =*fpgaflow_dsp*",
    f"{SYNTHESIS} -run begin:coarse",
    "techmap -map carry_chains.v",
    f"{SYNTHESIS} -run coarse:",
    "write_json netlist.json",
)
"""As for a Xilinx device, but every addition one carry chain and every product of LUTs a tree of them."""

MEMORY_LUTS = {
    **{"SRL16E": 1, "SRLC16E": 1, "SRLC32E": 1, "RAM32X1S": 1, "RAM64X1S": 1, "RAM128X1S": 2, "RAM256X1S": 4},
    **{"RAM32X1D": 2, "RAM64X1D": 2, "RAM128X1D": 4, "RAM256X1D": 8, "RAM512X1S": 8},
    **{"RAM32M": 4, "RAM64M": 4, "RAM32M16": 8, "RAM64M8": 8},
}
"""LUTs of a memory cell (AMD UG974)."""

SECONDS = 900
"""Most that a unit may take."""


@dataclass(frozen=True)
class Design:
    """A unit, or the FIFO of a stream, by itself: its sources with the memories that they read."""

    name: str
    files: Mapping[str, str]


def demand_yosys() -> None:
    """Raise UserError where yosys is not installed."""
    if find_spec("pyosys") is None:
        raise UserError("SystemVerilog is counted by yosys", hint="install it: pip install 'fpgaflow[rtl]'")


def designs(graph: Graph) -> dict[str, list[Design]]:
    """The designs of every unit of a HARDWARE graph by its node's name: itself and the FIFOs that it writes."""
    found = {}
    for placed in place_units(graph):
        unit = unit_module(placed)
        carried = [stream.bits for stream in placed.inputs], [stream.bits for stream in placed.outputs]
        own = {**modules(), **unit_files(placed), "alone.sv": alone(unit, *carried)}
        found[placed.node.name] = [Design(placed.node.name, own), *(fifo(stream) for stream in placed.outputs)]
    return found


def fifo(stream: Stream) -> Design:
    """The FIFO of ``stream``."""
    numbers = {"DEPTH": str(stream.depth), "WIDTH": str(stream.bits), "STYLE": f'"{stream.storage}"'}
    unit = Module("a stream", "fifo", "fpgaflow_fifo", numbers, (), ())
    return Design(f"stream {stream.name}", {**modules(), "alone.sv": alone(unit, [stream.bits], [stream.bits])})


def input_fifo(graph: Graph) -> Design:
    """The FIFO behind the reader."""
    return fifo(streams(graph)[graph.input.name])


def count(design: Design) -> Resources:
    """What ``design`` takes, from the cache where it has been counted.

    Raises:
        UserError: no yosys.
        FlowError: yosys failed or took too long; the design is named.
    """
    demand_yosys()
    sources = [path for path in sorted(design.files) if path.endswith(".sv")]
    carry = (files(PACKAGE) / "carry_chains.v").read_text(encoding="utf-8")
    parts = [part for path in sorted(design.files) for part in (path, design.files[path])]
    with in_use():
        target = cache_folder() / "lib" / f"{digest([version('pyosys'), *SCRIPT, carry, *parts])}.json"
        if not target.exists():
            with tempfile.TemporaryDirectory(prefix="fpgaflow-yosys-") as name:
                folder = Path(name)
                write_files({**design.files, "carry_chains.v": carry}, folder)
                write_text(target, json.dumps(list(_counted(_netlist(design.name, sources, folder)))))
        touch(target)
        return Resources(*json.loads(target.read_text(encoding="utf-8")))


def count_units(
    graph: Graph, *, jobs: int = 2, progress: Callable[[int, int], None] | None = None
) -> dict[str, Resources | str]:
    """What every unit takes with the FIFOs that it writes, by its node's name; of one that failed, why.

    Raises:
        UserError: no yosys.
    """
    demand_yosys()
    wanted = designs(graph)
    flat = [(name, design) for name, parts in wanted.items() for design in parts]
    found: dict[str, list[Resources] | str] = {name: [] for name in wanted}
    with ThreadPoolExecutor(jobs) as pool:
        for done, ((name, _), result) in enumerate(zip(flat, pool.map(_tried, (d for _, d in flat)), strict=True), 1):
            known = found[name]
            if isinstance(result, str) or isinstance(known, str):
                found[name] = result if isinstance(result, str) else known
            else:
                known.append(result)
            if progress is not None:
                progress(done, len(flat))
    return {name: known if isinstance(known, str) else total(known) for name, known in found.items()}


def _tried(design: Design) -> Resources | str:
    try:
        return count(design)
    except FlowError as error:
        return str(error)


def _netlist(name: str, sources: Sequence[str], folder: Path) -> Mapping[str, Any]:
    commands = [command.format(sources=" ".join(sources)) for command in SCRIPT]
    (folder / "run.ys").write_text("\n".join(commands) + "\n", encoding="utf-8")
    code = "from pyosys import libyosys as y; y.run_pass('tee -q -o log script run.ys', y.Design())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise FlowError(f"yosys took more than {SECONDS} s for {name}") from None
    if done.returncode != 0 or not (folder / "netlist.json").is_file():
        told = (folder / "log").read_text(encoding="utf-8") if (folder / "log").is_file() else done.stderr
        lines = [line for line in told.splitlines() if "ERROR" in line] or [f"it ended with {done.returncode}"]
        raise FlowError(f"yosys failed on {name}: {lines[0]}")
    return dict(json.loads((folder / "netlist.json").read_text(encoding="utf-8")))


def _counted(netlist: Mapping[str, Any]) -> Resources:
    module = netlist["modules"]["alone"]
    cells = Counter(cell["type"] for cell in module["cells"].values())
    slices = {kind: _slices(kind, netlist["modules"]) for kind in cells}
    return Resources(
        lut=packed_luts(module) + sum(MEMORY_LUTS.get(kind, 0) * n for kind, n in cells.items()),
        ff=sum(n for kind, n in cells.items() if _FLIP_FLOP.fullmatch(kind)),
        dsp=sum(slices[kind] * n for kind, n in cells.items()),
        bram18=cells["RAMB18E2"] + 2 * cells["RAMB36E2"],
    )


_FLIP_FLOP = re.compile(r"FD[CPRS]E(_1)?")


def _slices(kind: str, known: Mapping[str, Any]) -> int:
    """DSP slices of a cell."""
    if kind == "DSP48E2":
        return 1
    if "fpgaflow_dsp_" not in kind:
        return 0
    if "fpgaflow_dsp_product" not in kind:
        return 1  # what a plan packs or chains fits a slice
    ports = known[kind]["ports"]
    return multiplier_slices(len(ports["a"]["bits"]), len(ports["b"]["bits"]))
