"""Data sets of numbers in rows: CSV and Parquet files with a named column a feature and one of labels."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import UserError, some_names
from toolchain.train.data_formats import Part, labelled


def read_csv(path: Path, label: str, features: tuple[str, ...]) -> Part:
    """Rows below a line of column names: the column ``label`` holds the classes, every other one a feature.

    Args:
        path: UTF-8, comma between the columns; a semicolon or a tab where the first line has one and no comma.
        label: numbers from 0, or names.
        features: the columns to take, in this order; empty for all.

    Raises:
        UserError: no file, no such column, rows of other lengths, a feature that is no finite number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            between = next((c for c in ",;\t" if c in first), ",")
            names = next(csv.reader([first], delimiter=between), [])
            rows = [row for row in csv.reader(file, delimiter=between) if row]
    except OSError as error:
        raise UserError(f"cannot read the table: {error.strerror or error}", where=str(path)) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"not a CSV file in UTF-8: {error}", where=str(path)) from error
    names = [name.strip() for name in names]
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise UserError(f"line {number} has {len(row)} columns, the first line {len(names)}", where=str(path))
    chosen, at = _columns(path, names, label, features)
    x = np.empty((len(rows), len(chosen)), dtype=np.float32)
    for place, column in enumerate(chosen):
        x[:, place] = _numbers(path, names[column], [row[column] for row in rows], 2)
    return labelled(x, _labels([row[at].strip() for row in rows]), path, tuple(names[c] for c in chosen))


def read_parquet(path: Path, label: str, features: tuple[str, ...]) -> Part:
    """Read a Parquet file as `read_csv` reads its own.

    Raises:
        UserError: as `read_csv`, or pyarrow is not installed.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import read_table
    except ImportError as error:
        raise UserError("parquet: needs pyarrow", hint="pip install 'fpgaflow[parquet]'") from error
    try:
        table = read_table(path)
    except OSError as error:
        raise UserError(f"cannot read the table: {error.strerror or error}", where=str(path)) from error
    except ArrowException as error:
        raise UserError(f"not a Parquet file: {error}", where=str(path)) from error
    names = list(table.column_names)
    chosen, at = _columns(path, names, label, features)
    x = np.empty((table.num_rows, len(chosen)), dtype=np.float32)
    for place, column in enumerate(chosen):
        x[:, place] = _numbers(path, names[column], table.column(column).to_pylist(), 1)
    return labelled(x, _labels(table.column(at).to_pylist()), path, tuple(names[c] for c in chosen))


def _columns(path: Path, names: list[str], label: str, features: tuple[str, ...]) -> tuple[list[int], int]:
    """Places of the features and of the labels."""
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"two columns are called '{twice}'", where=str(path), hint="the first line names the columns")
    for name in (label, *features):
        if name not in names:
            hint = "name the column of the classes: data.label" if name == label else "the network was trained with it"
            raise UserError(f"no column '{name}' beside {some_names(names)}", where=str(path), hint=hint)
    at = names.index(label)
    if len(names) == 1:
        raise UserError(f"no column beside '{label}'", where=str(path), hint="every other column is a feature")
    return [names.index(n) for n in features] or [i for i in range(len(names)) if i != at], at


def _numbers(path: Path, name: str, column: list[Any], first: int) -> NDArray[np.float32]:
    """``column`` as numbers; ``first`` is the line of its first entry."""
    try:
        return np.array(column, dtype=np.float64).astype(np.float32)
    except (ValueError, TypeError):
        pass
    for number, entry in enumerate(column, first):
        try:
            float(entry)
        except (ValueError, TypeError):
            what = f"line {number}, column '{name}': {entry!r} is no number"
            raise UserError(what, where=str(path), hint="encode classes as numbers, fill gaps") from None
    raise UserError(f"column '{name}' holds no numbers", where=str(path))


def _labels(column: list[Any]) -> NDArray[Any]:
    """Integers where all entries are some, else names."""
    try:
        numbers = np.array(column, dtype=np.float64)
        if np.array_equal(numbers, np.rint(numbers)):
            return numbers.astype(np.int64)
    except (ValueError, TypeError):
        pass
    return np.array([str(entry) for entry in column])
