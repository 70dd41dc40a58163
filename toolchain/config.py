"""Run files: what to train, on what, with which bits. Read from TOML, checked by pydantic, written back resolved."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from toolchain.errors import UserError, unknown_name

Bits = int
Real = float  # TrainConfig has a field called float


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Model):
    """Which images, and how a pixel becomes the network's input value."""

    name: str = "digits"
    root: str | None = None  # folder searched first
    augment: bool = False  # random crop and horizontal flip
    normalize: Literal["unit", "standard"] = "unit"  # p / levels, or (p / levels - mean) / std on the host


MODELS = ("cnn", "tfc", "lenet300", "lenet5", "vgg-small", "resnet8", "resnet20")
"""Networks that can be trained; ``train/models.py`` builds them."""


class ModelConfig(_Model):
    """Which network, and its width as a multiple of the published one."""

    name: str = "cnn"
    width: float = Field(default=1.0, gt=0, le=8)


class LayerQuant(_Model):
    """What one layer does differently from the rest of the network; None keeps the network's choice."""

    weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    act_bits: Bits | None = Field(default=None, ge=1, le=8)
    weight_granularity: Literal["tensor", "channel"] | None = None


class QuantConfig(_Model):
    """Bit widths and the kind of scale. ``layers`` overrides single layers by name."""

    method: Literal["lsq"] = "lsq"
    weight_bits: Bits = Field(default=4, ge=1, le=8)
    act_bits: Bits = Field(default=4, ge=1, le=8)
    first_weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    last_weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    residual_bits: Bits | None = Field(default=None, ge=2, le=8)  # signed operands of an add; None: act_bits + 1
    input_bits: Bits = Field(default=8, ge=2, le=8)  # only used with normalize = "standard"
    scale: Literal["float", "pot"] = "float"
    weight_granularity: Literal["tensor", "channel"] = "tensor"
    layers: dict[str, LayerQuant] = Field(default_factory=dict)


class TrainConfig(_Model):
    """The optimisation. ``pretrain_epochs`` of the ``epochs`` run in float before the quantizers are switched on."""

    epochs: int = Field(default=10, ge=1)
    pretrain_epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=2)
    lr: Real = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Real = Field(default=0.9, ge=0, lt=1)
    weight_decay: Real = Field(default=0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    seed: int = Field(default=0, ge=0)
    float: bool = False  # the same network without quantizers
    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    threads: int = Field(default=0, ge=0)  # CPU threads; 0 keeps PyTorch's choice


class RunConfig(_Model):
    """A whole run file."""

    name: str
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    quant: QuantConfig = QuantConfig()
    train: TrainConfig = TrainConfig()


def recipes() -> list[str]:
    """Names of the run files that ship with the package, sorted."""
    folder = resources.files("toolchain.train") / "recipes"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def find_config(name_or_path: str) -> Path:
    """The run file meant by a path or by the name of a recipe.

    Raises:
        UserError: it is neither a file nor a recipe.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix == "" and path.name == name_or_path:
        if name_or_path in recipes():
            return Path(str(resources.files("toolchain.train") / "recipes" / f"{name_or_path}.toml"))
        raise unknown_name("recipe", name_or_path, recipes())
    raise UserError(f"no such run file: {path}", hint=f"or give a recipe: {', '.join(recipes())}")


def load_config(path: Path, overrides: list[str] | tuple[str, ...] = ()) -> RunConfig:
    """Read a run file and apply dotted overrides such as ``train.epochs=5``.

    Raises:
        UserError: unreadable file, syntax error, unknown key (with the nearest valid one) or bad value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the run file {path}", hint=error.strerror or "") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not valid TOML: {error}", where=str(path)) from error
    where = str(path)
    for override in overrides:
        _override(table, override)
    if overrides:
        where += " with --set " + " ".join(overrides)
    table.setdefault("name", path.stem)
    return parse_config(table, where=where)


def parse_config(table: dict[str, Any], *, where: str) -> RunConfig:
    """Check a table against the models; ``where`` is named in the error.

    Raises:
        UserError: unknown key or bad value; the first one found.
    """
    try:
        config = RunConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        key = ".".join(path)
        if first["type"] == "extra_forbidden":
            wrong = unknown_name("key", key, _siblings(path))
            raise UserError(wrong.what, where=where, hint=wrong.hint) from error
        got = "" if first["type"] == "missing" else f", got {first['input']!r}"
        raise UserError(f"bad value for '{key}': {first['msg']}{got}", where=where) from error
    if config.model.name not in MODELS:
        raise unknown_name("model", config.model.name, MODELS)
    if config.train.pretrain_epochs >= config.train.epochs and not config.train.float:
        raise UserError(
            f"train.pretrain_epochs = {config.train.pretrain_epochs} leaves no quantized epoch "
            f"of train.epochs = {config.train.epochs}",
            where=where,
        )
    return config


def dump_toml(config: RunConfig) -> str:
    """The resolved run file: every value that is set, defaults included; reads back to an equal config."""
    table = config.model_dump(exclude_none=True)
    lines = [f"name = {_toml_value(table.pop('name'))}"]
    for section, values in table.items():
        layers = values.pop("layers", {})
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {_toml_value(value)}" for key, value in values.items()]
        for layer, fields in layers.items():
            lines += ["", f"[{section}.layers.{json.dumps(layer)}]"]
            lines += [f"{key} = {_toml_value(value)}" for key, value in fields.items()]
    return "\n".join(lines) + "\n"


def _toml_value(value: str | int | float | bool) -> str:
    """A scalar in TOML; JSON's spelling of strings, numbers and booleans is valid TOML."""
    return json.dumps(value, ensure_ascii=False)


def _override(table: dict[str, Any], override: str) -> None:
    """Set one dotted key of a nested table in place; the value is TOML, or a bare string when it is not."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {override}: expected KEY=VALUE", hint="for example --set train.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {override}: '{section}' is a value, not a section")
    table[last] = value


def _siblings(path: list[str]) -> list[str]:
    """The valid dotted keys next to the unknown key at ``path``."""
    model: type[BaseModel] = RunConfig
    for depth, part in enumerate(path[:-1]):
        if part == "layers":
            model = LayerQuant
            prefix = path[: depth + 2]
            return [".".join([*prefix, name]) for name in model.model_fields]
        inner = model.model_fields[part].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return [".".join([*path[:-1], name]) for name in model.model_fields]
