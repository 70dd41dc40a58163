"""Checkpoints that a kill or a full disk leaves whole: the file of the epoch before, or that of this one."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from toolchain import files


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints by rename in their own folder.

    Lightning's own moves a file from the system's temporary folder, which is copying where that lies on another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` to ``path``."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        files.write_bytes(Path(path), buffer.getvalue())


def last_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the latest epoch in ``folder``, if any."""
    return max(folder.glob("epoch-*.ckpt"), key=lambda path: int(path.stem.split("-")[1]), default=None)
