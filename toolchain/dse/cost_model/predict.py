"""Resources of a set of parts at a stage, with the committed coefficients."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toolchain.dse.cost_model.kinds import describe, stage_class
from toolchain.dse.cost_model.rows import Row

COEFFICIENTS = Path(__file__).with_name("coefficients.json")


@dataclass(frozen=True)
class Estimate:
    """Resources by name, and each fitted resource as its parts."""

    stage: str
    used: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]


@cache
def load_coefficients(path: Path = COEFFICIENTS) -> Mapping[str, Mapping[str, Any]]:
    """The fitted coefficients by ``family/stage/resource``."""
    table: dict[str, Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["fits"]
    return table


def coefficients(family: str, stage: str, resource: str) -> Mapping[str, float]:
    """Coefficients by part; raises KeyError where nothing was fitted."""
    fit: Mapping[str, float] = load_coefficients()[f"{family}/{stage_class(stage)}/{resource}"]["parts"]
    return fit


def weigh(parts: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Every part times its coefficient; raises KeyError for a part without one."""
    return {name: count * weights[name] for name, count in parts.items()}


def predict(row: Row) -> Estimate | None:
    """Estimate of a row, or None where its kind is not modelled or its shape is not given."""
    description = describe(row)
    if description is None:
        return None
    weighed = {}
    for resource, parts in description.fitted.items():
        if f"{description.family}/{description.stage}/{resource}" in load_coefficients():
            weighed[resource] = weigh(parts, coefficients(description.family, description.stage, resource))
    sums = {resource: sum(parts.values()) for resource, parts in weighed.items()}
    return Estimate(row.stage, sums | dict(description.counted), weighed)
