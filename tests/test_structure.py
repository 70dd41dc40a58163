"""Which way the arrows of the imports run: down only, and in no circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import toolchain

ROOT = Path(toolchain.__file__).parent
FLOORS = (
    "__init__", "errors", "paths", "files", "programs", "locks", "records", "resources", "memory", "plan", "ir",
    "boards", "frontend", "lowering", "units", "hls_templates", "simulate", "rtl", "hls_lint", "passes", "dse",
    "engine", "config", "train", "export", "report", "hls4ml_backend", "flow", "search", "deploy", "terminal", "cli",
)  # fmt: skip
"""Every package and top-level module, lowest first: each may import those in front of it."""


@cache
def _modules() -> dict[str, Path]:
    paths = {".".join(("toolchain", *p.relative_to(ROOT).with_suffix("").parts)): p for p in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for name, path in paths.items()}


@cache
def _statements(path: Path) -> list[ast.Import | ast.ImportFrom]:
    """Every import of a file, at any depth."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]


def _imports(path: Path) -> Iterator[str]:
    """The package's own modules that a file imports: at the top, inside functions, or for types alone."""
    for node in _statements(path):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in _modules() else str(node.module) for name in names]
        yield from (name for name in names if name in _modules())


@cache
def _arrows() -> dict[str, set[str]]:
    return {name: set(_imports(path)) - {name} for name, path in _modules().items()}


def _floor(module: str) -> int:
    _, _, rest = module.partition(".")
    return FLOORS.index(rest.split(".")[0] if rest else "__init__")


def test_every_part_has_a_floor() -> None:
    assert {module.split(".")[1] for module in _modules() if "." in module} | {"__init__"} == set(FLOORS)


def test_no_arrow_runs_up() -> None:
    assert [(a, b) for a, targets in _arrows().items() for b in targets if _floor(b) > _floor(a)] == []


def test_what_is_imported_from_the_package_exists() -> None:
    """Mypy, which ignores what is not installed, passes over a module of our own that has moved."""
    for folder in ("toolchain", "tests", "benchmarks"):
        for path in (ROOT.parent / folder).rglob("*.py"):
            for node in _statements(path):
                if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("toolchain."):
                    assert node.module in _modules(), f"{path} imports {node.module}"


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(_arrows()).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
