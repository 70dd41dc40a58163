"""A sentence that can be tested, the figures of the results files that test it, and the verdict that follows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import mean
from types import SimpleNamespace
from typing import Any

from benchmarks.markdown import table
from benchmarks.recorder import Results, Row

Read = Callable[[Row], float]
HEAD = ("paper", "claim", "figure here", "met", "cause", "command")
_NUMBERS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Figure:
    """A number of a results file: the mean of ``read`` over the rows that hold ``where``.

    Args:
        results: the file.
        where: columns and their values.
        read: takes the number from a row.
    """

    results: Results
    where: Mapping[str, Any]
    read: Read

    @property
    def rows(self) -> list[Row]:
        """The rows of all schedules; none where they were not made."""
        return [row for row in _rows(self.results) if self.where.items() <= row.items()]


@dataclass(frozen=True)
class Tested:
    """A sentence of a paper's abstract, in other words, with what tests it.

    Args:
        paper: the method.
        claim: the sentence.
        shown: the figures in words: a format of their names.
        holds: whether the figures are what the sentence says.
        figures: by name.
        cause: why it is not met, or what the figure leaves open.
    """

    paper: str
    claim: str
    shown: str
    holds: Callable[[SimpleNamespace], bool]
    figures: Mapping[str, Figure]
    cause: str = ""

    @property
    def rows(self) -> dict[str, list[Row]]:
        """The rows of every figure, of the longest schedule from one float network that all have; else nothing.

        Of equally long ones it is that with most seeds. All figures are of the same seeds.
        """
        found = {name: figure.rows for name, figure in self.figures.items()}
        shared = set.intersection(*({_made_by(row) for row in rows} for rows in found.values()))
        schedules = Counter(schedule for schedule, _ in shared)
        longest = max(schedules, key=lambda of: (of[0], schedules[of], of[1]), default=None)
        chosen = {made for made in shared if made[0] == longest}
        return {n: [row for row in rows if _made_by(row) in chosen] for n, rows in found.items()} if shared else {}

    @property
    def made(self) -> bool:
        """Whether all rows of the claim are recorded."""
        return bool(self.rows)

    @property
    def values(self) -> SimpleNamespace:
        """The figures' numbers by name."""
        return SimpleNamespace(**{n: mean(map(self.figures[n].read, rows)) for n, rows in self.rows.items()})

    @property
    def met(self) -> bool | None:
        """Whether the claim holds; None where a row was not made."""
        return self.holds(self.values) if self.made else None

    @property
    def command(self) -> str:
        """The benchmark that makes the rows; the rows have the command in full."""
        first = next(iter(self.figures.values()))
        return f"`python -m benchmarks {_benchmark(first)}`"

    def cells(self) -> tuple[str, ...]:
        """The line of the table."""
        text = f"{self.shown.format(**vars(self.values))} ({self._measured()})" if self.made else ""
        verdict = {True: "yes", False: "no", None: "not run"}[self.met]
        return self.paper, self.claim, text, verdict, self.cause if self.met is not None else "", self.command

    def _measured(self) -> str:
        """Describe the networks, epochs and seeds of the rows."""
        groups = list(self.rows.values())
        parts = [" and ".join(filter(None, dict.fromkeys(_network(row) for rows in groups for row in rows)))]
        epochs, seeds = groups[0][0].get("epochs"), min(len({row.get("seed") for row in rows}) for rows in groups)
        if epochs:
            parts.append(f"{epochs} epoch{'s' if epochs > 1 else ''}")
        if "seed" in groups[0][0]:
            parts.append(f"{_NUMBERS[seeds]} seed{'s' if seeds > 1 else ''}")
        return ", ".join(filter(None, parts))


def claims_table(tested: tuple[Tested, ...]) -> str:
    """All sentences, one a line."""
    return table(HEAD, (one.cells() for one in tested))


@cache
def _rows(results: Results) -> list[Row]:
    return results.rows()


def _made_by(row: Row) -> tuple[tuple[int, str], Any]:
    """The epochs of a row and the float network that it started from, then its seed; nothing where it tells none."""
    return (row.get("epochs") or 0, row.get("parent") or ""), row.get("seed")


def _network(row: Row) -> str:
    names = (row.get("model") or row.get("network") or row.get("space"), row.get("data"))
    return " on ".join(name for name in names if name)


def _benchmark(figure: Figure) -> str:
    """The module that makes a figure's rows, and its part."""
    rows = figure.rows
    found = re.match(r"python (?:-m benchmarks |benchmarks/)(\w+)(?:\.py)?", str(rows[0]["command"])) if rows else None
    name = found[1] if found else figure.results.name
    return " ".join(filter(None, (name, str(figure.where.get("part", "")))))


def column(name: str, scale: float = 1.0) -> Read:
    """A column of numbers, times ``scale``."""
    return lambda row: scale * float(row[name])


def change(row: Row) -> float:
    """Points of accuracy above the float network that the run started from."""
    return 100 * (float(row["top1"]) - float(row["float_top1"]))


def observed(stage: str, name: str, scale: float = 1.0) -> Read:
    """Return a reader of what a stage of a run has observed, times ``scale``.

    Or its accuracy before (``trained``) and after (``top1``) its last step.
    """

    def read(row: Row) -> float:
        (found,) = (part for part in json.loads(row["stages"]) if part["name"] == stage)
        return scale * float(found[name])

    return read
