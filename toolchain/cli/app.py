"""The program ``fpgaflow``: its options, and how errors become one line and an exit code."""

from __future__ import annotations

import errno
import logging
import sys
from typing import Annotated

import typer

from toolchain import __version__
from toolchain.cli.build import explore, export, generate, lower, report, simulate
from toolchain.cli.deploying import deploy, measure
from toolchain.cli.inspect import boards, cache, check, lint
from toolchain.cli.training import quantize, train
from toolchain.errors import FlowError, UserError

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
    *(train, quantize, export, lower, check, explore, generate, simulate, report, lint, deploy, measure, boards),
    cache,
)
"""In the order of the help."""

for _command in COMMANDS:
    app.command()(_command)


def main() -> None:
    """Entry point: errors become one line and an exit code."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except FlowError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except MemoryError as error:
        if debug:
            raise
        _fail(_out_of_memory(error), UserError.exit_code)
    except OSError as error:
        if debug or error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        _fail(f"{error.strerror}: {error.filename or 'while writing'}", UserError.exit_code)


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
