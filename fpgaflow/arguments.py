"""Arguments of the public functions: one of another type than the signature has is a `UserError`, not a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, get_type_hints

from toolchain.errors import UserError

P = ParamSpec("P")
T = TypeVar("T")

_LATER = {name: Any for name in ("Array", "PathOrArray", "Report", "Coverage")} | {"nn": SimpleNamespace(Module=Any)}
"""Types of numpy, torch and of results: what has them is asked where it is used, since their import takes long."""


def typed(function: Callable[P, T]) -> Callable[P, T]:
    """Call ``function`` with arguments of the types of its signature; numbers of numpy become Python's.

    Raises:
        UserError: an argument is of another type.
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
        return function(*given.args, **given.kwargs)

    return call
