"""Compiles a generated project to a shared library: a few objects of many units each, kept by their digests."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from toolchain.errors import FlowError, UserError
from toolchain.files import write_files, write_text
from toolchain.paths import data_path
from toolchain.programs import run_program, threads
from toolchain.simulate.cache import cache_folder, held, touch

if TYPE_CHECKING:  # numpy loads slowly, and the doctor asks for the compiler alone
    from toolchain.ir.types import Array

FLAGS = (
    "-std=c++14",
    "-O2",
    "-ftree-vectorize",
    "-fvect-cost-model=dynamic",
    "-fPIC",
    "-fwrapv",
    "-fvisibility=hidden",
    "-fno-gnu-unique",  # two libraries in one process share nothing
    "-Wno-unknown-pragmas",
    *(["-mtls-dialect=gnu2"] if platform.machine() == "x86_64" else []),  # the cycle counters: no call an access
)
DRIVER = "sim/drive.cpp"
"""Path of the source that includes the top function and drives the units; a project for the simulation may hold it."""

UNITS_AN_OBJECT = 64
"""Units compiled together: reading the headers costs as much as some twenty units."""

FEW_UNITS = 20
"""Up to so many units are compiled with the top and the harness."""

BOUNDED_FLAGS = ("-DFPGAFLOW_BOUNDED", "-O0")  # its threads wait for each other, not for arithmetic
QUICK_FLAGS = ("-O1",)
"""The flags for at most some thousand frames: compiling takes a fifth less, a frame up to a third more."""

ERROR_LINES = 12


def ap_types() -> Path:
    """The vendor's open arithmetic headers, as the installed hls4ml ships them.

    Raises:
        FlowError: hls4ml is not installed or has moved them.
    """
    spec = importlib.util.find_spec("hls4ml")
    for root in spec.submodule_search_locations or () if spec is not None else ():
        folder = Path(root) / "templates" / "vivado" / "ap_types"
        if (folder / "ap_int.h").is_file():
            return folder
    raise FlowError("hls4ml's ap_types headers were not found; install hls4ml>=1.3,<2")


@cache
def compiler() -> tuple[str, str]:
    """Path and version of g++, or of the compiler that CXX names.

    Raises:
        UserError: there is none.
    """
    named = os.environ.get("CXX")
    path = shutil.which(named or "g++")
    if path is not None and "__cplusplus" in _said([path, "-dM", "-E", "-x", "c++", "/dev/null"]):
        return path, _said([path, "--version"]).partition("\n")[0]
    if named:
        what = f"the C simulation needs g++, and CXX is '{named}', which is no C++ compiler"
        raise UserError(what, hint="set it to the path of one, without options, or unset it")
    raise UserError("the C simulation needs g++", hint="install it (apt install g++), or set CXX to a compiler")


def _said(command: Sequence[str]) -> str:
    """The output of ``command``; nothing where it is no program."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False).stdout
    except OSError:
        return ""


def digest(parts: Sequence[str]) -> str:
    """SHA-256 of ``parts``, which cannot run into each other."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()


def shared_library(
    files: Mapping[str, str],
    top: str,
    outputs: Sequence[str] = ("output",),
    *,
    taps: bool = False,
    bounded: bool = False,
    quick: bool = False,
    jobs: int = 2,
) -> Path:
    """The library that runs ``files``, compiled unless the cache holds it.

    ``outputs`` are the outputs' layouts in the project's ``host``. ``taps`` records every stream. ``bounded`` gives
    every stream its depth; calls in the top function are then tasks, see ``bounded.py``. ``quick`` saves time of
    compiling where it will not run for long.

    Raises:
        UserError: no g++.
        FlowError: a file does not compile.
    """
    sim = _sim_files()
    flags = BOUNDED_FLAGS if bounded else QUICK_FLAGS if quick else ()
    called = (f"-DFPGAFLOW_TOP={top}", f"-DFPGAFLOW_OUTPUTS(X)={''.join(f'X({name}) ' for name in outputs)}")
    identity = [*_tools(), *called, str(taps), *flags, *_flat(files), *_flat(sim)]
    library = cache_folder() / "lib" / f"{digest(identity)}.so"
    if held(library):
        return library
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="build-") as name:
        folder = Path(name)
        write_files(files, folder)
        prefix = precompiled(sim, flags)
        tasks = [replace(task, flags=(*task.flags, *flags)) for task in _tasks(files, called, prefix, taps)]
        with threads(jobs) as pool:
            objects = list(pool.map(lambda task: _object(folder, prefix, task), tasks))
        _link(objects, folder, library)
    return library


@dataclass(frozen=True)
class _Task:
    """Sources that are compiled together and everything that their object depends on."""

    sources: tuple[str, ...]
    flags: tuple[str, ...]
    depends: tuple[str, ...]


def _tools() -> tuple[str, ...]:
    return (*compiler(), *FLAGS, str(ap_types()))


def _sim_files() -> dict[str, str]:
    paths = (path for path in data_path("sim").iterdir() if path.suffix in (".h", ".hpp", ".cpp"))
    return {path.name: path.read_text(encoding="utf-8") for path in sorted(paths)}


def _tasks(files: Mapping[str, str], called: Sequence[str], prefix: Path, taps: bool) -> list[_Task]:
    """The top with the harness, told how it is ``called``; groups of units, which depend on headers and constants."""
    headers = _below(files, "include/")
    units = [path for path in sorted(files) if path.startswith("src/units/")]
    groups = [units[i : i + UNITS_AN_OBJECT] for i in range(0, len(units), UNITS_AN_OBJECT)]
    flags = (*called, *(["-DFPGAFLOW_TAPS"] if taps else []))
    tops = ["src/top.cpp", "src/top.hpp", "src/streams.hpp", *([DRIVER] if DRIVER in files else [])]
    ends = (DRIVER if DRIVER in files else "src/top.cpp", str(prefix / "harness.cpp"))
    depends = (prefix.name, *headers, *(files[path] for path in tops), *_below(files, "host/"))
    parts = [(group, tuple(text for path in group for text in _unit(files, path))) for group in groups]
    if len(units) <= FEW_UNITS:
        return [_Task((*units, *ends), flags, (*depends, *(text for _, texts in parts for text in texts)))]
    return [
        _Task(ends, flags, depends),
        *(_Task(tuple(group), (), (prefix.name, *headers, *texts)) for group, texts in parts),
    ]


def _below(files: Mapping[str, str], folder: str) -> list[str]:
    return _flat({path: text for path, text in files.items() if path.startswith(folder)})


def precompiled(sim: Mapping[str, str], flags: Sequence[str], name: str = "prefix.hpp") -> Path:
    """The folder of a simulation's sources, with the header ``name`` precompiled from the second use on.

    Precompiling takes as long as reading the header four times: a single export does not earn it.
    """
    folder = cache_folder() / "sim" / digest([*_tools(), *flags, *_flat(sim)])
    folder.parent.mkdir(parents=True, exist_ok=True)
    header, length = folder / f"{name}.gch", folder / "prefix.size"  # g++ takes half a header for a whole one
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as place:
            new = Path(place) / "sim"
            write_files(sim, new)
            with suppress(OSError):  # another process was faster
                new.rename(folder)
        return folder
    touch(folder)
    if any(not (folder / path).is_file() or (folder / path).read_text(encoding="utf-8") != sim[path] for path in sim):
        write_files(sim, folder)
    if not (length.exists() and header.exists() and length.read_text() == str(header.stat().st_size)):
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="new-") as place:
            system = ["-I.", "-isystem", str(ap_types())]
            output = Path(place) / header.name
            command = [*FLAGS, *flags, *system, "-x", "c++-header", name, "-o", str(output)]
            run_compiler([compiler()[0], *command], folder)
            length.unlink(missing_ok=True)
            os.replace(output, header)
            write_text(length, str(header.stat().st_size))
    return folder


def _flat(files: Mapping[str, str]) -> list[str]:
    return [part for path in sorted(files) for part in (path, files[path])]


def _unit(files: Mapping[str, str], source: str) -> list[str]:
    """The path and the text of a unit and of the constants that it includes."""
    names = re.findall(r'^#include "\.\./data/(.+)"$', files[source], re.MULTILINE)
    return [source, files[source], *(files[f"src/data/{name}"] for name in names)]


def _object(folder: Path, prefix: Path, task: _Task) -> Path:
    """The object of a task, from the cache when everything it depends on is as it was."""
    identity = digest([*_tools(), *task.flags, *task.depends])
    target = cache_folder() / "obj" / f"{identity}.o"
    if held(target):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    together = folder / f"{identity}.cpp"
    together.write_text("".join(f'#include "{source}"\n' for source in task.sources), encoding="utf-8")
    includes = ["-I.", "-Iinclude", "-Isrc", "-Ihost", f"-I{prefix}", "-include", "prefix.hpp"]
    system = ["-isystem", str(ap_types())]
    output = folder / target.name
    command = [*FLAGS, *task.flags, *includes, *system, "-c", together.name, "-o", str(output)]
    run_compiler([compiler()[0], *command], folder)
    os.replace(output, target)
    return target


def source_library(source: Path, flags: Sequence[str] = ()) -> Path:
    """The library of one ``source`` that includes no header of a project, compiled unless the cache holds it.

    ``flags`` come behind those of all sources.

    Raises:
        UserError: no g++.
        FlowError: it does not compile.
    """
    text = source.read_text(encoding="utf-8")
    library = cache_folder() / "lib" / f"{digest([*compiler(), *FLAGS, *flags, text])}.so"
    if not held(library):
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent, prefix="source-") as name:
            output = Path(name) / library.name
            run_compiler([compiler()[0], *FLAGS, *flags, "-shared", str(source), "-o", str(output)], source.parent)
            os.replace(output, library)
    return library


def pointer(array: Array) -> ctypes.c_void_p:
    """Return the address of the elements of ``array``, as an argument of a library's function."""
    return ctypes.c_void_p(array.ctypes.data)


def _link(objects: Sequence[Path], folder: Path, library: Path) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    output = folder / library.name
    run_compiler([compiler()[0], "-shared", "-pthread", *map(str, objects), "-o", str(output)], folder)
    os.replace(output, library)


def run_compiler(command: list[str], folder: Path) -> None:
    """Run a compiler's ``command`` in ``folder``; FlowError with its first errors when it fails."""
    done = run_program(command, folder)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise FlowError("the simulation does not compile:\n" + "\n".join(lines[:ERROR_LINES]))
