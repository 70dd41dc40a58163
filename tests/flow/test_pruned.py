"""A pruned network on its way to the accelerator."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toolchain.config.run import parse_config
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export
from toolchain.train.budgets import shrink
from toolchain.train.data import input_map, load
from toolchain.train.models import build
from toolchain.train.shrink import structure_of
from toolchain.train.statistics import macs


@pytest.mark.needs_gxx
def test_prime_channel_counts_are_built_and_simulated_exactly(tmp_path: Path) -> None:
    """5 and 11 channels, which nothing but themselves divides, and the size in the report is the shrunk network's."""
    torch.manual_seed(0)
    config, data = parse_config({"name": "t", "model": {"name": "cnn", "width": 0.5}}, where="test"), load("digits")
    network = build(config, data.shape, data.classes)
    x = torch.from_numpy(input_map(data, "unit").apply(data.train_x[:64]))
    network.train()(x)
    shrink(network.eval(), structure_of(network), {"conv1": [0, 1, 3, 4, 6], "conv2": [0, *range(3, 13)]})
    export_qonnx(network, x[:8], tmp_path / "net.onnx", input_metadata(input_map(data, "unit"), data.name))
    report = export(
        tmp_path / "net.onnx", tmp_path / "build", Search(time_limit=5.0), Check(data="digits", count=16, threads=1)
    )
    assert report.verification.csim_mismatches == 0
    assert report.model.macs == macs(network, data.shape) == 64 * 9 * 5 + 16 * 9 * 5 * 11 + 4 * 11 * 10
