"""The function or class of the user's own that makes a network, imported and called.

It is the user's own code, run as ``python`` would run it; nothing that a model file carries gets here.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from toolchain.errors import UserError, first_line, unknown_name, with_article
from toolchain.files import digest_file
from toolchain.train.own.record import Record

_CLASSES = ("classes", "num_classes")
_SHAPES = ("shape", "input_shape")


@dataclass(frozen=True)
class Own:
    """Maker of a network: ``function`` of the file ``file``, whose digest is ``sha256``."""

    reference: str
    file: Path
    sha256: str
    function: Callable[..., Any]


def find_own(reference: str) -> Own:
    """Return the maker that ``package.module:NAME`` or ``path/to/file.py:NAME`` names.

    Raises:
        UserError: no such module, file or name, or the module fails when it is imported.
    """
    module_name, _, name = reference.partition(":")
    module = _from_file(Path(module_name)) if module_name.endswith(".py") else _from_name(module_name, reference)
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            known = [key for key, value in vars(found).items() if callable(value) and not key.startswith("_")]
            raise unknown_name("network", part, known) if known else UserError(f"{module_name} defines no '{part}'")
        found = getattr(found, part)
    if not callable(found) or isinstance(found, nn.Module):
        raise UserError(
            f"'{name}' of {module_name} is {with_article(type(found).__name__)}", hint="name a class or a function"
        )
    file = Path(str(module.__file__))
    return Own(reference, file, digest_file(file), found)


def make(own: Own, shape: tuple[int, ...], classes: int | None, options: Mapping[str, Any]) -> nn.Module:
    """The network that ``own`` makes, of the run's ``shape`` and ``classes`` where it takes them, and ``options``.

    Raises:
        UserError: it takes other arguments, fails, or makes something else.
    """
    counts = {} if classes is None else dict.fromkeys(_CLASSES, classes)
    given = _arguments(own, {**counts, **dict.fromkeys(_SHAPES, shape)}, options)
    try:
        model = own.function(**given)
    except UserError:
        raise
    except Exception as error:  # the user's code may raise anything
        raise UserError(
            f"{own.reference} raised {type(error).__name__}: {first_line(error)}",
            where=_place(error, own.file),
            hint="--debug shows the traceback",
        ) from error
    if not isinstance(model, nn.Module):
        hint = "return a torch.nn.Module"
        raise UserError(f"{own.reference} gives {with_article(type(model).__name__)}, no network", hint=hint)
    return model


def record(own: Own, options: Mapping[str, Any]) -> Record:
    """Return the record that a run keeps of its network."""
    return Record(own.reference, str(own.file), own.sha256, dict(options))


def _arguments(own: Own, known: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(own.function).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for name in options:
        if name not in parameters and not takes_all:
            wrong = unknown_name(f"option, an argument of {own.reference},", name, parameters)
            raise UserError(wrong.what, hint=wrong.hint)
    given = {name: value for name, value in known.items() if name in parameters} | dict(options)
    for name, parameter in parameters.items():
        free = parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if free and parameter.default is parameter.empty and name not in given:
            hint = f"set the option {name}, or give it a default; classes and shape come from the data"
            raise UserError(f"{own.reference} needs '{name}'", hint=hint)
    return given


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UserError(f"no such file: {path}", hint="model.name = 'FILE.py:NAME' is relative to the run file")
    path = path.resolve()
    return _run_file(path, digest_file(path))


@lru_cache
def _run_file(path: Path, digest: str) -> ModuleType:
    """The module of a file, once for each version of it; its folder is searched for what it imports."""
    name = f"fpgaflow_own_{path.stem}_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything
        del sys.modules[name]
        raise _failed(str(path), error, path) from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _from_name(name: str, reference: str) -> ModuleType:
    here = str(Path.cwd())
    sys.path.append(here)  # where `python` would look too
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise _failed(name, error, Path(name)) from error
        hint = "install it, run in its folder, or give model.name = 'FILE.py:NAME'"
        raise UserError(f"no module '{error.name}' for model.name = '{reference}'", hint=hint) from error
    except Exception as error:  # the user's code may raise anything
        raise _failed(name, error, Path(name)) from error
    finally:
        sys.path.remove(here)
    if module.__file__ is None:
        raise UserError(f"'{name}' is a folder without code", hint="name the module that holds the network")
    return module


def _failed(what: str, error: Exception, file: Path) -> UserError:
    return UserError(
        f"{what} raised {type(error).__name__} when it was imported: {first_line(error)}",
        where=_place(error, file),
        hint="--debug shows the traceback",
    )


def _place(error: Exception, file: Path) -> str:
    """The last line of ``file`` that the error went through."""
    line, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = f"{file.name}, line {trace.tb_lineno}"
        trace = trace.tb_next
    return line or file.name
