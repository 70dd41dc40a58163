"""The types of what is declared: those that no unit may use, and those wider than the tool takes."""

from __future__ import annotations

import re
from typing import Any

from toolchain.hls_lint.clang import Kind, array_sizes, grows, width, word_bits
from toolchain.hls_lint.state import State

MAX_STREAM_BITS = 4096
MAX_INTEGER_BITS = 1024

_FUNCTION_POINTER = re.compile(r"\(\*|\(.*::\*")


def check_type(state: State, cursor: Any) -> None:
    """Note what is wrong with the type of a variable or parameter."""
    spelling, name = cursor.type.get_canonical().spelling, cursor.spelling
    if "std::" in spelling:
        state.odd("dynamic", f"'{name}' is of a type of the standard library", cursor)
    elif _FUNCTION_POINTER.search(spelling) or spelling.count("*") > 1:
        state.odd("dynamic", f"'{name}' is a pointer to a function or a pointer", cursor)
    if grows(cursor.type):
        state.odd("dynamic", f"'{name}' is an array with a size that is known at run time only", cursor)
    found = width(array_sizes(cursor.type)[1])
    if found is not None and found.bits > MAX_INTEGER_BITS:
        state.odd("limits", f"'{name}' has {found.bits} bits, the tool takes {MAX_INTEGER_BITS}", cursor)
    if "hls::stream<" in spelling:
        _check_word(state, cursor)


def _check_word(state: State, cursor: Any) -> None:
    """A stream is reported where it is declared, and as a parameter of a unit by itself."""
    plain = cursor.type.get_canonical()
    plain = plain.get_pointee() if plain.spelling.endswith("&") else plain
    if plain.get_num_template_arguments() < 1:
        return
    word = plain.get_template_argument_type(0)
    state.word_types.add(word.get_canonical().spelling)
    bits, outermost = word_bits(word), cursor.kind == Kind.VAR_DECL or len(state.stack) == 1
    if bits is not None and bits > MAX_STREAM_BITS and outermost:
        state.odd("limits", f"'{cursor.spelling}' carries {bits} bits, the tool takes {MAX_STREAM_BITS}", cursor)
