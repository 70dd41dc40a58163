"""The search against the whole of a space, its store, and what is lost when it dies: nothing but what runs."""

from __future__ import annotations

import json
import resource
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pytest

from tests.search.spaces import DIGITS, space
from tests.search.test_fixed import BUDGET, FEW
from toolchain import files
from toolchain.engine.search import search
from toolchain.engine.shape import shape_facts
from toolchain.errors import UserError
from toolchain.flow.options import Search
from toolchain.locks import locked
from toolchain.search.hardware import Hardware, Proof
from toolchain.search.network import Network, every_point, largest, network_at
from toolchain.search.passes import cut_of
from toolchain.search.pool import Local
from toolchain.search.run import search as run
from toolchain.search.store import STORE_FILE, Store
from toolchain.search.study import Explorer, Seen, unbeaten

SMALL = space(
    stem=[8, 16],
    head=[24],
    stage=[
        {"kind": "inverted", "depth": [1, 2], "channels": [8, 16, 24], "kernel": [3, 5], "expansion": [1, 2]},
        {"kind": "residual", "channels": [16, 24], "kernel": [3, 5], "stride": 2},
    ],
    bits={"weights": [8]},
    search={"trials": 110, "rounds": 1, "population": 20},
)


def accuracy(networks: Sequence[Network]) -> list[float]:
    """More channels, taps and layers are better, each with less effect; no two networks are alike."""
    found = []
    for network in networks:
        gain = sum(
            b.channels**0.5 * (1.2 if b.kernel == 5 else 1.0) * b.expansion**0.3 / (i + 2)
            for i, b in enumerate(network.blocks.block)
        )
        found.append(1 - 1 / (1 + gain + network.blocks.stem**0.25 + int(network.key, 16) % 97 * 1e-3))
    return found


@pytest.fixture(scope="module")
def shape() -> dict[str, int]:
    """An engine that runs every network of the space."""
    cut = cut_of(network_at(SMALL, largest(SMALL)), DIGITS)
    return shape_facts(search(cut, BUDGET, FEW).shape)


def explorer(folder: Path, shape: dict[str, int], **changes: float | str) -> Explorer:
    """A search whose engine is there."""
    settings = SMALL.model_copy(update={"search": SMALL.search.model_copy(update=changes)})
    store = Store(folder, {"space": "small"})
    store.keep("engines-0", [shape])
    return Explorer(Hardware(settings, DIGITS, Search()), accuracy, store, Local(1))


def told(seen: Sequence[Seen]) -> list[tuple[str, float, float]]:
    return [(s.network.key, s.top1, s.cycles) for s in seen]


def test_the_whole_front_of_500_networks_is_found_at_half_their_cost(tmp_path: Path, shape: dict[str, int]) -> None:
    """Against every network of the space: 480 of them differ, and at most half of them are looked at."""
    searched = explorer(tmp_path / "a", shape)
    searched.round(0, searched.engines(0))

    networks = list({n.key: n for n in (network_at(SMALL, p) for p in every_point(SMALL))}.values())
    costs = [searched.hardware.cycles(n, searched.engines(0)) for n in networks]
    every = [Seen({}, n, t, c, e) for n, t, (c, e) in zip(networks, accuracy(networks), costs, strict=True)]
    assert len(networks) > 400 and searched.evaluated < len(networks) / 2
    assert told(searched.front()) == told(unbeaten(every))
    assert len(searched.front()) > 5


@pytest.mark.filterwarnings("error::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("sampler", ["nsga2", "nsga3", "tpe", "random"])
def test_the_largest_seed_has_others_behind_it(sampler: str, tmp_path: Path, shape: dict[str, int]) -> None:
    """A round that goes on draws with a seed that is larger by the trials that were told. Nothing is warned of."""
    explorer(tmp_path / "a", shape, seed=2**32 - 1, sampler=sampler)._sampler(10)


def test_a_search_that_dies_goes_on_with_all_that_was_told(tmp_path: Path, shape: dict[str, int]) -> None:
    """It dies in the middle of a batch and of a line of the store; nothing that was told is looked at again."""

    class Died(Exception):
        pass

    first, calls = explorer(tmp_path / "a", shape), 0

    def dying(networks: Sequence[Network]) -> list[float]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise Died
        return accuracy(networks)

    first.accuracy = dying
    with pytest.raises(Died):
        first.round(0, first.engines(0))
    known = set(first._seen)
    path = tmp_path / "a" / STORE_FILE
    path.write_bytes(path.read_bytes() + b'{"op_code": 4, "wor')

    second = explorer(tmp_path / "a", shape)
    second.round(0, second.engines(0))
    assert known and known <= second._seen.keys()
    assert second.evaluated == len(second._seen) - len(known)
    third = explorer(tmp_path / "a", shape)
    third.round(0, third.engines(0))
    assert third.evaluated == 0 and told(third.front()) == told(second.front())


def test_a_round_that_dies_at_its_beginning_still_takes_over_the_whole_front(
    tmp_path: Path, shape: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(Exception):
        pass

    told, add = [], optuna.Study.add_trial

    def dying(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if told:
            raise Died
        told.append(trial)
        add(study, trial)

    first = explorer(tmp_path / "a", shape, trials=20)
    first.round(0, first.engines(0))
    front = {s.network.key for s in first.front()}
    with monkeypatch.context() as patched, pytest.raises(Died):
        patched.setattr(optuna.Study, "add_trial", dying)
        first.round(1, first.engines(0))
    second = explorer(tmp_path / "a", shape, trials=1)
    second.round(0, second.engines(0))
    second.round(1, second.engines(0))
    assert len(front) > 3 and front <= second._seen.keys()


def test_two_processes_find_what_one_does(tmp_path: Path, shape: dict[str, int]) -> None:
    one, two = explorer(tmp_path / "a", shape, trials=20), explorer(tmp_path / "b", shape, trials=20)
    two.pool = Local(2)
    for each in (one, two):
        each.round(0, each.engines(0))
    assert told(one.front()) == told(two.front())


def test_networks_below_the_floor_of_a_proven_one_are_not_solved(tmp_path: Path, shape: dict[str, int]) -> None:
    """A more accurate network that is proven faster than another's floor makes solving that one needless."""
    searched = explorer(tmp_path / "a", shape)
    points = list(every_point(SMALL))
    small, large = network_at(SMALL, points[0]), network_at(SMALL, points[-1])
    good = Seen(points[0], small, 0.9, 1.0, 0)
    bad = replace(good, point=points[-1], network=large, top1=0.5)
    found = searched.prove([good, bad, good])  # bits of two networks may be made alike
    assert [f.seen.network.key for f in found] == [small.key]
    assert searched.store.get(f"proof-{large.key}") is None
    assert found[0].proof.status == "optimal" and found[0].proof.bound <= found[0].proof.cycles


@pytest.mark.parametrize("architecture", [["engine"], ["streaming", "engine"]])
def test_the_first_engines_are_found_in_any_order_of_architectures_and_on_a_small_board(
    architecture: list[str], tmp_path: Path, shape: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing as large as the chosen networks fits, there is one for the smallest in its own formats."""
    settings = space(architecture=architecture, search={"engines": 1})
    searched = Explorer(Hardware(settings, DIGITS, Search()), accuracy, Store(tmp_path, {}), Local(1))
    fitting = searched.hardware.smallest("engine").key

    def prove(_: Hardware, network: Network, *, shared: bool = False) -> Proof:
        if shared or network.key != fitting:
            raise UserError("no room")
        return Proof(cycles=1.0, bound=1.0, status="optimal", seconds=0.0, shape=shape, resources={})

    monkeypatch.setattr(Hardware, "prove", prove)
    assert [shape_facts(each) for each in searched.engines(0)] == [shape]


def test_a_front_that_is_not_accurate_enough_tells_how_near_it_came(tmp_path: Path, shape: dict[str, int]) -> None:
    searched = explorer(tmp_path / "a", shape, trials=20, least_top1=0.99)
    searched.round(0, searched.engines(0))
    best = max(top1 for top1, _ in searched.looked())
    reason = rf"reaches search\.least_top1 = 0\.99: the best has {best:.4f}; search longer \(search\.trials\), or ask"
    with pytest.raises(UserError, match=reason):
        searched.prove(searched.front())


def test_a_damaged_store_is_told_by_its_line(tmp_path: Path, shape: dict[str, int]) -> None:
    explorer(tmp_path / "a", shape)
    path = tmp_path / "a" / STORE_FILE
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b"not json", *lines[1:]]) + b"\n")
    with pytest.raises(UserError, match=r"search.journal is damaged in line 2; search into another folder"):
        explorer(tmp_path / "a", shape)
    path.write_text(json.dumps({"op_code": 0}) + "\n")
    with pytest.raises(UserError, match=r"is no store of a search; search into another folder$"):
        explorer(tmp_path / "a", shape)


def test_a_disk_that_was_full_for_a_moment_leaves_whole_lines(tmp_path: Path) -> None:
    store = Store(tmp_path, {})
    size, limits = (tmp_path / STORE_FILE).stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            store.keep("room", "no")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / STORE_FILE).stat().st_size == size
    store.keep("room", "yes")
    assert Store(tmp_path, {}).get("room") == "yes"


def test_a_store_of_another_search_and_one_in_use_are_refused(tmp_path: Path, shape: dict[str, int]) -> None:
    explorer(tmp_path / "a", shape)
    with pytest.raises(UserError, match=r"belongs to another search: its space is another; search into another folder"):
        Store(tmp_path / "a", {"space": "other"})
    with locked(tmp_path / "a", "search"), pytest.raises(UserError, match=r" is in use by 'search', process \d+ on "):
        run(SMALL, tmp_path / "a", Search())


def test_a_space_that_does_not_fit_names_what_is_short_and_by_how_much(tmp_path: Path) -> None:
    with pytest.raises(UserError) as failure:
        run(SMALL, tmp_path / "a", Search(budget={"lut": 0.15}))
    assert str(failure.value).startswith("no network of the space 'small' fits: the smallest, engine: no engine for")
    assert "lut (" in str(failure.value) and "too many) [zu3eg]" in str(failure.value)


def test_a_search_that_cannot_begin_removes_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: Hardware) -> None:
        raise UserError("no room")

    monkeypatch.setattr(Hardware, "demand_room", no_room)
    Store(tmp_path / "a", {})
    before = (tmp_path / "a" / STORE_FILE).read_bytes()
    changes = ({"data": {"name": "npy:nowhere"}}, {"train": {"teacher": "nowhere"}}, {"train": {"threads": 10**5}})
    wrong = [*((space(**each), Search()) for each in changes), (SMALL, Search("nowhere")), (SMALL, Search())]
    for settings, target in wrong:
        with pytest.raises(UserError, match="nowhere|100000|no room"):
            run(settings, tmp_path / "a", target, overwrite=True)
        assert (tmp_path / "a" / STORE_FILE).read_bytes() == before


@pytest.mark.parametrize("kept", ["builds", "shared.pt"])
def test_an_overwrite_that_was_killed_leaves_a_search_that_may_be_overwritten(
    kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path) -> None:
        if path.name == kept:
            raise KeyboardInterrupt
        remove(path)

    remove = files.remove
    monkeypatch.setattr(files, "remove", killed)
    monkeypatch.setattr(Hardware, "demand_room", lambda _: None)
    Store(tmp_path / "a", {})
    for name in ("builds", "shared.pt"):
        (tmp_path / "a" / name).touch()
    with pytest.raises(KeyboardInterrupt):
        run(SMALL, tmp_path / "a", Search(), overwrite=True)
    assert {kept, STORE_FILE} <= {path.name for path in (tmp_path / "a").iterdir()}


def test_an_interrupted_search_goes_on_but_not_with_data_or_a_memory_that_have_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"d_{part}_x.npy", np.zeros((8, 1, 8, 8), dtype=np.uint8))
        np.save(tmp_path / f"d_{part}_y.npy", np.arange(8) % 2)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    settings = space(data={"name": f"npy:{tmp_path}/d", "layout": "NCHW"})
    monkeypatch.setattr(Hardware, "demand_room", lambda _: None)
    goes_on = rf"^go on with: fpgaflow search {tmp_path}/a/space.toml --out {tmp_path}/a --board zu3eg$"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt, match=goes_on):
        patched.setattr("toolchain.search.run.SharedTraining", interrupted)
        run(settings, tmp_path / "a", Search())
    with monkeypatch.context() as patched, pytest.raises(UserError, match="another search: its memory is another"):
        patched.setattr("toolchain.search.hardware.memory_rate", lambda *_: 1.0)
        run(settings, tmp_path / "a", Search())
    np.save(tmp_path / "d_train_y.npy", np.arange(8) // 4)
    with pytest.raises(UserError, match="another search: its data is another"):
        run(settings, tmp_path / "a", Search())


def test_a_data_set_of_one_class_is_refused(tmp_path: Path) -> None:
    for part in ("train", "test"):
        np.save(tmp_path / f"d_{part}_x.npy", np.zeros((8, 1, 8, 8), dtype=np.uint8))
        np.save(tmp_path / f"d_{part}_y.npy", np.zeros(8, dtype=np.int64))
    one = space(data={"name": f"npy:{tmp_path}/d", "layout": "NCHW"})
    with pytest.raises(UserError, match=r"/d' has one class; any network is right on it$"):
        run(one, tmp_path / "a", Search())


def test_a_cluster_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^(no Ray cluster at 127.0.0.1:1: |--cluster needs Ray; pip install)"):
        run(SMALL, tmp_path / "a", Search(), cluster="127.0.0.1:1")
    assert not (tmp_path / "a").exists()
