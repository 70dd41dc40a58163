"""Commands that make a network: train, quantize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from toolchain.cli.options import MemoryOption, runs_like
from toolchain.terminal import console

BITS, CALIBRATION = "Bits", "Calibration"


def train(
    config: Annotated[str, typer.Argument(help="Run file (TOML), or the name of a recipe.", autocompletion=runs_like)],
    settings: Annotated[list[str] | None, typer.Option("--set", help="Override a key, e.g. train.epochs=5.")] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder.", show_default="runs/NAME")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove an earlier run first.")] = False,
) -> None:
    """Train a quantized network and export it as QONNX."""
    from toolchain.config.run import find_config, load_config

    path = find_config(config)
    run = load_config(path, settings or [])
    from toolchain.flow.runs import run_folder
    from toolchain.train.data import load_for

    data = load_for(run.data)  # before torch is loaded, which takes longer than to miss a file
    from toolchain.flow.training import train as run_training

    out = out or run_folder(path, run.name, resume=resume)
    folder = run_training(run, out, resume, overwrite=overwrite, data=data)
    from toolchain.train.stages import is_first_process
    from toolchain.train.summary import summary

    if is_first_process():  # which alone has written the metrics
        console().print(summary(folder))


def quantize(
    network: Annotated[
        str, typer.Argument(help="Folder of a float run, float ONNX file, FILE.py:NAME, or efficientnet-lite0.")
    ],
    weights: Annotated[int, typer.Option("--weights", rich_help_panel=BITS, help="Bits of the weights, 1 to 8.")] = 8,
    acts: Annotated[int, typer.Option("--acts", rich_help_panel=BITS, help="Bits of the activations, 1 to 8.")] = 8,
    layers: Annotated[
        list[str] | None, typer.Option("--bits", rich_help_panel=BITS, help="Bits of one layer, e.g. fc=8.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data", rich_help_panel=CALIBRATION, help="Data set to calibrate with.", show_default="a run's own"
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", rich_help_panel=CALIBRATION, help="Images to calibrate with, .npy.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", rich_help_panel=CALIBRATION, help="Their classes, .npy.")
    ] = None,
    normalize: Annotated[
        str, typer.Option("--normalize", rich_help_panel=CALIBRATION, help="unit or standard: pixels of --data.")
    ] = "unit",
    weights_file: Annotated[
        Path | None,
        typer.Option("--weights-file", rich_help_panel="Network FILE.py:NAME", help="State dict for FILE.py:NAME."),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option("--option", rich_help_panel="Network FILE.py:NAME", help="Argument of NAME, e.g. width=8."),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", rich_help_panel=CALIBRATION, min=1, help="Calibration images; others judge.")
    ] = 256,
    per_tensor: Annotated[
        bool, typer.Option("--per-tensor", rich_help_panel=BITS, help="One weight scale a layer.")
    ] = False,
    factors: Annotated[
        int | None, typer.Option("--factor-bits", rich_help_panel=BITS, help="Bits of requantizers' factors, 8 to 24.")
    ] = None,
    no_tables: Annotated[
        bool, typer.Option("--no-tables", rich_help_panel=BITS, help="No quantizer in front of SiLU and the like.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder to write.", show_default="runs/NAME-wXaY")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier run.")] = False,
    memory: MemoryOption = "2G",
) -> None:
    """Quantize a trained float network without training it, and export it as QONNX."""
    from toolchain.config.toml import override
    from toolchain.flow.options import parse_bits, parse_normalize
    from toolchain.memory import parse_memory

    own = parse_bits(layers or [])
    arguments: dict[str, Any] = {}
    for option in options or []:
        override(arguments, option, "--option")
    from toolchain.flow.quantize import default_folder
    from toolchain.flow.quantize import quantize as run
    from toolchain.train.ptq.quantize import Bits

    bits = Bits(weights, acts, own, per_channel=not per_tensor, factors=factors, tables=not no_tables)
    out = out or default_folder(network, bits)
    folder = run(
        network,
        out,
        bits,
        images=images,
        labels=labels,
        data=data,
        normalize=parse_normalize(normalize),
        count=count,
        weights=weights_file,
        options=arguments,
        overwrite=overwrite,
        memory=parse_memory(memory),
    )
    from toolchain.train.summary import summary

    console().print(summary(folder))
    if ":" in network and weights_file is None:
        console().print(f"{network} has the weights that its code gives it: --weights-file names trained ones")
