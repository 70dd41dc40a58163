"""Small spaces, and the real passes of their networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from toolchain.engine.cut import cut
from toolchain.engine.layers import Cut
from toolchain.export.qonnx import export_qonnx, input_metadata
from toolchain.flow.stages import lower
from toolchain.search.network import Network
from toolchain.search.passes import Task
from toolchain.search.space import Space, parse_space
from toolchain.train.data import input_map, load_for
from toolchain.train.models import build

DIGITS = Task(channels=1, size=(8, 8), classes=10, input_bits=5)


def space(**changes: Any) -> Space:
    """Inverted residuals, then residual blocks, on digits."""
    table: dict[str, Any] = {
        "name": "small",
        "stem": [8, 16],
        "head": [0, 24],
        "stage": [
            {"kind": "inverted", "depth": [1, 2], "channels": [8, 16], "kernel": [3, 5], "expansion": [1, 2]},
            {"kind": "residual", "depth": [1, 2], "channels": [16, 24], "stride": 2},
        ],
        "bits": {"weights": [2, 4, 8]},
        "train": {"epochs": 2, "threads": 1, "lr": 3e-3},
    }
    return parse_space({**table, **changes}, where="test")


def real_cut(network: Network, space: Space, folder: Path) -> Cut:
    """The passes of the exported network, untrained: torch, QONNX file, integer graph, cut."""
    config = network.run(space, "net")
    data = load_for(config.data)
    torch.manual_seed(0)
    model = build(config, data.shape, data.classes)
    pixels = input_map(data, config.data.normalize)
    x = torch.from_numpy(pixels.apply(data.train_x[:64]))
    model(x)
    export_qonnx(model.eval(), x[:8], folder / "net.onnx", input_metadata(pixels, "digits"))
    return cut(lower(folder / "net.onnx", folder / "b").network.graph)
