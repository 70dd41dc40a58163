"""Tables that people write (TOML, JSON) checked against a pydantic model, with errors they can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolchain.errors import UserError, unknown_name

LEAST_MHZ, MOST_MHZ = 1.0, 1000.0
"""Clocks of a fabric lie between them."""

Mhz = Annotated[float, Field(ge=LEAST_MHZ, le=MOST_MHZ)]


class Record(BaseModel):
    """Base of the checked tables: immutable, no unknown key, no silent conversion, no infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


R = TypeVar("R", bound=Record)


def parse_record(model: type[R], table: Mapping[str, Any], *, where: str) -> R:
    """``table`` as a ``model``; ``where`` is named in the error.

    Raises:
        UserError: the first unknown key (with the nearest valid one), missing key or bad value.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a typo also leaves a key missing
        *tables, name = [*map(str, first["loc"])] or [""]
        within = "".join(f"{part}." for part in tables)
        if first["type"] == "extra_forbidden":
            wrong = unknown_name("key", name, _siblings(model, tables), within=within)
            raise UserError(wrong.what, where=where, hint=wrong.hint) from error
        if first["type"] == "missing":
            raise UserError(f"key '{within}{name}' is missing", where=where) from error
        key = _written(table, first["loc"])
        tried = [e["msg"].removeprefix("Value error, ") for e in error.errors() if _written(table, e["loc"]) == key]
        message = ", or ".join([tried[0], *(other.removeprefix("Input ") for other in tried[1:])])
        raise UserError(f"bad value for '{key}': {message}, got {first['input']!r}", where=where) from error


def _written(table: Mapping[str, Any], path: Sequence[int | str]) -> str:
    """Dotted name of the key in ``table`` where ``path`` ends, without the types that pydantic has tried there."""
    at: Any = table
    parts = []
    for part in path:
        if (isinstance(at, Mapping) and part in at) or (isinstance(at, Sequence) and isinstance(part, int)):
            at = at[part]  # type: ignore[index]
            parts.append(str(part))
    return ".".join(parts)


def _siblings(model: type[BaseModel], tables: Sequence[str]) -> list[str]:
    """The keys that may stand in the innermost of ``tables``."""
    at: type[BaseModel] | None = model
    for part in tables:
        field = at.model_fields.get(part) if at is not None else None
        annotation = field.annotation if field is not None else None
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        models = [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]
        if models:
            at = models[0]
    return list(at.model_fields) if at is not None else []
