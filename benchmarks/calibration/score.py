"""The errors of predictions against published counts, by kind, stage and resource."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean, median

from benchmarks.calibration.finn import finn_estimate
from benchmarks.calibration.fit import Fit, Key
from benchmarks.calibration.predict import predict
from benchmarks.calibration.rows import RESOURCES, Row

Cell = tuple[str, str, str]
Predictor = Callable[[Row], Mapping[str, float]]
Scores = dict[str, dict[str, dict[str, dict[str, float | int | None]]]]


def model(row: Row) -> Mapping[str, float]:
    """Predictions of the committed model."""
    estimate = predict(row)
    return estimate.used if estimate is not None else {}


def held_out(fits: Mapping[Key, Fit]) -> Predictor:
    """Predictions of the fits without each row's project or sweep, and the rules' counts."""
    known: dict[tuple[int, str], float] = {}
    for (_, _, resource), fit in fits.items():
        for sample, value in zip(fit.samples, fit.held_out, strict=True):
            known[id(sample.row), resource] = float(value)

    def predictor(row: Row) -> Mapping[str, float]:
        counted = {name: value for name, value in model(row).items() if name in ("DSP", "BRAM18")}
        return counted | {name: known[id(row), name] for name in ("LUT", "FF") if (id(row), name) in known}

    return predictor


def score(rows: Sequence[Row], predictor: Predictor = model) -> Scores:
    """Errors in percent of the rows that are predicted, as ``{kind: {stage: {resource: figures}}}``.

    Percentages are over the rows whose published count is not zero; ``exact`` is the share of all rows met exactly.
    ``finn_mape`` is FINN's error on the same rows, None where FINN has no formula.
    """
    cells: dict[Cell, list[tuple[float, float, float | None]]] = defaultdict(list)
    for row in rows:
        predicted, finn = predictor(row), finn_estimate(row)
        for resource in RESOURCES:
            if resource in row.used and resource in predicted:
                triple = row.used[resource], predicted[resource], finn.get(resource)
                cells[row.kind, row.stage, resource].append(triple)
    scores: Scores = {}
    for (kind, stage, resource), triples in sorted(cells.items()):
        scores.setdefault(kind, {}).setdefault(stage, {})[resource] = _figures(triples)
    return scores


def _figures(triples: Sequence[tuple[float, float, float | None]]) -> dict[str, float | int | None]:
    errors = [predicted / used - 1 for used, predicted, _ in triples if used]
    finn = [other / used - 1 for used, _, other in triples if used and other is not None]
    return {
        "n": len(errors),
        "mape": _percent(fmean, map(abs, errors)),
        "median_ape": _percent(median, map(abs, errors)),
        "bias": _percent(fmean, errors),
        "finn_mape": _percent(fmean, map(abs, finn)),
        "rows": len(triples),
        "exact": round(sum(round(predicted) == used for used, predicted, _ in triples) / len(triples), 3),
    }


def _percent(mean: Callable[[list[float]], float], errors: Iterable[float]) -> float | None:
    values = list(errors)
    return round(100 * mean(values), 1) if values else None
