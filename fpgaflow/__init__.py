"""Networks to FPGAs from Python: ``fpgaflow train | quantize | check | export`` as functions with typed results.

    run = fpgaflow.train("run.toml")        # or a mapping of the same tables
    report = fpgaflow.export(run)           # or any QONNX file

Faults of the input raise `UserError`, a verification that fails raises `VerificationError`;
both are `FpgaflowError`. Nothing heavy is imported before a function is called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fpgaflow.arguments import typed
from toolchain import __version__
from toolchain.errors import FlowError as FpgaflowError
from toolchain.errors import UserError, VerificationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from toolchain.flow.coverage import Coverage
    from toolchain.report.data import Report

    Array = NDArray[np.generic]
    PathOrArray = str | os.PathLike[str] | Array

__all__ = [
    "Coverage", "FpgaflowError", "Network", "Report", "UserError", "VerificationError", "__version__", "check",
    "export", "quantize", "train",
]  # fmt: skip


@dataclass(frozen=True)
class Network:
    """A network that was trained or quantized, and the folder that holds it.

    Args:
        folder: the run's folder, with model.pt, metrics.json and, unless it is a float network, model.onnx.
        top1: accuracy on the test images, 0 to 1; None where nobody knows their classes.
        float_top1: accuracy of the float network on the same images; None where it was not measured.
        agreement: share of images, 0 to 1, that a network quantized after training puts in the float one's class.
        params, macs: number of weights with biases, and of multiply-accumulates for one image.
        metrics: all of metrics.json.
    """

    folder: Path
    top1: float | None
    float_top1: float | None
    agreement: float | None
    params: int
    macs: int
    metrics: Mapping[str, Any]

    @property
    def file(self) -> Path:
        """The QONNX file.

        Raises:
            UserError: a float network has none.
        """
        from toolchain.flow.runs import model_file

        return model_file(self.folder)


@typed
def train(
    config: str | os.PathLike[str] | Mapping[str, Any],
    *,
    out: str | os.PathLike[str] | None = None,
    settings: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> Network:
    """Train a network as a run file says and export it as QONNX.

    Args:
        config: a run file, the name of a recipe, or a mapping of the tables of a run file.
        out: the run's folder; runs/NAME by default, or the one whose run.toml is resumed.
        settings: overrides such as ``"train.epochs=5"``.
        resume: go on from the last checkpoint in ``out``.
        overwrite: remove an earlier run in ``out`` first.

    Raises:
        UserError: the run file or the data are at fault, or ``out`` holds another run.
        VerificationError: the exported file does not compute what the network computes.
    """
    from toolchain.config.run import find_config, load_config, parse_config
    from toolchain.config.toml import overridden
    from toolchain.flow.runs import run_folder

    if isinstance(config, Mapping):
        table = overridden(config, settings)
        run = parse_config({"name": "run", **table}, where="the mapping")
        default = Path("runs") / run.name
    else:
        path = find_config(os.fspath(config))
        run = load_config(path, list(settings))
        default = run_folder(path, run.name, resume=resume)
    from toolchain.flow.training import train as run_training

    return _network(run_training(run, _folder(out, default), resume, overwrite=overwrite))


@typed
def quantize(
    network: str | os.PathLike[str] | Network | nn.Module,
    *,
    weights: int = 8,
    acts: int = 8,
    bits: Mapping[str, int] | None = None,
    per_channel: bool = True,
    factor_bits: int | None = None,
    tables: bool = True,
    images: PathOrArray | None = None,
    labels: PathOrArray | None = None,
    data: str | None = None,
    normalize: Literal["unit", "standard"] = "unit",
    count: int = 256,
    weights_file: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
) -> Network:
    """Quantize a float network without training it, judge both on the same images, and export it as QONNX.

    Args:
        network: a float run or its folder, a float ONNX file, ``"FILE.py:NAME"``, ``"package.module:NAME"``, a
            ``torch.nn.Module``, or ``"efficientnet-lite0"``.
        weights, acts: bits of weights and activations, 1 to 8.
        bits: bits of single layers' weights, by the layer's name.
        per_channel: one weight scale for each output channel; else one for each layer.
        factor_bits: bits of the requantizers' factors, 8 to 24; None leaves the scales free.
        tables: quantize in front of smooth functions such as SiLU too, which makes tables of codes of them, as engines
            have; else they are functions of the sums, with a rounding less and many more thresholds.
        images: (N, C, ...), float32 input values, or uint8 pixels, which are divided by 255 unless the network does so
            itself; ``count`` of them calibrate, the rest judge.
        labels: integer classes (N,) of ``images``, from 0.
        data: data set that calibrates and judges instead; a run's own by default.
        normalize: ``"unit"`` or ``"standard"`` pixels of ``data``, for a network that does not say it.
        count: calibration images at most.
        weights_file: state dict for a network named by its code.
        options: arguments of the function that makes it.
        out: folder to write; runs/NAME-wXaY by default.
        overwrite: replace an earlier run in ``out``.

    Raises:
        UserError: no such network, no or unfit images, or an operation that cannot be quantized.
        VerificationError: the exported file does not compute what the quantized network computes.
    """
    from toolchain.flow.quantize import default_folder
    from toolchain.flow.quantize import quantize as run
    from toolchain.train.ptq.quantize import Bits

    chosen = Bits(weights, acts, dict(bits or {}), per_channel=per_channel, factors=factor_bits, tables=tables)
    named = network.folder if isinstance(network, Network) else network
    source = os.fspath(named) if isinstance(named, str | os.PathLike) else named
    folder = run(
        source,
        _folder(out, default_folder(source, chosen)),
        chosen,
        images=_given(images),
        labels=_given(labels),
        data=data,
        normalize=normalize,
        count=count,
        weights=None if weights_file is None else Path(weights_file),
        options=options,
        overwrite=overwrite,
    )
    return _network(folder)


@typed
def check(model: str | os.PathLike[str] | Network, *, input: str | None = None) -> Coverage:
    """Judge every node of a QONNX file before any work: supported, folded or refused, and why.

    Args:
        model: a QONNX file, or a run.
        input: type of an input that is no pixel, e.g. ``"int8:0.05"``.

    Returns:
        Every node with its status, and whether the file can be exported (``supported``).

    Raises:
        UserError: the file as a whole cannot be read.
    """
    from toolchain.flow.coverage import check as run
    from toolchain.flow.inputs import stated_input

    return run(_file(model), stated_input(input, None))


@typed
def export(
    model: str | os.PathLike[str] | Network,
    *,
    out: str | os.PathLike[str] | None = None,
    board: str = "zu3eg",
    clock_mhz: float | Literal["auto"] | None = None,
    target_fps: float | None = None,
    budget: Mapping[str, float] | None = None,
    architecture: Literal["auto", "streaming", "engine"] = "auto",
    plan: str | os.PathLike[str] | None = None,
    time_limit: float = 60.0,
    input: str | None = None,
    images: PathOrArray | Mapping[str, Array] | None = None,
    labels: PathOrArray | None = None,
    data: str | None = None,
    count: int | None = 1000,
    qonnx_images: int = 256,
    threads: int = 2,
    overwrite: bool = False,
) -> Report:
    """QONNX to a Vitis HLS project whose C simulation equals the integer network: read, explore, generate, simulate.

    Args:
        model: a QONNX file, or a run.
        out: the build's folder; build/NAME by default.
        board: see ``fpgaflow boards``.
        clock_mhz: clock in MHz, the board's own by default; ``"auto"`` by a rule of how full the device is.
        target_fps: frames a second to reach with the least resources; None for the most frames a second.
        budget: shares of resources that a plan may use, e.g. ``{"lut": 0.6}``.
        architecture: one unit a layer, the engine, or the faster that fits.
        plan: take this plan.json instead of searching for one.
        time_limit: seconds for each round of the solver.
        input: type of an input that is no pixel, e.g. ``"int8:0.05"``.
        images, labels: images (N, C, ...) or (N, ..., C) that are simulated and their classes (N,), .npy files or
            arrays; by default the data that the file names. Those of several inputs are a .npz file, or arrays by name.
        data: data set to verify on instead.
        count: images at most; None for all.
        qonnx_images: images that also run in the float32 QONNX executor.
        threads: threads of the C simulation.
        overwrite: also replace what no command wrote, such as results of synthesis.

    Returns:
        What report.json holds.

    Raises:
        UserError: the file cannot be built, or not within the budget; ``out`` is untouched.
        VerificationError: the C simulation differs from the network.
    """
    from toolchain.flow.build import build_name
    from toolchain.flow.inputs import stated_input
    from toolchain.flow.options import Check, Search, checked_architecture, parse_budget, stated_clock
    from toolchain.flow.stages import export as run

    shares = parse_budget(f"{kind}={share}" for kind, share in (budget or {}).items())
    found = None if plan is None else Path(plan)
    (mhz, auto), kind = stated_clock(clock_mhz), checked_architecture(architecture)
    search = Search(board, mhz, target_fps, shares, time_limit, found, kind, auto)
    verified = Check(_given(images), _given(labels), data, count or 0, qonnx_images, threads)
    file = _file(model)
    folder = _folder(out, Path("build") / build_name(file))
    return run(file, folder, search, verified, given=stated_input(input, None), overwrite=overwrite)


def __getattr__(name: str) -> Any:
    """The types of the results, imported when they are asked for."""
    if name == "Report":
        from toolchain.report.data import Report

        return Report
    if name == "Coverage":
        from toolchain.flow.coverage import Coverage

        return Coverage
    raise AttributeError(f"module 'fpgaflow' has no attribute '{name}'")


def _network(folder: Path) -> Network:
    from toolchain.train.runs import saved_metrics

    metrics = saved_metrics(folder)
    few: dict[str, Any] = {key: metrics.get(key) for key in ("top1", "float_top1", "agreement", "params", "macs")}
    return Network(folder=folder, metrics=metrics, **few)


def _file(model: str | os.PathLike[str] | Network) -> Path:
    from toolchain.flow.runs import model_file

    return model.file if isinstance(model, Network) else model_file(Path(model))


def _folder(out: str | os.PathLike[str] | None, default: Path) -> Path:
    return default if out is None else Path(out)


def _given(value: PathOrArray | Mapping[str, Array] | None) -> Any:
    """A path, arrays by name, or what numpy makes an array of: a list, a tensor."""
    import numpy as np

    if isinstance(value, str | os.PathLike):
        return Path(value)
    return value if value is None or isinstance(value, Mapping) else np.asarray(value)
