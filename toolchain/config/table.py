"""Base of the tables of a run file."""

from __future__ import annotations

from pydantic import ConfigDict

from toolchain.records import Record


class Table(Record):
    """A table that people write: lists stand for tuples, whole numbers for reals."""

    model_config = ConfigDict(strict=False)
