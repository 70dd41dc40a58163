"""The clock as a variable."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.graphs import conv_net
from toolchain.boards import load_board
from toolchain.errors import UserError
from toolchain.flow.choice import choose
from toolchain.flow.clock import clock_steps
from toolchain.flow.options import Search, stated_clock
from toolchain.flow.progress import silent
from toolchain.ir.store import save


def test_a_fuller_device_is_slower_and_no_clock_is_above_the_boards_own() -> None:
    """The ZU3EG plans with 72 % of its LUTs: the third clock would allow no more."""
    assert clock_steps(load_board("zu3eg")) == [(250.0, 0.60), (1500 / 7, 0.72)]
    wide = load_board("zu3eg")
    wide = wide.model_copy(update={"planning": wide.planning.model_copy(update={"lut": 0.9})})
    assert clock_steps(wide) == [(250.0, 0.60), (1500 / 7, 0.72), (187.5, 0.9)]
    small = wide.model_copy(update={"planning": wide.planning.model_copy(update={"lut": 0.3})})
    assert clock_steps(small) == [(250.0, 0.3)]
    slow = wide.model_copy(update={"clock": wide.clock.model_copy(update={"default_mhz": 240.0})})
    assert clock_steps(slow)[0] == (1500 / 7, 0.60)
    slowest = wide.model_copy(update={"clock": wide.clock.model_copy(update={"default_mhz": 1.0})})
    assert clock_steps(slowest) == [(1.0, 0.60)]


def test_the_clock_is_the_one_at_which_the_network_is_fastest(tmp_path: Path) -> None:
    """As fast as the best of the steps by hand, within that step's share; the notes say that it is a rule."""
    network = save(conv_net(size=16, channels=16), tmp_path, source_digest="0")
    search = Search(architecture="streaming", time_limit=20.0, clock_auto=True)
    found = choose(network, search, silent)
    by_hand = [
        choose(network, Search(architecture="streaming", clock_mhz=mhz, budget={"lut": share}), silent).design.fps
        for mhz, share in clock_steps(load_board("zu3eg"))
    ]

    assert found.design.fps == max(by_hand)
    assert found.design.clock_mhz in (250.0, 1500 / 7)
    assert "a rule of thumb, no timing was analysed" in found.notes[-1]


def test_a_target_is_met_at_the_highest_clock(tmp_path: Path) -> None:
    network = save(conv_net(size=16, channels=16), tmp_path, source_digest="0")
    found = choose(network, Search(architecture="streaming", target_fps=1000.0, clock_auto=True), silent)
    assert found.design.clock_mhz == 250.0 and found.design.fps >= 1000.0


def test_a_plan_has_a_clock(tmp_path: Path) -> None:
    network = save(conv_net(), tmp_path, source_digest="0")
    with pytest.raises(UserError, match=r"^--clock does not go with a plan; a plan that is given is taken as it is$"):
        choose(network, Search(plan=tmp_path / "plan.json", clock_auto=True), silent)


@pytest.mark.parametrize("text", ["0", "1001", "fast", "", "nan", "-3", -5.0, math.nan, (200,)])
def test_what_is_no_clock_is_refused(text: object) -> None:
    with pytest.raises(UserError) as error:
        stated_clock(text)
    assert str(error.value) == f"{text} is no clock; give MHz from 1 to 1000, or auto"


@pytest.mark.parametrize(
    ("stated", "found"),
    [(None, (None, False)), ("auto", (None, True)), ("187.5", (187.5, False)), (np.float32(200), (200.0, False))],
)
def test_a_clock_is_a_number_its_text_or_auto(stated: object, found: tuple[float | None, bool]) -> None:
    assert stated_clock(stated) == found and not isinstance(stated_clock(stated)[0], np.generic)
