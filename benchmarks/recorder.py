"""Results files: every ``results/NAME.json`` is a list of rows of known columns, each with how it was measured."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, reduce
from operator import or_
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from toolchain.files import write_text
from toolchain.simulate.compiler import compiler

FOLDER = Path(__file__).resolve().parent / "results"

Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """The file ``results/NAME.json``: rows with the columns of one of ``schemas``; ``key``, if any, tells them apart.

    ``schemas`` are `TypedDict`s. A column that is missing, unknown or of another type is refused when rows are read or
    written.
    """

    name: str
    schemas: tuple[type, ...]
    key: tuple[str, ...]
    folder: Path = FOLDER

    @property
    def path(self) -> Path:
        """The file of the rows."""
        return self.folder / f"{self.name}.json"

    @cached_property
    def _adapter(self) -> TypeAdapter[list[Row]]:
        rows: Any = list[reduce(or_, self.schemas)]  # type: ignore[misc]
        return TypeAdapter(rows, config=ConfigDict(extra="forbid", strict=True))

    def rows(self) -> list[Row]:
        """Return the recorded rows; none if there is no file."""
        return self.checked(json.loads(self.path.read_text(encoding="utf-8"))) if self.path.is_file() else []

    def checked(self, rows: list[Row]) -> list[Row]:
        """``rows`` themselves.

        Raises:
            ValueError: one has not the columns of a schema, or two have one key.
        """
        found = self._adapter.validate_python(rows)
        keys = [self.key_of(row) for row in found] if self.key else []
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            raise ValueError(f"{self.path.name} has {len(twice)} rows of {twice[0]}")
        return found

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Return the values that identify ``row``; None stands for a column that it lacks."""
        return tuple(row.get(name) for name in self.key)

    def has(self, row: Row) -> bool:
        """Return whether a row with the key of ``row`` is recorded."""
        return self.key_of(row) in map(self.key_of, self.rows())

    def record(self, *rows: Row) -> None:
        """Write ``rows``, measured now, in place of those of the same keys; others stay."""
        found = {self.key_of(row): row for row in self.rows()}
        self._write([*(found | {self.key_of(row): row | _missing(row) for row in rows}).values()])

    def replace(self, rows: Sequence[Row], old: Callable[[Row], bool] = lambda _: True) -> None:
        """Write ``rows``, measured now, in place of all those that are ``old``."""
        kept = [row for row in self.rows() if not old(row)]
        self._write([*kept, *(row | _missing(row) for row in rows)])

    def _write(self, rows: list[Row]) -> None:
        write_text(self.path, json.dumps(self.checked(rows), indent=1) + "\n")


def grouped(rows: Iterable[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """The ``rows`` of the same values in ``columns``, by these, in the order in which they come."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in columns), []).append(row)
    return groups


def _missing(row: Row) -> Row:
    """The conditions of this run that ``row`` does not tell itself."""
    return {name: value for name, value in conditions().items() if name not in row}


def conditions() -> dict[str, str]:
    """The command, the hardware and the date of this run; of absolute paths the last part."""
    arguments = [Path(text).name if text.startswith("/") else text for text in sys.argv[1:]]
    return {
        "command": shlex.join(["python", "-m", "benchmarks", Path(sys.argv[0]).stem, *arguments]),
        "hardware": hardware(),
        "date": today(),
    }


def hardware() -> str:
    """Processor, cores and compiler of this machine, and how busy it is."""
    load = os.getloadavg()[0]
    return f"{_processor()}, {os.cpu_count()} cores, {compiler()[1]}, load {load:.1f}"


def today() -> str:
    """The date in UTC."""
    return datetime.now(UTC).date().isoformat()


def _processor() -> str:
    """The processor's name as Linux knows it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
