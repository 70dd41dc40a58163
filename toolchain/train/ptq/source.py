"""The float networks that can be quantized after training: a run's, a named one, a float ONNX file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from toolchain.config.run import RunConfig
from toolchain.errors import UserError, unknown_name
from toolchain.train import efficientnet
from toolchain.train.data import Dataset, PixelMap, pixel_map
from toolchain.train.models import Shape
from toolchain.train.runs import load_run

NAMED = ("efficientnet-lite0",)


@dataclass(frozen=True)
class Source:
    """A float network in eval mode.

    Args:
        name: of the network.
        model: (N, C, H, W) to (N, classes).
        shape: (C, H, W) of an image.
        pixels: how a pixel becomes an input value; None when nobody has said.
        data: what a run was trained on.
    """

    name: str
    model: nn.Module
    shape: Shape
    pixels: PixelMap | None
    data: Dataset | None = None


def find_source(network: str) -> Source:
    """The float network meant by the folder (or model.pt) of a run, or by a name.

    Raises:
        UserError: no such network, or one that is quantized already.
    """
    path = Path(network)
    if path.name == "model.pt" or path.is_dir():
        return _run(path if path.is_dir() else path.parent)
    if network in NAMED:
        return Source(network, efficientnet.pretrained(), efficientnet.SHAPE, efficientnet.PIXELS)
    if path.suffix in (".pt", ".pth"):
        raise UserError(
            f"{network} says nothing about its architecture",
            hint="give the folder of a run with train.float = true, or a named network: " + ", ".join(NAMED),
        )
    raise unknown_name("network", network, NAMED)


def _run(folder: Path) -> Source:
    model, config, data = load_run(folder)
    if not config.train.float:
        raise UserError(f"the network of {folder} is quantized", hint="give a run with train.float = true")
    return Source(_name(config), model, data.shape, pixel_map(data, config.data.normalize, config.data.input), data)


def _name(config: RunConfig) -> str:
    return config.model.label
