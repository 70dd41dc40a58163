"""The lint of a project: parse, walk, ask every rule."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from toolchain.errors import UserError
from toolchain.hls_lint.facts import Facts
from toolchain.hls_lint.findings import Finding, Project, Rule
from toolchain.hls_lint.parse import TABLE, parsed
from toolchain.hls_lint.pragmas import read_pragmas
from toolchain.hls_lint.rules import arithmetic, constructs, control, dataflow, memory, scripts
from toolchain.hls_lint.state import State
from toolchain.hls_lint.walk import Walk

UNIT_RULES: tuple[Rule, ...] = (
    *control.RULES, *dataflow.RULES, *arithmetic.RULES, *memory.RULES, *constructs.RULES,
)  # fmt: skip
RULES: tuple[Rule, ...] = (*UNIT_RULES, *scripts.RULES)
"""All rules; those of the scripts ask for a whole project."""

_TOP = re.compile(r"^void (\w+)\(", re.MULTILINE)


class Distance(NamedTuple):
    """A memory that one pipelined loop loads and stores, and the iterations that lie in between."""

    unit: str
    memory: str
    where: str
    apart: int | None


class Report(NamedTuple):
    """Result of the lint for a project."""

    findings: tuple[Finding, ...]
    distances: tuple[Distance, ...]


def lint(files: Mapping[str, str], entries: Sequence[str] = ()) -> Report:
    """Check the project ``files`` ({path: text}) from its top function, or units by their functions ``entries``.

    Raises:
        UserError: ``files`` are no project, or there is no g++.
        FlowError: clang does not read them.
    """
    names = list(entries) or [_top(files)]
    facts = Facts(names[0])
    with parsed(files) as tree:
        read = [path for path in tree.texts if path.startswith(("src", "include"))]
        pragmas = {path: read_pragmas(tree.compiled(path)) for path in read}
        lines = {path: tree.texts[path].splitlines() for path in read}
        state = State(tree.root, lines, pragmas, facts)
        for name in names:
            function = tree.functions.get(name)
            if function is None:
                raise UserError(f"no source defines the function '{name}'", where="src")
            Walk(state).start(function)
    project = Project(facts, files)
    rules = UNIT_RULES if entries else RULES
    findings = tuple(finding for rule in rules for finding in rule.findings(project))
    return Report(findings, _distances(project))


def lint_folder(folder: Path) -> Report:
    """Check the HLS project below ``folder``: a build, or its ``hls``.

    Raises:
        UserError: it holds none.
    """
    root = folder / "hls" if (folder / "hls").is_dir() else folder
    if not (root / "src" / "top.cpp").is_file():
        raise UserError("no HLS project", where=str(folder), hint="name the folder that fpgaflow export wrote")
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    texts = {str(path.relative_to(root)): path for path in paths}
    read = {".cpp", ".hpp", ".h", ".tcl", ".cfg", ".sh", ".txt", ".inc"}
    return lint({name: _text(name, path) for name, path in texts.items() if path.suffix in read})


def _text(name: str, path: Path) -> str:
    return "" if TABLE.match(name) else path.read_text(encoding="utf-8", errors="replace")


def _top(files: Mapping[str, str]) -> str:
    found = _TOP.search(files.get("src/top.hpp", ""))
    if found is None:
        raise UserError("no top function", where="src/top.hpp", hint="lint a project that fpgaflow export wrote")
    return found.group(1)


def _distances(project: Project) -> tuple[Distance, ...]:
    found = memory.carried(project).items()
    rows = {Distance(unit, str(place), str(loop.where), apart) for (loop, place), (unit, apart) in found}
    return tuple(sorted(rows, key=str))
