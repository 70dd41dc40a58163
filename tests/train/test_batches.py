"""In-memory batches: every image once an epoch, in an order that depends on seed and epoch alone."""

from __future__ import annotations

import pytest
import torch

from toolchain.train.batches import Augmentation, Batches, augmentation, augmented

_X = torch.arange(10, dtype=torch.uint8).reshape(10, 1, 1, 1)
_Y = torch.arange(10)


def _labels(batches: Batches) -> list[int]:
    return [int(label) for _, y in batches for label in y]


def test_evaluation_sees_every_image_in_order() -> None:
    assert _labels(Batches(_X, _Y, 4)) == list(range(10)) and len(Batches(_X, _Y, 4)) == 3


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    epoch = 0
    batches = Batches(_X, _Y, 5, seed=1, epoch=lambda: epoch)
    first, again = _labels(batches), _labels(batches)
    epoch = 1
    second = _labels(batches)
    assert first == again != second and sorted(first) == sorted(second) == list(range(10))
    assert first != _labels(Batches(_X, _Y, 5, seed=2))


def test_a_smaller_last_batch_is_left_out_of_training_unless_it_is_the_only_one() -> None:
    assert [len(y) for _, y in Batches(_X, _Y, 4, seed=0)] == [4, 4]
    assert [len(y) for _, y in Batches(_X, _Y, 40, seed=0)] == [10]


def test_processes_share_an_epoch_without_overlap() -> None:
    shares = [_labels(Batches(_X, _Y, 2, seed=3, share=(rank, 2))) for rank in range(2)]
    assert [len(share) for share in shares] == [4, 4] and not set(shares[0]) & set(shares[1])


@pytest.mark.parametrize(
    ("chosen", "shifts", "mirrors"),
    [(True, True, {False, True}), ("crop", True, {False}), ("flip", False, {False, True}), (False, False, {False})],
)
def test_augmentation_is_a_shift_by_up_to_four_pixels_and_a_mirror_or_one_of_them(
    chosen: bool | str, shifts: bool, mirrors: set[bool]
) -> None:
    x = torch.randint(1, 256, (64, 2, 6, 7), dtype=torch.uint8)
    out = augmented(x, torch.Generator().manual_seed(0), augmentation(chosen))
    kinds, places = set(), set()
    for image, result in zip(x, out, strict=True):
        padded = torch.nn.functional.pad(image, (4,) * 4)
        matches = [
            (top, left, mirrored)
            for top in range(9)
            for left in range(9)
            for crop in [padded[:, top : top + 6, left : left + 7]]
            for mirrored in (False, True)
            if torch.equal(result, crop.flip(2) if mirrored else crop)
        ]
        assert matches
        kinds.add(matches[0][2])
        places.add(matches[0][:2])
    assert kinds == mirrors
    assert (len(places) > 1) == shifts and (shifts or places == {(4, 4)})


def test_an_alternating_flip_shows_both_sides_of_every_picture_in_two_epochs() -> None:
    x = torch.arange(40 * 64, dtype=torch.float32).reshape(40, 1, 8, 8)
    y = torch.arange(40)
    how = Augmentation(flip=True, alternating=True)

    def epoch(number: int) -> torch.Tensor:
        batches = Batches(x, y, 20, seed=3, augment=how, epoch=lambda: number)
        samples, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
        return samples[labels.argsort()]

    first, second = epoch(0), epoch(1)
    turned = (first != x).flatten(1).any(1)
    assert 10 < turned.sum() < 30 and torch.equal(second, first.flip(3))
    assert torch.equal(epoch(2), first)
    assert augmentation("alternating") == Augmentation(crop=True, flip=True, alternating=True)
