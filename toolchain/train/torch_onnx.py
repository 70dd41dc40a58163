"""PyTorch's ONNX exporter, without what it prints."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

_OPSET = 18
_NOISY_LOGGERS = ("torch.onnx", "torch.fx", "onnxscript", "onnx_ir")


def export_float(model: nn.Module, example: Tensor, path: Path) -> None:
    """Write ``model``, in eval mode, as a float ONNX file of the batch of ``example``; it may raise anything."""
    with quiet():
        torch.onnx.export(model, (example,), path, opset_version=_OPSET, dynamo=True, external_data=False)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what the exporter prints, logs and warns itself of unasked, its graphs where it fails among it."""
    before = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with (
            contextlib.redirect_stdout(io.StringIO()) as said,
            contextlib.redirect_stderr(said),
            warnings.catch_warnings(action="ignore", category=FutureWarning),
            torch.no_grad(),
        ):
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
