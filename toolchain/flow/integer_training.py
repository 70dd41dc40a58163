"""An integer-only run from a config to a folder: training, frozen exponents, the proven QONNX file and the metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from toolchain import __version__, files
from toolchain.config.run import RunConfig
from toolchain.export.niti import export_frozen
from toolchain.export.qonnx import input_metadata
from toolchain.flow.images import drawn
from toolchain.frontend.execute import execute_qonnx
from toolchain.frontend.onnx_file import load_onnx
from toolchain.train.batches import Batches
from toolchain.train.chain import stages
from toolchain.train.checkpoints import state_bytes
from toolchain.train.data import Dataset
from toolchain.train.niti.freeze import Shifts, freeze, frozen_top1
from toolchain.train.niti.network import float_twin
from toolchain.train.niti.numbers import MANTISSA_BITS, Block
from toolchain.train.niti.trainer import IntegerClassifier
from toolchain.train.runs import METRICS_FILE, write_metrics
from toolchain.train.stages import fit, quiet_lightning, trainer_of
from toolchain.train.statistics import macs, parameters

log = logging.getLogger(__name__)

GATE_IMAGES = 64  # test images that file and network are compared on
QONNX_IMAGES = 1000  # test images the reference executor's accuracy is measured on
_BATCH = 500


def train_integer(config: RunConfig, data: Dataset, out: Path, *, resume: bool, callbacks: Sequence[Callback]) -> None:
    """Train the integer network of a run file and write model.onnx, model.pt and metrics.json into ``out``.

    Raises:
        UserError: the device's int8 product is not exact.
        VerificationError: the exported file does not compute what the frozen network computes.
        KeyboardInterrupt: the user stopped it.
    """
    (stage,) = stages(config)
    L.seed_everything(config.train.seed, verbose=False)
    module = IntegerClassifier(data, config)
    with quiet_lightning():
        fit(trainer_of(stage, out, callbacks), module, stage, out, resume)
    if data.held is not None:  # the epochs were judged by these
        module.top1 = module.test_top1()
    _write_results(module.cpu(), data, config, out)


def _write_results(module: IntegerClassifier, data: Dataset, config: RunConfig, out: Path) -> None:
    """Freeze, export through the gate, then write the model and the metrics."""
    network = module.model
    (out / METRICS_FILE).unlink(missing_ok=True)  # of fewer epochs: a kill leaves none beside files of more
    calibration = module.train_x[drawn(len(data.train_x), config.niti.calibration_images, data.train_y)]
    shifts = freeze(network, (module.input(x) for x in calibration.split(config.train.batch_size)))
    top1 = frozen_top1(network, shifts, _test_batches(module))
    log.info("frozen exponents: top-1 %.4f, shifts %s", top1, shifts)
    qonnx_top1 = _export(module, shifts, data, config, out)
    saved = {"config": config.model_dump_json(), "shifts": shifts, "state_dict": network.state_dict()}
    files.write_bytes(out / "model.pt", state_bytes(saved))
    twin = float_twin(config, data.shape, data.classes).eval()
    weights = [layer.weight for _, layer in network.weighted()]
    biases = sum(layer.bias.numel() for _, layer in network.weighted() if layer.bias is not None)
    metrics = {
        "data": config.data.name,
        "model": config.model.name,
        "methods": [config.quant.method],
        "float_top1": None,
        "top1": module.top1,
        "frozen_top1": round(top1, 6),
        "qonnx_top1": qonnx_top1,
        "test_images": len(data.test_x),
        "qonnx_images": min(QONNX_IMAGES, len(data.test_x)),
        "params": parameters(twin) + biases,
        "macs": macs(twin, data.shape),
        "weight_bits": MANTISSA_BITS + 1,
        "act_bits": MANTISSA_BITS + 1,
        "weight_sparsity": sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights),
        "epochs": config.train.epochs,
        "seconds": round(module.seconds, 1),
        "stages": [{"name": "train", "epochs": config.train.epochs, "top1": module.top1}],
        "warnings": [],
    }
    write_metrics(metrics, out)


def _test_batches(module: IntegerClassifier) -> Iterator[tuple[Block, Tensor]]:
    for pixels, labels in Batches(module.test_x, module.test_y, _BATCH):
        yield module.input(pixels), labels


def _export(module: IntegerClassifier, shifts: Shifts, data: Dataset, config: RunConfig, out: Path) -> float:
    """Write model.onnx; returns the reference executor's accuracy on QONNX_IMAGES drawn from the test images."""
    metadata = {"fpgaflow.version": __version__}
    metadata |= input_metadata(module.format.pixels, config.data.name, data.names, data.reading)
    path = out / "model.onnx"
    some = drawn(len(data.test_x), QONNX_IMAGES, data.test_y)
    images = module.test_x[some]
    report = export_frozen(module.model, shifts, module.format, module.codes, images[:GATE_IMAGES], path, metadata)
    log.info("%s equals the network on %d images; %d codes on a tie", path, report.images, report.mismatches)
    values = execute_qonnx(path, module.format.pixels.apply(images.numpy()))[load_onnx(path).output]
    return float(np.mean(values.argmax(1) == data.test_y[some]))
