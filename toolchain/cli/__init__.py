"""The command line: each command parses, loads, makes one call and prints."""

import sys

try:
    from toolchain.cli.app import app, main
except KeyboardInterrupt:  # the first half second of a command
    sys.stderr.write("fpgaflow: interrupted\n")
    raise SystemExit(130) from None

__all__ = ["app", "main"]
