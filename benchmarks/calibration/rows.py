"""Published synthesis results, one a row: what was built, at which stage it was counted, and what it took."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESOURCES: tuple[str, ...] = ("LUT", "FF", "DSP", "BRAM18")
STAGES: tuple[str, ...] = ("csynth", "post-synth", "post-route")


@dataclass(frozen=True)
class Row:
    """One published layer; ``fields`` are its columns and the ``key=value`` pairs of its shape and parallelism."""

    fields: Mapping[str, str]
    source: str
    design: str
    kind: str
    stage: str
    used: Mapping[str, float]

    def text(self, key: str, default: str = "") -> str:
        """A field as written, ``default`` where it is missing or empty."""
        return self.fields.get(key) or default

    def number(self, key: str, default: float | None = None) -> float:
        """A field as a number.

        Raises:
            KeyError: it is missing or no number, and there is no default.
        """
        try:
            return float(self.text(key))
        except ValueError:
            if default is None:
                raise KeyError(key) from None
            return default

    def integer(self, key: str, default: int | None = None) -> int:
        """A field as an integer; raises KeyError as ``number`` does."""
        return int(self.number(key, default))

    def pair(self, key: str) -> tuple[int, int]:
        """A ``[a,b]`` field, or one number for both; raises KeyError when it is neither."""
        numbers = re.fullmatch(r"\[?(\d+)(?:,\s*(\d+))?]?", self.text(key))
        if numbers is None:
            raise KeyError(key)
        return int(numbers[1]), int(numbers[2] or numbers[1])

    def type_bits(self, key: str, default: int = 0) -> int:
        """Width of a type such as ``UINT6`` or ``BIPOLAR``; ``default`` where it is not given."""
        if self.text(key) in ("BIPOLAR", "BINARY"):
            return 1
        digits = re.sub(r"\D", "", self.text(key))
        return int(digits) if digits else default

    @property
    def configuration(self) -> tuple[str, ...]:
        """The facts that distinguish a design from a repeat of it: everything but its names and its counts.

        Except that designs with and without DSP slices are two: how products were bound is not in the columns.
        """
        fields = self.fields
        binding = "dsp" if self.used.get("DSP") else "lut"
        kept = (
            "shape",
            "parallelism",
            "w_bits",
            "a_bits",
            "PE",
            "SIMD",
            "reuse",
            "strategy",
            "clock_ns",
            "part",
            "tool",
        )
        return (self.source, self.kind, self.stage, binding, *(fields.get(key, "") for key in kept))


def read_rows(path: Path, split: str | None = None) -> list[Row]:
    """Layer rows of a file with the columns of the published data; of one ``split`` when given."""
    with path.open(newline="", encoding="utf-8") as file:
        table = [line for line in csv.DictReader(file) if line["level"] == "layer"]
    return [_row(line) for line in table if split is None or line["split"] == split]


def _row(line: Mapping[str, str]) -> Row:
    pairs = [part.partition("=") for part in f"{line['shape']};{line['parallelism']}".split(";")]
    fields = {key: value for key, _, value in pairs} | dict(line)
    used = {name: float(line[name]) for name in RESOURCES if line[name]}
    return Row(fields, line["source"], line["design"], line["kind"], line["stage"], used)


def distinct(rows: Iterable[Row]) -> list[Row]:
    """One row a configuration, with the mean of its repeats, in the order of the first of them."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.configuration, []).append(row)
    return [_mean(group) for group in groups.values()]


def _mean(group: Sequence[Row]) -> Row:
    first = group[0]
    used = {}
    for name in RESOURCES:
        values = [row.used[name] for row in group if name in row.used]
        if values:
            used[name] = sum(values) / len(values)
    return Row(first.fields, first.source, first.design, first.kind, first.stage, used)
