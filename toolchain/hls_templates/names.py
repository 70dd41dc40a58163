"""C++ identifiers for names that come from a model."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESERVED = (
    "alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t class compl "
    "const const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit export "
    "extern false float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr "
    "operator or or_eq private protected public register reinterpret_cast return short signed sizeof static "
    "static_assert static_cast struct switch template this thread_local throw true try typedef typeid typename "
    "union unsigned using virtual void volatile wchar_t while xor xor_eq main std hls fpgaflow host input output "
)
_KEYWORDS = frozenset(_RESERVED.split())
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def identifier(name: str) -> str:
    """``name`` as a C++ identifier: illegal characters become ``_``, keywords and leading digits are prefixed.

    Double and leading underscores, which C++ reserves, are avoided.
    """
    legal = re.sub(r"_+", "_", re.sub(r"\W", "_", name, flags=re.ASCII)).strip("_")
    if _IDENTIFIER.fullmatch(legal) is None or legal in _KEYWORDS:
        legal = f"n_{legal}"
    return legal


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """A different identifier for every one of ``names``, also on file systems that ignore case."""
    chosen: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        wanted = identifier(name)
        free, count = wanted, 2
        while free.lower() in taken:
            free, count = f"{wanted}_{count}", count + 1
        taken.add(free.lower())
        chosen[name] = free
    return chosen
