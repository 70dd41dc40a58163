"""Tensors of many images, kept in memory while there is room and in files beyond."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor


class Store:
    """Holds at most ``room`` bytes of tensors in memory; further ones go to files that vanish with it."""

    def __init__(self, room: int) -> None:
        self._left = room
        self._files = 0
        self._folder = tempfile.TemporaryDirectory(prefix="fpgaflow-")

    @property
    def folder(self) -> str:
        """Path of the folder of the files."""
        return self._folder.name

    def keep(self, parts: Iterable[Tensor]) -> Parts:
        """Take over ``parts`` one by one, as they are made."""
        return Parts(self, parts)

    def put(self, part: Tensor) -> Tensor | Path:
        """``part`` itself, or the file that it is in."""
        if part.nbytes <= self._left:
            self._left -= part.nbytes
            return part
        self._files += 1
        path = Path(self.folder) / f"{self._files}.pt"
        torch.save(part.clone(), path)  # a slice would be saved with all that it is cut from
        return path

    def drop(self, held: Tensor | Path) -> None:
        """Give the room back."""
        if isinstance(held, Path):
            held.unlink()
        else:
            self._left += held.nbytes


class Parts:
    """The parts of one tensor in a ``Store``; read from there each time they are looked at."""

    def __init__(self, store: Store, parts: Iterable[Tensor]) -> None:
        self._store = store
        self._held = [store.put(part) for part in parts]

    def __len__(self) -> int:
        """Number of parts."""
        return len(self._held)

    def __getitem__(self, index: int) -> Tensor:
        """One part."""
        held = self._held[index]
        return torch.load(held) if isinstance(held, Path) else held

    def __iter__(self) -> Iterator[Tensor]:
        """All parts, one after the other."""
        return (self[i] for i in range(len(self)))

    def drop(self) -> None:
        """Let all of them go."""
        while self._held:
            self._store.drop(self._held.pop())
