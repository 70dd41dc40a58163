"""A finding, and a rule that finds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from toolchain.hls_lint.facts import Facts


class Finding(NamedTuple):
    """A broken rule: the unit, the line, and the fault in words."""

    rule: str
    unit: str
    where: str
    what: str


class Project(NamedTuple):
    """Input of the rules: the walk's facts and the texts of the files by path."""

    facts: Facts
    files: Mapping[str, str]


@dataclass(frozen=True)
class Rule:
    """A rule of Vitis HLS, or of this project's cost and cycle models."""

    name: str
    sentence: str
    find: Callable[[Project], Iterator[tuple[str, str, str]]]
    """Yields (unit, where, what)."""

    def findings(self, project: Project) -> list[Finding]:
        """Every finding once, in order."""
        return sorted({Finding(self.name, *found) for found in self.find(project)})
