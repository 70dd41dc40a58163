"""What a run notes of its data and of the runs it takes networks from, and the tests that they are still the same."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from toolchain import files
from toolchain.errors import UserError
from toolchain.train.data import Dataset, demand_same

_FILE = Path("checkpoints") / "data.json"  # in a run's folder
_HINT = "put the files back as they were, or train anew with --overwrite"


def note(data: Dataset, others: Mapping[str, str], folder: Path) -> None:
    """Keep with the run in ``folder`` what it is trained on, and the digests of ``others`` by their key."""
    facts = facts_of(data) | {"runs": dict(others)}
    if facts != _noted(folder):
        files.write_text(folder / _FILE, json.dumps(facts) + "\n")


def demand_alike(data: Dataset, folder: Path) -> None:
    """Check that ``data`` has the shape, the classes and the columns that the run in ``folder`` was trained on.

    Raises:
        UserError: others; the network does not fit them.
    """
    before, now = _noted(folder), facts_of(data)
    if before is None:
        return
    if any(before[key] != now[key] for key in ("shape", "classes")):
        had, has = (f"samples of {tuple(facts['shape'])} in {facts['classes']} classes" for facts in (before, now))
        raise UserError(f"data set '{data.name}' has changed: {had} before, {has} now", where=str(folder), hint=_HINT)
    for kind in ("names", "columns"):
        whose = "the run's classes" if kind == "names" else "the run's columns"
        demand_same(whose, tuple(before[kind]), tuple(now[kind]), data.name, str(folder))


def demand_unchanged(data: Dataset, others: Mapping[str, str], folder: Path) -> None:
    """Check that ``data`` are what the run in ``folder`` began with, sample by sample, and so are ``others``.

    Raises:
        UserError: they are not.
    """
    demand_alike(data, folder)
    before, now = _noted(folder) or {}, facts_of(data)
    if any(before.get(key, now[key]) != now[key] for key in now):
        what = f"the samples of data set '{data.name}' have changed since the run began"
        raise UserError(what, where=str(folder), hint=_HINT)
    for key, digest in before.get("runs", {}).items():
        if others.get(key) != digest:
            what = f"the network of train.{key} has changed since the run began"
            raise UserError(what, where=str(folder), hint=_HINT)


def facts_of(data: Dataset) -> dict[str, Any]:
    """Return what is noted of ``data``, for JSON: other samples have other facts."""
    arrays = (data.train_x, data.train_y, data.test_x, data.test_y)
    return {
        "shape": list(data.shape),
        "classes": data.classes,
        "names": list(data.names),
        "columns": list(data.reading.features),
        "samples": [zlib.crc32(np.ascontiguousarray(array).data) for array in arrays],
    }


def _noted(folder: Path) -> dict[str, Any] | None:
    """The facts of the data of the run in ``folder``; None of one that noted none."""
    path = folder / _FILE
    if not path.is_file():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = {key: found[key] for key in ("shape", "classes", "names", "columns", "samples")}
        return known | {"runs": dict(found["runs"])} if "runs" in found else known  # earlier versions noted none
    except (ValueError, LookupError, TypeError) as error:
        hint = "remove it if the data are as they were, or train anew with --overwrite"
        raise UserError(f"{path} is damaged", hint=hint) from error
