"""Names that differ: every name that a stage makes up is asked of here, where those that are taken are known."""

from __future__ import annotations

import re
from collections.abc import Iterable

_CPP = """
alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t class compl const
const_cast constexpr continue decltype default delete do double dynamic_cast else enum explicit export extern false
float for friend goto if inline int long mutable namespace new noexcept not not_eq nullptr operator or or_eq private
protected public register reinterpret_cast return short signed sizeof static static_assert static_cast struct switch
template this thread_local throw true try typedef typeid typename union unsigned using virtual void volatile wchar_t
while xor xor_eq std hls ap_int ap_uint
"""
CPP_WORDS = frozenset(_CPP.split())
"""C++'s keywords and the names of the headers that generated code uses."""


class Names:
    """Names that are taken, and new ones.

    A wanted name that is taken gets a number behind it, counting from ``first``. With ``any_case`` names that differ in
    their case alone are one, as file systems may have it.
    """

    def __init__(self, taken: Iterable[str] = (), *, first: int = 0, any_case: bool = False) -> None:
        self._first, self._any_case = first, any_case
        self._taken = {self._key(name) for name in taken}

    def _key(self, name: str) -> str:
        return name.lower() if self._any_case else name

    def __contains__(self, name: str) -> bool:
        return self._key(name) in self._taken

    def take(self, names: Iterable[str]) -> None:
        """``names`` are taken from here on."""
        self._taken.update(map(self._key, names))

    def fresh(self, wanted: str) -> str:
        """``wanted``, or with the first number that makes it new; it is then taken."""
        number, name = self._first, wanted
        while name in self:
            number, name = number + 1, f"{wanted}_{number}"
        self.take([name])
        return name


def identifier(
    text: str, *, prefix: str = "n", reserved: frozenset[str] = CPP_WORDS, longest: int | None = None
) -> str:
    """``text`` as a C++ identifier of at most ``longest`` characters.

    Illegal characters become ``_``; what is empty, ``reserved`` or begins with a digit gets the ``prefix``. There are
    no underscores at the ends nor two in a row, which C++ keeps for itself.
    """
    legal = re.sub(r"_+", "_", re.sub(r"[^A-Za-z0-9]", "_", text)).strip("_")[:longest].rstrip("_")
    if not legal or legal[0].isdigit() or legal in reserved:
        legal = f"{prefix}_{legal}".rstrip("_")
    return legal
