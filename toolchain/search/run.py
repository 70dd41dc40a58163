"""A whole search in a folder: shared weights, predictor, rounds of engines and networks, proofs, report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain import files
from toolchain.config.run import dump_toml
from toolchain.config.toml import to_toml
from toolchain.errors import UserError
from toolchain.flow.options import Check, Search
from toolchain.flow.progress import Progress, silent
from toolchain.flow.stages import export
from toolchain.flow.training import check_computer, teacher_of, train
from toolchain.locks import locked
from toolchain.search.front import Point, Result
from toolchain.search.hardware import Hardware, Proof, clock_of
from toolchain.search.labels import Labels, demand_networks
from toolchain.search.network import largest, network_at
from toolchain.search.pool import Pool, opened
from toolchain.search.predictor import Features
from toolchain.search.report import SPACE_FILE, command_of, to_html, to_json
from toolchain.search.shared import noise_table
from toolchain.search.space import Space
from toolchain.search.store import STORE_FILE, Store
from toolchain.search.study import Explorer, Found, Seen
from toolchain.search.training import SharedTraining, Tester, images_of, task_of
from toolchain.train.data_record import facts_of

FRONT_FILE, REPORT_FILE = "front.json", "front.html"

Tell = Callable[[str, int, int, Sequence[Seen]], None]


def search(
    space: Space,
    out: Path,
    target: Search,
    *,
    workers: int = 1,
    cluster: str | None = None,
    overwrite: bool = False,
    tell: Tell = lambda *_: None,
) -> Result:
    """Search ``space`` for ``target`` in the folder ``out``, going on where an earlier call stopped.

    Raises:
        UserError: ``out`` belongs to another search or is in use; no network fits the board; no cluster.
        KeyboardInterrupt: the user stopped it; says how to go on.
    """
    with opened(cluster, workers) as pool, _alone(out):
        hardware, facts = _begun(space, target)
        replaced = overwrite and (out / STORE_FILE).is_file()
        if replaced:
            _demand(space, hardware)
            files.empty(out, last=STORE_FILE)
        store = Store(out, facts)
        settings = space.search.model_dump()
        if store.get("ended") == settings:
            return result_of(space, out, store, target)
        files.write_text(out / SPACE_FILE, to_toml(space.model_dump(exclude_none=True)))
        if store.get("room") is None:
            if not replaced:
                _demand(space, hardware)
            store.keep("room", True)
        try:
            _searched(hardware, out, store, pool, tell)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"go on with: {command_of(out, target)}") from None
        store.keep("ended", settings)
        return result_of(space, out, store, target)


def _searched(hardware: Hardware, out: Path, store: Store, pool: Pool, tell: Tell) -> None:
    """Keep the front, and what it rests on, in ``store``."""
    space, task = hardware.space, hardware.task
    training = SharedTraining(space, task, out)
    shared = training.run(lambda done, total, _: tell("shared weights", done, total, ()))
    features = Features(space, task, noise_table(shared.cpu(), space))
    tester = Tester(space, task, out)
    labels = Labels(space, store, pool, tester, lambda done, total: tell("networks tested", done, total, ()))
    predictor = labels.predictor(features)
    foreseen = lambda networks: predictor.top1(networks).tolist()  # noqa: E731
    explorer = Explorer(hardware, foreseen, store, pool, tell, features.noise)
    found = explorer.run()
    store.keep("front", [_record(f) for f in found])
    store.keep("looked", explorer.looked())
    about = {"name": predictor.name, "tau": labels.tau(predictor), "taus": dict(predictor.taus)}
    store.keep("predictor", {**about, "tested": len(labels.top1)})


def result_of(space: Space, out: Path, store: Store, target: Search) -> Result:
    """The front in ``store``, which is of ``target``, with its files in ``out`` written anew."""
    points = tuple(
        Point(i, network_at(space, entry["point"]), entry["point"], entry["top1"], Proof.model_validate(entry["proof"]))
        for i, entry in enumerate(store.get("front"), 1)
    )
    looked = tuple((float(t), float(c)) for t, c in store.get("looked"))
    result = Result(points, looked, store.get("predictor"), clock_of(target))
    files.write_text(out / FRONT_FILE, to_json(result))
    files.write_text(out / REPORT_FILE, to_html(space, result, command_of(out, target, "--build", "1")))
    return result


def build_point(
    space: Space, out: Path, target: Search, number: int, check: Check, *, progress: Progress = silent
) -> Path:
    """Train, export and simulate the ``number``-th network of the front in ``out``; goes on where it stopped.

    Returns:
        the network's folder, with ``run`` and ``build`` in it; it is named by the network's key, since a search that
            goes on numbers its front anew.

    Raises:
        UserError: there is no such network.
        VerificationError: the build is not exact.
    """
    if not (out / STORE_FILE).is_file():
        raise UserError(f"no search in {out}", hint="run 'fpgaflow search' without --build first")
    with locked(out, "search --build", wait=0):
        _, facts = _begun(space, target)
        store = Store(out, facts)
        front = store.get("front")
        if front is None:
            raise UserError(f"the search in {out} has not ended", hint="run it again without --build: it goes on")
        if not 1 <= number <= len(front):
            raise UserError(f"--build {number}: the front has the networks 1 to {len(front)}")
    entry = front[number - 1]
    network = network_at(space, entry["point"])
    folder = out / "builds" / network.key
    config = network.run(space, f"{space.name}-{network.key}")
    files.write_text(folder / "run.toml", dump_toml(config))
    train(config, folder / "run", resume=True)
    chosen = Search(**{**vars(target), "architecture": network.architecture})
    export(folder / "run" / "model.onnx", folder / "build", chosen, check, progress=progress)
    return folder


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """The folder, which holds a search or nothing, for this process alone."""
    if out.is_file():
        raise UserError(f"{out} is a file", hint="give a folder with --out")
    with locked(out, "search", wait=0):
        if out.is_dir() and any(out.iterdir()) and not (out / STORE_FILE).is_file():
            raise UserError(f"the folder {out} holds something else", hint="give another --out")
        yield


def _demand(space: Space, hardware: Hardware) -> None:
    """Raise UserError where the search would end in an error, or what it finds could not be trained."""
    demand_networks(space)
    check_computer(space.train)
    for size in (space.size or (0,)) if space.train.teacher else ():
        network = network_at(space, {**largest(space), "size": size})
        teacher_of(network.run(space, space.name), images_of(space, size).data)
    hardware.demand_room()


def _begun(space: Space, target: Search) -> tuple[Hardware, dict[str, Any]]:
    """The hardware of a search, and the facts of its store: among them the space without how long it is searched."""
    data = images_of(space, 0).data
    hardware = Hardware(space, task_of(space, data), target)
    digestible = json.loads(space.model_dump_json(exclude={"search"}))
    return hardware, {"space": digestible, "data": facts_of(data), **hardware.facts()}


def _record(found: Found) -> dict[str, Any]:
    return {"point": found.seen.point, "top1": found.seen.top1, "proof": found.proof.model_dump()}
