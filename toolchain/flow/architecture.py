"""The protocol of an architecture: find an accelerator, generate it, simulate it and report on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self

from toolchain.flow.images import Images
from toolchain.flow.options import Check, Search
from toolchain.flow.progress import Progress
from toolchain.flow.records import ModelRecord, SimulationRecord
from toolchain.ir.store import Stored
from toolchain.ir.types import Array
from toolchain.report.data import Report
from toolchain.resources import Resources
from toolchain.simulate.drive import Driven


@dataclass(frozen=True)
class Simulated:
    """The ``classes`` (N,) that a C simulation told, and what of its answers differs from the evaluator.

    ``cycles`` are counted by unit over ``calls`` runs; ``classes`` is empty where the simulation stopped. ``driven``
    tells of the units driven by themselves; a deviation there is also ``deviation``, as is a count of cycles that is
    not the model's.
    """

    classes: Array
    seconds: float
    mismatches: int
    deviation: str | None
    cycles: dict[str, int]
    calls: int
    driven: Driven


class Architecture(Protocol):
    """One accelerator for one network, found by a search or read from its ``file`` in a build folder."""

    name: ClassVar[str]
    file: ClassVar[str]

    @property
    def digest(self) -> str:
        """The sha256 of the network and of everything that decides the hardware; files made of it carry it."""

    @property
    def fps(self) -> float:
        """Frames a second by the model."""

    @property
    def board(self) -> str:
        """The name of the board it is for."""

    @property
    def clock_mhz(self) -> float:
        """The clock it is for."""

    @property
    def resources(self) -> Resources:
        """The resources it takes, the shell not included."""

    @property
    def proof(self) -> str:
        """The status of its plan: "optimal", "feasible", or "given" of one by hand."""

    @classmethod
    def explore(cls, network: Stored, search: Search, progress: Progress) -> Self:
        """The best accelerator that ``search`` allows.

        Raises:
            UserError: none fits, or ``search`` asks for what the architecture does not have.
        """

    @classmethod
    def read(cls, network: Stored, folder: Path, *, by_hand: bool) -> Self:
        """The accelerator in ``folder``; ``by_hand``: its file is not as the search wrote it.

        Raises:
            UserError: the file is missing or damaged, or was made for another network.
        """

    def text(self) -> str:
        """Contents of ``file``."""

    def generate(self) -> dict[str, str | bytes]:
        """The HLS project by path."""

    def simulate(self, files: Mapping[str, bytes], images: Images, check: Check, progress: Progress) -> Simulated:
        """Run the project ``files`` on ``images`` and compare it with the integer network.

        Raises:
            UserError: no compiler, or too little memory.
            FlowError: a file does not compile.
        """

    def report(self, model: ModelRecord, simulation: SimulationRecord) -> Report:
        """The facts of the build."""
