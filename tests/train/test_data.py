"""Data sets: each file format is read as written, and what is missing or damaged is said in one line."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.errors import UserError
from toolchain.flow.images import read_array
from toolchain.train import data, places
from toolchain.train.data_formats import Part, read_cifar_python, read_idx
from toolchain.train.inputs import FeatureMap, PixelMap, map_record, read_map

_RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def _no_outside_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No data set, cache or network of this computer takes part."""
    monkeypatch.delenv(places.DATA_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(places, "DEBIAN_FASHION", tmp_path / "nowhere")


def _idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def _pixels(*shape: int) -> np.ndarray:
    return _RNG.integers(0, 256, shape, dtype=np.uint8)


def test_digits_need_no_file_and_split_the_same_way_each_time() -> None:
    digits = data.load("digits")
    assert digits.train_x.shape == (1437, 1, 8, 8) and digits.test_x.shape == (360, 1, 8, 8)
    assert (digits.classes, digits.pixel_levels, digits.train_x.max()) == (10, 16, 16)
    assert digits.test_y[:6].tolist() == data.load_test("digits").y[:6].tolist() == [7, 9, 4, 7, 0, 2]


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_found_below_the_variables_folder(
    name: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(places.DATA_VARIABLE, str(tmp_path))
    (tmp_path / name).mkdir()
    images = {"train": _pixels(6, 28, 28), "t10k": _pixels(3, 28, 28)}
    for part, x in images.items():
        for kind, array in (("images-idx3", x), ("labels-idx1", np.arange(len(x), dtype=np.uint8))):
            content = _idx(array)
            file = tmp_path / name / f"{part}-{kind}-ubyte"
            file.with_name(file.name + ".gz" * packed).write_bytes(gzip.compress(content) if packed else content)
    loaded = data.load(name)
    assert np.array_equal(loaded.train_x[:, 0], images["train"]) and np.array_equal(loaded.test_x[:, 0], images["t10k"])
    assert loaded.classes == 10 and loaded.test_y.tolist() == [0, 1, 2]


def test_the_root_argument_is_searched_before_the_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, label in (("root", 3), ("variable", 7)):
        (tmp_path / folder / "mnist").mkdir(parents=True)
        for file, array in (("images-idx3", _pixels(1, 28, 28)), ("labels-idx1", np.array([label], np.uint8))):
            (tmp_path / folder / "mnist" / f"t10k-{file}-ubyte").write_bytes(_idx(array))
    monkeypatch.setenv(places.DATA_VARIABLE, str(tmp_path / "variable"))
    assert data.load_test("mnist").y.tolist() == [7]
    assert data.load_test("mnist", root=tmp_path / "root").y.tolist() == [3]


def test_a_short_idx_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(_idx(_pixels(2, 3, 3))[:-1])
    with pytest.raises(UserError, match=r"idx file of 33 bytes does not hold its \(2, 3, 3\)"):
        read_idx(path)


def test_a_gzipped_idx_file_whose_deflate_stream_is_broken_is_refused(tmp_path: Path) -> None:
    """A block of an unknown kind: gzip's own checks are not reached."""
    packed = bytearray(gzip.compress(_idx(_pixels(2, 3, 3))))
    packed[10] |= 0b110
    (tmp_path / "x.gz").write_bytes(packed)
    with pytest.raises(UserError, match=r"damaged gzip file: .* \[.*x.gz\]"):
        read_idx(tmp_path / "x.gz")


DAMAGED = {
    "empty": b"",
    "zip": b"PK\3\4 and no more",
    "header": b"\x93NUMPY\1\0\x10\0{'descr': '<f4', " + bytes(80),
}
"""Files that numpy refuses in ways of its own."""


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_arrays_are_refused(content: bytes, tmp_path: Path) -> None:
    """Those that are trained on, and those that a build is verified on."""
    name = _save(tmp_path / "mine", _pixels(4, 2, 6, 6), [0, 1, 2, 1])
    path = tmp_path / "mine_test_x.npy"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"^not a \.npy file of numbers \[.*mine_test_x\.npy\]"):
        data.load(name)
    with pytest.raises(UserError, match=r"mine_test_x\.npy is no \.npy file of numbers"):
        read_array(path)


@pytest.mark.parametrize("size", [0, 100, 600])
def test_a_jpeg_pack_that_is_cut_is_refused(size: int, tmp_path: Path) -> None:
    _write_pack(tmp_path, "train", [_pixels(32, 32, 3)])
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match=r"^not a JPEG pack: "):
        data.formats.read_jpeg_pack(path)


def test_cifar_binary_and_python_batches_hold_the_same_images(tmp_path: Path) -> None:
    names = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
    for folder in ("a/cifar-10-batches-bin", "b/cifar-10-batches-py"):
        (tmp_path / folder).mkdir(parents=True)
    for name in names:
        rows, labels = _pixels(2, 3072), [1, 9]
        binary = b"".join(bytes([label]) + row.tobytes() for label, row in zip(labels, rows, strict=True))
        (tmp_path / "a/cifar-10-batches-bin" / f"{name}.bin").write_bytes(binary)
        batch = pickle.dumps({b"data": rows, b"labels": labels, b"batch_label": name.encode()}, protocol=2)
        (tmp_path / "b/cifar-10-batches-py" / name).write_bytes(batch)
    binary_set, python_set = (data.load("cifar10", root=tmp_path / sub) for sub in "ab")
    assert binary_set.train_x.shape == (10, 3, 32, 32) and binary_set.test_y.tolist() == [1, 9]
    assert np.array_equal(binary_set.train_x, python_set.train_x) and np.array_equal(
        binary_set.test_x, python_set.test_x
    )


def test_a_pickle_that_runs_code_is_refused_without_running_it(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "ran"),)  # type: ignore[return-value]

    path = tmp_path / "test_batch"
    path.write_bytes(pickle.dumps(Attack()))
    with pytest.raises(UserError, match=r"is not allowed in a data file"):
        read_cifar_python([path])
    assert not (tmp_path / "ran").exists()


def _write_pack(folder: Path, part: str, images: list[np.ndarray]) -> list[np.ndarray]:
    """JPEGs of one size share their header up to the scan; returns the images as a decoder sees them."""
    jpegs = []
    for image in images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=75)
        jpegs.append(buffer.getvalue())
    start = jpegs[0].index(b"\xff\xda")
    assert all(jpeg[:start] == jpegs[0][:start] for jpeg in jpegs)
    bodies = [jpeg[start:] for jpeg in jpegs]
    np.savez(
        folder / f"cifar10_jpegq75_{part}.npz",
        header=np.frombuffer(jpegs[0][:start], np.uint8),
        body=np.frombuffer(b"".join(bodies), np.uint8),
        offset=np.cumsum([0, *map(len, bodies)]),
        label=np.arange(len(images), dtype=np.uint8),
    )
    return [np.asarray(Image.open(io.BytesIO(jpeg))) for jpeg in jpegs]


def test_jpeg_packs_are_decoded_once_and_then_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = {part: _write_pack(tmp_path, part, [_pixels(32, 32, 3) for _ in range(3)]) for part in ("train", "test")}
    first = data.load("cifar10", root=tmp_path)
    assert np.array_equal(first.test_x.transpose(0, 2, 3, 1), np.stack(decoded["test"]))
    monkeypatch.setattr(data.formats, "read_jpeg_pack", None)
    again = data.load("cifar10", root=tmp_path)
    assert np.array_equal(first.train_x, again.train_x) and again.train_y.tolist() == [0, 1, 2]


def test_decoded_images_of_a_pack_that_was_written_again_do_not_pile_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a pack of the same name elsewhere stay."""
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    for turn in range(3):
        for root in (tmp_path / "a", tmp_path / "b"):
            root.mkdir(exist_ok=True)
            for part in ("train", "test"):
                _write_pack(root, part, [_pixels(32, 32, 3) for _ in range(2 + turn)])
            assert len(data.load("cifar10", root=root).test_x) == 2 + turn
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 4


def test_decoded_images_that_are_damaged_are_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "cache_folder", lambda: tmp_path / "cache")
    for part in ("train", "test"):
        _write_pack(tmp_path, part, [_pixels(32, 32, 3) for _ in range(3)])
    first = data.load("cifar10", root=tmp_path)
    for file in (tmp_path / "cache" / "decoded").iterdir():
        file.write_bytes(file.read_bytes()[:200])
    assert np.array_equal(data.load("cifar10", root=tmp_path).train_x, first.train_x)


def test_image_folders_give_labels_in_the_order_of_class_names(tmp_path: Path) -> None:
    red = np.zeros((4, 5, 3), np.uint8)
    red[..., 0] = 200
    for part in ("train", "test"):
        for name in ("cat", "ant"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.fromarray(red if name == "cat" else red[..., ::-1].copy()).save(tmp_path / part / name / "1.png")
    loaded = data.load(f"folder:{tmp_path}")
    assert loaded.shape == (3, 4, 5) and loaded.classes == 2 and loaded.train_y.tolist() == [0, 1]
    assert loaded.names == ("ant", "cat")
    assert loaded.train_x[1, 0].min() == 200 and loaded.train_x[0, 0].max() == 0


def test_images_of_two_sizes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    for size in (4, 5):
        Image.new("L", (size, size)).save(tmp_path / "train" / "a" / f"{size}.png")
    with pytest.raises(UserError, match=r"image is \(1, 5, 5\), the ones before it are \(1, 4, 4\)"):
        data.load(f"folder:{tmp_path}")


@pytest.mark.parametrize(("suffix", "deep"), [("png", True), ("tif", True), ("tif", False), ("webp", False)])
def test_pictures_of_other_formats_are_read_and_those_of_16_bits_are_not_clipped(
    suffix: str, deep: bool, tmp_path: Path
) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "a").mkdir(parents=True)
        picture = np.full((4, 5), 1000, np.uint16) if deep else np.full((4, 5, 3), 7, np.uint8)
        Image.fromarray(picture).save(tmp_path / part / "a" / f"1.{suffix}", **({} if deep else {"lossless": True}))
    if deep:
        with pytest.raises(
            UserError, match=r"its pixels have more than 8 bits \[.*1.* give arrays \(npy:\) of numbers"
        ):
            data.load(f"folder:{tmp_path}")
    else:
        assert (data.load(f"folder:{tmp_path}").train_x == 7).all()


def _save(prefix: Path, x: np.ndarray, y: object) -> str:
    """The same samples as training and test part of an npy: data set; its name."""
    for part in ("train", "test"):
        np.save(f"{prefix}_{part}_x.npy", x)
        np.save(f"{prefix}_{part}_y.npy", np.asarray(y))
    return f"npy:{prefix}"


def test_npy_files_are_read_and_checked(tmp_path: Path) -> None:
    name = _save(tmp_path / "mine", _pixels(4, 2, 6, 6), [0, 1, 2, 1])
    assert (data.load(name).shape, data.load(name).real) == ((2, 6, 6), False)
    np.save(tmp_path / "mine_test_x.npy", np.zeros((4, 2, 6, 6), np.float32))
    with pytest.raises(UserError, match=r"training samples are uint8\(2, 6, 6\), test samples float32\(2, 6, 6\)"):
        data.load(name)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (_pixels(3, 1, 4, 4), [0, -1, 1], r"label -1 of sample 1 is below 0 \[.*_y.npy\]; count classes from 0"),
        (_pixels(3, 1, 4, 4), [0.5, 1, 1], r"labels of type float64 .*give whole numbers from 0, or names"),
        (_pixels(3, 1, 4, 4), np.eye(3), r"samples uint8\(3, 1, 4, 4\) with labels float64\(3, 3\)"),
        (np.float32([[1, 2], [np.nan, 0], [1, 1]]), [0, 1, 1], r"sample 1 is not finite in element \(0,\)"),
        (np.array([["a"], ["b"], ["c"]]), [0, 1, 1], r"samples <U1\(3, 1\) with labels"),
        (np.full((3, 2), 1 << 25), [0, 1, 1], r"integers beyond 16,777,216 are no float32 numbers"),
        (
            _pixels(3, 32, 32, 3),
            [0, 1, 1],
            r'can be read in two ways .*add to \[data\]: layout = "NHWC" \(pictures of 3',
        ),
        (_pixels(3, 32, 32, 1), [0, 1, 1], r'layout = "NHWC" \(pictures of 1 channels\) or layout = "NCHW" \(of 32\)'),
        (
            np.zeros((3, 6, 50), np.float32),
            [0, 1, 1],
            r'layout = "NCW" \(signals of 6 channels\), "NWC" \(of 50\) or "NHW"',
        ),
        (_pixels(3, 128, 3), [0, 1, 1], r'layout = "NWC" \(signals of 3 channels\)'),
        (np.zeros((3, 2, 2, 2, 2)), [0, 1, 1], r"samples \(3, 2, 2, 2, 2\) have 4 axes .*give one to three"),
    ],
)
def test_samples_and_labels_that_mean_two_things_or_none_are_refused(
    x: np.ndarray, y: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        data.load(_save(tmp_path / "d", x, y))


@pytest.mark.parametrize(
    ("layout", "given", "shape"),
    [
        ("NHWC", (5, 8, 6, 3), (3, 8, 6)), ("NCHW", (5, 8, 6, 3), (8, 6, 3)), ("NWC", (5, 50, 6), (6, 50)),
        ("NCW", (5, 50, 6), (50, 6)), ("NHW", (5, 50, 6), (1, 50, 6)), ("NW", (5, 50), (1, 50)), (None, (5, 50), (50,)),
    ],
)  # fmt: skip
def test_the_layout_brings_channels_to_the_front(
    layout: str | None, given: tuple[int, ...], shape: tuple[int, ...], tmp_path: Path
) -> None:
    x = _RNG.normal(0, 1, given)
    read = data.load(_save(tmp_path / "d", x, [0, 1, 2, 0, 1]), reading=data.Reading(layout))
    axis = layout.index("C") if layout and "C" in layout else 1
    expected = np.moveaxis(x, axis, 1) if "C" in (layout or "C") else x[:, None]
    assert (read.shape, read.real) == (shape, True)
    np.testing.assert_array_equal(read.train_x, expected.astype(np.float32))


def test_a_layout_of_other_axes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'data.layout = "NCW" of samples \(4, 2, 6, 6\)'):
        data.load(_save(tmp_path / "d", _pixels(4, 2, 6, 6), [0, 1, 2, 1]), reading=data.Reading("NCW"))


CSV = "f1,f2,attack\n1,0.5,dos\n2,-1e3,normal\n3,0,normal\n"


def _csv(tmp_path: Path, test: str, train: str = CSV) -> data.Dataset:
    (tmp_path / "t_train.csv").write_text(train, encoding="utf-8")
    (tmp_path / "t_test.csv").write_text(test, encoding="utf-8")
    return data.load(f"csv:{tmp_path / 't'}", reading=data.Reading(label="attack"))


def test_csv_columns_are_features_by_name_and_classes_by_name(tmp_path: Path) -> None:
    """Other orders of columns and fewer classes in the test file change nothing; a semicolon may separate them."""
    found = _csv(tmp_path, "attack;f2;f1\nnormal;7;8\n")
    np.testing.assert_array_equal(found.train_x, np.float32([[1, 0.5], [2, -1000], [3, 0]]))
    np.testing.assert_array_equal(found.test_x, np.float32([[8, 7]]))
    assert (found.names, found.train_y.tolist(), found.test_y.tolist()) == (("dos", "normal"), [0, 1, 1], [1])
    assert (found.shape, found.reading.features) == ((2,), ("f1", "f2"))


@pytest.mark.parametrize(
    ("test", "message"),
    [
        ("f1,f2,label\n1,2,dos\n", r"no column 'attack' beside 'f1', 'f2', 'label' .*the classes: data.label"),
        ("f1,f3,attack\n1,2,dos\n", r"no column 'f2' beside 'f1', 'f3', 'attack' .*the network was trained with it"),
        ("f1,f1,attack\n1,2,dos\n", r"two columns are called 'f1'"),
        ("f1,f2,attack\n1,2,dos\n1,2\n", r"line 3 has 2 columns, the first line 3"),
        ("f1,f2,attack\n1,tcp,dos\n", r"line 2, column 'f2': 'tcp' is no number .*encode classes as numbers"),
        ("f1,f2,attack\n1,nan,dos\n", r"sample 0 is not finite in feature 'f2'"),
        ("f1,f2,attack\n1,2,probe\n", r"class 'probe' is none of the classes that are trained: 'dos', 'normal'"),
    ],
)
def test_csv_files_that_do_not_fit_are_refused(test: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        _csv(tmp_path, test)


def test_parquet_is_read_as_csv_is(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow

    for part in ("train", "test"):
        table = pyarrow.table({"f1": [1, 2, 3], "f2": [0.5, -1e3, 0.0], "attack": ["dos", "normal", "normal"]})
        parquet.write_table(table, tmp_path / f"t_{part}.parquet")
    expected = _csv(tmp_path, CSV)
    found = data.load(f"parquet:{tmp_path / 't'}", reading=data.Reading(label="attack"))
    np.testing.assert_array_equal(found.train_x, expected.train_x)
    assert (found.names, found.test_y.tolist()) == (expected.names, expected.test_y.tolist())


def test_parquet_without_pyarrow_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"parquet: needs pyarrow; pip install 'fpgaflow\[parquet\]'"):
        data.load(f"parquet:{tmp_path / 't'}")


def test_a_class_that_is_only_in_the_test_set_is_named(tmp_path: Path) -> None:
    for part, names in (("train", "ab"), ("test", "bc")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (4, 4)).save(tmp_path / part / name / "1.png")
    with pytest.raises(UserError, match=r"class 'c' is none of the classes that are trained: 'a', 'b'"):
        data.load(f"folder:{tmp_path}")
    name = _save(tmp_path / "d", _pixels(2, 1, 4, 4), [0, 1])
    np.save(tmp_path / "d_test_y.npy", [0, 2])
    with pytest.raises(UserError, match=r"class '2' is only in the test set"):
        data.load(name)


def test_a_test_set_of_some_classes_is_numbered_as_the_training_was() -> None:
    part = Part(np.zeros((3, 1)), np.array([0, 1, 1]), ("b", "c"))
    assert data.matched(part, ("a", "b", "c"), "x").y.tolist() == [1, 2, 2]


def test_numbers_are_standardized_by_feature_and_a_constant_one_stays_finite(tmp_path: Path) -> None:
    x = np.stack([_RNG.normal(5, 2, 200), np.full(200, 0.1), _RNG.normal(-1e4, 1e-2, 200)], 1).astype(np.float32)
    found = data.load(_save(tmp_path / "d", x, np.arange(200) % 2))
    made = data.input_map(found, "standard")
    values = made.apply(x)
    assert isinstance(made, FeatureMap) and made.deviation[1] == 1.0
    np.testing.assert_allclose(values.mean(0), [0, 0, 0], atol=0.1)  # at 1e4 a step of float32 is 1e-3, a tenth of 1e-2
    np.testing.assert_allclose(values.std(0)[[0, 2]], [1, 1], atol=0.2)


def test_a_recorded_map_reads_back_equal() -> None:
    digits = data.load("digits")
    for made in (data.input_map(digits, "standard", "int8:0.05"), FeatureMap((0.1, -3.0), (1.5, 2e-7), None)):
        assert read_map(json.loads(json.dumps(map_record(made)))) == made


def test_an_empty_test_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test" / "a").mkdir(parents=True)
    with pytest.raises(UserError, match="has no test images"):
        data.load_test(f"folder:{tmp_path}")


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(UserError, match=r"unknown data set 'cifar-10'; did you mean 'cifar10'\?"):
        data.load("cifar-10")


def test_without_network_the_error_says_where_to_put_the_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(UserError) as caught:
        data.load("cifar10")
    assert str(caught.value) == (
        "cannot download https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz (ConnectionError); "
        f"put cifar-10-batches-py below {tmp_path / 'cache' / 'fpgaflow'}, "
        "or set FPGAFLOW_DATA to a folder that holds cifar-10-batches-py"
    )


def test_the_standard_pixel_map_is_exact_and_has_zero_mean() -> None:
    digits = data.load("digits")
    pixels = data.input_map(digits, "standard")
    values = digits.train_x / 16
    mean, std = Fraction(f"{values.mean():.4f}"), Fraction(f"{values.std():.4f}")
    assert pixels.scale == (1 / (16 * std),) and pixels.offset == (-mean / std,)
    assert abs(pixels.apply(digits.train_x).mean()) < 1e-3
    assert data.input_map(digits, "unit") == PixelMap((Fraction(1, 16),), (Fraction(0),))


def test_pictures_are_resized_to_the_means_of_their_areas_and_the_file_says_so() -> None:
    whole, small = data.load("digits"), data.load("digits", reading=data.Reading(size=4))
    means = whole.test_x.reshape(-1, 1, 4, 2, 4, 2).astype(int).sum(axis=(3, 5)) / 4
    assert small.shape == (1, 4, 4) and small.reading.size == 4
    assert np.abs(small.test_x - means).max() <= 1  # PIL rounds up along rows, then along columns
    assert data.load("digits", reading=data.Reading(size=16)).shape == (1, 16, 16)


def test_numbers_are_not_resized(tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"a_{part}_x.npy", np.zeros((4, 3), dtype=np.float32))
        np.save(tmp_path / f"a_{part}_y.npy", np.arange(4) % 2)
    with pytest.raises(UserError, match=r"holds no pictures to resize; leave data.size out$"):
        data.load(f"npy:{tmp_path}/a", reading=data.Reading(layout="NC", size=4))
