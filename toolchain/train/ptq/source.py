"""The float networks that can be quantized after training: a run's, a named one, an ONNX file, the user's own."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UserError, first_line, unknown_name
from toolchain.frontend.execute import execute_float
from toolchain.frontend.onnx_file import load_onnx
from toolchain.train import efficientnet
from toolchain.train.checkpoints import read_tensors
from toolchain.train.data import Dataset, input_map
from toolchain.train.inputs import InputMap, PixelMap, read_map
from toolchain.train.own.kinds import Norm
from toolchain.train.own.network import (
    CLOSE,
    demand_weights,
    has_quantizers,
    in_eval_mode,
    plain_network,
    view_of,
)
from toolchain.train.own.source import find_own, make
from toolchain.train.own.trace import layer_of
from toolchain.train.ptq.onnx_source import has_channels_last, read_float_onnx
from toolchain.train.runs import load_run, saved_model
from toolchain.train.statistics import Shape
from toolchain.train.torch_onnx import export_float

NAMED = ("efficientnet-lite0",)
_NAMED_TENSORS = 3  # in a message
_LEAST_DEVIATION = 1 / 6  # of pixels, over the largest: a network that divides by more takes the pixels themselves
_OTHER_OPTIONS = "give the options that the network was trained with"


log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Source:
    """A float network in eval mode.

    Args:
        name: of the network.
        model: (N, *shape) to (N, classes).
        shape: of a sample, (C, H, W) of an image.
        pixels: how a pixel or a number becomes an input value; None when nobody has said.
        data: what a run was trained on.
        turned: samples of ``shape`` have their channels last, which shapes alone do not tell.
    """

    name: str
    model: nn.Module
    shape: Shape
    pixels: InputMap | None
    data: Dataset | None = None
    turned: bool = False

    @property
    def axes(self) -> str | None:
        """The order of the axes of arrays of its samples, where something tells it."""
        if self.turned:
            return "NWC" if len(self.shape) == 2 else "NHWC"
        return None if self.data is None else self.data.reading.layout


@dataclass(frozen=True)
class Sample:
    """Input of a network that says nothing about it.

    Args:
        shape: (C, H, W), (C, length) or (features,).
        classes: None when nobody has said.
        pixels: how a pixel becomes an input value; None for input values.
    """

    shape: tuple[int, ...]
    classes: int | None
    pixels: InputMap | None


def says_its_input(network: str | nn.Module) -> bool:
    """Return whether a network describes its own input: one of a run, or a named one."""
    return isinstance(network, str) and not is_onnx(network) and ":" not in network


def is_onnx(network: str) -> bool:
    """Return whether ``network`` is the name of an ONNX file."""
    return Path(network).suffix == ".onnx"


def find_source(
    network: str | nn.Module,
    sample: Sample | None = None,
    *,
    weights: Path | None = None,
    options: Mapping[str, Any] | None = None,
) -> Source:
    """The float network meant by the folder (or model.pt) of a run, a name, an ONNX file, FILE.py:NAME, or a network.

    Args:
        network: what the user gave.
        sample: what it takes, for a network that does not say it (`says_its_input`).
        weights: a state dict for a network of the user's own.
        options: arguments of its function.

    Raises:
        UserError: no such network, one that is quantized already, or weights that do not fit.
    """
    own = isinstance(network, nn.Module) or (not is_onnx(network) and ":" in network)
    if not own and (weights is not None or options):
        raise UserError(
            "weights and options belong to a network of your own", hint="give FILE.py:NAME or package.module:NAME"
        )
    if own or (isinstance(network, str) and is_onnx(network)):
        assert sample is not None
        return _own(network, sample, weights, options or {}) if own else _onnx(Path(str(network)), sample)
    path = Path(str(network))
    if path.name == "model.pt" or path.is_dir():
        return _run(path if path.is_dir() else path.parent)
    if network in NAMED:
        return Source(str(network), efficientnet.pretrained(), efficientnet.SHAPE, efficientnet.PIXELS)
    if path.suffix in (".pt", ".pth"):
        raise UserError(
            f"{network} says nothing about its architecture",
            hint=f"name the code too, FILE.py:NAME --weights-file {network}, or give a float ONNX file",
        )
    wrong = unknown_name("network", str(network), NAMED)
    raise UserError(wrong.what, hint=f"{wrong.hint} (or the folder of a float run, FILE.onnx, FILE.py:NAME)")


def _onnx(path: Path, sample: Sample) -> Source:
    model, shape = read_float_onnx(path)
    if prod(shape) != prod(sample.shape):
        what = f"samples of shape {sample.shape} do not fit the network's input {shape}"
        raise UserError(what, where=path.name)
    demand_weights(model, path.name)
    turned = len(shape) > 1 and len({*shape}) == 1 and has_channels_last(path)
    return Source(path.stem, model, shape, _not_twice(model, sample.pixels, path.name), turned=turned)


def _not_twice(network: nn.Module, pixels: InputMap | None, name: str) -> InputMap | None:
    """``pixels``, or the pixels themselves where they would be divided by 255 and ``network`` does so itself."""
    if not isinstance(pixels, PixelMap) or not isinstance(network, fx.GraphModule):
        return pixels
    factor = _first_factor(network)
    unit = Fraction(pixels.scale[0])
    if (pixels.scale, pixels.offset, pixels.given) != ((unit,), (Fraction(0),), None):
        return pixels
    if not 0 < factor <= unit / Fraction(_LEAST_DEVIATION):
        return pixels
    log.warning(
        "%s multiplies its input by %.4g itself: pixels are its input as they are, not over %s; give values in float32 "
        "where it reads others", name, factor, 1 / unit,
    )  # fmt: skip
    return PixelMap((Fraction(1),), (Fraction(0),))


def _first_factor(network: fx.GraphModule) -> float:
    """The largest factor of a channel that the batch norms right behind the input multiply it by; 1 without any."""
    factor = torch.ones(())
    node = next(node for node in network.graph.nodes if node.op == "placeholder")
    while len(node.users) == 1:
        node = next(iter(node.users))
        layer = layer_of(network, node)
        if not isinstance(layer, Norm):
            break
        assert layer.running_var is not None
        factor = factor * layer.weight.detach().abs() / (layer.running_var + layer.eps).sqrt()
    return float(factor.max())


def _own(network: str | nn.Module, sample: Sample, weights: Path | None, options: Mapping[str, Any]) -> Source:
    """A network of the user's own, with its weights."""
    if isinstance(network, nn.Module):
        model, name = network, type(network).__name__
    else:
        found = find_own(network)
        model, name = make(found, sample.shape, sample.classes, options), Path(network).name
    if has_quantizers(model):
        raise UserError(f"{name} has quantizers already", hint="train it: model.name in a run file")
    if weights is not None:
        _load_weights(model, weights)
    with in_eval_mode(model):
        view = view_of(model, sample.shape, sample.classes, name)
        try:
            plain = plain_network(model, sample.shape, sample.classes, name, copies=True)
        except UserError as refusal:
            source = _by_its_file(model, view, sample, name)
            if source is None:
                raise
            log.info("%s is quantized by its ONNX file, of which more is read: %s", name, refusal)
            return source
    return Source(name, plain, sample.shape, _not_twice(plain, sample.pixels, name))


def _by_its_file(model: nn.Module, view: Shape, sample: Sample, name: str) -> Source | None:
    """``model``, in eval mode, as torch's exporter writes it, of which more is read than of its layers; None if not."""
    example = torch.rand(1, *view, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        try:
            export_float(model, example, path)
            source = _onnx(path, sample)
            theirs = torch.from_numpy(execute_float(load_onnx(path, quantized=False), example.numpy()))
        except Exception as error:  # noqa: BLE001 - the exporter may raise anything
            log.info("%s has no ONNX file that can be quantized: %s", name, first_line(error))
            return None
    with torch.no_grad():
        ours = model(example)
    same = ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0, atol=CLOSE * float(ours.abs().max()))
    return source if same else None


def _load_weights(model: nn.Module, path: Path) -> None:
    """Put the tensors of a state dict into ``model``; nothing else in the file is read."""
    try:
        saved = read_tensors(path.read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        hint = f"write it with torch.save(network.state_dict(), '{path.name}')"
        raise UserError(f"{path} holds more than tensors, or is no PyTorch file", hint=hint) from error
    saved = saved.get("state_dict", saved) if isinstance(saved, dict) else saved
    if not isinstance(saved, dict) or not all(isinstance(value, Tensor) for value in saved.values()):
        raise UserError(f"{path} is no state dict", hint=f"torch.save(network.state_dict(), '{path.name}')")
    own = model.state_dict()
    for kind, names in (("lacks", own.keys() - saved.keys()), ("has besides", saved.keys() - own.keys())):
        if names:
            listed = ", ".join(f"'{name}'" for name in sorted(names)[:_NAMED_TENSORS])
            raise UserError(f"{path} {kind} {listed} ({len(names)} tensors)", hint=_OTHER_OPTIONS)
    for name, value in saved.items():
        if value.shape != own[name].shape:
            what = f"{path}: '{name}' is {tuple(value.shape)}, the network's {tuple(own[name].shape)}"
            raise UserError(what, hint=_OTHER_OPTIONS)
    model.load_state_dict(saved)


def _run(folder: Path) -> Source:
    model, config, data = load_run(folder)
    if not config.train.float:
        raise UserError(f"the network of {folder} is quantized", hint="give a run with train.float = true")
    text = saved_model(folder).get("input")  # the run's own record: the data may have changed since
    pixels = read_map(json.loads(text)) if text else input_map(data, config.data.normalize, config.data.input)
    return Source(config.model.label, model, data.shape, pixels, data)
