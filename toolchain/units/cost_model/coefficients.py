"""The committed coefficients: what each part of a unit takes at a stage of synthesis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

CSYNTH, PLACED = "csynth", "placed"
COEFFICIENTS = Path(__file__).with_name("coefficients.json")


def stage_class(stage: str) -> str:
    """ "csynth", or "placed" for what Vivado counts; no published row gives both of its stages for the same unit."""
    return CSYNTH if stage == "csynth" else PLACED


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
