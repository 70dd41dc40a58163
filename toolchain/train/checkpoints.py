"""Checkpoints that a kill or a full disk leaves whole: the file of the epoch before, or that of this one."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from toolchain import files
from toolchain.errors import UserError


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints by rename in their own folder.

    Lightning's own moves a file from the system's temporary folder, which is copying where that lies on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        files.write_bytes(Path(path), buffer.getvalue())


@contextmanager
def same_network() -> Iterator[None]:
    """Say of a saved state that does not fit its network that the network's code is another one now, a UserError."""
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if not text.startswith("Error(s) in loading state_dict"):
            raise
        (name,) = re.findall(r'"([^"]+)"|size mismatch for ([^:]+):', text)[:1] or [("", "")]
        raise UserError(
            f"its network is another one than was trained: '{name[0] or name[1]}' differs",
            hint="use the code and the fpgaflow that it was trained with, or train it anew with --overwrite",
        ) from error


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest epoch in ``folder``, if any."""
    return max(folder.glob("epoch-*.ckpt"), key=lambda path: int(path.stem.split("-")[1]), default=None)
