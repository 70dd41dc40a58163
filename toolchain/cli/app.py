"""The program ``fpgaflow``: its options, and how errors become one line and an exit code."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

from toolchain import __version__
from toolchain.cli.build import count, explore, export, generate, lower, report, rtl, simulate
from toolchain.cli.deploying import deploy, measure
from toolchain.cli.inspect import boards, cache, check, compare, doctor, lint
from toolchain.cli.searching import search
from toolchain.cli.starting import init
from toolchain.cli.training import quantize, train
from toolchain.errors import FlowError, Interrupted, UserError
from toolchain.terminal import without_width

app = typer.Typer(
    help="Quantized neural networks to verified Vitis HLS accelerators.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fpgaflow {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log what is done.")] = False,
) -> None:
    """Options of every command."""
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s", stream=sys.stderr)


COMMANDS: Mapping[str, Mapping[Callable[..., None], str]] = {
    "Begin": {
        init: "fpgaflow init --data digits --weights 4 --acts 4 --board zu3eg",
        doctor: "fpgaflow doctor",
    },
    "From data to a network": {
        train: "fpgaflow train digits --set train.epochs=5",
        quantize: "fpgaflow quantize net.py:Net --weights-file net.pt --images x.npy --labels y.npy",
        search: "fpgaflow search space.toml --workers 4",
    },
    "From a network to an accelerator": {
        check: "fpgaflow check model.onnx",
        export: "fpgaflow export runs/digits --board zu3eg --target-fps 2000",
        boards: "fpgaflow boards model.onnx",
    },
    "The stages of an export": {
        lower: "fpgaflow lower model.onnx --out build/mine",
        explore: "fpgaflow explore build/mine --budget lut=0.6 --pareto",
        generate: "fpgaflow generate build/mine",
        simulate: "fpgaflow simulate build/mine --count 100",
        report: "fpgaflow report build/mine",
    },
    "With a build": {
        compare: "fpgaflow compare build/mine build/other --html compared.html",
        lint: "fpgaflow lint build/mine",
        rtl: "fpgaflow rtl build/mine --count 4",
        count: "fpgaflow count build/mine",
        deploy: "fpgaflow deploy build/mine",
        measure: "fpgaflow measure build/mine board.json vivado.json",
    },
    "This machine": {cache: "fpgaflow cache --limit 500M"},
}
"""The commands by panel of the help, with an example each."""


TOLD = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),
}
"""What the system says of a path that the user gave, or of its disk; any other error of it is a defect of ours."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, whose interrupt is told in a line; typer would say nothing of it."""

    @wraps(command)
    def call(**options: Any) -> None:
        try:
            command(**options)
        except KeyboardInterrupt as stop:
            raise Interrupted("; ".join(["interrupted", *map(str, stop.args)])) from None

    return call


for _panel, _commands in COMMANDS.items():
    for _command, _example in _commands.items():
        app.command(rich_help_panel=_panel, epilog=f"Example: {_example}")(_interruptible(_command))


@lru_cache
def _program() -> Callable[..., Any]:
    """``app`` with the parameters of all commands: typer would read them from the signatures again with every call."""
    program: Any = typer.main.get_command(app)
    for command in (program, *program.commands.values()):
        for option in command.get_params(typer.Context(command)):
            if option.param_type_name == "option":
                option.metavar = _kind(option.type_descriptor.annotation)
    return program


def _kind(annotation: Any) -> str:
    """Return the type of an option as help shows it: nothing for a switch, an ellipsis if it may be repeated."""
    if get_origin(annotation) is list:
        return _kind(get_args(annotation)[0]) + "..."
    return {bool: "", int: "<int>", float: "<number>", Path: "<path>"}.get(annotation, "<text>")


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by the shell: 'fpgaflow boards >&-'
            setattr(sys, stream, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:  # else children and temporary folders would stay
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    without_width()
    arguments = _options_first(sys.argv[1:])
    debug = "--debug" in arguments
    try:
        os.getcwd()
    except FileNotFoundError:
        _fail("the folder that the command runs in is gone; go to another one", UserError.exit_code)
    try:
        _program()(arguments, standalone_mode=True)
    except FlowError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:  # an interrupt before the command began, also as typer hands it on
        if isinstance(stop, SystemExit) and stop.code != Interrupted.exit_code:
            raise
        _fail("interrupted", Interrupted.exit_code)
    except MemoryError as error:
        if debug:
            raise
        _fail(_out_of_memory(error), UserError.exit_code)
    except OSError as error:
        if debug or error.errno not in TOLD:
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}", UserError.exit_code)


def _options_first(arguments: list[str]) -> list[str]:
    """``arguments`` with the options of every command, which may stand behind it, in front."""
    everywhere = [argument for argument in arguments if argument in ("--debug", "--verbose")]
    return [*everywhere, *(argument for argument in arguments if argument not in everywhere)]


def _out_of_memory(error: MemoryError) -> str:
    """Return one line with the allocation that failed, where numpy tells it, and the process's limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    said = " ".join(str(error).split())
    what = f"out of memory: {said}" if said else "out of memory"
    if limit != resource.RLIM_INFINITY:
        what += f"; this process may take {limit / 1e9:.1f} GB (ulimit -v)"
    return f"{what}; give it more, or a smaller --memory and fewer --threads"


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"fpgaflow: {message}\n")
    raise SystemExit(code)
