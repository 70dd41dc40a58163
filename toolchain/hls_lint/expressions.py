"""Expressions of the instantiated C++: what each is, and the operations, loads and stores in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from toolchain.hls_lint.clang import Kind, array_sizes, binary_sign, declaration_key, evaluate, type_width, unary_sign
from toolchain.hls_lint.facts import Place, Width
from toolchain.hls_lint.state import State, Value, narrower

Enter = Callable[[Any, Any, Sequence[Value], Value], Value]
"""Walks a call: (callee, call, arguments, this) -> what it returns."""

ALLOCATORS = {"malloc", "calloc", "realloc", "free", "alloca", "operator new", "operator delete"}
SUMMED_APART = {"Multiplier::product", "difference_product"}
"""Functions whose products the cost model counts on slices, and the sums behind them in LUTs."""
CHAINED = {"cascaded"}
"""Functions whose products the cost model adds up in the slices, one after the other."""
COMPARISONS = {"<", ">", "<=", ">=", "==", "!=", "&&", "||"}
WRAPPERS = {
    Kind.UNEXPOSED_EXPR,
    Kind.PAREN_EXPR,
    Kind.CSTYLE_CAST_EXPR,
    Kind.CXX_STATIC_CAST_EXPR,
    Kind.CXX_FUNCTIONAL_CAST_EXPR,
    Kind.CXX_CONST_CAST_EXPR,
    Kind.CXX_REINTERPRET_CAST_EXPR,
}
LITERALS = {
    Kind.INTEGER_LITERAL,
    Kind.CXX_BOOL_LITERAL_EXPR,
    Kind.CHARACTER_LITERAL,
    Kind.STRING_LITERAL,
    Kind.FLOATING_LITERAL,
    Kind.CXX_NULL_PTR_LITERAL_EXPR,
}
FORBIDDEN = {
    Kind.CXX_NEW_EXPR: "memory is allocated with new",
    Kind.CXX_DELETE_EXPR: "memory is freed with delete",
    Kind.CXX_THROW_EXPR: "an exception is thrown",
    Kind.CXX_DYNAMIC_CAST_EXPR: "a dynamic_cast asks for a type at run time",
    Kind.CXX_TYPEID_EXPR: "typeid asks for a type at run time",
}


class Expressions:
    """Evaluates expressions in ``state``; a call of a function with a body goes to ``enter``."""

    def __init__(self, state: State, enter: Enter) -> None:
        self.state = state
        self.enter = enter

    def value(self, cursor: Any) -> Value:
        """Return the value of an expression; a place is not yet loaded."""
        kind = cursor.kind
        if kind in WRAPPERS:
            return self._wrapped(cursor)
        if kind in LITERALS:
            return Value(static=True, width=type_width(cursor))
        if kind == Kind.DECL_REF_EXPR:
            return self._variable(cursor)
        if kind == Kind.MEMBER_REF_EXPR:
            return self._member(cursor)
        if kind == Kind.ARRAY_SUBSCRIPT_EXPR:
            return self._element(cursor)
        if kind == Kind.CALL_EXPR:
            return self._call(cursor)
        if kind == Kind.BINARY_OPERATOR:
            return self._binary(cursor)
        if kind == Kind.COMPOUND_ASSIGNMENT_OPERATOR:
            left, right = cursor.get_children()
            return self._update(binary_sign(cursor)[:-1], self.value(left), self.load(right), cursor, right)
        if kind == Kind.UNARY_OPERATOR:
            return self._unary(cursor)
        if kind == Kind.CONDITIONAL_OPERATOR:
            return self._choice(cursor)
        if kind == Kind.CXX_THIS_EXPR:
            return self.state.this
        return self._other(cursor)

    def load(self, cursor: Any) -> Value:
        """Return the value of an expression after loading it from its place."""
        return self.state.loaded(self.value(cursor), cursor)

    def _other(self, cursor: Any) -> Value:
        """Lists of initializers and what has no rule: static when all parts are."""
        if cursor.kind in FORBIDDEN:
            self.state.odd("dynamic", FORBIDDEN[cursor.kind], cursor)
        parts = [self.load(child) for child in cursor.get_children() if child.kind.is_expression()]
        return _joined(parts, type_width(cursor))

    def _wrapped(self, cursor: Any) -> Value:
        children = list(cursor.get_children())
        if not children or not children[-1].kind.is_expression():
            return Value(static=True, width=type_width(cursor))  # a default argument, T()
        inner = self.value(children[-1])
        to = type_width(cursor)
        return inner if to is None else inner._replace(width=narrower(to, inner.width))

    def _variable(self, cursor: Any) -> Value:
        found = cursor.referenced
        if found is None or found.kind not in (Kind.VAR_DECL, Kind.PARM_DECL):
            return Value(static=True, width=type_width(cursor))  # enumerators, template parameters, functions
        known = self.state.scope.get(declaration_key(found))
        if known is not None:
            return known
        constant = evaluate(cursor)
        if constant is not None:
            return Value(static=True, width=type_width(cursor))
        value = Value(place=self.state.place(found), width=type_width(cursor))
        return value

    def _member(self, cursor: Any) -> Value:
        found = cursor.referenced
        if found is not None and found.kind == Kind.VAR_DECL:  # a static member
            return Value(static=True, width=type_width(cursor))
        children = [child for child in cursor.get_children() if child.kind.is_expression()]
        base = self.value(children[0]) if children else self.state.this
        if base.place is None:
            return Value(static=base.static, width=type_width(cursor))
        place = base.place.part(cursor.spelling)
        if found is not None:
            self.state.array(place, found)
        return Value(static=base.static, place=place, width=type_width(cursor))

    def _element(self, cursor: Any) -> Value:
        base, index = cursor.get_children()
        array, at = self.value(base), self.load(index)
        place = array.place.part("[]") if array.place is not None else None
        return Value(static=array.static and at.static, place=place, width=type_width(cursor))

    def _choice(self, cursor: Any) -> Value:
        condition, yes, no = cursor.get_children()
        known = evaluate(condition)
        if known is not None:
            return self.value(yes if known else no)
        chosen = self.load(condition)
        first, second = self.load(yes), self.load(no)
        return _joined((chosen, first, second), type_width(cursor))

    def _unary(self, cursor: Any) -> Value:
        (inner,) = cursor.get_children()
        sign, value = unary_sign(cursor), self.value(inner)
        if sign == "&":
            return value
        if sign == "*":
            if value.place is None or inner.kind == Kind.CXX_THIS_EXPR:
                return value
            return Value(place=value.place.part("[]"), width=type_width(cursor))
        value = self.state.loaded(value, cursor)
        if "++" in sign or "--" in sign:
            self.state.store(value, value, cursor)
        return value._replace(place=None, product="", width=type_width(cursor))

    def _binary(self, cursor: Any) -> Value:
        left, right = cursor.get_children()
        sign = binary_sign(cursor)
        if sign == "=":
            value, target = self.load(right), self.value(left)
            self.state.store(target, value, cursor)
            return target._replace(static=value.static)
        if sign == ",":
            self.load(left)
            return self.value(right)
        return self._operation(sign, self.load(left), self.load(right), cursor, right)

    def _update(self, sign: str, target: Value, value: Value, cursor: Any, right: Any) -> Value:
        before = self.state.loaded(target, cursor)._replace(static=False)
        self.state.store(target, self._operation(sign, before, value, cursor, right), cursor)
        return target

    def _operation(self, sign: str, left: Value, right: Value, cursor: Any, right_cursor: Any) -> Value:
        joined = _joined((left, right), type_width(cursor))
        static = joined.static
        if sign in ("*", "/", "%") and not static:
            self.state.operation(sign, left, right, _power_of_two(right_cursor), cursor)
        if sign == "*":
            both = not (left.static or right.static)
            name = self.state.facts.names[self.state.stack[-1]]
            return joined._replace(product=name if both else "", sum=both and (left.sum or right.sum))
        if sign in ("+", "-"):
            for side in (left, right):
                self._added(side, cursor)
            return joined._replace(sum=not (left.static or right.static))
        return joined._replace(width=Width(1, False)) if sign in COMPARISONS else joined

    def _added(self, side: Value, cursor: Any) -> None:
        """A product that is added to in the same slice: not bound to one of its own, and in the order of the chain."""
        if not side.product or side.product in SUMMED_APART:
            return
        if side.bound is not None:
            self.state.odd("bound-product", f"the product of {side.bound} is added to", cursor)
        if side.product in CHAINED and not self.state.ordered:
            self.state.odd("chain-order", "a chain's sum may be rebalanced", cursor)

    def _call(self, cursor: Any) -> Value:
        found, given = cursor.referenced, list(cursor.get_arguments())
        if found is None:
            if len(given) == 1:  # a copy that is elided
                return self.value(given[0])
            self.state.odd("dynamic", "a function is called by its address", cursor)
            return Value()
        if found.kind in (Kind.VAR_DECL, Kind.PARM_DECL, Kind.FIELD_DECL):
            self.state.odd("dynamic", f"a function is called by the pointer '{found.spelling}'", cursor)
            return Value()
        if found.spelling.startswith("operator") and found.kind == Kind.CXX_METHOD and given:
            this, given = self._this(cursor, given)
        else:
            this = self._object(cursor, found)
        if self.state.own(found):
            return self._own_call(cursor, found, given, this)
        return self._foreign_call(cursor, found, given, this)

    def _this(self, cursor: Any, given: list[Any]) -> tuple[Value, list[Any]]:
        """The object of an operator, written as one or as a call of its name."""
        callee = next(iter(cursor.get_children()), None)
        if callee is not None and callee.kind == Kind.MEMBER_REF_EXPR and callee.spelling.startswith("operator"):
            return self._object(cursor, cursor.referenced), given
        return self.value(given[0]), given[1:]

    def _object(self, cursor: Any, found: Any) -> Value:
        """The object of a member function."""
        if found.kind not in (Kind.CXX_METHOD, Kind.CONVERSION_FUNCTION):
            return Value()
        callee = next(iter(cursor.get_children()), None)
        if callee is None or callee.kind != Kind.MEMBER_REF_EXPR:
            return Value()
        children = [child for child in callee.get_children() if child.kind.is_expression()]
        return self.value(children[0]) if children else self.state.this

    def _own_call(self, cursor: Any, found: Any, given: list[Any], this: Value) -> Value:
        """A function of the project; one that the compiler wrote copies."""
        if found.kind == Kind.CXX_METHOD and found.is_virtual_method():
            self.state.odd("dynamic", f"the function '{found.spelling}' is virtual", cursor)
        copies = found.spelling == "operator=" or (found.kind == Kind.CONSTRUCTOR and len(given) == 1)
        if copies and not _has_body(found):
            value = self.load(given[0])
            if found.spelling == "operator=":
                self.state.store(this, value, cursor)
                return this
            return value
        references = [_by_reference(argument.type) for argument in found.get_arguments()]
        references += [True] * (len(given) - len(references))
        values = [
            self.value(argument) if reference else self.load(argument)
            for argument, reference in zip(given, references, strict=False)
        ]
        known = all(value.static for value in values) and this.place is None and evaluate(cursor) is not None
        if not known:
            return self.enter(found, cursor, values, this)
        self.state.constant += 1
        self.enter(found, cursor, values, this)
        self.state.constant -= 1
        return Value(static=True, width=type_width(cursor))

    def _foreign_call(self, cursor: Any, found: Any, given: list[Any], this: Value) -> Value:
        """A function of the vendor's headers, of the compiler's or of the lint's."""
        parent, name = found.semantic_parent.spelling, found.spelling
        if parent == "fpgaflow_lint":
            return self._marked(cursor, name, given)
        if parent == "stream":
            return self._stream_call(cursor, found, given, this)
        if name in ALLOCATORS:
            self.state.odd("dynamic", f"{name} manages memory at run time", cursor)
        elif not _vendor(found) and found.kind != Kind.CONSTRUCTOR:
            self.state.odd("dynamic", f"'{name}' is no function of the project", cursor)
        values = [self.load(argument) for argument in given]
        sides = [this, *values] if found.kind in (Kind.CXX_METHOD, Kind.CONVERSION_FUNCTION) else values
        return self._vendor_value(cursor, name, sides, given)

    def _vendor_value(self, cursor: Any, name: str, sides: list[Value], given: list[Any]) -> Value:
        """Return the value of an arithmetic type's function; the sides are its object, if any, and its arguments."""
        sign = name.removeprefix("operator") if name.startswith("operator") else ""
        if sign in ("++", "--"):
            before = self.state.loaded(sides[0], cursor)
            self.state.store(sides[0], before, cursor)
            return before._replace(place=None)
        if len(sides) == 2 and sign == "=":
            self.state.store(sides[0], sides[1], cursor)
            return sides[0]
        if len(sides) == 2 and sign.endswith("=") and sign not in COMPARISONS:
            return self._update(sign[:-1], sides[0], sides[1], cursor, given[-1])
        if sign in ("[]", "()") or name in ("range", "bit"):
            if len(sides) == 3 and not (sides[1].static and sides[2].static):
                self.state.part_select(sides[0], cursor)
            return _joined(sides, type_width(cursor))._replace(place=sides[0].place if sides else None)
        sides = [self.state.loaded(side, cursor) for side in sides[:1]] + sides[1:]
        if len(sides) == 2 and sign and not sign[0].isalpha() and sign[0] != " ":
            return self._operation(sign, sides[0], sides[1], cursor, given[-1])
        if len(sides) == 1:  # a conversion or a copy
            to = type_width(cursor)
            return sides[0]._replace(place=None, width=narrower(to, sides[0].width) if to else sides[0].width)
        return _joined(sides, type_width(cursor))

    def _stream_call(self, cursor: Any, found: Any, given: list[Any], this: Value) -> Value:
        if found.kind == Kind.CONSTRUCTOR:
            return Value()
        values = [self.load(argument) for argument in given]
        if found.spelling == "read":
            self.state.stream(this, "load", cursor)
            for value in values:
                self.state.store(value, Value(), cursor)
        elif found.spelling == "write":
            self.state.stream(this, "store", cursor)
        else:
            self.state.odd("stream", f"'{found.spelling}' of a stream answers differently in hardware", cursor)
        return Value(width=type_width(cursor))

    def _marked(self, cursor: Any, name: str, given: list[Any]) -> Value:
        if name == "cycle":
            self.state.count()
        elif name == "stored":
            self.state.mark(_text(given[0]), "store", evaluate(given[1]), cursor)
        elif name == "loaded":
            self.state.mark(_text(given[0]), "load", evaluate(given[1]), cursor)
        return Value(static=True)


def _joined(sides: Sequence[Value], width: Width | None) -> Value:
    """Return the value that is computed from all ``sides``."""
    loads = frozenset[Place]().union(*(side.loads for side in sides))
    return Value(all(side.static for side in sides), None, width, loads=loads)


def _text(cursor: Any) -> str:
    """Return the text of a string literal."""
    while cursor.kind != Kind.STRING_LITERAL:
        cursor = next(cursor.get_children())
    return str(cursor.spelling).strip('"')


def _has_body(function: Any) -> bool:
    definition = function.get_definition()
    return definition is not None and any(c.kind == Kind.COMPOUND_STMT for c in definition.get_children())


def _by_reference(kind: Any) -> bool:
    spelling = kind.get_canonical().spelling
    return spelling.endswith(("&", "*", "]")) or "(&)" in spelling or "(*)" in spelling


def _power_of_two(cursor: Any) -> bool:
    value = evaluate(cursor)
    return value is not None and value > 0 and value & (value - 1) == 0


def _vendor(function: Any) -> bool:
    """Return whether ``function`` is of the arithmetic types, which the tool knows, or a builtin."""
    found = function.location.file
    name = found.name.rsplit("/", 1)[-1] if found is not None else ""
    return name.startswith(("ap_", "hls_")) or not name or bool(array_sizes(function.type)[0])
