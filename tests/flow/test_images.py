"""Which samples a build is verified on, and that their classes are the network's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolchain.errors import UserError
from toolchain.flow.images import Images, Trained, drawn, load_images
from toolchain.frontend.layout import layout_of
from toolchain.ir.types import UNIT_PIXEL, Encoding

LAYOUT, PIXELS, NOBODY = layout_of((1, 4, 4)), Encoding(UNIT_PIXEL), Trained()


def test_a_draw_takes_alike_many_of_each_class_and_is_the_same_again() -> None:
    labels = np.repeat([0, 1, 2], [500, 30, 4])
    some = drawn(len(labels), 30, labels)
    assert np.bincount(labels[some]).tolist() == [13, 13, 4]  # all there are of the last
    assert len(set(some.tolist())) == 30
    assert np.array_equal(some, drawn(len(labels), 30, labels))
    assert len(set(labels[drawn(len(labels), 3, labels)])) == 3


def test_all_samples_keep_their_order() -> None:
    assert drawn(10, 0) == drawn(10, 10) == drawn(10, 11) == slice(None)
    assert sorted(drawn(10, 9).tolist()) != list(range(10))


def _load(count: int | None = None, data: str | None = None, trained: Trained = NOBODY, **files: Path) -> Images:
    given = {"images": None, "labels": None} | files
    return load_images(LAYOUT, PIXELS, **given, data=data, count=count, trained=trained)


@pytest.mark.parametrize(("count", "images"), [(None, 64), (8, 8), (200, 200)])
def test_random_inputs_are_as_many_as_asked_for_and_reach_both_ends(count: int | None, images: int) -> None:
    found = _load(count)
    assert len(found.x) == images and found.y is None
    assert (found.x.min(), found.x.max()) == (0, 255)


def _folder(path: Path, classes: str) -> str:
    for value, name in enumerate(classes):
        for index in range(3):
            (path / "test" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (4, 4), 10 * value).save(path / "test" / name / f"{index}.png")
    return f"folder:{path}"


def test_images_and_a_data_set_are_not_both_taken() -> None:
    with pytest.raises(UserError, match=r"^--images with --data; give one of them$"):
        load_images(LAYOUT, PIXELS, images=np.zeros((1, 1, 8, 8)), labels=None, data="digits", count=1)


def test_a_folder_of_some_classes_is_matched_by_name(tmp_path: Path) -> None:
    found = _load(data=_folder(tmp_path, "bd"), trained=Trained(classes=("a", "b", "c", "d"), outputs=4))
    assert sorted(found.y.tolist()) == [1, 1, 1, 3, 3, 3]  # type: ignore[union-attr]


def test_a_folder_of_other_classes_is_refused(tmp_path: Path) -> None:
    name = _folder(tmp_path, "bx")
    with pytest.raises(UserError, match=r"class 'x' is none of the classes that are trained: 'a', 'b'"):
        _load(data=name, trained=Trained(classes=("a", "b"), outputs=2))
    with pytest.raises(UserError, match=r"2 classes, and the network, which names none, has 3 outputs"):
        _load(data=name, trained=Trained(outputs=3))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, -1], r"label -1 of image 2: classes are 0 to 2"),
        ([0, 1, 3], r"label 3 of image 2: classes are 0 to 2"),
        ([0.0, 1.0, 2.0], r"labels of type float64"),
        ([0, 1], r"3 images and 2 labels"),
    ],
)
def test_labels_that_are_no_classes_of_the_network_are_refused(
    labels: list[float], message: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4), np.uint8))
    np.save(tmp_path / "y.npy", np.array(labels))
    with pytest.raises(UserError, match=message):
        _load(images=tmp_path / "x.npy", labels=tmp_path / "y.npy", trained=Trained(outputs=3))
