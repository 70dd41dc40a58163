"""Tables of the keys of a file, from the models that check it."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from benchmarks.markdown import table
from docgen.text import cell, paragraphs

_COMMENT = re.compile(r"^ {4}(\w+):.*?  # (.*)$", re.MULTILINE)
NONE: Mapping[str, str] = {}
_NAMES = {str: "text", int: "whole number", float: "number", bool: "true, false", Any: "anything", type(None): "none"}


def reference(
    model: type[BaseModel], style: str = "json", without: Collection[str] = (), defaults: Mapping[str, str] = NONE
) -> str:
    """``model``'s keys, then those of the models inside it, a section each.

    Args:
        model: of the whole file.
        style: of the headings: "toml" writes ``[table.key]``, "json" ``table.key``.
        without: keys of ``model`` that nobody writes.
        defaults: of keys of ``model`` that the reader of the file sets.
    """
    return "\n".join(_section(found, heading, at, without, defaults) for found, heading, at in _models(model, style))


def _models(model: type[BaseModel], style: str) -> Iterator[tuple[type[BaseModel], str, str]]:
    """Each model once, where it stands first: itself, its heading, and its dotted place."""
    seen: set[type[BaseModel]] = set()
    waiting = [(model, "", "")]
    while waiting:
        found, heading, at = waiting.pop(0)
        if found in seen:
            continue
        seen.add(found)
        yield found, heading, at
        for key, field in found.model_fields.items():
            for inner in _inside(field.annotation):
                place = f"{at}.{key}" if at else key
                waiting.append((inner, f"### `{_headed(place, field.annotation, style)}`", place))


def _headed(place: str, annotation: Any, style: str) -> str:
    several = get_origin(_bare(annotation)) in (tuple, list)
    if style == "toml":
        return f"[[{place}]]" if several else f"[{place}]"
    if get_origin(_bare(annotation)) is dict:
        return f"{place}.NAME"
    return f"{place}[]" if several else place


def _section(
    model: type[BaseModel], heading: str, at: str, without: Collection[str], defaults: Mapping[str, str]
) -> str:
    comments = _comments(model)
    rows = [
        (
            f"`{key}`",
            cell(_kind(field.annotation, field.metadata)),
            (not at and defaults.get(key)) or _default(field),
            cell(comments.get(key, "")),
        )
        for key, field in model.model_fields.items()
        if at or not (_inside(field.annotation) or key in without)
    ]
    nested = [f"`{key}`" for key, field in model.model_fields.items() if at == "" and _inside(field.annotation)]
    parts = [heading + "\n" if heading else "", paragraphs(model.__doc__ or "")]
    if rows:
        told = any(row[3] for row in rows)
        head = ("key", "value", "default", "meaning")
        parts.append(table(head if told else head[:3], (row if told else row[:3] for row in rows)))
    if nested:
        parts.append(f"Its parts have sections of their own: {', '.join(nested)}.\n")
    return "\n".join(parts)


def _comments(model: type[BaseModel]) -> dict[str, str]:
    """What the source says behind each field, those of the bases included."""
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base.model_fields:
            found |= dict(_COMMENT.findall(inspect.getsource(base)))
    return {key: text for key, text in found.items() if not text.startswith("type: ignore")}


def _bare(annotation: Any) -> Any:
    """Without ``Annotated`` and without the None of an optional one."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _inside(annotation: Any) -> list[type[BaseModel]]:
    """The models that values of ``annotation`` hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _inside(part)]


def _kind(annotation: Any, metadata: list[Any]) -> str:
    """What may stand there, in words."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0], [*getattr(parts[1], "metadata", ()), *parts[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{_value(part)}`" for part in parts)
    if origin in (Union, types.UnionType):
        kinds = (_kind(part, metadata) for part in parts if part is not type(None))
        return " or ".join(dict.fromkeys(kinds))
    if origin in (tuple, list):
        return f"a list, each {_kind(parts[0], [])}" + (
            ", not empty" if any(isinstance(m, MinLen) for m in metadata) else ""
        )
    if origin is dict:
        return f"a table: name to {_kind(parts[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "a table"
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation))) + _limits(metadata)


def _limits(metadata: list[Any]) -> str:
    """The ends of a number's range."""
    found = []
    for limit in metadata:
        for kind, words in ((Ge, "from {}"), (Gt, "above {}"), (Le, "to {}"), (Lt, "below {}")):
            if isinstance(limit, kind):
                (end,) = (getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name))
                found.append(words.format(end))
    return "".join(f", {limit}" for limit in found)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel) or value in ((), {}, []):
        return ""
    return f"`{_value(value)}`"


def _value(value: object) -> str:
    """As it is written in a file."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_value(part) for part in value)}]"
    return f'"{value}"' if isinstance(value, str) else str(value)
