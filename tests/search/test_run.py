"""A whole search on digits, a point of its front built, and bits that are chosen together with the engine."""

from __future__ import annotations

import html
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.search.spaces import DIGITS, space
from toolchain.config.run import load_config
from toolchain.errors import UserError
from toolchain.flow.options import Check, Search
from toolchain.plan import SolverRecord
from toolchain.search.front import Point, Result
from toolchain.search.hardware import Hardware
from toolchain.search.network import Network, largest, network_at
from toolchain.search.pool import Local
from toolchain.search.report import command_of, result_table, to_html
from toolchain.search.run import FRONT_FILE, build_point, search
from toolchain.search.store import STORE_FILE, Store
from toolchain.search.study import Explorer, Seen

TINY = space(
    stem=[8],
    head=[0],
    stage=[{"kind": "residual", "channels": [8, 16], "stride": 2}],
    bits={"weights": [4, 8]},
    accuracy={"epochs": 1, "between": 0, "networks": 8, "held_out": 4, "rounds": 1, "valid": 0.3},
    search={"trials": 8, "rounds": 1, "population": 4, "engines": 1, "points": 2},
    train={"epochs": 1, "threads": 1, "lr": 3e-3},
)
TARGET = Search("zu3eg", time_limit=30.0)


LOSSES = {(slot.removeprefix("bits."), 4): 1.0 if slot == "bits.fc" else 0.1 for slot in TINY.axes} | {
    (slot.removeprefix("bits."), 8): 0.0 for slot in TINY.axes
}
"""Of a layer in so many bits: the last one loses most."""

WASTEFUL = {**largest(TINY), "bits.fc": 4}
"""All layers but the most sensitive one have the most bits."""


def loss(network: Network) -> float:
    return sum(LOSSES[network.slots[layer], bits] for layer, bits in network.bits.items())


def test_a_front_gains_faster_networks_that_lose_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their bits are the program's; it is asked once. What they are as accurate as, and faster, leaves the front."""
    store, hardware, network = Store(tmp_path, {}), Hardware(TINY, DIGITS, TARGET), network_at(TINY, WASTEFUL)
    store.keep("engines-0", [hardware.prove(network, shared=True).shape])
    before = explorer(hardware, store).prove([Seen(WASTEFUL, network, 0.9, 1.0, 0)])
    (added,) = explorer(hardware, store).joint(before)
    assert loss(added.network) <= loss(network)
    (after,) = explorer(hardware, store).prove([before[0].seen, added])
    assert after.seen.network.key == added.network.key and after.proof.cycles < before[0].proof.cycles
    assert hardware.joint_bits(network, LOSSES, 1.0) is None
    monkeypatch.setattr(Hardware, "joint_bits", None)
    assert [s.network.key for s in explorer(hardware, Store(tmp_path, {})).joint(before)] == [added.network.key]


def test_bits_of_a_streaming_design_are_chosen_with_its_lanes() -> None:
    """They lose no more than its own, on a board so small that fewer bits are faster."""
    hardware = Hardware(TINY, DIGITS, Search("zu3eg", time_limit=30.0, budget={"lut": 0.22, "dsp": 0.1}))
    point = {**WASTEFUL, "architecture": "streaming"}
    network = network_at(TINY, point)
    proof = hardware.prove(network)
    bits = hardware.joint_bits(network, LOSSES, proof.cycles)
    assert bits is not None
    chosen = network_at(
        TINY, {**WASTEFUL, "architecture": "streaming"} | {f"bits.{slot}": b for slot, b in bits.items()}
    )
    assert loss(chosen) <= loss(network) and hardware.prove(chosen).cycles < proof.cycles
    assert hardware.joint_bits(network, LOSSES, 1.0) is None


def test_a_streaming_design_of_which_nothing_was_proved_in_time_has_the_boards_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page and the table divide by it."""
    record = SolverRecord(name="highs", status="feasible", gap=1.0, seconds=1.0, cycles=1000)
    monkeypatch.setattr("toolchain.search.hardware.explore", lambda *_, **__: SimpleNamespace(solver=record))
    hardware, network = Hardware(TINY, DIGITS, TARGET), network_at(TINY, {**WASTEFUL, "architecture": "streaming"})
    proof = hardware.prove(network)
    assert 0 < proof.bound == hardware.floor(network) < proof.cycles
    facts = {"name": "a line", "tau": 0.5, "tested": 4}
    result_table(Result((Point(1, network, WASTEFUL, 0.9, proof),), ((0.9, 1e3),), facts, 250.0))


def explorer(hardware: Hardware, store: Store) -> Explorer:
    """One to which all networks are as accurate."""
    return Explorer(hardware, lambda networks: [0.9] * len(networks), store, Local(1), losses=LOSSES)


def test_the_page_tells_the_command_with_all_that_the_search_was_asked_for() -> None:
    result = Result((), ((0.9, 1e5),), {"name": "a line", "tau": 0.5, "tested": 4}, 250.0)
    asked = Search("my board", clock_mhz=333.25, budget={"lut": 0.7})
    page = html.unescape(to_html(TINY, result, command_of(Path("search/my s"), asked, "--build", "1")))
    words = "--out 'search/my s' --board 'my board' --clock 333.25 --budget lut=0.7 --build 1"
    assert f"<code>fpgaflow search 'search/my s/space.toml' {words}</code>" in page


def test_a_search_ends_with_a_front_whose_points_are_built_exactly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^no search in .*; run 'fpgaflow search' without --build first$"):
        build_point(TINY, tmp_path / "s", TARGET, 1, Check(count=4))
    result = search(TINY, tmp_path / "s", TARGET)
    front = json.loads((tmp_path / "s" / FRONT_FILE).read_text())["front"]
    assert [p["number"] for p in front] == [p.number for p in result.points] == list(range(1, len(front) + 1))
    with pytest.raises(UserError, match=rf"^--build 9: the front has the networks 1 to {len(front)}$"):
        build_point(TINY, tmp_path / "s", TARGET, 9, Check(count=4))
    folder = build_point(TINY, tmp_path / "s", TARGET, 1, Check(data="digits", count=16))
    assert folder == tmp_path / "s" / "builds" / front[0]["key"]
    report = json.loads((folder / "build" / "report.json").read_text())
    assert report["verification"]["csim_mismatches"] == 0 and report["verification"]["images"] == 16
    assert report["architecture"] == "engine" and report["estimate"]["fps"] == pytest.approx(front[0]["fps"], rel=0.05)


def test_a_build_is_found_again_when_the_front_is_numbered_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another network that gets its number is trained beside it; under its new one it is not trained again."""
    monkeypatch.setattr("toolchain.search.run.export", lambda *_, **__: None)
    (tmp_path / STORE_FILE).touch()
    with pytest.raises(UserError, match=r"^the search in .* has not ended; run it again without --build: it goes on$"):
        build_point(TINY, tmp_path, TARGET, 1, Check())
    first, second = largest(TINY), WASTEFUL
    Store(tmp_path, {}).keep("front", [{"point": first}])
    folder = build_point(TINY, tmp_path, TARGET, 1, Check())
    trained = (folder / "run" / "model.pt").stat().st_mtime_ns
    Store(tmp_path, {}).keep("front", [{"point": second}, {"point": first}])
    other = build_point(TINY, tmp_path, TARGET, 1, Check())
    assert build_point(TINY, tmp_path, TARGET, 2, Check()) == folder
    assert (folder / "run" / "model.pt").stat().st_mtime_ns == trained
    for built, point in ((folder, first), (other, second)):
        config = network_at(TINY, point).run(TINY, f"small-{built.name}")
        assert load_config(built / "run.toml") == load_config(built / "run" / "run.toml") == config
