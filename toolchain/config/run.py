"""Run files: what to train, on what, with which bits. Read from TOML, checked by pydantic, written back resolved."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from toolchain.config.blocks import Blocks
from toolchain.config.pruning import BY_NORMS, LEARNING, PruningStage
from toolchain.config.table import Table
from toolchain.config.toml import overridden, read_toml, to_toml
from toolchain.errors import UserError, unknown_name
from toolchain.ir.input_types import parse_input, quantizer_of
from toolchain.records import parse_record

Bits = int
Schedule = Literal["cosine", "constant", "one-cycle"]
Real = float  # TrainConfig has a field called float


def _check_act_bits(bits: int) -> int:
    if not 1 <= bits <= 8 and bits != FLOAT_BITS:
        raise ValueError(f"should be 1 to 8, or {FLOAT_BITS} for float activations")
    return bits


def _check_devices(devices: int | str) -> int | str:
    if isinstance(devices, int) and devices < 1:
        raise ValueError('should be 1 or more, or "auto"')
    return devices


FLOAT_BITS = 32
SEEDS = 2**32
"""Seeds are below it: numpy takes no larger ones."""

ActBits = Annotated[int, AfterValidator(_check_act_bits)]
Devices = Annotated[int | Literal["auto"], AfterValidator(_check_devices)]


def _check_input(text: str) -> str:
    try:
        quantizer_of(parse_input(text))
    except UserError as error:
        raise ValueError(str(error)) from error
    return text


InputText = Annotated[str, AfterValidator(_check_input)]


class DataConfig(Table):
    """The samples, the reading of their files, and the way from a pixel or a number to the network's input value."""

    name: str = "digits"
    root: str | None = None  # folder searched first
    layout: Literal["NC", "NW", "NCW", "NWC", "NHW", "NCHW", "NHWC"] | None = None  # axes of npy: arrays
    label: str = "label"  # column of csv: and parquet: that holds the classes; the others are features
    size: int | None = Field(default=None, ge=4, le=1024)  # pictures are resized to squares of so many pixels
    augment: bool | Literal["crop", "flip", "alternating"] = False  # of pictures: crop, flip; both: true, "alternating"
    validation: Real = Field(default=0.0, ge=0, lt=1)  # share of the training samples that epochs are judged by instead
    normalize: Literal["unit", "standard"] = "unit"  # p / levels, or less the mean and over the deviation, on the host
    input: InputText | None = None  # type that the host rounds this to, e.g. "int8:0.05"; no quantizer in the network


MODELS = ("cnn", "cnn1d", "tfc", "lenet300", "lenet5", "lenet5-caffe", "vgg-small", "resnet8", "resnet20")
"""Networks that come with the package; ``train/models.py`` builds them."""

BLOCKS = "blocks"
"""The network that ``[model.blocks]`` lists."""

Option = bool | int | Real | str | list[Any] | dict[str, Any]


class ModelConfig(Table):
    """The network: one of `MODELS`, "blocks" as ``blocks`` lists it, or one of the user's.

    The user's is ``package.module:NAME`` or ``FILE.py:NAME``, a function that gives a network. It is called with
    ``options``, and with ``classes`` (or ``num_classes``) and ``shape``, (C, H, W), where it takes them. ``width`` is a
    multiple of the published one.
    """

    name: str = "cnn"
    width: float = Field(default=1.0, gt=0, le=8)
    plain: bool = False  # without batch norms and biases
    options: dict[str, Option] = Field(default_factory=dict)  # of a function of one's own
    blocks: Blocks | None = None

    @property
    def own(self) -> bool:
        """Whether the network is the user's."""
        return ":" in self.name

    @property
    def label(self) -> str:
        """The name without the folder of a file."""
        return Path(self.name).name if self.own else self.name


class LayerQuant(Table):
    """Choices for one layer; None keeps the network's choice."""

    weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    act_bits: Bits | None = Field(default=None, ge=1, le=8)
    weight_granularity: Literal["tensor", "channel"] | None = None


class QilConfig(Table):
    """Learned quantization intervals."""

    gamma: Literal["fixed", "learned"] = "fixed"  # exponent of the weight transformer; fixed: 1
    gradient: Literal["lsq", "paper"] = "lsq"  # the intervals': LSQ's scale, or 0.01 times the weights'
    start: Real = Field(default=0.3, ge=0, lt=1)  # of the lower ends, in steps


class FqconvConfig(Table):
    """Gaussian noise in training, in steps of the quantizer it is added at, and what batch norms leave behind.

    ``offset`` "kept": a bias each channel, free where requantizers are thresholds; "faded": it is trained to nothing
    over the stage, so that a layer is one multiplier.
    """

    weight_noise: Real = Field(default=0.0, ge=0)
    act_noise: Real = Field(default=0.0, ge=0)
    mac_noise: Real = Field(default=0.0, ge=0)
    offset: Literal["kept", "faded"] = "kept"


class SymogConfig(Table):
    """The pull of weights towards their modes; it grows from ``strength`` by ``exp(growth)`` over the stage.

    Proximal, weights are drawn after the optimizer's step, as far over the stage whatever its length, its rate and its
    optimizer. Else a penalty is added to the loss, which "adam" undoes: its steps are as long whatever the pull.
    """

    strength: Real = Field(default=1e-2, ge=0)
    growth: Real = Field(default=7.0, ge=0, le=700)  # exp of more is no number
    proximal: bool = True


class QuantConfig(Table):
    """Bit widths and the kind of scale. ``layers`` overrides single layers by name; 32 act_bits are float."""

    method: Literal["lsq", "brevitas", "qil", "fqconv", "symog", "sgm", "niti"] = "lsq"
    weight_bits: Bits = Field(default=4, ge=1, le=8)
    act_bits: ActBits = 4
    first_weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    last_weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    residual_bits: Bits | None = Field(default=None, ge=2, le=8)  # signed operands of an add; None: act_bits + 1
    input_bits: Bits = Field(default=8, ge=2, le=8)  # only used with normalize = "standard" and no data.input
    scale: Literal["float", "pot"] = "float"
    weight_granularity: Literal["tensor", "channel"] = "tensor"
    layers: dict[str, LayerQuant] = Field(default_factory=dict)
    qil: QilConfig = QilConfig()
    fqconv: FqconvConfig = FqconvConfig()
    symog: SymogConfig = SymogConfig()


class NitiConfig(Table):
    """Integer-only training. ``mu`` is the learning rate: the largest change of a weight in an update is 2**mu."""

    variant: Literal["2020", "2021"] = "2021"  # rounding of activations and errors: pseudo-stochastic, to nearest
    mu: tuple[int, ...] = Field(default=(0,), min_length=1)
    milestones: tuple[int, ...] = ()  # epochs that the second and later values of mu begin with
    decay_bits: int | None = Field(default=None, ge=1, le=31)  # adds weight * gradient range * 2**-decay_bits; 2020: 15
    gradient_rounding: Literal["pseudo-stochastic", "stochastic", "nearest"] = "pseudo-stochastic"  # others: to compare
    fraction_bits: Literal[0, 8] = 0  # more bits of the weights that updates add up in
    bias: bool = False  # of every layer with weights, int8
    calibration_images: int = Field(default=1024, ge=1)  # that the exponents are frozen on
    check: bool = False  # assert type and range of every tensor: slow


class TrainConfig(Table):
    """The optimisation. ``pretrain_epochs`` of the ``epochs`` run in float before the quantizers are switched on."""

    epochs: int = Field(default=10, ge=1)
    pretrain_epochs: int = Field(default=0, ge=0)
    batch_size: int = Field(default=128, ge=2)
    lr: Real = Field(default=1e-3, gt=0)
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: Real = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False  # of "sgd"
    weight_decay: Real = Field(default=0.0, ge=0)
    schedule: Schedule = "cosine"  # one-cycle: up to lr on a line, then down to 0 on another
    warm_up: Real = Field(default=0.25, gt=0, lt=1)  # share of the steps that one-cycle goes up for
    label_smoothing: Real = Field(default=0.0, ge=0, lt=1)
    ema: Real = Field(default=0.0, ge=0, lt=1)  # decay of the weights' average, which is evaluated and kept; 0: none
    whiten: bool = False  # the first convolution begins as the directions in which patches of the images vary most
    evaluate_every: int = Field(default=1, ge=1)  # epochs; the last one is always evaluated
    start_from: str | None = None  # folder of a finished run of the same network whose weights are the first
    teacher: str | None = None  # folder of a finished run whose outputs are learned besides the labels
    teacher_weight: Real = Field(default=0.5, ge=0, le=1)  # share of the teacher in the loss
    temperature: Real = Field(default=4.0, gt=0)  # of both softmaxes
    seed: int = Field(default=0, ge=0, lt=SEEDS)
    float: bool = False  # the same network without quantizers
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    devices: Devices = 1
    threads: int = Field(default=0, ge=0)  # CPU threads; 0 keeps PyTorch's choice
    precision: Literal["float32", "bfloat16"] = "float32"  # of the layers' products while training


class StageConfig(PruningStage):
    """One part of a run; a run's parts follow each other, each on the network that the one before has left.

    A key that is None has the value of ``[train]`` or ``[quant]``; the learning rate's schedule runs over the stage. A
    table such as ``[stage.magnitude]`` adds a method.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    epochs: int = Field(ge=1)
    quantized: bool = True  # False: the quantizers are off
    weight_bits: Bits | None = Field(default=None, ge=1, le=8)
    act_bits: ActBits | None = None
    freeze_weights: bool = False  # only the quantizers learn
    remove_batch_norm: bool = False  # fold them into the weights first; quant.method = "fqconv" only
    data: str | None = None  # images of another data set, learned from the teacher alone
    lr: Real | None = Field(default=None, gt=0)
    optimizer: Literal["adam", "sgd"] | None = None
    momentum: Real | None = Field(default=None, ge=0, lt=1)
    weight_decay: Real | None = Field(default=None, ge=0)
    schedule: Schedule | None = None


class RunConfig(Table):
    """A whole run file; without a ``[[stage]]`` the run is one stage, as ``[train]`` says."""

    name: str
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    quant: QuantConfig = QuantConfig()
    niti: NitiConfig = NitiConfig()
    train: TrainConfig = TrainConfig()
    stage: tuple[StageConfig, ...] = ()


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
    where, table = str(path), overridden(read_toml(path, "run"), overrides)
    if overrides:
        where += " with --set " + " ".join(overrides)
    table.setdefault("name", path.stem)
    return parse_config(table, where=where, base=path.parent)


def parse_config(table: Mapping[str, Any], *, where: str, base: Path | None = None) -> RunConfig:
    """Check a table against the models.

    Args:
        table: the run file's.
        where: named in an error.
        base: the folder that ``model.name = "FILE.py:NAME"`` is relative to; the working directory by default.

    Raises:
        UserError: unknown key or bad value; the first one found.
    """
    config = _check_model(parse_record(RunConfig, table, where=where), where, base or Path())
    if config.stage:
        _check_stages(config, where)
    else:
        demand_quantized_epoch(config.train, where)
    if config.quant.method == "niti" and not config.train.float:
        _check_niti(config, where)
    return config


def demand_quantized_epoch(train: TrainConfig, where: str) -> None:
    """Raise UserError where all ``epochs`` of a run that is to be quantized are in float."""
    if train.pretrain_epochs >= train.epochs and not train.float:
        what = f"train.pretrain_epochs = {train.pretrain_epochs} leaves no quantized epoch"
        raise UserError(f"{what} of train.epochs = {train.epochs}", where=where)


def _check_model(config: RunConfig, where: str, base: Path) -> RunConfig:
    """A known network, or one of the user's with the whole path of its file."""
    model = config.model
    if (model.name == BLOCKS) != (model.blocks is not None):
        raise UserError(
            f"model.name = '{model.name}' with {'a' if model.blocks else 'no'} [model.blocks]",
            where=where,
            hint='they belong together: name = "blocks"',
        )
    if model.blocks is not None and model.width != 1.0:
        raise UserError("model.width with [model.blocks]", where=where, hint="write the channels themselves")
    if not model.own:
        if model.options:
            raise UserError("model.options belong to networks of one's own", where=where, hint="FILE.py:NAME is one")
        if model.name not in (*MODELS, BLOCKS):
            wrong = unknown_name("model", model.name, (*MODELS, BLOCKS))
            raise UserError(wrong.what, hint=f"{wrong.hint} (a network of your own: FILE.py:NAME)")
        return config
    for key, default in (("width", 1.0), ("plain", False)):
        if getattr(model, key) != default:
            hint = f"set model.options.{key}, an argument of '{model.name}'"
            raise UserError(f"model.{key} belongs to the networks of the package", where=where, hint=hint)
    file, _, name = model.name.rpartition(":")
    if not file or not name:
        raise UserError(f"model.name = '{model.name}'", where=where, hint="write FILE.py:NAME or package.module:NAME")
    if not file.endswith(".py"):
        return config
    path = (base / file).resolve()
    if not path.is_file():
        raise UserError(f"no such file: {path}", where=where, hint="model.name is relative to the run file")
    return config.model_copy(update={"model": model.model_copy(update={"name": f"{path}:{name}"})})


def _check_stages(config: RunConfig, where: str) -> None:
    """A run of stages has names that differ, no float phase of its own, and ends with its quantizers on."""
    names = [stage.name for stage in config.stage]
    if len(set(names)) < len(names):
        raise UserError(f"two stages have one name: {', '.join(names)}", where=where)
    if config.train.pretrain_epochs:
        raise UserError(
            "train.pretrain_epochs does not go with [[stage]]", where=where, hint="make it a stage, quantized = false"
        )
    if not config.train.float and not config.stage[-1].quantized:
        raise UserError(f"the last stage '{names[-1]}' is not quantized", where=where, hint="or set train.float = true")
    for kind in ("weight_bits", "act_bits"):
        _check_falling(config, kind, where)
    for index, stage in enumerate(config.stage):
        quantized = stage.quantized and not config.train.float
        if stage.remove_batch_norm and (config.quant.method != "fqconv" or not quantized):
            raise UserError(
                f"stage '{stage.name}' removes batch norms, which only quantized stages of fqconv do", where=where
            )
        if stage.freeze_weights and not quantized:
            what = f"stage '{stage.name}' freezes the weights while the quantizers are off: nothing is left to learn"
            raise UserError(what, where=where)
        _check_pruning(config, index, where)
        if stage.remove_batch_norm and not index and config.train.start_from is None:
            raise UserError(f"stage '{stage.name}' has no trained batch norms to remove", where=where)
        if stage.data is not None and config.train.teacher is None:
            raise UserError(
                f"stage '{stage.name}' trains on '{stage.data}', whose labels mean nothing to this network",
                where=where,
                hint="give a train.teacher to learn from",
            )


def _check_pruning(config: RunConfig, index: int, where: str) -> None:
    """A stage prunes by something that is there and learns."""
    stage = config.stage[index]
    given = [name for name in PruningStage.model_fields if getattr(stage, name) is not None]
    for name in set(given) & set(LEARNING) if stage.freeze_weights else ():
        what = f"stage '{stage.name}' freezes the weights, and {name} goes by what is learned with them"
        raise UserError(what, where=where, hint="give it a stage of its own")
    for bare in (other for other in config.stage[: index + 1] if other.remove_batch_norm):
        for name in set(given) & set(BY_NORMS):
            what = f"stage '{stage.name}' prunes with {name} by the batch norms that stage '{bare.name}' removes"
            raise UserError(what, where=where, hint="prune before, or with magnitude, transport or qcqp")


def _check_falling(config: RunConfig, kind: str, where: str) -> None:
    """Bits of a chain stay or fall, since a stage begins with the range the one before has learned."""
    last = FLOAT_BITS
    for stage in config.stage:
        bits = (getattr(stage, kind) or getattr(config.quant, kind)) if stage.quantized else FLOAT_BITS
        if bits > last:
            what = f"{bits} {kind}" if stage.quantized else "float"
            raise UserError(f"stage '{stage.name}' rises from {last} to {what}: bits may only fall", where=where)
        last = bits


def _check_niti(config: RunConfig, where: str) -> None:
    """Settings that integer-only training cannot follow are refused rather than ignored."""
    if config.model.own:
        raise UserError(f'quant.method = "niti" trains the networks of the package: {", ".join(MODELS)}', where=where)
    if config.stage:
        raise UserError('[[stage]] does not fit quant.method = "niti"', where=where, hint="use niti.milestones")
    niti = config.niti
    if len(niti.mu) != len(niti.milestones) + 1 or list(niti.milestones) != sorted(set(niti.milestones)):
        what = f"niti.mu = {list(niti.mu)} and niti.milestones = {list(niti.milestones)} do not fit"
        raise UserError(what, where=where, hint="give one mu more than milestones, which rise")
    needed: dict[str, tuple[object, object]] = {
        "quant.weight_bits": (config.quant.weight_bits, 8),
        "quant.act_bits": (config.quant.act_bits, 8),
        "train.pretrain_epochs": (config.train.pretrain_epochs, 0),
        "train.devices": (config.train.devices, 1),
        "train.precision": (config.train.precision, "float32"),
        "model.plain": (config.model.plain, True),
        "train.ema": (config.train.ema, 0.0),
        "train.whiten": (config.train.whiten, False),
        "train.start_from": (config.train.start_from, None),
        "train.teacher": (config.train.teacher, None),
    }
    if config.data.input is not None:
        raise UserError('data.input does not fit quant.method = "niti"', where=where, hint="it has a format of its own")
    for key, (given, value) in needed.items():
        if given != value:
            hint = "leave it out" if value is None else f"set {key} = {json.dumps(value)}"
            raise UserError(f'{key} = {json.dumps(given)} does not fit quant.method = "niti"', where=where, hint=hint)


def dump_toml(config: RunConfig) -> str:
    """The resolved run file: every value that is set, defaults included; reads back to an equal config."""
    return to_toml(config.model_dump(exclude_none=True))
