"""Accuracies that were tested, in the store, and the predictor that learns from them and chooses the next."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.trial import TrialState, create_trial

from toolchain.errors import UserError
from toolchain.search.network import Network, drawn, network_at
from toolchain.search.pool import Pool
from toolchain.search.predictor import Features, Predictor, learn
from toolchain.search.space import LEAST_LEARNED, Space
from toolchain.search.store import Store, distributions

_CANDIDATES = 500
"""Random networks of which a round takes those that the predictor knows least of."""

_DRAWS = 20
"""Draws for a network that was not tested."""

Test = Callable[[Network], float]


def demand_networks(space: Space) -> None:
    """Raise UserError where ``space`` has fewer networks than are held out and learned from at least."""
    held_out, rng = space.accuracy.held_out, np.random.default_rng(space.search.seed)
    least, found = held_out + LEAST_LEARNED, set()
    for _ in range(_CANDIDATES + _DRAWS * least):
        found.add(network_at(space, drawn(space, rng)).key)
        if len(found) == least:
            return
    raise UserError(
        f"the space '{space.name}' has {len(found)} networks: accuracies of {least} are learned from and judged on",
        hint=f"give more choices, or train each by itself; accuracy.held_out is {held_out}",
    )


@dataclass
class Labels:
    """Tests networks of ``space`` by ``test`` and keeps what they reach."""

    space: Space
    store: Store
    pool: Pool
    test: Test
    tell: Callable[[int, int], None] = lambda *_: None
    networks: list[Network] = field(default_factory=list)
    top1: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.study = self.store.study("networks", ("maximize",))
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]):
            self.networks.append(network_at(self.space, trial.params))
            self.top1.append(float(trial.values[0]))

    @property
    def held_out(self) -> int:
        """The first networks, which the predictor never learns from."""
        return self.space.accuracy.held_out

    def predictor(self, features: Features) -> Predictor:
        """The predictor once all networks are tested: ``accuracy.networks`` of them, or those that the space has."""
        settings = self.space.accuracy
        learned = settings.networks - settings.held_out
        goals = [settings.held_out + learned * (r + 1) // settings.rounds for r in range(settings.rounds)]
        for number, goal in enumerate(goals):
            model = None
            while (missing := goal - len(self.networks)) > 0:
                if number and model is None:
                    model = self._learned(features)
                points = self._chosen(missing, model)
                if not points:
                    return self._learned(features)
                self._test(points)
        return self._learned(features)

    def tau(self, predictor: Predictor) -> float:
        """Kendall tau of the predictor on the networks that were held out."""
        return predictor.tau(self.networks[: self.held_out], self.top1[: self.held_out])

    def _learned(self, features: Features) -> Predictor:
        start = self.held_out
        return learn(features, self.networks[start:], self.top1[start:], self.space.search.seed)

    def _chosen(self, count: int, model: Predictor | None) -> list[dict[str, object]]:
        """Points of so many networks that were not tested: random ones, or those the predictor knows least of.

        They are fewer where the space has no more.
        """
        rng = np.random.default_rng((self.space.search.seed, len(self.networks)))
        known = {n.key for n in self.networks}
        fresh: dict[str, tuple[dict[str, object], Network]] = {}
        for _ in range(_CANDIDATES if model else _CANDIDATES + _DRAWS * count):
            point = drawn(self.space, rng)
            network = network_at(self.space, point)
            if network.key not in known:
                fresh.setdefault(network.key, (point, network))
            if model is None and len(fresh) == count:
                break
        points = list(fresh.values())
        if model is not None and points:
            unsure = model.uncertainty([network for _, network in points])
            points = [points[i] for i in np.argsort(-unsure, kind="stable")]
        return [point for point, _ in points[:count]]

    def _test(self, points: Sequence[dict[str, object]]) -> None:
        """Test a few networks at a time: results stay when this process dies."""
        step, axes = self.pool.workers, distributions(self.space)
        for start in range(0, len(points), step):
            some = points[start : start + step]
            networks = [network_at(self.space, point) for point in some]
            for point, network, top1 in zip(some, networks, self.pool.map(self.test, networks), strict=True):
                self.study.add_trial(create_trial(params=dict(point), distributions=axes, values=[top1]))
                self.networks.append(network)
                self.top1.append(top1)
            self.tell(len(self.networks), self.space.accuracy.networks)
