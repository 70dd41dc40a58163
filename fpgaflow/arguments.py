"""Arguments of the public functions: one of another type than the signature has is a `UserError`, not a traceback.

What is at fault elsewhere is told by the arguments' names, where the command line has options.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Container
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, get_type_hints

from toolchain.errors import FlowError, UserError

P = ParamSpec("P")
T = TypeVar("T")

_LATER = {name: Any for name in ("Array", "PathOrArray", "Report", "Coverage")} | {"nn": SimpleNamespace(Module=Any)}
"""Types of numpy, torch and of results: what has them is asked where it is used, since their import takes long."""
_COMMAND_OR_OPTION = re.compile(r"fpgaflow [a-z][^;,]*|(?<![\w-])--([a-z][a-z-]*[a-z])")
_OTHERWISE = {"--pixel-scale 1/255": "--input uint8:1/255", "--clock": "--clock-mhz", "--set": "--settings"}
"""Options that no argument is called like, as those that say the same."""


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """Call ``function`` with arguments of the types of its signature; numbers of numpy become Python's.

    Raises:
        UserError: an argument is of another type.
        FlowError: as ``function``, with the arguments' names in place of the options'.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        from pydantic import TypeAdapter, ValidationError

        given, kinds = signature.bind(*args, **kwargs), get_type_hints(function, localns=_LATER)
        for name, value in given.arguments.items():
            number = value.item() if getattr(value, "ndim", 1) == 0 else value
            try:
                given.arguments[name] = TypeAdapter(kinds[name]).validate_python(number)
            except ValidationError as error:
                hint = f"it takes {signature.parameters[name].annotation}"
                raise UserError(f"{function.__name__}({name}=...) is {value!r:.60}", hint=hint) from error
        try:
            return function(*given.args, **given.kwargs)
        except UserError as error:
            what, where, hint = (_by_argument(text, kinds) for text in (error.what, error.where, error.hint))
            error.__init__(what, where=where, hint=hint)  # type: ignore[misc] # its type, its cause and its traceback stay
            raise
        except FlowError as error:
            error.args = (_by_argument(str(error), kinds),)
            raise

    return call


def _by_argument(text: str, names: Container[str]) -> str:
    """``text`` with the arguments ``names`` in place of options, outside of whole commands."""
    for option, other in _OTHERWISE.items():
        text = re.sub(rf"{option}\b(?!-)", other, text)

    def named(found: re.Match[str]) -> str:
        name = (found[1] or "").replace("-", "_")
        return name if name in names else found[0]

    return _COMMAND_OR_OPTION.sub(named, text)
