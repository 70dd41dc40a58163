"""Facts that the walk over the instantiated C++ finds; the rules read nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from toolchain.hls_lint.pragmas import Pragma


class Where(NamedTuple):
    """A line of a file of the project."""

    path: str
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


class Width(NamedTuple):
    """Bits of an integer type."""

    bits: int
    signed: bool

    @property
    def factor(self) -> int:
        """Bits that it takes as a factor of a DSP slice, which are signed."""
        return self.bits if self.signed else self.bits + 1

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"


class Place(NamedTuple):
    """A variable (``root``: clang's number of its declaration) or a part of it; an element of an array is "[]"."""

    root: int
    name: str
    path: tuple[str, ...] = ()

    @property
    def last(self) -> str:
        """The name of the variable, or of the member of it, by which the source calls it."""
        return self.path[-1] if self.path else self.name

    def part(self, step: str) -> Place:
        """The member ``step``, or an element."""
        return self._replace(path=(*self.path, step))

    @property
    def array(self) -> Place:
        """The outermost array that this is a part of, else the place itself."""
        return self._replace(path=self.path[: self.path.index("[]")]) if "[]" in self.path else self

    @property
    def in_array(self) -> bool:
        """Whether this is a part of an element of an array."""
        return "[]" in self.path

    def __str__(self) -> str:
        return self.name + "".join(step if step == "[]" else f".{step}" for step in self.path)


@dataclass(eq=False)
class Loop:
    """A loop of an instantiated function, seen once a call."""

    where: Where
    unit: str
    parent: Loop | None
    label: str
    pragmas: tuple[Pragma, ...]
    trips: int | None
    """Iterations, where they are a constant."""
    static: bool
    """Whether the bounds are known once the loops around are unrolled."""
    alone: bool
    """Whether the loop around this one holds nothing else."""
    guarded: bool
    """Whether the loop stands below an ``if`` of a run-time value."""
    dependences: tuple[tuple[Pragma, Place | None], ...] = ()
    """Its DEPENDENCE pragmas, each with the memory that it means."""
    counted: bool = False
    """Whether the C simulation counts the loop's cycles."""

    def pragma(self, name: str) -> Pragma | None:
        """Return the loop's own pragma ``name``, if it has one."""
        return next((pragma for pragma in self.pragmas if pragma.name == name), None)

    @property
    def pipelined(self) -> bool:
        """Whether the iterations overlap."""
        return self.pragma("PIPELINE") is not None

    @property
    def unrolled(self) -> bool:
        """Whether all iterations are hardware: by a pragma, or because a pipelined loop is around it."""
        return self.pragma("UNROLL") is not None or any(loop.pipelined for loop in self.around())

    def around(self) -> Iterator[Loop]:
        """The loops around it, the innermost first."""
        loop = self.parent
        while loop is not None:
            yield loop
            loop = loop.parent

    @property
    def pipeline(self) -> Loop | None:
        """The pipelined loop whose iterations execute this one's body."""
        return self if self.pipelined else next((loop for loop in self.around() if loop.pipelined), None)


class Operand(NamedTuple):
    """A side of an operation; ``sum`` tells that it is itself a sum."""

    width: Width | None
    static: bool
    sum: bool = False


@dataclass(frozen=True)
class Operation:
    """A product, a quotient or a remainder (``*``, ``/``, ``%``)."""

    sign: str
    left: Operand
    right: Operand
    power: bool
    """Whether the right side is a power of two."""
    function: str
    where: Where
    unit: str


@dataclass(frozen=True)
class Access:
    """A load or store of a variable, or a read or write of a stream."""

    place: Place
    kind: Literal["load", "store"]
    loop: Loop | None
    where: Where
    unit: str


@dataclass(frozen=True)
class Mark:
    """A mark in the source: at least ``apart`` iterations lie between an access and the next one of its word."""

    memory: str
    kind: Literal["load", "store"]
    apart: int | None
    loop: Loop | None
    where: Where
    unit: str


@dataclass(frozen=True)
class Array:
    """An array's sizes and elements; ``inner``: they hold arrays themselves, ``constant``: nothing is stored."""

    sizes: tuple[int, ...]
    element: str
    inner: bool
    where: Where
    unit: str
    constant: bool


@dataclass(eq=False)
class Region:
    """A DATAFLOW region: its processes and what each does with what is not its own."""

    function: str
    where: Where
    processes: list[str] = field(default_factory=list)
    uses: dict[Place, dict[int, set[str]]] = field(default_factory=dict)
    """Process numbers and "load", "store", by place; -1 is the region's own code."""
    streams: dict[Place, Where] = field(default_factory=dict)
    control: list[Where] = field(default_factory=list)
    """Statements that no region may hold."""


class Odd(NamedTuple):
    """A construct that a rule forbids by itself."""

    rule: str
    what: str
    where: Where
    unit: str


@dataclass
class Facts:
    """The facts of a project that the rules look at."""

    top: str
    calls: dict[str, dict[str, Where]] = field(default_factory=dict)
    """Called functions by the caller, instantiations apart."""
    names: dict[str, str] = field(default_factory=dict)
    """Readable names of the functions in ``calls``."""
    units: dict[str, str] = field(default_factory=dict)
    """The unit in which a function was first seen."""
    sites: dict[str, set[Where]] = field(default_factory=dict)
    """Lines that call a function which is a DATAFLOW region."""
    loops: list[Loop] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    accesses: list[Access] = field(default_factory=list)
    streams: list[Access] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    arrays: dict[Place, Array] = field(default_factory=dict)
    split: dict[Place, set[int]] = field(default_factory=dict)
    """Dimensions that ARRAY_PARTITION splits completely, 0 being all of them."""
    packed: set[Place] = field(default_factory=set)
    """Arrays whose elements AGGREGATE makes one word each."""
    recurrences: dict[tuple[Loop, Place], Where] = field(default_factory=dict)
    """Stores of what was computed from the same array, by pipelined loop and array."""
    bundles: dict[Place, str] = field(default_factory=dict)
    regions: list[Region] = field(default_factory=list)
    odd: list[Odd] = field(default_factory=list)

    def arrange(self, place: Place, pragma: Pragma) -> None:
        """Note what a pragma makes of the array ``place``."""
        if pragma.name == "ARRAY_PARTITION" and "complete" in {*pragma.flags, pragma.get("type")}:
            self.split.setdefault(place, set()).add(pragma.number("dim", 1))
        elif pragma.name == "AGGREGATE":
            self.packed.add(place)

    def registers(self, place: Place) -> bool:
        """Return whether the array ``place`` is split into registers."""
        dims, array = self.split.get(place, set()), self.arrays.get(place)
        if array is None:
            return 0 in dims
        return 0 in dims or set(range(1, len(array.sizes) + 1)) <= dims or all(size == 1 for size in array.sizes)
