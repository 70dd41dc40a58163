"""State of the walk over the C++ and its notes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from toolchain.hls_lint.clang import Kind, array_sizes, declaration_key, holds_array
from toolchain.hls_lint.facts import (
    Access,
    Array,
    Facts,
    Loop,
    Mark,
    Odd,
    Operand,
    Operation,
    Place,
    Region,
    Where,
    Width,
)
from toolchain.hls_lint.meant import Meanings
from toolchain.hls_lint.pragmas import Pragma


class Value(NamedTuple):
    """Value of an expression: its place and width, and whether it is known at compile time, a sum, a product."""

    static: bool = False
    place: Place | None = None
    width: Width | None = None
    sum: bool = False
    product: str = ""
    """The function that multiplied, where this is a product."""
    bound: Where | None = None
    """Line of the BIND_OP that puts the product on a slice of its own."""
    loads: frozenset[Place] = frozenset()
    """Arrays that outlive the iteration and from which it was computed."""

    def operand(self) -> Operand:
        """Return the value as a side of an operation."""
        return Operand(self.width, self.static, self.sum)


@dataclass
class State:
    """The walk's position: function, unit, loop, region; and the values of what is declared."""

    root: str
    lines: Mapping[str, list[str]]
    pragmas: Mapping[str, list[Pragma]]
    facts: Facts
    scope: dict[int, Value] = field(default_factory=dict)
    depth: dict[int, int] = field(default_factory=dict)
    """Depth of calls at which each variable was declared."""
    home: dict[int, Loop | None] = field(default_factory=dict)
    """The loop in which a variable was declared."""
    locals: dict[tuple[str, str], int] = field(default_factory=dict)
    """Variables and parameters by function and name."""
    tables: dict[str, Place] = field(default_factory=dict)
    """Variables outside all functions by name."""
    word_types: set[str] = field(default_factory=set)
    """Types that streams carry."""
    words: set[int] = field(default_factory=set)
    """Variables of a type that streams carry."""
    taint: dict[int, frozenset[Place]] = field(default_factory=dict)
    """Arrays that a variable was computed from."""
    alone: dict[int, bool] = field(default_factory=dict)
    """Loops that are all that the loop around them holds."""
    meanings: Meanings = field(default_factory=Meanings)
    loop_pragmas: dict[tuple[str, int], list[Pragma]] = field(default_factory=dict)
    stack: list[str] = field(default_factory=list)
    ordered: int = 0
    """Above 0: inside a function in which sums keep their order."""
    this: Value = field(default_factory=Value)
    unit: str = ""
    loop: Loop | None = None
    guards: int = 0
    constant: int = 0
    """Above 0: inside a call that the compiler computes, where only the calls count."""
    region: Region | None = None
    region_depth: int = -1
    process: int = -1

    def where(self, cursor: Any) -> Where:
        """Path within the project and line; of a macro, the line that uses it."""
        location = cursor.location
        name = location.file.name if location.file else ""
        return Where(name.removeprefix(self.root + "/"), location.line)

    def own(self, cursor: Any) -> bool:
        """Return whether the cursor stands in a file of the project."""
        found = cursor.location.file
        return found is not None and found.name.startswith(self.root + "/")

    def declare(self, cursor: Any, value: Value) -> None:
        """Remember what a variable or parameter is."""
        key = declaration_key(cursor)
        self.scope[key] = value
        if self.stack:
            self.locals[(self.stack[-1], cursor.spelling)] = key
        self.depth[key] = len(self.stack)
        self.taint[key] = frozenset()
        self.home[key] = self.loop
        self.array(Place(key, cursor.spelling), cursor)

    def place(self, cursor: Any) -> Place:
        """The place of a variable that was declared outside all functions."""
        place = Place(declaration_key(cursor), cursor.spelling)
        self.tables[cursor.spelling] = place
        self.array(place, cursor)
        return place

    def part_select(self, value: Value, cursor: Any) -> None:
        """Note bits at a position known at run time only, of a variable that outlives an iteration."""
        if value.place is not None and self.loop is not None and not self._within_iteration(value.place):
            self.odd("part-select", f"bits of '{value.place}' at a position known at run time only", cursor)

    def array(self, place: Place, cursor: Any) -> None:
        """Remember the sizes of a variable or member that is an array."""
        sizes, element = array_sizes(cursor.type)
        if sizes and place not in self.facts.arrays:
            at, constant = self.where(cursor), element.is_const_qualified()
            self.facts.arrays[place] = Array(sizes, element.spelling, holds_array(element), at, self.unit, constant)
            if cursor.kind == Kind.FIELD_DECL:
                self._member_pragmas(place, cursor)

    def _member_pragmas(self, place: Place, member: Any) -> None:
        """Constructors split the arrays of their class; one that the compiler calls is no expression to walk."""
        where, extent = self.where(member), member.semantic_parent.extent
        for pragma in self.pragmas.get(where.path, []):
            if extent.start.line <= pragma.line <= extent.end.line and pragma.get("variable") == member.spelling:
                self.facts.arrange(place, pragma)

    def odd(self, rule: str, what: str, at: Any) -> None:
        """Note a construct that a rule forbids, at a cursor or a line."""
        if not self.constant:
            where = at if isinstance(at, Where) else self.where(at)
            self.facts.odd.append(Odd(rule, what, where, self.unit))

    def operation(self, sign: str, left: Value, right: Value, power: bool, cursor: Any) -> None:
        """Note a product or a quotient."""
        if not self.constant:
            where, function = self.where(cursor), self.facts.names[self.stack[-1]]
            sides = left.operand(), right.operand()
            self.facts.operations.append(Operation(sign, *sides, power, function, where, self.unit))

    def access(self, value: Value, kind: Literal["load", "store"], cursor: Any) -> None:
        """Note a load or store of a place that outlives the iteration, or that is not the process's own."""
        place = value.place
        if place is None or self.constant:
            return
        self._use(place, kind)
        if self._lasting(place):
            access = Access(place, kind, self.loop, self.where(cursor), self.unit)
            self.facts.accesses.append(access)

    def loaded(self, value: Value, cursor: Any) -> Value:
        """Load a value, which then knows the arrays it comes from."""
        self.access(value, "load", cursor)
        place = value.place
        if place is None:
            return value
        found = frozenset((place.array,)) if self._lasting(place) else self.taint.get(place.root, frozenset())
        return value._replace(loads=value.loads | found)

    def store(self, target: Value, value: Value, cursor: Any) -> None:
        """Store a value; in an array that it was computed from, that is a recurrence."""
        self.access(target, "store", cursor)
        self.become(target, value, cursor)

    def become(self, target: Value, value: Value, cursor: Any) -> None:
        """A place now holds what was computed from the arrays that ``value`` knows."""
        place = target.place
        if place is None or self.constant:
            return
        if not self._lasting(place):
            self.taint[place.root] = self.taint.get(place.root, frozenset()) | value.loads
        elif place.array in value.loads and self.loop is not None and self.loop.pipeline is not None:
            self.facts.recurrences.setdefault((self.loop.pipeline, place.array), self.where(cursor))

    def stream(self, value: Value, kind: Literal["load", "store"], cursor: Any) -> None:
        """Note a read or a write of a stream."""
        if value.place is not None and not self.constant:
            self._use(value.place, kind)
            self.facts.streams.append(Access(value.place, kind, self.loop, self.where(cursor), self.unit))

    def mark(self, memory: str, kind: Literal["load", "store"], apart: int | None, cursor: Any) -> None:
        """Note what the source says of an access."""
        if not self.constant:
            self.facts.marks.append(Mark(memory, kind, apart, self.loop, self.where(cursor), self.unit))

    def count(self) -> None:
        """The C simulation counts this iteration."""
        loop = self.loop.pipeline or self.loop if self.loop is not None else None
        if loop is not None:
            loop.counted = True

    def _use(self, place: Place, kind: str) -> None:
        if self.region is not None and self.depth.get(place.root, -1) <= self.region_depth:
            uses = self.region.uses.setdefault(place.array, {})
            uses.setdefault(self.process, set()).add(kind)

    def _lasting(self, place: Place) -> bool:
        """Return whether ``place`` is in an array that outlives the iteration; a word of a stream is no memory."""
        return place.in_array and place.root not in self.words and not self._within_iteration(place)

    def _within_iteration(self, place: Place) -> bool:
        pipeline = self.loop.pipeline if self.loop is not None else None
        home = self.home.get(place.root)
        return pipeline is not None and home is not None and (home is pipeline or pipeline in home.around())


def narrower(first: Width | None, second: Width | None) -> Width | None:
    """The width of a conversion: no wider than what is converted, nor than the type it is converted to."""
    if first is None or second is None:
        return first or second
    return first if first.bits + (not first.signed) <= second.bits + (not second.signed) else second
