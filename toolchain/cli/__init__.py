"""The command line: each command parses, loads, makes one call and prints."""

from toolchain.cli.app import app, main

__all__ = ["app", "main"]
