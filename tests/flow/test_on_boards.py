"""One network on every board."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs import conv_net
from toolchain.boards import list_boards, load_board
from toolchain.errors import UserError
from toolchain.flow.on_boards import on_boards
from toolchain.flow.options import Search
from toolchain.flow.progress import silent
from toolchain.ir.store import save


def test_every_board_gets_its_own_proven_plan_or_the_reason(tmp_path: Path) -> None:
    """The same device gives the same plan, a larger one is no slower; at a rate that none reaches each says why."""
    network = save(conv_net(size=16, channels=16), tmp_path, source_digest="0")
    names = ["ultra96v2", "aup-zu3-8gb", "zcu104"]
    small, same, large = on_boards(lambda _: network, Search(time_limit=20.0, architecture="streaming"), names, silent)

    assert [small.status, same.status, large.status] == ["optimal"] * 3
    assert small.fps is not None and large.fps is not None and small.fps == same.fps <= large.fps
    assert small.cost is not None and small.cost.fits(small.board.budget)
    assert [found.clock_mhz for found in (small, same, large)] == [250.0] * 3
    assert [found.architecture for found in (small, same, large)] == ["streaming"] * 3

    out_of_reach = Search(target_fps=1e9, clock_mhz=100.0, architecture="streaming")
    for found in on_boards(lambda _: network, out_of_reach, names, silent):
        assert found.fps is None and found.cost is None and found.status and found.clock_mhz == 100.0


def test_an_unknown_board_is_refused(tmp_path: Path) -> None:
    network = save(conv_net(), tmp_path, source_digest="0")
    with pytest.raises(UserError, match=r"^unknown board 'kv26'; did you mean 'kv260'\?$"):
        on_boards(lambda _: network, Search(), ["kv26"], silent)


def test_boards_of_one_device_share_its_numbers() -> None:
    """Ultra96-V2 and AUP-ZU3 extend the zu3eg: no number of the device stands twice."""
    devices = {name: load_board(name).device for name in list_boards()}
    assert devices["ultra96v2"] == devices["aup-zu3-4gb"] == devices["aup-zu3-8gb"] == devices["zu3eg"]
