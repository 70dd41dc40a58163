"""Checkpoints that a kill or a full disk leaves whole: the file of the epoch before, or that of this one.

Files of tensors, these and others, are read so that none is taken for what was written if it is not whole.
"""

from __future__ import annotations

import io
import pickle
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

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
        files.write_bytes(Path(path), state_bytes(checkpoint))

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Return the checkpoint at ``path``, of tensors and plain values whatever is asked.

        Raises:
            UserError: it is damaged.
        """
        try:
            return dict(read_whole(Path(path), map_location))
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} is damaged", hint="remove it: its epochs are trained again") from error


def state_bytes(state: Mapping[str, Any]) -> bytes:
    """The file that `torch.save` makes of ``state``."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def read_whole(path: Path, device: Any = "cpu") -> Any:
    """Return what a run has saved in ``path``, if every byte is as it was written.

    Raises:
        ValueError: it is not, or no run wrote it.
    """
    content = path.read_bytes()
    try:
        with ZipFile(io.BytesIO(content)) as parts:
            damaged = parts.testzip()  # torch does not compare the sums
    except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    if damaged is not None:
        raise ValueError(f"{damaged} is not as it was written")
    return read_tensors(content, device)


def read_tensors(content: bytes, device: Any = "cpu") -> Any:
    """Return what ``torch.save`` has written, tensors and plain values, nothing that is executed.

    Raises:
        ValueError: something else is in it.
    """
    try:
        return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(str(error)) from error


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
    found = {path: re.fullmatch(r"epoch-(\d+)(-v\d+)?\.ckpt", path.name) for path in folder.glob("epoch-*.ckpt")}
    return max((path for path in found if found[path]), key=lambda path: int(path.stem.split("-")[1]), default=None)
