"""Checkpoints are whole, whatever the disk does."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from toolchain.errors import UserError
from toolchain.files import remove_leftovers
from toolchain.train.checkpoints import WholeCheckpoints, last_checkpoint, read_whole, same_network


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    WholeCheckpoints().save_checkpoint({"epoch": 9}, tmp_path / "epoch-9.ckpt")
    opened = Path.open

    class Full:
        """A file on a disk that has room for half of it."""

        def __init__(self, path: Path, mode: str) -> None:
            self.file = opened(path, mode)

        def __enter__(self) -> Full:
            return self

        def __exit__(self, *_: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            self.file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda path, mode: Full(path, mode))  # a class would not be bound
    with pytest.raises(OSError, match="No space left") as error:
        WholeCheckpoints().save_checkpoint({"epoch": 10}, str(tmp_path / "epoch-10.ckpt"))
    monkeypatch.undo()

    assert error.value.filename == str(tmp_path / "epoch-10.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-9.ckpt"]
    found = last_checkpoint(tmp_path)
    assert found is not None and torch.load(found, weights_only=True) == {"epoch": 9}


def test_the_last_checkpoint_is_that_of_the_latest_epoch(tmp_path: Path) -> None:
    for epoch in (2, 10, 9):
        WholeCheckpoints().save_checkpoint({"epoch": epoch}, tmp_path / f"epoch-{epoch}.ckpt")

    (tmp_path / "epoch-11 (copy).ckpt").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "epoch-10.ckpt"
    assert last_checkpoint(tmp_path / "nothing") is None


def test_a_checkpoint_of_which_a_byte_is_another_is_refused(tmp_path: Path) -> None:
    """As are those that were cut, and files of other kinds: all that torch reads without a word or with a traceback."""
    path = tmp_path / "epoch-3.ckpt"
    WholeCheckpoints().save_checkpoint({"weight": torch.arange(64.0)}, path)
    whole = path.read_bytes()
    assert torch.equal(WholeCheckpoints().load_checkpoint(path)["weight"], torch.arange(64.0))
    at = whole.index(torch.arange(64.0).numpy().tobytes()) + 7
    flipped = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    for damaged in (flipped, whole[:-1], whole[: len(whole) // 2], bytes(len(whole)), b"hello", b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"."):
            read_whole(path)
        with pytest.raises(UserError, match=r"epoch-3\.ckpt is damaged; remove it: its epochs are trained again$"):
            WholeCheckpoints().load_checkpoint(path)


def test_what_killed_writes_left_goes_and_other_hidden_files_stay(tmp_path: Path) -> None:
    for name in (".epoch-3.ckpt.812-0a1b2c3d", ".gitignore", "model.pt"):
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        (tmp_path / "checkpoints" / name).touch()
    remove_leftovers(tmp_path)

    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [".gitignore", "model.pt"]


def test_a_state_of_another_network_is_told_in_one_line_and_other_errors_pass() -> None:
    state = nn.Linear(2, 3).state_dict()
    for other, named in ((nn.Linear(2, 4), "weight"), (nn.BatchNorm1d(3), "running_mean")):
        message = f"^its network is another one than was trained: '{named}' differs; use"
        with pytest.raises(UserError, match=message), same_network():
            other.load_state_dict(state)
    with pytest.raises(RuntimeError, match="^of its own$"), same_network():
        raise RuntimeError("of its own")
