"""What a pragma means: the tool drops one that it does not know, or whose variable or dimension is not there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from clang import cindex

from toolchain.hls_lint.clang import ARRAYS, Kind, declaration_key
from toolchain.hls_lint.pragmas import Pragma

NAMES = {
    "AGGREGATE", "ALIAS", "ALLOCATION", "ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_OP", "BIND_STORAGE", "CACHE",
    "DATAFLOW", "DEPENDENCE", "DISAGGREGATE", "EXPRESSION_BALANCE", "FUNCTION_INSTANTIATE", "INLINE", "INTERFACE",
    "LATENCY", "LOOP_FLATTEN", "LOOP_MERGE", "LOOP_TRIPCOUNT", "OCCURRENCE", "PERFORMANCE", "PIPELINE", "PROTOCOL",
    "RESET", "STABLE", "STREAM", "TOP", "UNROLL",
}  # fmt: skip
"""Pragmas of UG1399."""
OF_A_VARIABLE = {
    "AGGREGATE", "ARRAY_PARTITION", "ARRAY_RESHAPE", "BIND_OP", "BIND_STORAGE", "DISAGGREGATE", "RESET", "STABLE",
    "STREAM",
}  # fmt: skip
OF_AN_ARRAY = {"ARRAY_PARTITION", "ARRAY_RESHAPE"}

_REFERENCES = {cindex.TypeKind.LVALUEREFERENCE, cindex.TypeKind.RVALUEREFERENCE}
_SCOPES = {Kind.NAMESPACE, Kind.TRANSLATION_UNIT}


class _Local(NamedTuple):
    """A variable of a function, and the lines in which it is known."""

    name: str
    type: Any
    first: int
    last: int


class Meanings:
    """What the pragmas of the functions of one translation unit mean."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[tuple[Pragma, str], ...]] = {}
        self._outside: dict[str, Any] | None = None

    def faults(self, pragmas: Sequence[Pragma], function: Any) -> tuple[tuple[Pragma, str], ...]:
        """What is wrong with the ``pragmas`` of ``function`` (the definition, a template's in its instance)."""
        key = declaration_key(function)
        if key not in self._found:
            known = tuple(_locals(function)) if pragmas else ()
            self._found[key] = tuple((p, fault) for p in pragmas for fault in self._faults(p, function, known))
        return self._found[key]

    def _faults(self, pragma: Pragma, function: Any, known: Sequence[_Local]) -> Iterator[str]:
        if pragma.name not in NAMES:
            yield f"there is no pragma {pragma.name}"
            return
        name = pragma.get("port") if pragma.name == "INTERFACE" else pragma.get("variable")
        if not name:
            if pragma.name in OF_A_VARIABLE:
                yield f"{pragma.name} names no variable"
            return
        if (pragma.name, name) == ("INTERFACE", "return"):
            return
        found = self._type(name, function, [local for local in known if local.first <= pragma.line <= local.last])
        if found is None:
            yield f"{pragma.name} of '{name}', which is not known here"
        elif pragma.name in OF_AN_ARRAY:
            yield from _dimension(pragma, name, found)

    def _type(self, name: str, function: Any, known: Sequence[_Local]) -> Any | None:
        """Type of the variable that ``name`` means, or of the member of one."""
        first, *rest = name.split(".")
        local = [variable for variable in known if variable.name == first]
        if local:
            kind = max(local, key=lambda variable: variable.first).type
        else:
            kind = _member(function.semantic_parent, first) or self._of_the_files(function).get(first)
        for step in rest:
            plain = _element(kind) if kind is not None else None
            kind = _member(plain.get_declaration(), step) if plain is not None else None
        return kind

    def _of_the_files(self, function: Any) -> dict[str, Any]:
        """Types of the variables outside all functions by name."""
        if self._outside is None:
            self._outside = dict(_in_scope(function.translation_unit.cursor))
        return self._outside


def _dimension(pragma: Pragma, name: str, kind: Any) -> Iterator[str]:
    asked, count = pragma.get("dim", "1"), _dimensions(kind)
    if not asked.isdecimal():
        yield f"{pragma.name} of dimension '{asked}' of '{name}', which is no number"
    elif count == 0:
        yield f"{pragma.name} of '{name}', which is no array"
    elif count is not None and int(asked) > count:
        yield f"{pragma.name} of dimension {asked} of '{name}', which has {count}"


def _plain(kind: Any) -> Any:
    plain = kind.get_canonical()
    return plain.get_pointee().get_canonical() if plain.kind in _REFERENCES else plain


def _element(kind: Any) -> Any:
    """The type of what an array holds, itself no array."""
    plain = _plain(kind)
    while plain.kind in ARRAYS:
        plain = plain.element_type.get_canonical()
    return plain


def _dimensions(kind: Any) -> int | None:
    """The dimensions of an array; None for a pointer, behind which any array may lie."""
    plain, count = _plain(kind), 0
    if plain.kind == cindex.TypeKind.POINTER:
        return None
    while plain.kind in ARRAYS:
        plain, count = plain.element_type.get_canonical(), count + 1
    return count


def _in_scope(scope: Any) -> Iterator[tuple[str, Any]]:
    for child in scope.get_children():
        if child.kind == Kind.VAR_DECL:
            yield child.spelling, child.type
        elif child.kind == Kind.NAMESPACE:
            yield from _in_scope(child)


def _member(owner: Any, name: str) -> Any | None:
    """Type of a member of a class, static or not. The fields of a template's instance are no children of it."""
    if owner is None or owner.kind in _SCOPES:
        return None
    static = (child for child in owner.get_children() if child.kind == Kind.VAR_DECL)
    return next((found.type for found in (*owner.type.get_fields(), *static) if found.spelling == name), None)


def _locals(function: Any) -> Iterator[_Local]:
    last = function.extent.end.line
    for argument in function.get_arguments():
        yield _Local(argument.spelling, argument.type, function.extent.start.line, last)
    for child in function.get_children():
        if child.kind == Kind.COMPOUND_STMT:
            yield from _declared(child, last)


def _declared(statement: Any, last: int) -> Iterator[_Local]:
    """Variables below a statement; each is known up to the end of what it stands in."""
    for child in statement.get_children():
        if child.kind == Kind.VAR_DECL:
            yield _Local(child.spelling, child.type, child.extent.start.line, last)
        elif not child.kind.is_expression():
            inner = child.kind != Kind.DECL_STMT and child.kind != Kind.LABEL_STMT
            yield from _declared(child, child.extent.end.line if inner else last)
