"""Boards: data below ``boards/NAME/``, every number with its source. A new board is a folder, no code."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from toolchain.errors import UserError, unknown_name
from toolchain.paths import data_path
from toolchain.records import Mhz, Record, parse_record
from toolchain.resources import Resources, whole


def _value(entry: Any) -> Any:
    """The number of a ``{ value = ..., source = "..." }`` entry."""
    if not isinstance(entry, Mapping) or set(entry) != {"value", "source"}:
        raise ValueError('write it as { value = NUMBER, source = "DOCUMENT" }')
    if not isinstance(entry["source"], str) or not entry["source"].strip():
        raise ValueError("the source is empty")
    return entry["value"]


DEFAULT_BOARD = "zu3eg"

ALL_BOARDS = "all"
"""Stands for every board that ships with the package, where a command takes several."""

MOST = 10**9
"""More of a resource has no device."""

Count = Annotated[int, Field(ge=0, le=MOST), BeforeValidator(_value)]
Positive = Annotated[int, Field(gt=0, le=MOST), BeforeValidator(_value)]
Fraction = Annotated[float, Field(gt=0, le=1), BeforeValidator(_value)]
Quantity = Annotated[float, Field(gt=0), BeforeValidator(_value)]
Clocked = Annotated[Mhz, BeforeValidator(_value)]
PortBits = Annotated[Literal[32, 64, 128], BeforeValidator(_value)]


class Device(Record):
    """The resources of the die; ``lutram_lut`` of the ``lut`` can be memory."""

    lut: Positive
    lutram_lut: Count
    ff: Positive
    dsp: Count
    bram18: Count
    uram: Count


class Planning(Record):
    """The fraction of each resource that a plan may use, the shell included; of UltraRAM none where it is not told."""

    lut: Fraction
    ff: Fraction
    dsp: Fraction
    bram18: Fraction
    uram: Fraction | None = None


class Shell(Record):
    """The resources of the processing system's interconnect and control, beside the accelerator's."""

    lut: Count
    ff: Count
    dsp: Count
    bram18: Count

    @property
    def resources(self) -> Resources:
        """The resources that the shell takes; none has UltraRAM."""
        return Resources(self.lut, self.ff, self.dsp, self.bram18)


class Memory(Record):
    """The external memory (bytes per second: its peak, and what it keeps up where known) and the AXI ports to it."""

    ddr_bytes_per_second: Quantity
    sustained_bytes_per_second: Quantity | None = None
    port_bits: PortBits
    ports: Positive


class Clock(Record):
    """Clock of the fabric in MHz."""

    default_mhz: Clocked


class Board(Record):
    """One board. ``sources`` maps the dotted name of every number to the document it stems from."""

    name: str
    title: str
    part: str
    alternatives: list[str]
    board_part: str
    device: Device
    planning: Planning
    shell: Shell
    memory: Memory
    clock: Clock
    sources: dict[str, str]

    @property
    def totals(self) -> Resources:
        """The resources of the whole device."""
        device = self.device
        return Resources(device.lut, device.ff, device.dsp, device.bram18, device.uram)

    def planned(self, shares: Mapping[str, float]) -> Board:
        """The board with these ``shares`` for a plan, by resource, in place of its own."""
        return self.model_copy(update={"planning": self.planning.model_copy(update=dict(shares))})

    @property
    def budget(self) -> Resources:
        """The resources for an accelerator: the planned fractions, rounded down, less the shell; never below zero."""
        plan = self.planning
        planned = Resources(
            whole(self.device.lut * plan.lut),
            whole(self.device.ff * plan.ff),
            whole(self.device.dsp * plan.dsp),
            whole(self.device.bram18 * plan.bram18),
            whole(self.device.uram * (plan.uram or 0)),
        )
        return (planned - self.shell.resources).at_least(0)

    @property
    def facts(self) -> dict[str, Any]:
        """The board's entries without their sources: all that an accelerator made for it depends on."""
        return self.model_dump(mode="json", exclude={"sources"}, exclude_none=True)

    @property
    def lut_per_dsp(self) -> int:
        """LUTs that a DSP slice is worth: their ratio on the die, which all its LUTs are where it has no slice."""
        return max(1, round(self.device.lut / max(1, self.device.dsp)))

    def doubt(self, clock_mhz: float) -> str:
        """Return why a clock above the board's own may not be reached; empty for one that is not above it."""
        if clock_mhz <= self.clock.default_mhz:
            return ""
        return (
            f"{clock_mhz:g} MHz is not known to be reached on {self.name}: "
            f"{self.clock.default_mhz:g} MHz is, {self.sources['clock.default_mhz']}"
        )

    def bytes_per_second(self, clock_mhz: float) -> float:
        """Peak bytes per second between memory and fabric at ``clock_mhz``: of the memory or of all ports."""
        ports = self.memory.ports * self.memory.port_bits / 8 * clock_mhz * 1e6
        return min(self.memory.ddr_bytes_per_second, ports)


def list_boards() -> list[str]:
    """Names of the boards that ship with the package, sorted."""
    return sorted(path.parent.name for path in data_path("boards").glob("*/board.toml"))


def several(text: str) -> bool:
    """Return whether ``text`` names several boards: all of them, or some with commas between them."""
    return ALL_BOARDS in text.split(",") or "," in text


def named_boards(text: str) -> list[str]:
    """The boards that ``text`` names: names and folders with commas between them, "all" for those shipped.

    Raises:
        UserError: one is unknown, or two have the same short name.
    """
    found: list[str] = []
    for part in text.split(","):
        found += list_boards() if part.strip() == ALL_BOARDS else [part.strip()]
    shorts: dict[str, str] = {}
    for name in found:
        short = short_name(load_board(name).name)
        if short in shorts:
            raise UserError(f"two boards are called '{short}': {shorts[short]} and {name}", hint="name each board once")
        shorts[short] = name
    return found


def short_name(name: str) -> str:
    """Return the name of a board without the folders above its own."""
    return Path(name).name


def load_board(name: str = DEFAULT_BOARD) -> Board:
    """The board called ``name``, or that of the folder ``name``, whose name is then its absolute path.

    Raises:
        UserError: no such board, or its file has an unknown key, a bad value or a number without a source.
    """
    if name in list_boards():
        return read_board(_shipped(name))
    folder = Path(name)
    if not folder.is_dir() and len(folder.parts) == 1:
        raise unknown_name("board", name, list_boards())
    path = folder.resolve() / "board.toml"
    if not path.is_file():
        raise UserError(f"no board.toml in the folder {name}", hint=f"or name a board: {', '.join(list_boards())}")
    return read_board(path, name=str(path.parent))


def read_board(path: Path, *, name: str = "") -> Board:
    """The board described by the TOML file ``path``, called ``name`` or as its folder is.

    What the file does not say is that of the board that it ``extends``, one of those that ship with the package.

    Raises:
        UserError: syntax error, unknown key, bad value or a number without a source.
    """
    table = _table(path, ())
    found = {"name": name or path.parent.name, "sources": dict(_sources(table))}
    return parse_record(Board, table | found, where=str(path))


def _shipped(name: str) -> Path:
    return data_path("boards") / name / "board.toml"


def _table(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """The file ``path`` over the one that it extends; ``extending`` are those that extend it."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}", where=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"not readable: {error}", where=str(path)) from error
    for key in ("name", "sources"):
        if key in table:
            raise UserError(f"unknown key '{key}'", where=str(path), hint="it follows from the rest of the file")
    base = table.pop("extends", None)
    if base is None:
        return table
    if base not in list_boards():
        wrong = unknown_name("board", str(base), list_boards())
        raise UserError(f"it extends an {wrong.what}", where=str(path), hint=wrong.hint)
    if _shipped(base) in (path, *extending):
        raise UserError(f"it extends '{base}', which extends it", where=str(path))
    return _over(_table(_shipped(base), (path, *extending)), table)


def _over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """``table`` in place of the same entries of ``base``; tables are merged, a number with its source is one entry."""
    merged = {**base, **table}
    for key, entry in table.items():
        if isinstance(entry, Mapping) and isinstance(base.get(key), Mapping) and "value" not in entry:
            merged[key] = _over(base[key], entry)
    return merged


def _sources(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, entry in table.items():
        if isinstance(entry, Mapping):
            if isinstance(entry.get("source"), str):
                yield f"{prefix}{key}", entry["source"]
            else:
                yield from _sources(entry, f"{prefix}{key}.")
