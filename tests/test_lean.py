"""What each part may import: the command line starts at once, and the parts stay independent of each other's tools."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import toolchain

ROOT = Path(toolchain.__file__).parent
FRAMEWORKS = {"torch", "brevitas", "lightning", "onnx", "onnxscript", "onnxruntime", "qonnx", "hls4ml"}
TRAINING = {"torch", "brevitas", "lightning", "sklearn", "tensorboard"}
HEAVY = FRAMEWORKS | TRAINING | {"numpy", "scipy", "pulp", "highspy", "matplotlib", "jinja2", "joblib", "pooch", "PIL"}

HOMES = {
    "torch": {"train", "export", "flow", "search"},
    "brevitas": {"train", "export"},
    "lightning": {"train", "flow"},
    "sklearn": {"train", "search"},
    "optuna": {"search"},
    "ray": {"search"},
    "pooch": {"train"},
    "PIL": {"train"},
    "onnx": {"export", "frontend", "flow", "hls4ml_backend"},  # flow: what of a network is left to the host
    "qonnx": {"export", "frontend"},
    "onnxruntime": {"export", "frontend", "deploy"},  # deploy: the driver, where something is left to the host
    "pulp": {"dse", "engine", "train"},
    "highspy": {"dse"},
    "hls4ml": {"hls4ml_backend"},  # the C simulation finds its headers without importing it
    "jinja2": {"hls_templates", "report", "flow", "search"},  # flow: the files that a project begins with
    "matplotlib": {"train"},
    "clang": {"hls_lint"},
    "typer": {"cli"},
}
"""Third-party packages that only these parts may import, at the top of a module or inside a function."""


def _loaded(code: str) -> set[str]:
    """The top-level packages that a new interpreter has loaded after ``code``."""
    tail = "\nimport json, sys\nsys.stderr.write(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + tail], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr.splitlines()[-1]))


def _modules(part: str) -> list[str]:
    paths = sorted((ROOT / part).rglob("*.py"))
    return [".".join(("toolchain", *path.relative_to(ROOT).with_suffix("").parts)) for path in paths]


@cache
def _imports(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
    return {name.partition(".")[0] for name in found}


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not _loaded("import toolchain.cli") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["export", "--help"], ["--version"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"import sys\nfrom toolchain.cli import main\nsys.argv = {['fpgaflow', *arguments]}\n"
    assert not _loaded(code + "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code") & HEAVY


def test_listing_the_boards_loads_no_framework() -> None:
    code = "import sys\nfrom toolchain.cli import main\nsys.argv = ['fpgaflow', 'boards']\n"
    assert not _loaded(code + "try:\n    main()\nexcept SystemExit as exit:\n    assert not exit.code") & HEAVY


@pytest.mark.parametrize(
    "part", ["ir", "lowering", "units", "passes", "dse", "engine", "hls_templates", "simulate", "report"]
)
def test_the_middle_of_the_flow_needs_no_framework(part: str) -> None:
    assert not _loaded("\n".join(f"import {name}" for name in _modules(part))) & FRAMEWORKS


def test_lowering_a_file_needs_no_training_framework() -> None:
    assert not _loaded("import toolchain.flow.stages, toolchain.frontend.read") & TRAINING


@pytest.mark.parametrize("package", HOMES)
def test_a_package_is_imported_only_where_it_lives(package: str) -> None:
    importing = {path.relative_to(ROOT) for path in ROOT.rglob("*.py") if package in _imports(path)}
    assert {str(path) for path in importing if path.with_suffix("").parts[0] not in HOMES[package]} == set()
