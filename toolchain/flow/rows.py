"""A user's file of measured designs (CSV), apart from the published rows, and what plans make of it.

A row is a design: estimates beside what Vivado placed and what the board showed. The geometric mean of measured over
estimated is the factor of a resource, by architecture; a plan's estimates times the factors keep to the budget.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean

from toolchain.errors import UserError
from toolchain.files import write_text
from toolchain.resources import KINDS, Resources, whole

FPS = "fps"
COUNTS = (*KINDS, FPS)
"""Quantities that are estimated and measured."""

FACTS = ("design", "board", "architecture", "clock_mhz", "vivado")
COLUMNS = (*FACTS, *(f"{side}_{kind}" for kind in COUNTS for side in ("estimated", "measured")))


@dataclass(frozen=True)
class MeasuredRow:
    """One design: what the cost model estimates of it and what was measured, the shell not included.

    ``measured`` lacks what was not measured. ``vivado`` is the version that placed it.
    """

    design: str
    board: str
    architecture: str
    clock_mhz: float
    vivado: str
    estimated: Mapping[str, float]
    measured: Mapping[str, float]


def read_rows(path: Path) -> tuple[MeasuredRow, ...]:
    """The rows of the file ``path``.

    Raises:
        UserError: it is missing or no such file.
    """
    hint = "give a file that 'fpgaflow measure --rows' wrote"
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")), strict=True)
        columns, lines = reader.fieldnames, list(reader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError("no measured designs", where=str(path), hint=hint) from error
    if tuple(columns or ()) != COLUMNS:
        raise UserError("no measured designs: its columns are others", where=str(path), hint=hint)
    return tuple(_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 2))


def _row(line: Mapping[str | None, str | None], where: str) -> MeasuredRow:
    if None in line or None in line.values():  # cut, or a comma too many: a number may be of another column
        what = f"the line has {'more' if None in line else 'fewer'} than {len(COLUMNS)} cells"
        raise UserError(what, where=where, hint="write it as the lines above it, or remove it")

    def number(key: str) -> float | None:
        text = line[key] or ""
        try:
            found = float(text) if text else None
        except ValueError:
            found = -1.0
        if found is not None and not 0 <= found < float("inf"):
            raise UserError(f"bad value for '{key}': {text}", where=where, hint="write a number of at least 0")
        return found

    sides: list[dict[str, float]] = []
    for side in ("estimated", "measured"):
        values = {kind: number(f"{side}_{kind}") for kind in COUNTS}
        sides.append({kind: value for kind, value in values.items() if value is not None})
    design, board, architecture, vivado = (line[key] or "" for key in FACTS if key != "clock_mhz")
    return MeasuredRow(design, board, architecture, number("clock_mhz") or 0.0, vivado, *sides)


def with_row(path: Path, row: MeasuredRow) -> tuple[MeasuredRow, ...]:
    """The rows of ``path``, where it is, and ``row`` in place of that of the same design; nothing is written.

    Raises:
        UserError: the file is none of measured designs.
    """
    before = read_rows(path) if path.exists() else ()
    return (*(other for other in before if other.design != row.design), row)


def write_rows(path: Path, rows: Sequence[MeasuredRow]) -> None:
    """Write ``rows`` to ``path`` by rename, or to what it is a link to: projects may share the file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        table: dict[str, str | float] = {key: getattr(row, key) for key in FACTS}
        for side, values in (("estimated", row.estimated), ("measured", row.measured)):
            table |= {f"{side}_{kind}": f"{value:.10g}" for kind, value in values.items()}
        writer.writerow(table)
    write_text(path.resolve(), text.getvalue())


def factors(rows: Sequence[MeasuredRow], architecture: str) -> dict[str, float]:
    """Measured over estimated by quantity: the geometric mean over the rows of ``architecture`` that have both."""
    found = {}
    for kind in COUNTS:
        both = [(r.measured.get(kind, 0.0), r.estimated.get(kind, 0.0)) for r in rows if r.architecture == architecture]
        ratios = [measured / estimated for measured, estimated in both if measured and estimated]
        if ratios:
            found[kind] = geometric_mean(ratios)
    return found


def affordable(budget: Resources, rows: Sequence[MeasuredRow], architecture: str) -> Resources:
    """The estimates that fill ``budget`` where designs take what ``rows`` say, rounded down."""
    known = factors(rows, architecture)
    return Resources(*(whole(count / known.get(kind, 1.0)) for kind, count in zip(KINDS, budget, strict=True)))


def told(rows: Sequence[MeasuredRow], architecture: str) -> str:
    """How far the estimates of ``architecture`` are off, in a line."""
    count = sum(row.architecture == architecture for row in rows)
    names = {FPS: "frames a second"}
    off = (f"{names.get(kind, kind.upper())} × {ratio:.3g}" for kind, ratio in factors(rows, architecture).items())
    designs = f"{count} measured {architecture} design{'' if count == 1 else 's'}"
    if not count:
        return f"no {designs[2:]}"
    return f"{designs}, measured over estimated: {', '.join(off) or 'nothing of both'}"
