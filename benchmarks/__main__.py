"""Starts a benchmark: ``python -m benchmarks NAME [options]``; without a name it lists them."""

from __future__ import annotations

import ast
import runpy
import sys
from pathlib import Path

from toolchain.errors import FlowError

HERE = Path(__file__).parent


def names() -> dict[str, str]:
    """The benchmarks that can be started, each with the first line of what it says of itself."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("[a-z]*.py"))}
    started = {name: text for name, text in texts.items() if '__name__ == "__main__"' in text}
    return {name: (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0] for name, text in started.items()}


def main() -> None:
    """Hand over to the benchmark named first."""
    known = names()
    if len(sys.argv) < 2 or sys.argv[1] not in known:
        width = max(map(len, known))
        sys.exit("\n".join(["python -m benchmarks NAME", *(f"  {n:{width}}  {text}" for n, text in known.items())]))
    del sys.argv[0]
    name = sys.argv[0]
    try:
        runpy.run_module(f"benchmarks.{name}", run_name="__main__", alter_sys=True)
    except FlowError as error:
        sys.stderr.write(f"{name}: {error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
