"""The files that a run leaves, and whether the run is still what it was."""

from __future__ import annotations

import logging
import shlex
import tomllib
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from toolchain.errors import UserError
from toolchain.files import written_as
from toolchain.train.own.record import FILE as NETWORK_FILE
from toolchain.train.own.record import changed

RUN_FILES = ("run.toml", NETWORK_FILE, "model.onnx", "model.pt", "metrics.json", "checkpoints", "logs", "modes*.svg")
"""What `train` and `quantize` write into a run's folder, as patterns; the figures are those of symog and sgm."""

log = logging.getLogger(__name__)


def run_folder(run_file: Path, name: str, *, resume: bool) -> Path:
    """The folder of a run where nobody gives one: runs/NAME, or the one whose run.toml is resumed."""
    if resume and run_file.name == "run.toml" and (run_file.parent / "checkpoints").is_dir():
        return run_file.parent
    return Path("runs") / name


def model_file(path: Path) -> Path:
    """The QONNX file ``path``, or the one in the run folder ``path``; a network that has changed since is said.

    Raises:
        UserError: there is none.
    """
    if not path.is_dir():
        if not path.is_file():
            raise UserError(f"no such file: {path}")
        return path
    if not (path / "model.onnx").is_file():
        if (path / "metrics.json").is_file():
            raise UserError(f"{path} is a float run", hint=f"first: {shlex.join(['fpgaflow', 'quantize', str(path)])}")
        raise UserError(f"no model.onnx in {path}", hint="give a QONNX file or a finished run's folder")
    what = changed(path)
    if what is not None:
        log.warning("%s; model.onnx is the network as it was trained", what)
    return path / "model.onnx"


def demand_run(out: Path) -> None:
    """Raise UserError where the folder ``out`` holds what no run writes, and would be lost with it."""
    for path in sorted(out.iterdir()):
        name = written_as(path.name) or path.name
        if not any(fnmatchcase(name, pattern) for pattern in RUN_FILES):
            raise UserError(
                f"{out} would be removed, and no run wrote {path}", hint="move it away, or give another --out"
            )
    demand_written(out)


def demand_written(out: Path) -> None:
    """Raise UserError where the run.toml in the folder ``out`` is the user's own, which would be replaced.

    A run writes every value, and no comments; earlier versions had fewer keys.
    """
    path = out / "run.toml"
    if not path.is_file():
        return
    from toolchain.config.run import RunConfig  # loads numpy, and the command line loads this module
    from toolchain.config.toml import to_toml

    text = path.read_text(encoding="utf-8", errors="replace")
    with suppress(ValueError):  # no TOML, or a key that is none
        table = tomllib.loads(text)
        resolved = RunConfig.model_validate(table).model_dump(exclude_none=True)
        if to_toml(table) == text and 2 * _values(table) > _values(resolved):
            return
    raise UserError(
        f"{path} would be replaced, and no run wrote it as it is", hint="move it away, or give another --out"
    )


def _values(table: Any) -> int:
    """The number of values in a table and the tables inside."""
    return sum(map(_values, table.values())) if isinstance(table, dict) else 1
