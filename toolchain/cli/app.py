"""The program ``fpgaflow``: its options, and how errors become one line and an exit code."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from toolchain import __version__
from toolchain.cli.build import count, explore, export, generate, lower, report, rtl, simulate
from toolchain.cli.deploying import deploy, measure
from toolchain.cli.inspect import boards, cache, check, compare, doctor, lint
from toolchain.cli.searching import search
from toolchain.cli.starting import init
from toolchain.cli.training import quantize, train
from toolchain.errors import FlowError, Interrupted, UserError

app = typer.Typer(
    help="Quantized neural networks to verified Vitis HLS accelerators.",
    no_args_is_help=True,
    add_completion=False,
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


COMMANDS = (
    *(init, train, quantize),
    *(export, lower, check, explore, generate, simulate, rtl, count, report, lint),
    *(compare, deploy, measure, boards),
    search,
    cache,
    doctor,
)
"""In the order of the help."""


def _interruptible(command: Callable[..., None]) -> Callable[..., None]:
    """``command``, whose interrupt is told in a line; typer would say nothing of it."""

    @wraps(command)
    def call(**options: Any) -> None:
        try:
            command(**options)
        except KeyboardInterrupt as stop:
            raise Interrupted("; ".join(["interrupted", *map(str, stop.args)])) from None

    return call


for _command in COMMANDS:
    app.command()(_interruptible(_command))


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    arguments = _options_first(sys.argv[1:])
    debug = "--debug" in arguments
    try:
        app(arguments, standalone_mode=True)
    except FlowError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except MemoryError as error:
        if debug:
            raise
        _fail(_out_of_memory(error), UserError.exit_code)
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}", UserError.exit_code)


def _options_first(arguments: list[str]) -> list[str]:
    """``arguments`` with the options of every command, which may stand behind it, in front."""
    everywhere = [argument for argument in arguments if argument in ("--debug", "--verbose")]
    return [*everywhere, *(argument for argument in arguments if argument not in everywhere)]


def _out_of_memory(error: MemoryError) -> str:
    """One line: what was asked for, where numpy says it, and what may be had."""
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
