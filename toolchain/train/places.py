"""Paths of the named data sets on this machine; nothing is read or downloaded here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from toolchain.errors import UserError
from toolchain.paths import in_home

DATA_VARIABLE = "FPGAFLOW_DATA"
DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
PARTS = ("train", "test")
IDX_NAMES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def cache_folder() -> Path:
    """Return the folder of downloads and decoded images.

    Raises:
        UserError: it lies in a home that nobody knows.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or in_home("~/.cache")) / "fpgaflow"


def searched(root: Path | None = None) -> list[Path]:
    """The folders that exist of ``root``, that of FPGAFLOW_DATA and the cache, in the order they are searched."""
    variable = os.environ.get(DATA_VARIABLE)
    folders = [root, Path(variable) if variable else None]
    with suppress(UserError):  # without a home there is no cache either
        folders.append(cache_folder())
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def idx_files(name: str, part: str, folders: Sequence[Path]) -> list[Path]:
    """Images and labels of "mnist" or "fashion-mnist", gzipped or not; [] where no folder holds both."""
    places = [folder / sub for folder in folders for sub in (name, ".")]
    if name == "fashion-mnist":
        places.append(DEBIAN_FASHION)
    else:  # bare idx files directly in a folder could be either set
        places = [place for place in places if place.name == name]
    for place in places:
        for suffix in (".gz", ""):
            paths = [place / (file + suffix) for file in IDX_NAMES[part]]
            if all(path.is_file() for path in paths):
                return paths
    return []


def cifar_files(part: str, folders: Sequence[Path]) -> list[Path]:
    """Batches of CIFAR-10 of the Python (no suffix) or the C version (.bin), or one JPEG pack (.npz); [] for none."""
    for folder in folders:
        for sub, suffix in (("cifar-10-batches-py", ""), ("cifar-10-batches-bin", ".bin")):
            paths = [folder / sub / (name + suffix) for name in CIFAR_BATCHES[part]]
            if all(path.is_file() for path in paths):
                return paths
        pack = folder / f"cifar10_jpegq75_{part}.npz"
        if pack.is_file():
            return [pack]
    return []


def stored(name: str) -> Path | None:
    """The folder with all of the training samples of "mnist", "fashion-mnist" or "cifar10" that need no download.

    None where the training or the test samples are not on this machine.
    """
    folders = searched()
    parts = [cifar_files(part, folders) if name == "cifar10" else idx_files(name, part, folders) for part in PARTS]
    return parts[0][0].parent if all(parts) else None
