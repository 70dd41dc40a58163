"""The search itself: networks that are accurate and fast, on engines that are found for them, proven at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

import numpy as np
import optuna
from optuna.samplers import NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from toolchain.config.run import SEEDS
from toolchain.engine.shape import Shape
from toolchain.errors import UserError
from toolchain.search.hardware import Hardware, Proof, stored_shape
from toolchain.search.network import Network, canonical, drawn, largest, neighbours, network_at, smallest
from toolchain.search.pool import Pool
from toolchain.search.space import Space
from toolchain.search.store import Store, distributions

UNFIT = 1e15
"""Cycles told of a network that no engine runs: a study takes no infinity."""

SAMPLER, RANDOM, NEIGHBOUR = "sampler", "random", "neighbour"
"""The choosers of a trial: Optuna's sampler, chance, or a step from a network of the front."""

_DRAWS = 20
"""Draws for a network that was not looked at."""

_REFERENCES = 64
"""Random networks whose sizes tell which ones engines are found for."""

Accuracy = Callable[[Sequence[Network]], Sequence[float]]


@dataclass(frozen=True)
class Seen:
    """A network that was looked at: its point, its foreseen accuracy, its cycles and the engine that they are of."""

    point: dict[str, Any]
    network: Network
    top1: float
    cycles: float
    engine: int


@dataclass(frozen=True)
class Found:
    """A network of the front with the proof of its accelerator."""

    seen: Seen
    proof: Proof


@dataclass
class Explorer:
    """Searches ``hardware.space`` with ``accuracy``; everything that is known is in ``store``.

    ``tell`` is called with a stage's name, what is done of it and of how much, and the front so far. ``losses``, of a
    layer in so many bits by its name in the space, let the program choose bits of the front's networks together with
    their engines or lanes.
    """

    hardware: Hardware
    accuracy: Accuracy
    store: Store
    pool: Pool
    tell: Callable[[str, int, int, Sequence[Seen]], None] = lambda *_: None
    losses: Mapping[tuple[str, int], float] = field(default_factory=dict)
    evaluated: int = 0
    _seen: dict[str, Seen] = field(default_factory=dict)

    @property
    def space(self) -> Space:
        """The space that is searched."""
        return self.hardware.space

    def run(self) -> list[Found]:
        """Rounds of engines for networks and networks for engines; then the proofs of the front."""
        for index in range(self.space.search.rounds):
            engines = self.engines(index)
            self.round(index, engines)
        found = self.prove(spread(self.front(), self.space.search.points))
        return self.prove([*(f.seen for f in found), *self.joint(found)]) if self.losses else found

    def front(self) -> list[Seen]:
        """The networks that no other beats in accuracy and cycles, the fastest first."""
        allowed = [s for s in self._seen.values() if isfinite(s.cycles) and s.top1 >= self.space.search.least_top1]
        return unbeaten(allowed)

    def looked(self) -> list[tuple[float, float]]:
        """Accuracy and cycles of the networks of the last round that an engine runs."""
        return [(s.top1, s.cycles) for s in self._seen.values() if isfinite(s.cycles)]

    def engines(self, index: int) -> list[Shape]:
        """The engines of round ``index``: of the first, for networks of all sizes; of later ones, for the front's."""
        if "engine" not in self.space.architecture:
            return []
        kept = self.store.get(f"engines-{index}")
        if kept:
            return [stored_shape(record) for record in kept]
        before = self.store.get(f"engines-{index - 1}") or []
        most = self.space.search.engines
        chosen = self._references() if not index else spread([s.network for s in self.front()], most)
        chosen = [network for network in chosen if network.architecture == "engine"]
        found: list[dict[str, int]] = list(before)
        proofs = self.pool.map(Prover(self.hardware, shared=True), chosen)
        least = self.hardware.smallest("engine")
        for shared in (True, False):  # the board may have room for less than these, or for no formats but the own
            if not found and not any(proofs):
                proofs = [Prover(self.hardware, shared=shared)(least)]
        for proof in proofs:
            if proof is not None and proof.shape not in found:
                found.append(proof.shape)
        self.store.keep(f"engines-{index}", found)
        return [stored_shape(record) for record in found]

    def _references(self) -> list[Network]:
        """The largest and the smallest network, and some between, in the fewest and the most bits."""
        rng, weights = np.random.default_rng(self.space.search.seed), self.space.bits.weights
        points = [largest(self.space), smallest(self.space), *(drawn(self.space, rng) for _ in range(_REFERENCES))]
        fixed = {"architecture": "engine", "activations": max(self.space.bits.activations)}
        points = [{**point, **fixed} for point in points]
        points.sort(key=lambda point: self.hardware.macs(network_at(self.space, point)))
        most = self.space.search.engines
        chosen = [points[-1], *spread(points[:-1], max(1, most // 2))][:most]
        return [
            network_at(self.space, {**point, **{n: bits for n in point if n.startswith("bits.")}})
            for point in chosen
            for bits in sorted({weights[0], weights[-1]})
        ][:most]

    def round(self, index: int, engines: Sequence[Shape]) -> None:
        """Sample ``trials`` networks, then look at the neighbours of the front until it stays, or as many again.

        Where the sampler repeats itself, networks at random take the place of what was seen.
        """
        settings = self.space.search
        study = self.store.study(f"round-{index}", ("maximize", "minimize"))
        before = self.front()
        self._seen = {}
        self._recall(study)
        self._add(study, [s.point for s in before if s.network.key not in self._seen], engines, NEIGHBOUR)
        done = self._told(study, SAMPLER)
        study.sampler = self._sampler(done)
        axes = distributions(self.space)
        while done < settings.trials:
            trials = [study.ask(axes) for _ in range(min(settings.population, settings.trials - done))]
            known = len(self._seen)
            looked = self._look([trial.params for trial in trials], engines)
            for trial, seen in zip(trials, looked, strict=True):
                trial.set_user_attr("engine", seen.engine)
                trial.set_user_attr("source", SAMPLER)
                for name, value in self._constraints(seen).items():
                    trial.set_constraint(name, value)
                study.tell(trial, self._values(seen))
            repeated = len(trials) - (len(self._seen) - known)
            self._add(study, self._unseen(repeated, done), engines, RANDOM)
            done += len(trials)
            self.tell(f"round {index + 1}", done, settings.trials, self.front())
        self._complete(study, engines)

    def _unseen(self, count: int, seed: int) -> list[dict[str, Any]]:
        """Return at most so many random points whose networks were not looked at."""
        rng = np.random.default_rng((self.space.search.seed, seed))
        found: dict[str, dict[str, Any]] = {}
        for _ in range(_DRAWS * count):
            point = drawn(self.space, rng)
            key = network_at(self.space, point).key
            if key not in self._seen:
                found.setdefault(key, point)
            if len(found) == count:
                break
        return list(found.values())

    def _complete(self, study: optuna.Study, engines: Sequence[Shape]) -> None:
        """Look at the front's unseen neighbours until there are none, and then at those that are two steps away.

        This is Pareto local search (Paquete, Chiarandini, Stuetzle).
        """
        total = self.space.search.trials
        left = total - self._told(study, NEIGHBOUR)
        asked: set[tuple[str, int]] = set()
        while left > 0:
            points = self._around(asked, 1) or self._around(asked, 2)
            if not points:
                return
            some = points[:left]
            left -= len(some)
            self._add(study, some, engines, NEIGHBOUR)
            self.tell("neighbours", total - left, total, self.front())

    def _around(self, asked: set[tuple[str, int]], steps: int) -> list[dict[str, Any]]:
        """Return unseen points so many steps from networks of the front that were not ``asked`` for them."""
        points: dict[str, dict[str, Any]] = {}
        for seen in self.front():
            if (seen.network.key, steps) in asked:
                continue
            asked.add((seen.network.key, steps))
            ring = [seen.point]
            for _ in range(steps):
                ring = [other for point in ring for other in neighbours(self.space, point)]
            for point in ring:
                key = network_at(self.space, point).key
                if key not in self._seen:
                    points.setdefault(key, point)
            if steps > 1 and points:
                break  # a single network has thousands
        order = np.random.default_rng((self.space.search.seed, len(self._seen))).permutation(len(points))
        found = list(points.values())
        return [found[i] for i in order] if steps > 1 else found

    def _add(
        self, study: optuna.Study, points: Sequence[dict[str, Any]], engines: Sequence[Shape], source: str
    ) -> None:
        """Look at points that no sampler has chosen."""
        axes = distributions(self.space)
        for point, seen in zip(points, self._look(points, engines), strict=True):
            made = create_trial(
                params=dict(point),
                distributions=axes,
                values=self._values(seen),
                user_attrs={"engine": seen.engine, "source": source},
                constraints=self._constraints(seen),
            )
            study.add_trial(made)

    def _look(self, points: Sequence[dict[str, Any]], engines: Sequence[Shape]) -> list[Seen]:
        """Accuracy and cycles of points; networks that were seen are not looked at again."""
        networks = [network_at(self.space, point) for point in points]
        new = list({n.key: (n, p) for n, p in zip(networks, points, strict=True) if n.key not in self._seen}.values())
        if new:
            fresh = [network for network, _ in new]
            costs = self.pool.map(Timer(self.hardware, tuple(engines)), fresh)
            for (network, point), top1, (cycles, engine) in zip(new, self.accuracy(fresh), costs, strict=True):
                self._seen[network.key] = Seen(canonical(self.space, point), network, float(top1), cycles, engine)
            self.evaluated += len(new)
        return [self._seen[network.key] for network in networks]

    def _recall(self, study: optuna.Study) -> None:
        """Take over the networks that the study has looked at before."""
        for trial in study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            network = network_at(self.space, trial.params)
            top1, cycles = trial.values
            engine = int(trial.user_attrs["engine"])
            seen = Seen(canonical(self.space, trial.params), network, top1, inf if cycles >= UNFIT else cycles, engine)
            self._seen.setdefault(network.key, seen)

    def _told(self, study: optuna.Study, source: str) -> int:
        """Return the number of trials that were chosen by ``source``."""
        done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE])
        return sum(1 for trial in done if trial.user_attrs["source"] == source)

    def _sampler(self, done: int) -> optuna.samplers.BaseSampler:
        settings = self.space.search
        seed = (settings.seed + done) % SEEDS  # one that goes on draws others than it began with
        if settings.sampler == "random":
            return RandomSampler(seed=seed)
        if settings.sampler == "tpe":
            return TPESampler(seed=seed, n_startup_trials=settings.population)
        if settings.sampler == "nsga2":
            return NSGAIISampler(population_size=settings.population, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return NSGAIIISampler(population_size=settings.population, seed=seed)

    def _constraints(self, seen: Seen) -> dict[str, float]:
        """Return the violations that a sampler has to bring to zero or below."""
        return {"unfit": float(not isfinite(seen.cycles)), "short": self.space.search.least_top1 - seen.top1}

    @staticmethod
    def _values(seen: Seen) -> tuple[float, float]:
        return seen.top1, seen.cycles if isfinite(seen.cycles) else UNFIT

    def joint(self, found: Sequence[Found]) -> list[Seen]:
        """Return the networks of ``found`` that are faster, and lose no more, in bits chosen with engine or lanes.

        Their accuracy is foreseen like that of any other network.
        """
        seen: list[Seen] = []
        engines = self.engines(self.space.search.rounds - 1)
        for number, each in enumerate(found, 1):
            network = each.seen.network
            bits = self.store.get(f"joint-{network.key}")
            if bits is None:
                bits = self.hardware.joint_bits(network, self.losses, each.proof.cycles) or {}
                self.store.keep(f"joint-{network.key}", bits)
            if bits:
                point = {**each.seen.point, **{f"bits.{slot}": width for slot, width in bits.items()}}
                seen += [s for s in self._look([point], engines) if s.top1 >= self.space.search.least_top1]
            self.tell("bits and engine together", number, len(found), self.front())
        return seen

    def prove(self, front: Sequence[Seen]) -> list[Found]:
        """The proven front of these networks, each on the best accelerator for it.

        One whose floor lies above the cycles of a more accurate one that is proven is dropped without being solved.

        Raises:
            UserError: no network fits the board, or none is as accurate as ``search.least_top1``.
        """
        found: list[Found] = []
        chosen = sorted({s.network.key: s for s in front}.values(), key=lambda s: -s.top1)
        for number, seen in enumerate(chosen, 1):
            floor = self.hardware.floor(seen.network)
            if any(f.proof.cycles <= floor for f in found):
                continue
            kept = self.store.get(f"proof-{seen.network.key}")
            if kept is None:
                kept = self.hardware.prove(seen.network).model_dump()
                self.store.keep(f"proof-{seen.network.key}", kept)
            found.append(Found(seen, Proof.model_validate(kept)))
            self.tell("proofs", number, len(chosen), front)
        if not found:
            raise self._nothing()
        rows = [(f, f.seen.top1, f.proof.cycles) for f in found]
        return sorted(
            (f for f, top1, cycles in rows if not any(_beats((t, c), (top1, cycles)) for _, t, c in rows)),
            key=lambda f: f.proof.cycles,
        )

    def _nothing(self) -> UserError:
        """The error that tells why the front is empty."""
        fitting, least = [s.top1 for s in self._seen.values() if isfinite(s.cycles)], self.space.search.least_top1
        if not fitting:
            return UserError("no network that was looked at fits an engine", hint="search longer: search.trials")
        return UserError(
            f"no network that was looked at reaches search.least_top1 = {least:g}: the best has {max(fitting):.4f}",
            hint="search longer (search.trials), or ask for less",
        )


@dataclass(frozen=True)
class Timer:
    """Cycles of a network on engines, for workers."""

    hardware: Hardware
    engines: tuple[Shape, ...]

    def __call__(self, network: Network) -> tuple[float, int]:
        return self.hardware.cycles(network, self.engines)


@dataclass(frozen=True)
class Prover:
    """The best accelerator of a network, for workers; None where none fits."""

    hardware: Hardware
    shared: bool

    def __call__(self, network: Network) -> Proof | None:
        try:
            return self.hardware.prove(network, shared=self.shared)
        except UserError:
            return None


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Return whether (top1, cycles) ``a`` is as good as ``b`` in both and better in one."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def unbeaten(seen: Iterable[Seen]) -> list[Seen]:
    """Return the networks that no other beats, the fastest first; of equals the first."""
    front: list[Seen] = []
    for each in sorted(seen, key=lambda s: (s.cycles, -s.top1)):
        if not front or each.top1 > front[-1].top1:
            front.append(each)
    return front


def spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most ``most`` of ``items``, both ends among them, at regular distances."""
    if len(items) <= most:
        return list(items)
    return [items[i] for i in sorted({round(k * (len(items) - 1) / max(1, most - 1)) for k in range(most)})]
