"""The walk from the top function through every call, as HLS inlines them: template functions in their instances."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from toolchain.hls_lint.clang import (
    Kind,
    binary_sign,
    declaration_key,
    evaluate,
    initializer,
    statement_key,
    type_width,
)
from toolchain.hls_lint.expressions import SUMMED_APART, WRAPPERS, Expressions
from toolchain.hls_lint.facts import Loop, Place, Region, Where, Width
from toolchain.hls_lint.loops import LOOPS, loops_within, trips
from toolchain.hls_lint.pragmas import Pragma
from toolchain.hls_lint.state import State, Value
from toolchain.hls_lint.types import check_type

LOOP_PRAGMAS = {"PIPELINE", "UNROLL", "LOOP_FLATTEN", "LOOP_TRIPCOUNT", "DEPENDENCE", "LOOP_MERGE"}


class Walk:
    """Notes in ``state.facts`` what a run of the top function would do."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.expressions = Expressions(state, self.enter)
        self._returned: list[Value] = []

    def start(self, top: Any) -> None:
        """Walk from the definition of a top function, or of a unit by itself."""
        self.state.unit = top.spelling
        for argument in top.get_arguments():
            self.state.declare(argument, Value(place=Place(declaration_key(argument), argument.spelling)))
        self.enter(top, top, [self.state.scope[declaration_key(a)] for a in top.get_arguments()], Value())

    def enter(self, callee: Any, call: Any, values: Sequence[Value], this: Value) -> Value:
        """Walk a call of ``callee`` with the arguments ``values``; what it returns."""
        state, facts = self.state, self.state.facts
        function = callee.get_definition() or callee
        key = function.get_usr()
        facts.names.setdefault(key, _name(function))
        if state.stack:
            facts.calls.setdefault(state.stack[-1], {}).setdefault(key, state.where(call))
        body = next((child for child in function.get_children() if child.kind == Kind.COMPOUND_STMT), None)
        if key in state.stack or (body is None and function.kind != Kind.CONSTRUCTOR):
            return Value(width=type_width(call))
        facts.units.setdefault(key, state.unit)
        saved = state.this, state.loop, self._returned
        state.stack.append(key)
        state.this, self._returned = this, []
        for argument, value in zip(function.get_arguments(), values, strict=False):
            self._bind(argument, value)
        if function.kind == Kind.CONSTRUCTOR:
            self._members(function)
        if body is not None:
            self._body(function, body, call)
        returned = self._returned
        state.this, state.loop, self._returned = saved
        state.stack.pop()
        return self._answer(returned, call)

    def _answer(self, returned: list[Value], call: Any) -> Value:
        if len(returned) == 1:
            return returned[0]
        loads = frozenset[Place]().union(*(value.loads for value in returned))
        return Value(static=bool(returned) and all(v.static for v in returned), width=type_width(call), loads=loads)

    def _bind(self, argument: Any, value: Value) -> None:
        """A parameter is another name of what is given by reference; else a copy of it."""
        spelling = argument.type.get_canonical().spelling
        check_type(self.state, argument)
        if spelling.endswith(("&", "*", "]")) or "(&)" in spelling or "(*)" in spelling:
            self.state.declare(argument, value)
        else:
            kind = type_width(argument)
            narrow = value.width if kind is None or value.width is None or kind.bits >= value.width.bits else kind
            place = Place(declaration_key(argument), argument.spelling)
            self.state.declare(argument, value._replace(place=place, width=narrow, product="", bound=None))

    def _members(self, constructor: Any) -> None:
        """The initializers in front of a constructor's body: a member, then its expression."""
        member = None
        for child in constructor.get_children():
            if child.kind == Kind.MEMBER_REF:
                member = child
            elif member is not None and child.kind.is_expression():
                self._construct(self._member(member), child)
                member = None

    def _member(self, member: Any) -> Value:
        base = self.state.this
        return Value(place=base.place.part(member.spelling) if base.place is not None else None)

    def _construct(self, target: Value, expression: Any) -> Value:
        """An object that is made where it stays: its constructor's ``this``."""
        call = expression
        while call.kind in WRAPPERS and (parts := [c for c in call.get_children() if c.kind.is_expression()]):
            call = parts[-1]
        found = call.referenced if call.kind == Kind.CALL_EXPR else None
        if found is not None and found.kind == Kind.CONSTRUCTOR and self.state.own(found):
            values = [self.expressions.value(argument) for argument in call.get_arguments()]
            if not (len(values) == 1 and not any(c.kind == Kind.COMPOUND_STMT for c in found.get_children())):
                return self.enter(found, call, values, target)
            return self.state.loaded(values[0], call)
        return self.expressions.load(expression)

    def _body(self, function: Any, body: Any, call: Any) -> None:
        state = self.state
        pragmas = self._pragmas(function)
        ordered = any(pragma.name == "EXPRESSION_BALANCE" and "off" in pragma.flags for pragma in pragmas)
        state.ordered += ordered
        if any(pragma.name == "DATAFLOW" for pragma in pragmas):
            state.facts.sites.setdefault(function.spelling, set()).add(state.where(call))
            self._region(function, body)
        else:
            for child in body.get_children():
                self.statement(child)
        for pragma, fault in state.meanings.faults(pragmas, function):
            state.odd("pragma", fault, Where(state.where(function).path, pragma.line))
        for pragma in pragmas:
            self._place_pragma(pragma, function)
        state.ordered -= ordered

    def _pragmas(self, cursor: Any) -> list[Pragma]:
        """Pragmas between the first and the last line of ``cursor``."""
        where, extent = self.state.where(cursor), cursor.extent
        found = self.state.pragmas.get(where.path, [])
        return [pragma for pragma in found if extent.start.line <= pragma.line <= extent.end.line]

    def _region(self, function: Any, body: Any) -> None:
        """A DATAFLOW region: every statement that calls a function with a body is a process."""
        state = self.state
        region = Region(function.spelling, state.where(function))
        state.facts.regions.append(region)
        saved = state.region, state.region_depth, state.process, state.unit
        state.region, state.region_depth = region, len(state.stack)
        for child in body.get_children():
            call = child
            while call.kind == Kind.UNEXPOSED_EXPR and (parts := list(call.get_children())):
                call = parts[0]
            found = call.referenced if call.kind == Kind.CALL_EXPR else None
            if found is not None and state.own(found):
                state.process, state.unit = len(region.processes), found.spelling
                region.processes.append(found.spelling)
            else:
                state.process, state.unit = -1, function.spelling
                if child.kind in LOOPS or child.kind in (Kind.IF_STMT, Kind.SWITCH_STMT):
                    region.control.append(state.where(child))
            self.statement(child)
        state.region, state.region_depth, state.process, state.unit = saved

    def _place_pragma(self, pragma: Pragma, function: Any) -> None:
        """Note which arrays are split into registers and which ports share a bundle."""
        if pragma.name == "INTERFACE" and "m_axi" in {*pragma.flags, pragma.get("mode")}:
            place = self._named(pragma.get("port"))
            if place is not None:
                self.state.facts.bundles[place] = pragma.get("bundle", pragma.get("port"))
        place = self._named(pragma.get("variable")) if pragma.get("variable") else None
        if place is not None:
            self.state.facts.arrange(place.array, pragma)
        if pragma.name == "ARRAY_PARTITION" and "." in pragma.get("variable"):
            self._split_member(pragma, function)

    def _split_member(self, pragma: Pragma, function: Any) -> None:
        place = self._named(pragma.get("variable"))
        if place is not None and place.root in self.state.words:
            self.state.odd("split-word", f"'{place}' is part of a stream's word, which is one piece", function)

    def _named(self, name: str) -> Place | None:
        """The place that a pragma of this function means by ``name``: a variable, else a member, else a table."""
        first, *rest = name.split(".")
        place = self._variable(first)
        if place is None and self.state.this.place is not None:
            place = self.state.this.place.part(first)
        for step in rest:
            place = place.part(step) if place is not None else None
        return place

    def _variable(self, name: str) -> Place | None:
        key = self.state.locals.get((self.state.stack[-1], name))
        value = self.state.scope.get(key) if key is not None else None
        return value.place if value is not None else self.state.tables.get(name)

    # statements

    def statement(self, cursor: Any) -> None:
        """Walk a statement."""
        kind = cursor.kind
        if kind == Kind.DECL_STMT:
            for child in cursor.get_children():
                if child.kind == Kind.VAR_DECL:
                    self._declare(child)
        elif kind in LOOPS:
            self._loop(cursor, "")
        elif kind == Kind.LABEL_STMT:
            (inner,) = cursor.get_children()
            self._loop(inner, cursor.spelling) if inner.kind in LOOPS else self.statement(inner)
        elif kind == Kind.IF_STMT:
            self._branch(cursor)
        elif kind == Kind.RETURN_STMT:
            self._returned += [self.expressions.load(child) for child in cursor.get_children()]
        elif kind in (Kind.GOTO_STMT, Kind.INDIRECT_GOTO_STMT):
            self.state.odd("dynamic", "goto leaves the structure of loops", cursor)
        elif kind == Kind.CXX_TRY_STMT:
            self.state.odd("dynamic", "an exception is caught", cursor)
        elif kind.is_expression():
            self.expressions.value(cursor)
        else:
            self._others(cursor)

    def _others(self, cursor: Any) -> None:
        """Blocks, and switches, of which any case may run."""
        switch = cursor.kind == Kind.SWITCH_STMT
        self.state.guards += switch
        for child in cursor.get_children():
            self.statement(child)
        self.state.guards -= switch

    def _branch(self, cursor: Any) -> None:
        condition, *branches = cursor.get_children()
        known = evaluate(condition)
        if known is not None:
            taken = branches[:1] if known else branches[1:]
            for branch in taken:
                self.statement(branch)
            return
        static = self.expressions.load(condition).static
        self.state.guards += not static
        for branch in branches:
            self.statement(branch)
        self.state.guards -= not static

    def _declare(self, cursor: Any) -> None:
        """A variable: a constant is known, a reference is another name, anything else is a place."""
        state, start = self.state, initializer(cursor)
        check_type(state, cursor)
        canonical = cursor.type.get_canonical()
        place = Place(declaration_key(cursor), cursor.spelling)
        state.locals[(state.stack[-1], cursor.spelling)] = declaration_key(cursor)
        if self._constexpr(cursor):
            state.declare(cursor, Value(static=True, place=place, width=type_width(cursor)))
            return
        if start is not None and canonical.spelling.endswith("&"):
            state.declare(cursor, self.expressions.value(start))
            return
        state.declare(cursor, Value(place=place, width=type_width(cursor)))
        if canonical.spelling.startswith("hls::stream<") and state.region is not None:
            state.region.streams[place] = state.where(cursor)
        if canonical.spelling.removeprefix("const ") in state.word_types:
            state.words.add(declaration_key(cursor))
        if start is None:
            return
        if type_width(cursor) is None:
            value = self._construct(Value(place=place), start)
            state.become(Value(place=place), value, cursor)
            return
        value = self.expressions.load(start)
        bound = self._bound(cursor) if value.product else None
        if bound and value.sum and value.product not in SUMMED_APART:
            state.odd("bound-product", f"a factor of '{cursor.spelling}' is a sum", cursor)
        if canonical.is_const_qualified():
            kept = value._replace(place=place, width=_narrow(value, cursor))
            bound_at = state.where(cursor) if bound else value.bound
            state.declare(cursor, kept._replace(bound=bound_at, loads=frozenset()))
        state.become(Value(place=place), value, cursor)

    def _bound(self, cursor: Any) -> bool:
        """Return whether BIND_OP puts the product that a variable holds on a slice of its own."""
        line = cursor.location.line
        found = self.state.pragmas.get(self.state.where(cursor).path, [])
        return any(
            pragma.name == "BIND_OP"
            and pragma.get("variable") == cursor.spelling
            and (pragma.get("op"), pragma.get("impl")) == ("mul", "dsp")
            and 0 < pragma.line - line <= 4
            for pragma in found
        )

    def _constexpr(self, cursor: Any) -> bool:
        extent = cursor.extent
        lines = self.state.lines.get(self.state.where(cursor).path, [])
        text = " ".join(lines[extent.start.line - 1 : cursor.location.line])
        return re.search(rf"\bconstexpr\b.*\b{re.escape(cursor.spelling)}\b", text) is not None

    # loops

    def _loop(self, cursor: Any, label: str) -> None:
        state, children = self.state, list(cursor.get_children())
        body = children[0] if cursor.kind == Kind.DO_STMT else children[-1]
        outer, guards = state.loop, state.guards
        parts = children[:-1] if cursor.kind == Kind.FOR_STMT else []
        loop = Loop(
            where=state.where(cursor),
            unit=state.unit,
            parent=outer,
            label=label,
            pragmas=tuple(self._loop_pragmas(cursor, body)),
            trips=None,
            static=False,
            alone=outer is not None and state.alone.get(statement_key(cursor), False),
            guarded=guards > 0,
        )
        loop.dependences = tuple((p, self._named(p.get("variable"))) for p in loop.pragmas if p.name == "DEPENDENCE")
        if not state.constant:
            state.facts.loops.append(loop)
        state.loop = loop
        if cursor.kind == Kind.WHILE_STMT:
            self.expressions.load(children[0])
        counter = self._header(parts, loop)
        if counter is not None and loop.static and loop.unrolled:
            known = state.scope[declaration_key(counter)]
            state.declare(counter, known._replace(static=True))
        inner = list(body.get_children()) if body.kind == Kind.COMPOUND_STMT else [body]
        only = inner[0] if len(inner) == 1 else body
        only = next(iter(only.get_children())) if only.kind == Kind.LABEL_STMT else only
        if only.kind in LOOPS:
            state.alone[statement_key(only)] = True
        self.statement(body)
        for part in parts[2:]:
            self.expressions.value(part)
        state.loop, state.guards = outer, guards

    def _header(self, parts: list[Any], loop: Loop) -> Any | None:
        """The start and the condition of a for loop: the counter, when it has one of its own."""
        counter, first = None, None
        for part in parts:
            if part.kind == Kind.DECL_STMT:
                declared = [c for c in part.get_children() if c.kind == Kind.VAR_DECL]
                self.statement(part)
                counter = declared[0] if len(declared) == 1 else None
                first = initializer(counter) if counter is not None else None
                break
        condition = next((p for p in parts if p.kind in (Kind.BINARY_OPERATOR, Kind.CALL_EXPR)), None)
        if condition is None:
            return counter
        if condition.kind != Kind.BINARY_OPERATOR:
            self.expressions.load(condition)
            return counter
        left, right = condition.get_children()
        self.expressions.load(left)
        bound = self.expressions.load(right)
        begin = self.expressions.load(first) if first is not None else Value()
        loop.static = bound.static and begin.static and counter is not None
        if loop.static:
            loop.trips = trips(binary_sign(condition), evaluate(first), evaluate(right), parts[-1])
        if loop.trips is not None and counter is not None:
            self._narrow_counter(counter, loop.trips, evaluate(first), evaluate(right))
        return counter

    def _narrow_counter(self, counter: Any, trips: int, first: int | None, last: int | None) -> None:
        """A counter with constant ends is as wide as they are."""
        if first is not None and last is not None and trips > 0:
            low, high = min(first, last), max(first, last)
            found = Width(max(low.bit_length(), high.bit_length(), 1) + (low < 0), low < 0)
            self.state.declare(counter, self.state.scope[declaration_key(counter)]._replace(width=found))

    def _loop_pragmas(self, cursor: Any, body: Any) -> Iterator[Pragma]:
        """Pragmas of the loop itself: in its body, but in no loop within."""
        path = self.state.where(cursor).path
        key = (path, cursor.extent.start.offset)
        if key not in self.state.loop_pragmas:
            inner = [(c.extent.start.line, c.extent.end.line) for c in loops_within(body)]
            self.state.loop_pragmas[key] = [
                pragma
                for pragma in self._pragmas(cursor)
                if pragma.name in LOOP_PRAGMAS and not any(first <= pragma.line <= last for first, last in inner)
            ]
        return iter(self.state.loop_pragmas[key])


def _name(function: Any) -> str:
    parent = function.semantic_parent
    inside = parent is not None and parent.kind in (Kind.STRUCT_DECL, Kind.CLASS_DECL)
    return f"{parent.spelling}::{function.spelling}" if inside else str(function.spelling)


def _narrow(value: Value, cursor: Any) -> Any:
    kind = type_width(cursor)
    if kind is None or value.width is None:
        return kind
    return value.width if value.width.bits <= kind.bits else kind
