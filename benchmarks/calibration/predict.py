"""Resources of a published unit, with the committed coefficients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.calibration.kinds import describe
from benchmarks.calibration.rows import Row
from toolchain.units.cost_model.coefficients import coefficients, load_coefficients, weigh


@dataclass(frozen=True)
class Estimate:
    """Resources by name, and each fitted resource as its parts."""

    stage: str
    used: Mapping[str, float]
    parts: Mapping[str, Mapping[str, float]]


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
