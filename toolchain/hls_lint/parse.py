"""A generated project to clang's syntax tree: all its sources as one, the tables of constants left out."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from clang import cindex

from toolchain.errors import FlowError
from toolchain.files import write_files
from toolchain.hls_lint.clang import skipped_lines
from toolchain.simulate.cache import cache_folder, in_use, touch
from toolchain.simulate.compiler import ap_types, compiler, digest

INCLUDE = Path(__file__).parent / "include"
FLAGS = ("-std=c++14", "-DFPGAFLOW_HARDWARE", "-nostdinc", "-Wno-unknown-pragmas")
TABLE = re.compile(r"^src/data/.+\.inc$")
MAIN = "lint.cpp"
PREFIX = "fpgaflow_lint.hpp"


@dataclass(frozen=True)
class Tree:
    """The parsed project: the folder it stands in, the texts of its files by path, clang's unit."""

    root: str
    texts: Mapping[str, str]
    unit: Any

    @cached_property
    def functions(self) -> dict[str, Any]:
        """The definitions of the functions outside all namespaces by name."""
        found = (c for c in self.unit.cursor.get_children() if c.kind == cindex.CursorKind.FUNCTION_DECL)
        return {c.spelling: c for c in found if c.is_definition()}

    def compiled(self, path: str) -> str:
        """The text of a file, the lines blank that the preprocessor leaves out."""
        skipped = skipped_lines(self.unit, f"{self.root}/{path}")
        lines = self.texts[path].splitlines()
        return "\n".join("" if number in skipped else line for number, line in enumerate(lines, 1))


@cache
def _system() -> tuple[str, ...]:
    """Folders of the C++ library's headers, as g++ searches them."""
    command = [compiler()[0], "-E", "-v", "-x", "c++", "/dev/null"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    found = text.partition("#include <...> search starts here:")[2].partition("End of search list.")[0]
    return tuple(line.strip() for line in found.splitlines() if line.strip())


def _search() -> list[str]:
    folders = (str(INCLUDE), str(ap_types()), *_system())
    return [part for folder in folders for part in ("-isystem", folder)]


@cache
def _precompiled() -> Path:
    """The tool's headers, which take longer to read than most projects, read once a machine."""
    version = cindex.conf.lib.clang_getClangVersion
    version.restype = cindex._CXString
    version.errcheck = cindex._CXString.from_result
    headers = [*sorted(INCLUDE.iterdir()), *sorted(ap_types().rglob("*.h"))]
    stamps = [f"{path} {path.stat().st_mtime_ns} {path.stat().st_size}" for path in headers]
    found = cache_folder() / "lint" / f"{digest([version(), *compiler(), *FLAGS, *_search(), *stamps])}.pch"
    if found.exists():
        touch(found)
        return found
    with in_use():
        found.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=found.parent, prefix="lint-") as name:
            options = cindex.TranslationUnit.PARSE_INCOMPLETE
            arguments = [*FLAGS, *_search(), "-x", "c++-header"]
            unit = cindex.Index.create().parse(str(INCLUDE / PREFIX), args=arguments, options=options)
            unit.save(f"{name}/{found.name}")
            os.replace(f"{name}/{found.name}", found)
    return found


@contextmanager
def parsed(files: Mapping[str, str]) -> Iterator[Tree]:
    """The syntax tree of the project ``files`` ({path: text}), valid inside the context.

    Raises:
        UserError: no g++, whose headers clang reads, or no cache.
        FlowError: the project is no C++14.
    """
    texts = {path: "" if TABLE.match(path) else text for path, text in files.items()}
    sources = [path for path in sorted(texts) if path.startswith("src/") and path.endswith(".cpp")]
    with tempfile.TemporaryDirectory(prefix="fpgaflow-lint-") as name:
        root = str(Path(name).resolve())
        write_files({**texts, MAIN: "".join(f'#include "{path}"\n' for path in sources)}, Path(root))
        try:
            unit, errors = _parse(root, "-include-pch", str(_precompiled()))
        except cindex.TranslationUnitLoadError:  # a header of the system is newer than what was precompiled
            unit, errors = _parse(root, "-include", PREFIX)
        if errors:
            where = f"{errors[0].location.file}:{errors[0].location.line}".removeprefix(f"{root}/")
            raise FlowError(f"clang does not read the project: {where}: {errors[0].spelling}")
        yield Tree(root, texts, unit)


def _parse(root: str, *prefix: str) -> tuple[Any, list[Any]]:
    """The tree and the errors in it."""
    arguments = [*FLAGS, f"-I{root}/include", f"-I{root}/src", *prefix, *_search()]
    record = cindex.TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD
    unit = cindex.Index.create().parse(f"{root}/{MAIN}", args=arguments, options=record)
    return unit, [d for d in unit.diagnostics if d.severity >= cindex.Diagnostic.Error]
