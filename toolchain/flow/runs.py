"""The files that a run leaves, and whether the run is still what it was."""

from __future__ import annotations

import logging
import shlex
from fnmatch import fnmatchcase
from pathlib import Path

from toolchain.errors import UserError
from toolchain.train.own.record import FILE as NETWORK_FILE
from toolchain.train.own.record import changed

RUN_FILES = ("run.toml", NETWORK_FILE, "model.onnx", "model.pt", "metrics.json", "checkpoints", "logs", "modes*.svg")
"""What `train` and `quantize` write into a run's folder, as patterns; the figures are those of symog and sgm."""

log = logging.getLogger(__name__)


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
    written = (*RUN_FILES, *(f".{name}.*" for name in RUN_FILES))  # and what a kill leaves, see `toolchain.files`
    for path in sorted(out.iterdir()):
        if not any(fnmatchcase(path.name, name) for name in written):
            raise UserError(
                f"{out} would be removed, and no run wrote {path}", hint="move it away, or give another --out"
            )
