"""A training run from a config to a folder: checkpoints, resume, the proven QONNX file and the metrics."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from toolchain import __version__, files
from toolchain.config import RunConfig, dump_toml
from toolchain.errors import UserError
from toolchain.export.gate import predict
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.train.data import Dataset, load, pixel_map
from toolchain.train.models import build
from toolchain.train.module import Classifier, set_memory_format, set_quantized
from toolchain.train.statistics import macs, parameters, weight_sparsity

log = logging.getLogger(__name__)

GATE_IMAGES = 64  # real images file and model are compared on, quantizer by quantizer
QONNX_IMAGES = 1000  # test images the reference executor's accuracy is measured on
_LIGHTNING_LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


def train(
    config: RunConfig, out: Path, resume: bool = False, *, overwrite: bool = False, callbacks: Sequence[Callback] = ()
) -> Path:
    """Train a network and write ``out``: model.onnx, model.pt, metrics.json, run.toml, logs/ and checkpoints/.

    A run killed in any epoch and resumed ends with the weights of an uninterrupted run, bit for bit on one CPU device.

    Args:
        config: the run file.
        out: the run's folder.
        resume: go on from the last checkpoint in ``out``; a run without one starts over, and one that has finished is
            exported again.
        overwrite: remove what is in ``out`` first.
        callbacks: more Lightning callbacks.

    Returns:
        ``out``.

    Raises:
        UserError: ``out`` holds another run, or the loss is not finite.
        VerificationError: the exported file does not compute what the model computes.
    """
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    data = load(config.data.name, root=Path(config.data.root) if config.data.root else None)
    L.seed_everything(config.train.seed, verbose=False)
    module = Classifier(build(config, data.shape, data.classes), data, config)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:  # the other processes of a distributed run start after the first
        _prepare_folder(config, out, resume, overwrite)
    with _quiet_lightning():
        trainer = _trainer(config, out, callbacks)
        trainer.fit(module, ckpt_path=_last_checkpoint(out) if resume else None)
    if trainer.interrupted:
        raise KeyboardInterrupt
    if trainer.is_global_zero:
        _write_results(module.cpu(), data, config, out)
    return out


def load_run(out: Path) -> tuple[torch.nn.Module, RunConfig, Dataset]:
    """The trained network of a run's folder in eval mode, its config and its data.

    Raises:
        UserError: no model.pt, or one that does not fit its config.
    """
    path = out / "model.pt"
    if not path.is_file():
        raise UserError(f"no trained model at {path}", hint="the run has not finished; resume it")
    saved = torch.load(path, weights_only=True)
    config = RunConfig.model_validate(json.loads(saved["config"]))
    data = load(config.data.name, root=Path(config.data.root) if config.data.root else None)
    model = build(config, data.shape, data.classes)
    model.load_state_dict(saved["state_dict"])
    return model.eval(), config, data


def _prepare_folder(config: RunConfig, out: Path, resume: bool, overwrite: bool) -> None:
    """Make the folder and write the resolved run file; refuses to mix two runs."""
    run_file = out / "run.toml"
    text = dump_toml(config)
    if overwrite and out.exists():
        shutil.rmtree(out)
    elif resume and run_file.is_file() and run_file.read_text(encoding="utf-8") != text:
        raise UserError(f"{run_file} differs from the config to resume", hint="resume with the same settings")
    elif not resume and out.exists() and any(out.iterdir()):
        raise UserError(f"the run folder {out} is not empty", hint="use --resume, --overwrite or another --out")
    files.write_text(run_file, text)


def _last_checkpoint(out: Path) -> Path | None:
    found = list((out / "checkpoints").glob("epoch-*.ckpt"))
    return max(found, key=lambda path: int(path.stem.split("-")[1]), default=None)


def _trainer(config: RunConfig, out: Path, callbacks: Sequence[Callback]) -> L.Trainer:
    logs = out / "logs"
    version = f"part_{sum(1 for _ in logs.glob('part_*'))}"  # one part a resume, so that no log is lost
    checkpoints = ModelCheckpoint(dirpath=out / "checkpoints", filename="epoch-{epoch}", auto_insert_metric_name=False)
    devices: Any = config.train.devices
    return L.Trainer(
        max_epochs=config.train.epochs,
        accelerator=config.train.accelerator,
        devices=devices,
        strategy="auto" if devices == 1 else "ddp_find_unused_parameters_true",  # no step is used in the float phase
        logger=[CSVLogger(logs, name="", version=version), TensorBoardLogger(logs, name="", version=version)],
        callbacks=[checkpoints, *callbacks],
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=True,
    )


def _write_results(module: Classifier, data: Dataset, config: RunConfig, out: Path) -> None:
    """Export through the gate, then write the model and the metrics."""
    model = module.model.eval()
    set_memory_format(model, torch.contiguous_format)
    set_quantized(model, not config.train.float)
    qonnx_top1 = None if config.train.float else _export(model, data, config, out)
    buffer = io.BytesIO()
    torch.save({"config": config.model_dump_json(), "state_dict": model.state_dict()}, buffer)
    files.write_bytes(out / "model.pt", buffer.getvalue())
    quant = config.quant
    metrics = {
        "data": config.data.name,
        "model": config.model.name,
        "methods": [] if config.train.float else [quant.method],
        "float_top1": module.float_top1,
        "top1": module.top1,
        "qonnx_top1": qonnx_top1,
        "params": parameters(model),
        "macs": macs(model, data.shape),
        "weight_bits": 32 if config.train.float else quant.weight_bits,
        "act_bits": 32 if config.train.float else quant.act_bits,
        "weight_sparsity": weight_sparsity(model),
        "epochs": config.train.epochs,
        "seconds": round(module.seconds, 1),
    }
    files.write_text(out / "metrics.json", json.dumps(metrics, indent=2) + "\n")


def _export(model: torch.nn.Module, data: Dataset, config: RunConfig, out: Path) -> float:
    """Write model.onnx; returns the reference executor's accuracy on the first test images."""
    pixels = pixel_map(data, config.data.normalize)
    x = pixels.apply(data.test_x[:QONNX_IMAGES])
    metadata = {"fpgaflow.version": __version__, **input_metadata(pixels, config.data.name)}
    path = out / "model.onnx"
    report = export_qonnx(model, torch.from_numpy(x[:GATE_IMAGES]), path, metadata)
    log.info("%s equals the model on %d images; %d codes on a tie", path, report.images, report.flips)
    chosen = predict(path, x).argmax(1)
    return float(np.mean(chosen == data.test_y[:QONNX_IMAGES]))


@contextmanager
def _quiet_lightning() -> Iterator[None]:
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
