"""Names of generated C++ for names that come from a model."""

from __future__ import annotations

from collections.abc import Iterable

from toolchain.ir.names import CPP_WORDS, Names, identifier

RESERVED = CPP_WORDS | frozenset(["main", "fpgaflow", "host", "input", "output"])
"""Words that units and streams cannot be called."""
_LOCAL = frozenset(["in", "out", "frames", "words", "answer"])
"""Names of the testbench's variables where it calls the accelerator."""


def function_name(name: str, arguments: Iterable[str] = ()) -> str:
    """``name`` as the accelerator's function, which is called as none of its ``arguments``."""
    return identifier(name, reserved=RESERVED | _LOCAL | frozenset(arguments))


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A different identifier for every one of ``names``, also on file systems that ignore case; none is ``taken``."""
    others = Names(taken, first=2, any_case=True)
    return {name: others.fresh(identifier(name, reserved=RESERVED)) for name in names}
