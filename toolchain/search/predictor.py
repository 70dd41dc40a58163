"""Accuracies of networks foreseen from those that were tested."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import kendalltau
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from toolchain.ir.types import Array
from toolchain.search.network import Network
from toolchain.search.passes import Task, cut_of
from toolchain.search.space import LAYERS, Space

FOLDS = 5
MODELS = ("gpr", "svr", "boosting")
"""Gaussian process, support vectors (HAO's), gradient boosted trees (LightGBM's algorithm) as a check."""


@dataclass(frozen=True)
class Features:
    """Networks as rows of numbers: one-hot choices of every block, the noise of its quantized weights, log MACs.

    ``noise`` is what a layer's weights lose in so many bits, by the layer's name in the space.
    """

    space: Space
    task: Task
    noise: Mapping[tuple[str, int], float]

    def rows(self, networks: Sequence[Network]) -> Array:
        """(N, features)."""
        return np.array([self._row(network) for network in networks])

    def _row(self, network: Network) -> list[float]:
        space, row = self.space, []
        row += _one_hot(network.blocks.stem, space.stem) + _one_hot(network.blocks.head, space.head)
        row += _one_hot(network.size, space.size or (0,)) + _one_hot(network.act_bits, space.bits.activations)
        blocks = dict(zip(network.places, enumerate(network.blocks.block, 1), strict=True))
        for s, stage in enumerate(space.stage, 1):
            first = blocks[s, 1][1]
            row += _one_hot(first.channels, stage.channels)
            for b in range(1, max(stage.depth) + 1):
                found = blocks.get((s, b))
                kernel, expansion = (0, 0) if found is None else (found[1].kernel, found[1].expansion)
                row += [
                    float(found is not None),
                    *_one_hot(kernel, stage.kernel),
                    *_one_hot(expansion, stage.expansion),
                ]
                layers = [f"block{found[0]}.{layer}" for layer in LAYERS[stage.kind]] if found else []
                row += self._noises(network, layers)
        row += self._noises(network, ["conv1"]) + self._noises(network, ["conv2"]) + self._noises(network, ["fc"])
        row.append(float(np.log(sum(p.macs for p in cut_of(network, self.task).passes))))
        return row

    def _noises(self, network: Network, layers: Sequence[str]) -> list[float]:
        """The summed noise of some layers and the log of it, which tells few bits from very few."""
        total = sum(self.noise[network.slots[name], network.bits[name]] for name in layers if name in network.bits)
        return [total, float(np.log10(total + 1e-6))]


def _one_hot(value: int, values: Sequence[int]) -> list[float]:
    return [float(value == each) for each in values] if len(values) > 1 else []


@dataclass(frozen=True)
class Predictor:
    """The model that ranked best in cross-validation, with its Kendall tau there, and the Gaussian process beside it.

    ``taus`` are those of every model in cross-validation.
    """

    features: Features
    name: str
    taus: Mapping[str, float]
    models: Mapping[str, Any]

    def top1(self, networks: Sequence[Network]) -> Array:
        """Return foreseen accuracies (N,), from 0 to 1."""
        found: Array = np.clip(self.models[self.name].predict(self.features.rows(networks)), 0.0, 1.0)
        return found

    def uncertainty(self, networks: Sequence[Network]) -> Array:
        """Standard deviations (N,) of the Gaussian process."""
        process = self.models["gpr"]
        rows = process[0].transform(self.features.rows(networks))
        found: Array = process[1].predict(rows, return_std=True)[1]
        return found

    def tau(self, networks: Sequence[Network], top1: Sequence[float]) -> float:
        """Kendall tau of the foreseen accuracies with those of networks that it has not learned from."""
        return kendall(self.top1(networks), top1)


def kendall(foreseen: Sequence[float] | Array, real: Sequence[float] | Array) -> float:
    """Kendall's tau-b; 0 where either side has no order."""
    found = float(kendalltau(np.asarray(foreseen), np.asarray(real)).statistic)
    return 0.0 if np.isnan(found) else found


def learn(features: Features, networks: Sequence[Network], top1: Sequence[float], seed: int = 0) -> Predictor:
    """A predictor from the accuracies of ``networks``."""
    rows, y = features.rows(networks), np.asarray(top1)
    folds = KFold(min(FOLDS, len(y)), shuffle=True, random_state=seed)
    models, taus = {}, {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for name in MODELS:
            taus[name] = kendall(cross_val_predict(_model(name, seed), rows, y, cv=folds), y)
            models[name] = _model(name, seed).fit(rows, y)
    best = max(("gpr", "svr"), key=lambda name: taus[name])
    return Predictor(features, best, taus, models)


def _model(name: str, seed: int) -> Any:
    if name == "gpr":
        kernel = ConstantKernel(1.0) * Matern(10.0, (1e-1, 1e4), nu=2.5) + WhiteKernel(1e-1, (1e-4, 1e1))
        process = GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=seed)
        return make_pipeline(StandardScaler(), process)
    if name == "svr":
        return make_pipeline(StandardScaler(), SVR(C=1.0, epsilon=0.005))
    return HistGradientBoostingRegressor(min_samples_leaf=5, random_state=seed)
