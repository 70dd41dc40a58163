"""The file that a run has left, and whether the run is still what it was."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

from toolchain.errors import UserError
from toolchain.train.own.record import changed

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
