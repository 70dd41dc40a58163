"""A user's requests to an export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, nan
from pathlib import Path
from typing import Any, Literal

from toolchain.boards import DEFAULT_BOARD, Board, Planning, load_board
from toolchain.errors import UserError, unknown_name
from toolchain.flow.rows import MeasuredRow, affordable
from toolchain.ir.types import Array
from toolchain.memory import DEFAULT_MEMORY, Memory
from toolchain.plan import read_plan
from toolchain.records import LEAST_MHZ, MOST_MHZ
from toolchain.resources import KINDS
from toolchain.rtl.yosys import demand_yosys

ARCHITECTURES = ("streaming", "engine", "auto")
"""Every layer a unit of its own; all on one accelerator, pass by pass; the faster of the two that fits."""

COSTS = ("estimated", "counted")
"""Sources of the units' costs: the cost model, or yosys."""

LEAST_FPS = LEAST_SECONDS = 1e-3
MOST_THREADS = 256


@dataclass(frozen=True)
class Search:
    """A request to the explorer; ``budget`` replaces the board's planning fractions by resource.

    ``architecture`` is one of ``ARCHITECTURES``, ``costs`` one of ``COSTS``. With ``clock_auto`` the clock is chosen
    too, see `flow.clock`. By the measured ``rows`` estimates are taken for larger or smaller, see `flow.rows`.
    """

    board: str = DEFAULT_BOARD
    clock_mhz: float | None = None
    target_fps: float | None = None
    budget: dict[str, float] = field(default_factory=dict)
    time_limit: float = 60.0
    plan: Path | None = None
    architecture: str = "auto"
    clock_auto: bool = False
    costs: str = "estimated"
    rows: tuple[MeasuredRow, ...] = ()

    def __post_init__(self) -> None:
        """Raise UserError where a number cannot be, or would be read by nobody."""
        if self.plan is not None:
            clock = "auto" if self.clock_auto else self.clock_mhz
            for name, value in (("clock", clock), ("target-fps", self.target_fps), ("budget", self.budget or None)):
                if value is not None:
                    raise UserError(f"--{name} does not go with a plan", hint="a plan that is given is taken as it is")
        for name, value, least in (
            ("target_fps", self.target_fps, LEAST_FPS), ("time_limit", self.time_limit, LEAST_SECONDS)
        ):  # fmt: skip
            if value is not None and not least <= value < inf:
                raise UserError(f"{name} is {value}", hint=f"give a number of at least {least:g}")


@dataclass(frozen=True)
class Check:
    """The images that a build is verified on; ``qonnx_images`` of the images also run in the float32 QONNX executor.

    Images and labels are .npy files or arrays; those of several inputs are a .npz file, or by the inputs' names.
    ``count`` of them are drawn: all for 0, 1000 (64 of random numbers) for None. ``memory`` is what that may take.
    """

    images: Path | Array | Mapping[str, Array] | None = None
    labels: Path | Array | None = None
    data: str | None = None
    count: int | None = None
    qonnx_images: int = 256
    threads: int = 2
    memory: Memory = DEFAULT_MEMORY

    def __post_init__(self) -> None:
        """Raise UserError where a number cannot be."""
        for name, value in (("count", self.count), ("qonnx_images", self.qonnx_images)):
            if value is not None and value < 0:
                raise UserError(f"{name} is {value}", hint="give a whole number of at least 0")
        if not 1 <= self.threads <= MOST_THREADS:
            raise UserError(f"threads is {self.threads}", hint=f"give a whole number from 1 to {MOST_THREADS}")


def stated_clock(stated: Any) -> tuple[float | None, bool]:
    """The clock in MHz that a user states as a number or its text, and whether it is to be chosen, as "auto" asks.

    Raises:
        UserError: neither a clock of a fabric nor auto.
    """
    if stated is None or (isinstance(stated, str) and stated == "auto"):
        return None, stated is not None
    try:
        mhz = float(stated)
    except (TypeError, ValueError, OverflowError):
        mhz = nan
    if not LEAST_MHZ <= mhz <= MOST_MHZ:
        raise UserError(f"{stated} is no clock", hint=f"give MHz from {LEAST_MHZ:g} to {MOST_MHZ:g}, or auto")
    return mhz, False


@dataclass(frozen=True)
class Hls4mlOptions:
    """A request to hls4ml, whose project stands beside this one; it is stopped after ``seconds``."""

    seconds: float = 600.0


BACKENDS = ("fpgaflow", "hls4ml")


def uses_hls4ml(backend: str) -> bool:
    """Whether ``backend`` asks for hls4ml's project beside this one.

    Raises:
        UserError: no such back end.
    """
    if backend not in BACKENDS:
        raise unknown_name("backend", backend, BACKENDS)
    return backend == "hls4ml"


def prepared_board(search: Search) -> Board:
    """The board of ``search``, which is its plan's where it has one, with its budget.

    Raises:
        UserError: unknown board, or another one than the plan's.
    """
    board = load_board(search.board)
    if search.plan is not None:
        own = load_board(read_plan(search.plan).board)
        if own.name != board.name != DEFAULT_BOARD:
            what = f"the plan is for the board {own.name}, --board says {search.board}"
            raise UserError(what, where=str(search.plan), hint='leave --board out, or change "board" in the plan')
        board = own
    return board.planned(search.budget)


def planned_board(search: Search, architecture: str) -> Board:
    """The board of ``search`` with the budget that estimates of ``architecture`` keep to.

    Raises:
        UserError: unknown board.
    """
    board = prepared_board(search)
    shell, device = board.shell.resources, board.totals
    most = affordable(board.budget, search.rows, architecture)
    # half a unit keeps the product of share and device from rounding below the count
    shares = {
        kind: (getattr(most, kind) + getattr(shell, kind) + 0.5) / getattr(device, kind)
        for kind in KINDS
        if getattr(most, kind) != getattr(board.budget, kind)
    }
    return board.planned(shares)


def parse_budget(entries: Iterable[str]) -> dict[str, float]:
    """``["lut=0.7"]`` as ``{"lut": 0.7}``: shares of the device that a plan may use.

    Raises:
        UserError: no such resource, or no share from 0 to 1.
    """
    budget = {}
    for entry in entries:
        kind, _, text = entry.partition("=")
        if kind not in Planning.model_fields:
            raise unknown_name("resource", kind, Planning.model_fields)
        try:
            share = float(text)
        except ValueError:
            share = -1.0
        if not 0.0 <= share <= 1.0:
            raise UserError(f"--budget {entry}: the share must lie from 0 to 1", hint=f"write {kind}=0.7")
        budget[kind] = share
    return budget


def checked_architecture(name: str) -> str:
    """``name`` itself.

    Raises:
        UserError: no such architecture.
    """
    if name not in ARCHITECTURES:
        raise unknown_name("architecture", name, ARCHITECTURES)
    return name


def checked_costs(name: str, architecture: str, plan: Path | None) -> str:
    """``name`` itself, for a search of this ``architecture`` or for a given ``plan``.

    Raises:
        UserError: no such costs; or counted ones where nothing is planned with them, or without yosys.
    """
    if name not in COSTS:
        raise unknown_name("costs", name, COSTS)
    if name == "counted":
        if architecture == "engine":
            raise UserError(
                "--costs counted does not go with the engine, which has no SystemVerilog", hint="leave --costs out"
            )
        if plan is not None:
            raise UserError(
                "--costs counted does not go with a plan", hint="'fpgaflow count' counts the units of a given one"
            )
        demand_yosys()
    return name


def parse_widths(text: str) -> list[int]:
    """``"4,6,8"`` as ``[4, 6, 8]``.

    Raises:
        UserError: not numbers between commas.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UserError(f"--widths {text}: expected numbers", hint="for example --widths 4,6,8")
    return [int(part) for part in parts]


def parse_normalize(text: str) -> Literal["unit", "standard"]:
    """The normalization of pixels, as ``data.normalize`` of a run file says.

    Raises:
        UserError: no such way.
    """
    if text not in ("unit", "standard"):
        raise unknown_name("--normalize", text, ("unit", "standard"))
    return "unit" if text == "unit" else "standard"


def parse_bits(entries: Iterable[str]) -> dict[str, int]:
    """``["fc=8"]`` as ``{"fc": 8}``: bits of single layers.

    Raises:
        UserError: not NAME=NUMBER.
    """
    bits = {}
    for entry in entries:
        name, _, text = entry.partition("=")
        if not name or not text.isascii() or not text.isdigit():
            raise UserError(f"--bits {entry}: expected NAME=BITS", hint="for example --bits fc=8")
        bits[name] = int(text)
    return bits
