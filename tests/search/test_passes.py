"""The passes that are foreseen are those that the exported network is cut into."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.search.spaces import DIGITS, real_cut, space
from toolchain.engine.layers import Cut
from toolchain.search.network import largest, network_at, smallest
from toolchain.search.passes import cut_of


def _structure(cut: Cut) -> list[tuple[Any, ...]]:
    """All of the passes that schedules depend on, maps by the number of the pass that makes them."""
    made = {p.result: i for i, p in enumerate(cut.passes)}
    return [
        (
            made.get(p.source, -1), p.shape, p.middle, p.out, p.raw, p.first is None, p.second is None,
            None if p.merge is None else made[p.merge.residual],
            None if p.conv is None else (p.conv.weight.shape, p.conv.stride, p.conv.parts),
            None if p.window is None else (p.window.mode, p.window.kernel, p.window.stride, p.window.pads),
            None if p.window is None or p.window.weight is None else p.window.weight.shape,
        )
        for p in cut.passes
    ]  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"stage1.2.expansion": 1, "stage2.channels": 16, "stage2.1.kernel": 3},
        {"stem": 8, "stage1.1.expansion": 1, "stage2.depth": 1, "head": 0},
    ],
)
def test_a_network_is_cut_as_foreseen(changes: dict[str, Any], tmp_path: Path) -> None:
    """Blocks with and without expansion, sums, shortcuts; sums are as wide as foreseen at most."""
    small = space()
    network = network_at(small, largest(small) | changes)
    foreseen, real = cut_of(network, DIGITS), real_cut(network, small, tmp_path)

    assert _structure(foreseen) == _structure(real)
    assert (foreseen.act_bits, foreseen.folded) == (real.act_bits, real.folded)
    formats = asdict(real.formats)
    for name in ("weight_bits", "filter_bits", "kernel", "filters", "pools"):
        assert asdict(foreseen.formats)[name] == formats[name]
    for name in ("sum_bits", "window_sum_bits"):
        assert asdict(foreseen.formats)[name] >= formats[name]


def test_the_smallest_network_is_the_first_of_every_axis() -> None:
    assert network_at(space(), smallest(space())).text == "8 3x1-8 r3-16/2"
