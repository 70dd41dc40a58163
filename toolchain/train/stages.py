"""A run as a chain of stages.

Each stage builds the network anew with its own bits, goes on from the state that the one before has left, trains it
with its methods, and leaves it as it would be deployed.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from toolchain import files
from toolchain.config.run import SEEDS, RunConfig
from toolchain.errors import UserError
from toolchain.train.budgets import Size
from toolchain.train.chain import Stage, stages
from toolchain.train.checkpoints import WholeCheckpoints, last_checkpoint, read_whole, same_network, state_bytes
from toolchain.train.data import Dataset, input_map, load_for
from toolchain.train.distill import Teacher
from toolchain.train.ema import WeightAverage
from toolchain.train.frozen import freeze_weights, learned_by_quantizers
from toolchain.train.inputs import InputMap
from toolchain.train.lines import EpochLines
from toolchain.train.methods import stage_methods
from toolchain.train.methods.base import Adopting, Context
from toolchain.train.models import build, layers_of
from toolchain.train.module import Classifier, set_memory_format, set_quantized
from toolchain.train.shrink import normalized_layers
from toolchain.train.structure import Edit, apply_edits, from_json, to_json
from toolchain.train.whiten import first_layer, whiten

_WHITENED, _WHITENED_SEED = 2000, 0  # images, and the seed of their draw
_LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@dataclass(frozen=True)
class Trained:
    """A network as a stage leaves it.

    Args:
        model: in eval mode, on the CPU.
        edits: how it differs from the network that its run file describes.
        float_top1: accuracy of the float network before any method changed it; None when it was not measured.
        top1: accuracy on the test images.
        seconds: wall-clock time of all stages so far.
        history: of each stage so far its ``name``, ``epochs``, ``top1``, ``trained_top1``, the accuracy before its
            methods' last changes, what they have ``observed`` after its last epoch, and the ``device``.
        plain: the network has no quantizers, not even ones that are off.
    """

    model: nn.Module
    edits: list[Edit]
    float_top1: float | None
    top1: float
    seconds: float
    history: list[dict[str, Any]]
    plain: bool = False


@dataclass(frozen=True)
class Given:
    """Inputs that a run takes from other runs.

    Args:
        start: the float network whose weights are the first; None for random ones.
        teacher: the network to learn from.
        data: the data sets of stages that have their own, by name, as far as they are loaded.
    """

    start: Trained | None = None
    teacher: Teacher | None = None
    data: Mapping[str, Dataset] = field(default_factory=dict)


def foresee(config: RunConfig, data: Dataset, out: Path, start: Trained | None) -> dict[str, Dataset]:
    """Ask all stages, and their methods, whether they can do what they are asked, before any of them trains.

    What the budgets of the stages before leave is known as bounds only; a later budget that is missed by the rest is
    refused when its stage begins.

    Returns:
        the data sets of stages that have their own, by name.

    Raises:
        UserError: one cannot, or ``start`` is another network.
    """
    others: dict[str, Dataset] = {}
    left: Size | None = None
    known = True  # whether a bound can be told
    for stage in stages(config):
        with _of_stage(stage):
            model = build(stage.config, data.shape, data.classes)
        if start is not None:
            _go_on_from(start, model, stage.config)
        if stage.own is None:
            return others
        images = _images(stage, data, others)
        if stage.own.data is not None:
            others[stage.own.data] = images
        if stage.own.freeze_weights:
            learned_by_quantizers(model, stage)
        with _of_stage(stage):
            if stage.own.remove_batch_norm:
                normalized_layers(model, data.shape)
            context = Context(stage.config, data, None, layers_of(stage.config), out, stage.own)
            for method in stage_methods(stage.own) if known else []:
                left = method.foresee(model, context, left or Size.of_model(model, data.shape))
                known = left is not None
    return others


@contextmanager
def _of_stage(stage: Stage) -> Iterator[None]:
    """Name the stage in a UserError of the block."""
    try:
        yield
    except UserError as error:
        where = ", ".join(filter(None, (f"stage '{stage.name}'", error.where)))
        raise UserError(error.what, where=where, hint=error.hint) from error


def run_stages(
    config: RunConfig,
    data: Dataset,
    out: Path,
    given: Given = Given(),
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Train a run's stages one after the other; those that ``out`` holds finished are not run again on ``resume``.

    Raises:
        UserError: the loss is not finite, or a method cannot do what it is asked.
        KeyboardInterrupt: the user stopped it.
    """
    chain, done = stages(config), given.start
    ended = _ended(chain, data, out) if resume else None
    if ended is not None:
        chain, done = chain[len(ended.history) :], ended
    for stage in chain:
        done = _run(stage, done, data, out, given, resume, callbacks)
        if is_first_process():
            _save(done, _finished(out, stage))
    assert done is not None
    return done


def _ended(chain: Sequence[Stage], data: Dataset, out: Path) -> Trained | None:
    """The network behind the last stage that has ended with all its epochs; the last one of a run may get more."""
    for stage in reversed(chain):
        if _finished(out, stage).is_file():
            found = _load(_finished(out, stage), stage, data)
            if found.history[-1]["epochs"] >= stage.config.train.epochs:
                return found
    return None


def rebuilt(config: RunConfig, data: Dataset, edits: Sequence[Edit], state: dict[str, torch.Tensor]) -> nn.Module:
    """The network that ``config`` describes, with ``edits`` replayed and ``state`` in it, in eval mode."""
    model = build(config, data.shape, data.classes)
    apply_edits(model, edits, layers_of(config))
    with same_network():
        model.load_state_dict(state)
    return model.eval()


def device_name(device: torch.device) -> str:
    """The model of a GPU, else the kind of ``device``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def is_first_process() -> bool:
    """Return whether this process, of those that train together, writes the files."""
    return int(rank_zero_only.rank) == 0  # type: ignore[attr-defined] # set by Lightning


def _run(
    stage: Stage,
    before: Trained | None,
    data: Dataset,
    out: Path,
    given: Given,
    resume: bool,
    callbacks: Sequence[Callback],
) -> Trained:
    config, images = stage.config, _images(stage, data, given.data)
    pixels = input_map(data, config.data.normalize, config.data.input)
    L.seed_everything((config.train.seed + stage.index) % SEEDS, verbose=False)
    model = build(config, data.shape, data.classes)
    if before is not None:
        _go_on_from(before, model, config)
    elif config.train.whiten:
        _whiten(model, data, pixels)
    float_top1 = before.float_top1 if before else None
    with quiet_lightning():
        trainer = trainer_of(stage, out, callbacks)
    methods, make = stage.methods(), layers_of(config)
    context = Context(config, images, float_top1, make, out, stage.own, trainer.world_size)
    edits = [edit for method in methods for edit in method.restructure(model, context)]
    for method in methods:
        method.prepare(model, context)
    if stage.own and stage.own.freeze_weights:
        freeze_weights(model, stage)
    module = Classifier(
        model.train(), images, config, methods, pixels=pixels, teacher=given.teacher, labelled=images is data,
        first_epoch=stage.first_epoch, seconds=before.seconds if before else 0.0,
    )  # fmt: skip
    with quiet_lightning():
        fit(trainer, module, stage, out, resume)
        if stage.pristine and module.float_top1 is not None:
            float_top1 = module.float_top1
        trained_top1 = module.top1 if data.held is None else module.test_top1()
        edits += [edit for method in reversed(methods) for edit in method.finalize(model)]
        set_quantized(model, stage.quantized)
        if stage.quantized and any(method.moves_weights for method in methods):
            module.renew_batch_norms(trainer.strategy.root_device)
        trainer.validate(module, verbose=False)
    set_memory_format(model.cpu().eval(), torch.contiguous_format)
    own = {
        "name": stage.name, "epochs": config.train.epochs, "trained_top1": trained_top1, "top1": module.top1,
        "observed": module.observed, "device": device_name(trainer.strategy.root_device),
    }  # fmt: skip
    history = [*(before.history if before else []), own]
    return Trained(model, (before.edits if before else []) + edits, float_top1, module.top1, module.seconds, history)


def fit(trainer: L.Trainer, module: L.LightningModule, stage: Stage, out: Path, resume: bool) -> None:
    """Train ``module`` for the epochs of ``stage``, from its last checkpoint on ``resume``.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    try:
        with same_network():
            trainer.fit(module, ckpt_path=last_checkpoint(_checkpoints(out, stage)) if resume else None)
    except SystemExit:  # how Lightning ends after an interrupt
        raise KeyboardInterrupt from None
    if trainer.interrupted:
        raise KeyboardInterrupt


def _images(stage: Stage, data: Dataset, known: Mapping[str, Dataset]) -> Dataset:
    """The run's data, or with the training images of the stage's own, whose labels are of no use.

    Args:
        stage, data: the stage, and the run's data.
        known: what this function has returned for other stages, by the name of their data.
    """
    if stage.own is None or stage.own.data is None:
        return data
    if stage.own.data in known:
        return known[stage.own.data]
    changed = {"name": stage.own.data, "validation": 0.0}  # nothing is judged by the others' images
    same = stage.own.data == stage.config.data.name
    other = data if same else load_for(stage.config.data.model_copy(update=changed), data.reading.features)
    if (other.shape, other.pixel_levels) != (data.shape, data.pixel_levels):
        raise UserError(
            f"stage '{stage.name}' trains on '{other.name}', images of {other.shape} with {other.pixel_levels} levels; "
            f"'{data.name}' has {data.shape} with {data.pixel_levels}"
        )
    return replace(data, train_x=other.train_x, train_y=other.train_y)


def _whiten(model: nn.Module, data: Dataset, pixels: InputMap) -> None:
    """Begin with whitened directions in the first layer, in place, of images of all classes, the same in every run."""
    some = np.random.RandomState(_WHITENED_SEED).permutation(len(data.train_x))[:_WHITENED]
    set_quantized(model, False)  # that of the input has no step yet
    first, read = first_layer(model, torch.from_numpy(pixels.apply(data.train_x[some])))
    set_quantized(model, True)
    whiten(first, read)


def _go_on_from(before: Trained, model: nn.Module, config: RunConfig) -> None:
    """Give a new network the structure and state of the one before, in place; quantizers that it lacks stay as made."""
    apply_edits(model, before.edits, layers_of(config))
    if before.plain:
        _start_from(before.model.state_dict(), model)
        return
    model.load_state_dict({**model.state_dict(), **before.model.state_dict()})
    known = dict(before.model.named_modules())
    for name, layer in model.named_modules():
        if isinstance(layer, Adopting) and name in known:
            layer.adopt(known[name])


def _start_from(weights: dict[str, torch.Tensor], model: nn.Module) -> None:
    """Load what a network without quantizers has into one with quantizers, which stay as they are made.

    Masks go in their order: behind a transformer of the weights they have other numbers.
    """
    own = model.state_dict()
    shadows = {
        name: name if name in weights else name.replace(".parametrizations.weight.original", ".weight") for name in own
    }
    masks = ([name for name in state if name.endswith(".mask")] for state in (own, weights))
    shadows |= dict(zip(*masks, strict=False))
    known = {name: weights[plain] for name, plain in shadows.items() if plain in weights}
    other = sorted(weights.keys() - {shadows[name] for name in known})
    other += [plain for name, plain in shadows.items() if name in known and own[name].shape != weights[plain].shape]
    if other:
        raise UserError(f"train.start_from is another network: it has a '{other[0]}' that this one cannot take")
    model.load_state_dict({**own, **known})


def trainer_of(stage: Stage, out: Path, callbacks: Sequence[Callback]) -> L.Trainer:
    """What trains a stage, with its devices, logs and checkpoints."""
    train, logs = stage.config.train, out / "logs"
    version = f"part_{sum(1 for _ in logs.glob('part_*'))}"  # one part a stage and a resume, so that no log is lost
    folder = _checkpoints(out, stage)
    checkpoints = ModelCheckpoint(
        dirpath=folder,
        filename="epoch-{epoch}",
        auto_insert_metric_name=False,
        save_on_train_epoch_end=True,  # else no epoch that is not evaluated
    )
    average = [WeightAverage(train.ema)] if train.ema else []
    lines = [] if sys.stderr.isatty() else [EpochLines(stage.name, sys.stderr)]
    devices: Any = train.devices
    return L.Trainer(
        max_epochs=train.epochs,
        accelerator=train.accelerator,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp_find_unused_parameters_true",  # no step is used in the float phase
        logger=[CSVLogger(logs, name="", version=version), TensorBoardLogger(logs, name="", version=version)],
        callbacks=[*average, checkpoints, *lines, *callbacks],
        plugins=[WholeCheckpoints()],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic="warn",  # pools of users' own networks have no such gradient on a GPU
    )


def _checkpoints(out: Path, stage: Stage) -> Path:
    return out / "checkpoints" / stage.name


def _finished(out: Path, stage: Stage) -> Path:
    return _checkpoints(out, stage) / "finished.pt"


def _save(done: Trained, path: Path) -> None:
    saved = {key: getattr(done, key) for key in ("float_top1", "top1", "seconds", "history")}
    state = {**saved, "edits": to_json(done.edits), "state_dict": done.model.state_dict()}
    files.write_bytes(path, state_bytes(state))


def _load(path: Path, stage: Stage, data: Dataset) -> Trained:
    try:
        saved = read_whole(path)
    except ValueError as error:
        raise UserError(f"{path} is damaged", hint="remove it: the end of the stage is made again") from error
    edits = from_json(saved.pop("edits"))
    model = rebuilt(stage.config, data, edits, saved.pop("state_dict"))
    set_quantized(model, stage.quantized)
    return Trained(model, edits, **saved)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning's advice to itself; its errors pass."""
    before = {name: logging.getLogger(name).level for name in _LIGHTNING_LOGGERS}
    for name in before:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning.*")
            warnings.filterwarnings("ignore", module="torch.*")
            yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)
