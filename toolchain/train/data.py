"""Data sets by name: pixels or numbers the way the network's input sees them before scaling.

Files are searched in the given folder, in the folder of the environment variable ``FPGAFLOW_DATA``, where Debian
installs Fashion-MNIST, in the user's cache, and then downloaded into that cache with checksums.
"""

from __future__ import annotations

import logging
import os
import tarfile
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.config.run import DataConfig
from toolchain.errors import UserError, some_names, unknown_name
from toolchain.files import NO_ARRAYS
from toolchain.ir.input_types import parse_input
from toolchain.train import data_formats as formats
from toolchain.train.data_formats import Labels, Part, Samples
from toolchain.train.inputs import InputMap, feature_map, pixel_map
from toolchain.train.places import (
    CIFAR_BATCHES,
    DATA_VARIABLE,
    IDX_NAMES,
    cache_folder,
    cifar_files,
    idx_files,
    searched,
)
from toolchain.train.tables import read_csv, read_parquet

log = logging.getLogger(__name__)

_DIGITS_TRAIN, _DIGITS_SEED = 1437, 0
_HELD_SEED = 1
_IDX_URLS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
_IDX_MD5 = {
    ("mnist", "train-images-idx3-ubyte"): "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ("mnist", "train-labels-idx1-ubyte"): "d53e105ee54ea40749a09fcbcd1e9432",
    ("mnist", "t10k-images-idx3-ubyte"): "9fb629c4189551a2d022fa330f9573f3",
    ("mnist", "t10k-labels-idx1-ubyte"): "ec29112dd5afa0611ce80d1b7f02629c",
    ("fashion-mnist", "train-images-idx3-ubyte"): "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ("fashion-mnist", "train-labels-idx1-ubyte"): "25c81989df183df01b3e8a0aad5dffbe",
    ("fashion-mnist", "t10k-images-idx3-ubyte"): "bef4ecab320f06d8554ea6380940ec79",
    ("fashion-mnist", "t10k-labels-idx1-ubyte"): "bb300cfdad3c16e7a12a480ee83cd310",
}
_CIFAR_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
_CIFAR_MD5 = "c58f30108f718f92721af3b95e74349a"
_NUMBERS = tuple(map(str, range(10)))
_NAMES = {
    "digits": _NUMBERS,
    "mnist": _NUMBERS,
    "fashion-mnist": (
        "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
}  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """Settings to read a data set's files.

    They are the axes of ``npy:`` arrays, the columns of ``csv:`` and ``parquet:``, and the rows and columns that
    pictures are resized to; with 0 pictures stay as they are.
    """

    layout: str | None = None
    label: str = "label"
    features: tuple[str, ...] = ()
    size: int = 0

    @staticmethod
    def of(record: Mapping[str, Any]) -> Reading:
        """Return the settings that a model's metadata holds.

        Raises:
            UserError: it holds something else.
        """
        try:
            return Reading(**{**record, "features": tuple(record.get("features", ()))})
        except TypeError as error:
            raise UserError(f"the model says in no known way how its data are read: {record}") from error


USUAL = Reading()


@dataclass(frozen=True)
class Dataset:
    """Training and test samples, channels first, with labels 0..classes-1: pixels in uint8, or numbers in float32.

    A pixel p means p / pixel_levels; 0 levels stand for numbers. ``names`` are the classes', () where nothing names
    them; ``reading`` tells how other files of the kind are read. ``held`` are samples and labels that are neither
    trained on nor tests: what is chosen while training is chosen by them.
    """

    name: str
    train_x: Samples
    train_y: Labels
    test_x: Samples
    test_y: Labels
    classes: int
    pixel_levels: int
    names: tuple[str, ...] = ()
    reading: Reading = USUAL
    held: tuple[Samples, Labels] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(features,), (channels, length) or (channels, height, width) of a sample."""
        return self.train_x.shape[1:]

    @property
    def real(self) -> bool:
        """Whether the samples are real numbers instead of pixels."""
        return not self.pixel_levels

    def holding(self, share: float) -> Dataset:
        """Return the data set with ``share`` of the training samples held back, the same ones in every run.

        Raises:
            UserError: these are none, or all.
        """
        if not share:
            return self
        count = round(share * len(self.train_x))
        if not 0 < count < len(self.train_x):
            raise UserError(f"data.validation = {share:g} holds back {count} of {len(self.train_x)} training samples")
        order = np.random.RandomState(_HELD_SEED).permutation(len(self.train_x))
        held, kept = np.sort(order[:count]), np.sort(order[count:])
        return replace(
            self, train_x=self.train_x[kept], train_y=self.train_y[kept], held=(self.train_x[held], self.train_y[held])
        )


def input_map(data: Dataset, normalize: str, given: str | None = None) -> InputMap:
    """Return the host's map of a sample: see `toolchain.train.inputs.pixel_map` and `feature_map`.

    Raises:
        UserError: the type ``given`` has scales for another number of channels.
    """
    if given is not None and len(parse_input(given).scale) not in (1, data.shape[0]):
        raise UserError(
            f"data.input {given} for images of {data.shape[0]} channels", hint="give one scale, or one each"
        )
    if not data.real:
        return pixel_map(data.train_x, data.pixel_levels, normalize, given)
    return feature_map(data.train_x, normalize, given)


def load(name: str, *, root: Path | None = None, reading: Reading = USUAL) -> Dataset:
    """A data set by name: digits, mnist, fashion-mnist, cifar10, folder:PATH, npy:, csv: or parquet:PREFIX.

    Raises:
        UserError: unknown name, missing or damaged files, no test samples, a class that is only among them.
    """
    train = _load_part(name, "train", root, reading)
    reading = replace(reading, features=train.features)
    test = matched(load_test(name, root=root, reading=reading), train.names, f"data set '{name}'")
    if not len(train.x):
        raise UserError(f"data set '{name}' has no training images")
    if train.x.shape[1:] != test.x.shape[1:] or train.x.dtype != test.x.dtype:
        shapes = [f"{part.x.dtype}{part.x.shape[1:]}" for part in (train, test)]
        raise UserError(f"data set '{name}': training samples are {shapes[0]}, test samples {shapes[1]}")
    unknown = sorted(set(test.y.tolist()) - set(train.y.tolist()))
    if unknown:
        called = train.names[unknown[0]] if train.names else unknown[0]
        raise UserError(f"data set '{name}': class '{called}' is only in the test set")
    levels = 0 if train.x.dtype != np.uint8 else 16 if name == "digits" else 255
    classes = len(train.names) or int(train.y.max()) + 1
    return Dataset(name, train.x, train.y, test.x, test.y, classes, levels, train.names, reading)


def load_like(trained: Dataset | None, name: str) -> Dataset:
    """The data set ``name``, its files read and its classes numbered as those of ``trained``, if it is known.

    Raises:
        UserError: as `load` and `matched`.
    """
    if trained is None:
        return load(name)
    data = load(name, reading=trained.reading)
    train, test = (
        matched(Part(x, y, data.names), trained.names, f"data set '{name}'")
        for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y))
    )
    return replace(data, train_y=train.y, test_y=test.y, classes=trained.classes, names=trained.names or data.names)


def load_for(config: DataConfig, features: tuple[str, ...] = ()) -> Dataset:
    """The data set of a run file, ``data.validation`` of its training samples held back.

    Args:
        config: the run file's.
        features: the columns to take of a table, in this order; by default all.

    Raises:
        UserError: as `load` and `Dataset.holding`.
    """
    reading = Reading(config.layout, config.label, features, config.size or 0)
    data = load(config.name, root=Path(config.root) if config.root else None, reading=reading)
    return data.holding(config.validation)


def load_test(name: str, *, root: Path | None = None, reading: Reading = USUAL) -> Part:
    """Load the test samples alone, channels first, and their labels.

    Raises:
        UserError: as `load`.
    """
    part = _load_part(name, "test", root, reading)
    if not len(part.x):
        raise UserError(f"data set '{name}' has no test images")
    return part


def matched(part: Part, names: tuple[str, ...], where: str) -> Part:
    """``part`` with its labels numbered as the classes ``names`` are; as it is where one of both has no names.

    Raises:
        UserError: ``part`` has samples of a class that is not among ``names``.
    """
    if not names or not part.names or part.names == names:
        return part
    present = [part.names[i] for i in np.unique(part.y)]
    unknown = [name for name in present if name not in names]
    if unknown:
        what = f"class '{unknown[0]}' is none of the classes that are trained: {some_names(names)}"
        raise UserError(what, where=where)
    numbers = np.array([names.index(name) if name in names else -1 for name in part.names], dtype=np.int64)
    return replace(part, y=numbers[part.y], names=names)


def demand_same(whose: str, theirs: tuple[str, ...], ours: tuple[str, ...], name: str, where: str) -> None:
    """Demand that another run has the classes or the columns of the data set ``name``, in one order.

    Args:
        whose: what they are, and of which run.
        theirs, ours: their names; empty where nothing names them.
        name: of the data set that has ``ours``.
        where: named in the error.

    Raises:
        UserError: they are others.
    """
    if not theirs or not ours or theirs == ours:
        return
    first = next(pair for pair in zip_longest(theirs, ours) if pair[0] != pair[1])
    has, other = (f"'{column}'" if column is not None else "nothing" for column in first)
    what = f"{whose} are others, or in another order: it has {has} where '{name}' has {other}"
    raise UserError(what, where=where)


def _load_part(name: str, part: str, root: Path | None, reading: Reading) -> Part:
    found = _as_stored(name, part, root, reading)
    if not reading.size or found.x.shape[2:] == (reading.size, reading.size):
        return found
    if found.x.ndim != 4 or found.x.dtype != np.uint8:
        raise UserError(f"data set '{name}' holds no pictures to resize", hint="leave data.size out")
    return replace(found, x=formats.resized(found.x, reading.size))


def _as_stored(name: str, part: str, root: Path | None, reading: Reading) -> Part:
    kind, _, rest = name.partition(":")
    files: dict[str, Callable[[], Part]] = {
        "npy": lambda: formats.read_npy_pair(
            Path(f"{rest}_{part}_x.npy"), Path(f"{rest}_{part}_y.npy"), reading.layout
        ),
        "csv": lambda: read_csv(Path(f"{rest}_{part}.csv"), reading.label, reading.features),
        "parquet": lambda: read_parquet(Path(f"{rest}_{part}.parquet"), reading.label, reading.features),
        "folder": lambda: _load_folder(Path(rest), part),
    }
    if rest and kind in files:
        return files[kind]()
    loaders: dict[str, Callable[[str, list[Path]], Part]] = {
        "digits": _load_digits,
        "mnist": lambda part, folders: _load_idx("mnist", part, folders),
        "fashion-mnist": lambda part, folders: _load_idx("fashion-mnist", part, folders),
        "cifar10": _load_cifar,
    }
    if name not in loaders:
        raise unknown_name(
            "data set", name, [*loaders, "folder:PATH", *(f"{k}:PREFIX" for k in files if k != "folder")]
        )
    return replace(loaders[name](part, searched(root)), names=_NAMES[name])


def _load_digits(part: str, _: list[Path]) -> Part:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(digits.target))
    chosen = order[:_DIGITS_TRAIN] if part == "train" else order[_DIGITS_TRAIN:]
    return Part(digits.images[chosen][:, None].astype(np.uint8), digits.target[chosen].astype(np.int64))


def _load_folder(folder: Path, part: str) -> Part:
    if not (folder / part).is_dir():
        raise UserError(f"no folder {folder / part}", hint="expected train/CLASS/*.png and test/CLASS/*.png")
    return formats.read_image_folder(folder / part)


def _load_idx(name: str, part: str, folders: list[Path]) -> Part:
    found = idx_files(name, part, folders) or [
        _download(_IDX_URLS[name] + f"{file}.gz", _IDX_MD5[name, file], Path(name) / f"{file}.gz")
        for file in IDX_NAMES[part]
    ]
    return formats.read_idx_pair(*found)


def _load_cifar(part: str, folders: list[Path]) -> Part:
    found = cifar_files(part, folders)
    if not found:
        archive = _download(_CIFAR_URL, _CIFAR_MD5, Path("cifar-10-python.tar.gz"), wanted="cifar-10-batches-py")
        with tarfile.open(archive) as tar:
            tar.extractall(archive.parent, filter="data")
        found = [archive.parent / "cifar-10-batches-py" / name for name in CIFAR_BATCHES[part]]
    if found[0].suffix == ".npz":
        return _decoded_once(found[0])
    return formats.read_cifar_binary(found) if found[0].suffix == ".bin" else formats.read_cifar_python(found)


def _decoded_once(pack: Path) -> Part:
    """The images of a JPEG pack; decoded on first use and kept in the cache under the pack's path, size and time.

    Those of the same path that had another size or time go.
    """
    stat, place = pack.stat(), f"{zlib.crc32(os.fsencode(pack.resolve())):08x}"
    images = cache_folder() / "decoded" / f"{place}-{stat.st_size}-{stat.st_mtime_ns}.npy"
    if images.is_file():
        with suppress(*NO_ARRAYS, FileNotFoundError), np.load(pack) as arrays:
            return Part(np.load(images), arrays["label"].astype(np.int64))
    log.info("decoding %s, once", pack)
    decoded = formats.read_jpeg_pack(pack)
    try:
        images.parent.mkdir(parents=True, exist_ok=True)
        partial = images.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, decoded.x)
        partial.replace(images)
        for other in images.parent.glob(f"{place}-*"):
            if not other.name.startswith(images.stem):  # which another process may be writing too
                other.unlink(missing_ok=True)
    except OSError as error:
        log.warning("the decoded images are not kept: %s", error)
    return decoded


def _download(url: str, md5: str, file: Path, *, wanted: str = "") -> Path:
    """Fetch ``file`` into the cache, checked; a UserError says where ``wanted`` may be put by hand."""
    import pooch

    target = cache_folder() / file
    wanted = wanted or str(file)
    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=target.name, path=target.parent))
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot download {url} ({type(error).__name__})",
            hint=f"put {wanted} below {cache_folder()}, or set {DATA_VARIABLE} to a folder that holds {wanted}",
        ) from error
