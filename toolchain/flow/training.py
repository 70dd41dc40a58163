"""A training run from a config to a folder: checkpoints, resume, the proven QONNX file and the metrics."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.accelerators import Accelerator, CPUAccelerator, CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from toolchain import __version__, files
from toolchain.config.pruning import PruningStage
from toolchain.config.run import RunConfig, TrainConfig, dump_toml, load_config
from toolchain.config.unused import without_effect
from toolchain.errors import UserError
from toolchain.export.gate import predict
from toolchain.export.qonnx import export_qonnx, input_metadata, to_qonnx
from toolchain.flow.coverage import check
from toolchain.flow.images import drawn
from toolchain.flow.integer_training import train_integer
from toolchain.flow.resume import demand_resumable, is_finished, resumable
from toolchain.flow.runs import demand_run, demand_written
from toolchain.locks import locked
from toolchain.train import data_record
from toolchain.train.chain import stages, untuned
from toolchain.train.checkpoints import state_bytes
from toolchain.train.data import Dataset, demand_same, input_map, load_for
from toolchain.train.distill import Teacher, check_teacher
from toolchain.train.inputs import map_record
from toolchain.train.models import build
from toolchain.train.niti.network import build_integer
from toolchain.train.own.network import bits_in_use, brings_quantizers, not_prunable
from toolchain.train.own.record import demand_unchanged
from toolchain.train.own.source import find_own, record
from toolchain.train.runs import METRICS_FILE, load_run, read_run, saved_metrics, write_metrics
from toolchain.train.stages import Given, Trained, foresee, is_first_process, run_stages
from toolchain.train.statistics import macs, parameters, weight_sparsity
from toolchain.train.structure import to_json

log = logging.getLogger(__name__)

GATE_IMAGES = 64  # real images file and model are compared on, quantizer by quantizer
QONNX_IMAGES = 1000  # test images the reference executor's accuracy is measured on
_ACCELERATORS: dict[str, list[type[Accelerator]]] = {
    "cpu": [CPUAccelerator],
    "cuda": [CUDAAccelerator],
    "mps": [MPSAccelerator],
    "gpu": [CUDAAccelerator, MPSAccelerator],
}


def train(
    config: RunConfig,
    out: Path,
    resume: bool = False,
    *,
    overwrite: bool = False,
    data: Dataset | None = None,
    callbacks: Sequence[Callback] = (),
    qonnx_images: int = QONNX_IMAGES,
) -> Path:
    """Train a network and write ``out``: model.onnx, model.pt, metrics.json, run.toml, logs/ and checkpoints/.

    A run killed in any epoch and resumed ends with the weights of an uninterrupted run, bit for bit on one CPU device.

    Args:
        config: the run file.
        out: the run's folder.
        resume: go on from the last checkpoint in ``out``; a run without one starts over, and one that has finished is
            left as it is, or exported again where one of its files is missing.
        overwrite: remove an earlier run in ``out`` first.
        data: the data set of the run file, where it is loaded already.
        callbacks: more Lightning callbacks.
        qonnx_images: test images the reference executor's accuracy is measured on.

    Returns:
        ``out``.

    Raises:
        UserError: ``out`` holds another run, another process trains there, this computer lacks what the run file asks
            for, or the loss is not finite.
        KeyboardInterrupt: the user stopped it; says how to go on.
        VerificationError: the exported file does not compute what the model computes.
    """
    if resume and overwrite:
        raise UserError("--resume with --overwrite", hint="go on with the earlier run, or remove it")
    if out.is_file():
        raise UserError(f"{out} is a file", hint="give a folder with --out")
    check_computer(config.train)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    data = data or load_for(config.data)
    if config.data.augment and len(data.shape) != 3:
        raise UserError(f"data.augment moves pictures, and the samples are {data.shape}", hint="leave it out")
    if data.real and not config.model.own and config.data.normalize == "unit" and config.data.input is None:
        raise UserError(
            f"data set '{data.name}' holds numbers, and nothing says how the network reads them",
            hint='add to [data]: normalize = "standard" (less mean, over deviation), or input = "int8:0.05"',
        )
    integer_only = config.quant.method == "niti" and not config.train.float
    # what is wrong with the network is said before anything is written
    network = (build_integer if integer_only else build)(config, data.shape, data.classes)
    if config.model.own and data.names:
        _demand_named_outputs(network, data, config.model.label)
    start, teacher = _start(config, data), teacher_of(config, data)
    given = Given(start, teacher, {} if integer_only else foresee(config, data, out, start))
    not_built = "" if resume else _not_built(network, data, config)
    first = int(os.environ.get("LOCAL_RANK", "0")) == 0  # the others of a distributed run start after the first
    with locked(out, "train", wait=0) if first else nullcontext(), resumable(out):
        if first:
            _prepare_folder(config, data, out, resume, overwrite)
        if resume and is_finished(config, out):
            log.info("the run in %s has finished", out)
            return out
        told = [without_effect(config), *untuned(config), not_prunable(network), not_built] if first else []
        for line in filter(None, told):
            log.warning("%s", line)
        if integer_only:
            train_integer(config, data, out, resume=resume, callbacks=callbacks)
            return out
        done = run_stages(config, data, out, given, resume=resume, callbacks=callbacks)
        if is_first_process():
            _write_results(done, data, config, out, qonnx_images)
    return out


def check_computer(train: TrainConfig) -> None:
    """Raise UserError where this computer lacks the processors or the accelerator that ``train`` asks for."""
    processors = os.cpu_count() or 1
    if train.threads > processors:
        raise UserError(f"train.threads = {train.threads} on {processors} processors", hint="0 keeps PyTorch's choice")
    wanted = train.accelerator
    if wanted != "auto" and not any(kind.is_available() for kind in _ACCELERATORS[wanted]):
        raise UserError(f'train.accelerator = "{wanted}": this computer has none', hint='"auto" takes what is there')


def _demand_named_outputs(network: torch.nn.Module, data: Dataset, name: str) -> None:
    """Demand that each output is a class that ``data`` names: the names go into the file, and the driver tells them."""
    with torch.no_grad():
        outputs = network.eval()(torch.zeros(1, *data.shape)).shape[1]
    if outputs != len(data.names):
        raise UserError(
            f"{name} has {outputs} outputs, and data set '{data.name}' names {len(data.names)} classes",
            hint="let it take the argument classes, or set it in [model.options]",
        )


def _start(config: RunConfig, data: Dataset) -> Trained | None:
    """The network of ``train.start_from``."""
    if config.train.start_from is None:
        return None
    folder = Path(config.train.start_from)
    model, edits, other, learned = read_run(folder)
    if not other.train.float:
        raise UserError(f"train.start_from {folder} is quantized", hint="give a run with train.float = true")
    for name in ("normalize", "input"):
        theirs, ours = (getattr(table.data, name) or "none" for table in (other, config))
        if theirs != ours:
            raise UserError(
                f"train.start_from {folder} has data.{name} = {theirs}, this run {ours}",
                hint="the inputs of both are to be the same",
            )
    where = f"train.start_from {folder}"
    demand_same("the start's columns", learned.reading.features, data.reading.features, data.name, where)
    top1 = saved_metrics(folder)["top1"]
    return Trained(model, edits, top1, top1, 0.0, [], plain=True)


def teacher_of(config: RunConfig, data: Dataset) -> Teacher | None:
    """The network of ``train.teacher``, if there is one.

    Raises:
        UserError: the folder holds no run that ended, or one that does not know ``data``.
    """
    train = config.train
    if train.teacher is None:
        return None
    model, other, taught = load_run(Path(train.teacher))
    check_teacher(config, data, other, taught)
    return Teacher(model, train.teacher_weight, train.temperature)


def _prepare_folder(config: RunConfig, data: Dataset, out: Path, resume: bool, overwrite: bool) -> None:
    """Make the folder and write the resolved run file; refuses to mix two runs."""
    files.remove_leftovers(out)
    run_file = out / "run.toml"
    taken = {"start_from": config.train.start_from, "teacher": config.train.teacher}
    others = {key: files.digest_file(Path(run) / "model.pt") for key, run in taken.items() if run is not None}
    replaced = True
    if overwrite and out.exists():
        demand_run(out)
        files.empty(out)
    elif resume and run_file.is_file():
        before = load_config(run_file)
        demand_resumable(before, config, out)
        data_record.demand_unchanged(data, others, out)
        replaced = before != config
        if replaced:
            demand_written(out)
    elif out.exists() and any(out.iterdir()):
        if resume:
            what = f"{out} holds no run.toml, which tells what run it is of"
            raise UserError(what, hint="use --overwrite or another --out")
        raise UserError(f"the run folder {out} is not empty", hint="use --resume, --overwrite or another --out")
    if config.model.own:
        demand_unchanged(out)
    if replaced:
        files.write_text(run_file, dump_toml(config))  # first: without it no resume goes on
    if config.model.own:
        record(find_own(config.model.name), config.model.options).write(out)
    data_record.note(data, others, out)


def _write_results(done: Trained, data: Dataset, config: RunConfig, out: Path, qonnx_images: int) -> None:
    """Export through the gate, then write the model and the metrics."""
    model, last = done.model, stages(config)[-1].config
    (out / METRICS_FILE).unlink(missing_ok=True)  # of fewer epochs: a kill leaves none beside files of more
    qonnx_top1 = None if config.train.float else _export(model, data, config, out, qonnx_images)
    saved = {"config": config.model_dump_json(), "edits": to_json(done.edits), "state_dict": model.state_dict()}
    pixels = input_map(data, config.data.normalize, config.data.input)
    files.write_bytes(out / "model.pt", state_bytes(saved | {"input": json.dumps(map_record(pixels))}))
    weight_bits, act_bits = (32, 32) if config.train.float else (last.quant.weight_bits, last.quant.act_bits)
    methods = methods_of(config)
    if brings_quantizers(config, data.shape, data.classes):
        weight_bits, act_bits = bits_in_use(model)
        methods[0] = "own"
    metrics = {
        "data": config.data.name,
        "model": config.model.label,
        "methods": methods,
        "float_top1": done.float_top1,
        "top1": done.top1,
        "qonnx_top1": qonnx_top1,
        "test_images": len(data.test_x),
        "qonnx_images": min(qonnx_images, len(data.test_x)),
        "params": parameters(model),
        "macs": macs(model, data.shape),
        "weight_bits": weight_bits,
        "act_bits": act_bits,
        "weight_sparsity": weight_sparsity(model),
        "epochs": sum(stage["epochs"] for stage in done.history),
        "seconds": round(done.seconds, 1),
        "stages": done.history,
        "warnings": untuned(config),
    }
    write_metrics(metrics, out)


def methods_of(config: RunConfig) -> list[str]:
    """Names of the methods of a run: the quantizer's, then those of its stages."""
    tables = [name for stage in config.stage for name in PruningStage.model_fields if getattr(stage, name) is not None]
    return [*([] if config.train.float else [config.quant.method]), *tables]


def _as_read(
    data: Dataset, config: RunConfig, images: NDArray[np.generic]
) -> tuple[NDArray[np.float32], dict[str, str]]:
    """``images`` as the network reads them, and the metadata of its file."""
    pixels = input_map(data, config.data.normalize, config.data.input)
    metadata = {"fpgaflow.version": __version__}
    return pixels.apply(images), metadata | input_metadata(pixels, config.data.name, data.names, data.reading)


def _not_built(network: torch.nn.Module, data: Dataset, config: RunConfig) -> str:
    """The line that tells what no accelerator has of a network whose layers cannot be followed; empty where it has all.

    Raises:
        UserError: it cannot be written as QONNX, which would end the training without a file.
    """
    if not not_prunable(network):
        return ""
    x, metadata = _as_read(data, config, data.test_x[:1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        to_qonnx(network.eval(), torch.from_numpy(x), metadata).save(str(path))
        found = check(path)
    network.train()
    if found.supported or found.first is None:
        return ""
    return f"the network can be trained, not built: {found.first.reason} [{found.first.name}]"


def _export(model: torch.nn.Module, data: Dataset, config: RunConfig, out: Path, images: int) -> float:
    """Write model.onnx; returns the reference executor's accuracy on ``images`` drawn from the test images."""
    some = drawn(len(data.test_x), images, data.test_y)
    x, metadata = _as_read(data, config, data.test_x[some])
    path = out / "model.onnx"
    report = export_qonnx(model, torch.from_numpy(x[:GATE_IMAGES]), path, metadata)
    log.info("%s equals the model on %d images; %d codes on a tie", path, report.images, report.flips)
    chosen = predict(path, x).argmax(1)
    return float(np.mean(chosen == data.test_y[some]))
