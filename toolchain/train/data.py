"""Data sets by name, as uint8 arrays the way the network's input sees them before scaling.

Files are searched in the given folder, in the folder of the environment variable ``FPGAFLOW_DATA``, where Debian
installs Fashion-MNIST, in the user's cache, and then downloaded into that cache with checksums.
"""

from __future__ import annotations

import logging
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UserError, unknown_name
from toolchain.ir.input_types import parse_input, quantizer_of
from toolchain.ir.quantize import quantize
from toolchain.train import data_formats as formats
from toolchain.train.data_formats import Images, Labels, Part

log = logging.getLogger(__name__)

DATA_VARIABLE = "FPGAFLOW_DATA"
_DIGITS_TRAIN, _DIGITS_SEED = 1437, 0
_DEBIAN_FASHION = Path("/usr/share/datasets/fashion-mnist")
_IDX_NAMES = {"train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
              "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")}  # fmt: skip
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
_CIFAR_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


@dataclass(frozen=True)
class Dataset:
    """Training and test images (N, C, H, W) in uint8 with labels 0..classes-1; a pixel p means p / pixel_levels."""

    name: str
    train_x: Images
    train_y: Labels
    test_x: Images
    test_y: Labels
    classes: int
    pixel_levels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return self.train_x.shape[1], self.train_x.shape[2], self.train_x.shape[3]


@dataclass(frozen=True)
class PixelMap:
    """The exact map from a pixel to the network's input: ``pixel * scale + offset``, one entry or one a channel.

    ``given`` is the type that the host rounds these values to, as ``parse_input`` reads it.
    """

    scale: tuple[Fraction, ...]
    offset: tuple[Fraction, ...]
    given: str | None = None

    def apply(self, x: Images) -> NDArray[np.float32]:
        """Input values (N, C, H, W) of the pixels, correctly rounded from float64, then to ``given``."""
        scale = np.array([float(s) for s in self.scale]).reshape(1, -1, 1, 1)
        offset = np.array([float(o) for o in self.offset]).reshape(1, -1, 1, 1)
        values: NDArray[np.float32] = (x * scale + offset).astype(np.float32)
        if self.given is None:
            return values
        quantizer = quantizer_of(parse_input(self.given))
        codes = quantize(quantizer, np.moveaxis(values, 1, -1)) - quantizer.zero_point
        rounded: NDArray[np.float32] = np.moveaxis(codes * np.asarray(quantizer.scale), -1, 1).astype(np.float32)
        return rounded


def pixel_map(data: Dataset, normalize: str, given: str | None = None) -> PixelMap:
    """``unit``: p / levels. ``standard``: (p / levels - mean) / std with the training set's moments to 4 decimals.

    Raises:
        UserError: the type ``given`` has scales for another number of channels.
    """
    if given is not None and len(parse_input(given).scale) not in (1, data.shape[0]):
        raise UserError(
            f"data.input {given} for images of {data.shape[0]} channels", hint="give one scale, or one each"
        )
    unit = Fraction(1, data.pixel_levels)
    if normalize == "unit":
        return PixelMap((unit,), (Fraction(0),), given)
    values = data.train_x.astype(np.float32) / data.pixel_levels
    means = [Fraction(f"{m:.4f}") for m in values.mean((0, 2, 3), dtype=np.float64)]
    stds = [max(Fraction(f"{s:.4f}"), Fraction(1, 10000)) for s in values.std((0, 2, 3), dtype=np.float64)]
    return PixelMap(tuple(unit / s for s in stds), tuple(-m / s for m, s in zip(means, stds, strict=True)), given)


def load(name: str, *, root: Path | None = None) -> Dataset:
    """A data set by name: digits, mnist, fashion-mnist, cifar10, folder:PATH or npy:PREFIX.

    Raises:
        UserError: unknown name, missing or damaged files, no test images.
    """
    train_x, train_y = _load_part(name, "train", root)
    test_x, test_y = load_test(name, root=root)
    if not len(train_x):
        raise UserError(f"data set '{name}' has no training images")
    if train_x.shape[1:] != test_x.shape[1:]:
        raise UserError(f"data set '{name}': training images {train_x.shape[1:]}, test images {test_x.shape[1:]}")
    classes = int(max(train_y.max(), test_y.max())) + 1
    return Dataset(name, train_x, train_y, test_x, test_y, classes, 16 if name == "digits" else 255)


def load_test(name: str, *, root: Path | None = None) -> Part:
    """Only the test images (N, C, H, W) in uint8 and their labels.

    Raises:
        UserError: as `load`.
    """
    x, y = _load_part(name, "test", root)
    if not len(x):
        raise UserError(f"data set '{name}' has no test images")
    return x, y


def cache_folder() -> Path:
    """Where downloads and decoded images are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fpgaflow"


def _load_part(name: str, part: str, root: Path | None) -> Part:
    kind, colon, rest = name.partition(":")
    if colon and kind == "npy":
        return formats.read_npy_pair(Path(f"{rest}_{part}_x.npy"), Path(f"{rest}_{part}_y.npy"))
    if colon and kind == "folder":
        return _load_folder(Path(rest), part)
    loaders: dict[str, Callable[[str, list[Path]], Part]] = {
        "digits": _load_digits,
        "mnist": lambda part, folders: _load_idx("mnist", part, folders),
        "fashion-mnist": lambda part, folders: _load_idx("fashion-mnist", part, folders),
        "cifar10": _load_cifar,
    }
    if name not in loaders:
        raise unknown_name("data set", name, [*loaders, "folder:PATH", "npy:PREFIX"])
    return loaders[name](part, _search(root))


def _search(root: Path | None) -> list[Path]:
    """Folders that exist, in the order they are searched."""
    variable = os.environ.get(DATA_VARIABLE)
    folders = [root, Path(variable) if variable else None, cache_folder()]
    return [folder for folder in folders if folder is not None and folder.is_dir()]


def _load_digits(part: str, _: list[Path]) -> Part:
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.RandomState(_DIGITS_SEED).permutation(len(digits.target))
    chosen = order[:_DIGITS_TRAIN] if part == "train" else order[_DIGITS_TRAIN:]
    return digits.images[chosen][:, None].astype(np.uint8), digits.target[chosen].astype(np.int64)


def _load_folder(folder: Path, part: str) -> Part:
    if not (folder / "train").is_dir():
        raise UserError(f"no folder {folder / 'train'}", hint="expected train/CLASS/*.png and test/CLASS/*.png")
    classes = sorted(entry.name for entry in (folder / "train").iterdir() if entry.is_dir())
    return formats.read_image_folder(folder / part, classes)


def _load_idx(name: str, part: str, folders: list[Path]) -> Part:
    files = _IDX_NAMES[part]
    places = [folder / sub for folder in folders for sub in (name, ".")]
    if name == "fashion-mnist":
        places.append(_DEBIAN_FASHION)
    else:  # bare idx files directly in a folder could be either set
        places = [place for place in places if place.name == name]
    for place in places:
        for suffix in (".gz", ""):
            paths = [place / (file + suffix) for file in files]
            if all(path.is_file() for path in paths):
                return formats.read_idx_pair(*paths)
    fetched = [
        _download(_IDX_URLS[name] + f"{file}.gz", _IDX_MD5[name, file], Path(name) / f"{file}.gz") for file in files
    ]
    return formats.read_idx_pair(*fetched)


def _load_cifar(part: str, folders: list[Path]) -> Part:
    names = _CIFAR_BATCHES[part]
    for folder in folders:
        for sub in ("cifar-10-batches-py", "cifar-10-batches-bin"):
            binary = sub.endswith("bin")
            paths = [folder / sub / (name + ".bin" if binary else name) for name in names]
            if all(path.is_file() for path in paths):
                return formats.read_cifar_binary(paths) if binary else formats.read_cifar_python(paths)
        pack = folder / f"cifar10_jpegq75_{part}.npz"
        if pack.is_file():
            return _decoded_once(pack)
    archive = _download(_CIFAR_URL, _CIFAR_MD5, Path("cifar-10-python.tar.gz"), wanted="cifar-10-batches-py")
    with tarfile.open(archive) as tar:
        tar.extractall(archive.parent, filter="data")
    return formats.read_cifar_python([archive.parent / "cifar-10-batches-py" / name for name in names])


def _decoded_once(pack: Path) -> Part:
    """The images of a JPEG pack; decoded on first use and kept in the cache under the pack's size and time."""
    stat = pack.stat()
    images = cache_folder() / "decoded" / f"{pack.stem}-{stat.st_size}-{stat.st_mtime_ns}.npy"
    if images.is_file():
        with np.load(pack) as arrays:
            return np.load(images), arrays["label"].astype(np.int64)
    log.info("decoding %s, once", pack)
    x, y = formats.read_jpeg_pack(pack)
    try:
        images.parent.mkdir(parents=True, exist_ok=True)
        partial = images.with_suffix(f".{os.getpid()}.npy")
        np.save(partial, x)
        partial.replace(images)
    except OSError as error:
        log.warning("the decoded images are not kept: %s", error)
    return x, y


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
