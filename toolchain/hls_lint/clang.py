"""The parts of libclang that its Python bindings leave out, and what the walk asks of a cursor."""

from __future__ import annotations

import ctypes
import re
from functools import cache
from typing import Any

from clang import cindex

from toolchain.hls_lint.facts import Width

Cursor = cindex.Cursor
Kind = cindex.CursorKind

BINARY = (
    "", ".*", "->*", "*", "/", "%", "+", "-", "<<", ">>", "<=>", "<", ">", "<=", ">=", "==", "!=", "&", "^", "|", "&&",
    "||", "=", "*=", "/=", "%=", "+=", "-=", "<<=", ">>=", "&=", "^=", "|=", ",",
)  # fmt: skip
"""Operators in the order of CXBinaryOperatorKind."""
UNARY = ("", "x++", "x--", "++", "--", "&", "*", "+", "-", "~", "!")
"""Operators in the order of CXUnaryOperatorKind, as far as C++ has them."""

_NATIVE = {
    cindex.TypeKind.BOOL: (1, False),
    cindex.TypeKind.UCHAR: (8, False),
    cindex.TypeKind.CHAR_U: (8, False),
    cindex.TypeKind.USHORT: (16, False),
    cindex.TypeKind.UINT: (32, False),
    cindex.TypeKind.ULONG: (64, False),
    cindex.TypeKind.ULONGLONG: (64, False),
    cindex.TypeKind.UINT128: (128, False),
    cindex.TypeKind.CHAR_S: (8, True),
    cindex.TypeKind.SCHAR: (8, True),
    cindex.TypeKind.SHORT: (16, True),
    cindex.TypeKind.INT: (32, True),
    cindex.TypeKind.LONG: (64, True),
    cindex.TypeKind.LONGLONG: (64, True),
    cindex.TypeKind.INT128: (128, True),
    cindex.TypeKind.ENUM: (32, True),
}
_VENDOR = re.compile(r"\bap_(u?)int<(\d+)>$|\bap_int_base<(\d+), (true|false)>$")
_INTEGER = 1  # CXEval_Int
ARRAYS = {cindex.TypeKind.CONSTANTARRAY, cindex.TypeKind.VARIABLEARRAY, cindex.TypeKind.INCOMPLETEARRAY}


@cache
def _library() -> Any:
    library = cindex.conf.lib
    library.clang_Cursor_Evaluate.argtypes = [Cursor]
    library.clang_Cursor_Evaluate.restype = ctypes.c_void_p
    library.clang_EvalResult_getKind.argtypes = [ctypes.c_void_p]
    library.clang_EvalResult_getAsLongLong.argtypes = [ctypes.c_void_p]
    library.clang_EvalResult_getAsLongLong.restype = ctypes.c_longlong
    library.clang_EvalResult_dispose.argtypes = [ctypes.c_void_p]
    for name in ("clang_getCursorBinaryOperatorKind", "clang_getCursorUnaryOperatorKind"):
        getattr(library, name).argtypes = [Cursor]
    library.clang_Cursor_getVarDeclInitializer.argtypes = [Cursor]
    library.clang_Cursor_getVarDeclInitializer.restype = Cursor
    library.clang_getSkippedRanges.argtypes = [cindex.TranslationUnit, cindex.File]
    library.clang_getSkippedRanges.restype = ctypes.POINTER(_Ranges)
    library.clang_disposeSourceRangeList.argtypes = [ctypes.POINTER(_Ranges)]
    return library


class _Ranges(ctypes.Structure):
    _fields_ = (("count", ctypes.c_uint), ("ranges", ctypes.POINTER(cindex.SourceRange)))


def skipped_lines(unit: Any, path: str) -> set[int]:
    """Lines of the file ``path`` that the preprocessor leaves out; ``unit`` was parsed with a record of it."""
    file = _library().clang_getFile(unit, path)
    if not file:
        return set()  # it is not included
    found = _library().clang_getSkippedRanges(unit, cindex.File(file))
    try:
        ranges = (found.contents.ranges[i] for i in range(found.contents.count))
        return {line for part in ranges for line in range(part.start.line, part.end.line + 1)}
    finally:
        _library().clang_disposeSourceRangeList(found)


def evaluate(cursor: Any) -> int | None:
    """The integer that a constant expression is, None for any other."""
    library = _library()
    result = library.clang_Cursor_Evaluate(cursor)
    if not result:
        return None
    try:
        found = library.clang_EvalResult_getKind(result) == _INTEGER
        return int(library.clang_EvalResult_getAsLongLong(result)) if found else None
    finally:
        library.clang_EvalResult_dispose(result)


def binary_sign(cursor: Any) -> str:
    """The operator of a binary operator or a compound assignment."""
    return BINARY[_library().clang_getCursorBinaryOperatorKind(cursor)]


def unary_sign(cursor: Any) -> str:
    """The operator of a unary operator; "" for an extension such as ``__extension__``."""
    kind = _library().clang_getCursorUnaryOperatorKind(cursor)
    return UNARY[kind] if kind < len(UNARY) else ""


def initializer(cursor: Any) -> Any | None:
    """Return the cursor of a variable's initializer, or None."""
    found = _library().clang_Cursor_getVarDeclInitializer(cursor)
    found._tu = cursor._tu  # the bindings set it on every cursor that they return
    return None if found.kind.is_invalid() else found


def declaration_key(cursor: Any) -> int:
    """A number of a declaration that no other has: where it lies in clang's memory."""
    return int(cursor.data[0])


def statement_key(cursor: Any) -> int:
    """A number of a statement that no other has."""
    return int(cursor.data[1])


def width(kind: Any) -> Width | None:
    """Bits of an integer type, native or the vendor's; None for any other type."""
    plain = kind.get_canonical()
    if plain.kind in (cindex.TypeKind.LVALUEREFERENCE, cindex.TypeKind.RVALUEREFERENCE):
        plain = plain.get_pointee()
    if plain.kind in _NATIVE:
        return Width(*_NATIVE[plain.kind])
    return _vendor_width(plain.spelling) if plain.kind == cindex.TypeKind.RECORD else None


def type_width(cursor: Any) -> Width | None:
    """Width of an expression's type."""
    return width(cursor.type)


@cache
def _vendor_width(spelling: str) -> Width | None:
    if "ap_bit_ref<" in spelling:
        return Width(1, False)
    found = _VENDOR.search(spelling)
    if found is None:
        return None
    unsigned, bits, base, signed = found.groups()
    return Width(int(bits), not unsigned) if bits else Width(int(base), signed == "true")


def array_sizes(kind: Any) -> tuple[tuple[int, ...], Any]:
    """The sizes of an array type and the type of its elements; no sizes for any other type."""
    sizes, plain = [], kind.get_canonical()
    while plain.kind == cindex.TypeKind.CONSTANTARRAY:
        sizes.append(int(plain.element_count))
        plain = plain.element_type
    return tuple(sizes), plain


def grows(kind: Any) -> bool:
    """Return whether a type is an array with a size that is known at run time only."""
    plain = kind.get_canonical()
    while plain.kind in ARRAYS:
        if plain.kind == cindex.TypeKind.VARIABLEARRAY:
            return True
        plain = plain.element_type.get_canonical()
    return False


def holds_array(kind: Any) -> bool:
    """Return whether a class type has an array among its members, or among theirs."""
    plain = kind.get_canonical()
    if plain.kind != cindex.TypeKind.RECORD or _vendor_width(plain.spelling) is not None:
        return False
    return any(array_sizes(field.type)[0] or holds_array(field.type) for field in plain.get_fields())


def word_bits(kind: Any) -> int | None:
    """Bits of a stream's word: an integer, or a class of integers and arrays of them."""
    sizes, element = array_sizes(kind)
    count = 1
    for size in sizes:
        count *= size
    found = width(element)
    if found is not None:
        return count * found.bits
    if element.kind != cindex.TypeKind.RECORD:
        return None
    parts = [word_bits(field.type) for field in element.get_fields()]
    return None if None in parts else count * sum(part for part in parts if part is not None)
