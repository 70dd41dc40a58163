"""What a report tells of the training is that of the very file that was built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fpgaflow
from tests.onnx_models import conv_bn_relu
from toolchain.flow.build import Build
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export, lower, report
from toolchain.flow.trained import trained
from toolchain.report.data import Training

SMALL: dict[str, Any] = {
    "model": {"name": "cnn", "width": 0.25},
    "train": {"epochs": 1, "batch_size": 64, "accelerator": "cpu", "threads": 1},
}
METRICS = {"data": "digits", "methods": ["lsq"], "weight_bits": 4, "act_bits": 4, "weight_sparsity": 0.1}
METRICS |= {"float_top1": 0.9, "seconds": 1.0}


def test_the_facts_of_a_run_are_known_until_the_network_is_trained_anew(tmp_path: Path) -> None:
    run = fpgaflow.train(SMALL, out=tmp_path / "run")
    model = lower(run.file, tmp_path / "build").model
    found, sparsity = trained(model), run.metrics["weight_sparsity"]
    assert found is not None and (found.float_top1, found.test_images) == (run.float_top1, 360)
    assert found.training == Training(
        data="digits", methods=("lsq",), weight_bits=4, act_bits=4, weight_sparsity=sparsity
    )

    written = run.file.read_bytes()
    run.file.write_bytes(written + b"\x1a\x00")  # an empty field of protobuf's that ONNX has not: the same network
    assert trained(lower(run.file, tmp_path / "other").model) is None
    fpgaflow.train(SMALL, out=tmp_path / "run", resume=True)
    assert run.file.read_bytes() == written and trained(model) is not None

    fpgaflow.train(SMALL, out=tmp_path / "run", settings=["train.seed=2"], overwrite=True)
    assert trained(model) is None
    (tmp_path / "run" / "model.onnx").unlink()
    assert trained(model) is None


def test_the_facts_of_a_network_quantized_after_training_are_known_with_and_without_classes(tmp_path: Path) -> None:
    run = fpgaflow.train(SMALL, out=tmp_path / "run", settings=["train.float=true"])
    images = np.random.default_rng(0).integers(0, 17, (40, 1, 8, 8)).astype(np.uint8)
    for more in ({}, {"images": images}):
        quantized = fpgaflow.quantize(run, count=20, out=tmp_path / f"q{len(more)}", **more)  # type: ignore[arg-type]
        found = trained(lower(quantized.file, tmp_path / f"b{len(more)}").model)
        assert found is not None and found.methods == ("ptq",) and found.float_top1 == quantized.float_top1


@pytest.mark.needs_gxx
def test_a_metrics_file_that_no_run_wrote_is_left_alone(tmp_path: Path) -> None:
    """As another tool writes it, damaged, and with a figure that cannot be."""
    path = tmp_path / "metrics.json"
    path.write_text('{"accuracy": 0.97}')
    file, folder = conv_bn_relu(tmp_path / "net.onnx"), tmp_path / "build"
    assert export(file, folder, Search(architecture="streaming"), Check(count=4, qonnx_images=0)).training is None

    wrong = (b"{", b"\xff", b"[1]", json.dumps(METRICS | {"float_top1": 90.0}).encode())
    for content in wrong:
        path.write_bytes(content)
        assert report(Build(folder)).training is None
    path.write_text(json.dumps(METRICS))
    found = report(Build(folder)).training
    assert found is not None and found.weight_sparsity == 0.1
