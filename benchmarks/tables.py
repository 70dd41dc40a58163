"""The tables of the README and of the docs, from the results files.

python -m benchmarks tables            # write them between their comments, <!-- table NAME --> and <!-- end -->
python -m benchmarks tables --print    # print all of them
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import network_tables, training_tables
from benchmarks.markdown import fill

ROOT = Path(__file__).resolve().parents[1]
TABLES: dict[str, Callable[[], str]] = {
    "main_flow": training_tables.main_flow,
    "others": network_tables.others,
    "niti": training_tables.niti,
    "quantization": training_tables.quantization,
    "soft_quantization": training_tables.soft_quantization,
    "fqconv": training_tables.fqconv,
    "pruning_resnet8": training_tables.pruning_resnet8,
    "pruning_lenet5": training_tables.pruning_lenet5,
    "dst": training_tables.dst,
    "qcqp": training_tables.qcqp,
    "explorer": network_tables.explorer,
    "speed": network_tables.speed,
    "engine": network_tables.engine,
    "cost_model": network_tables.cost_model,
    "cost_model_stages": network_tables.cost_model_stages,
}


def generated() -> dict[str, str]:
    """Every table by its name."""
    return {name: make() for name, make in TABLES.items()}


def texts() -> list[Path]:
    """The files that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Write or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print them and write nothing")
    tables = generated()
    if parser.parse_args().print:
        print("\n".join(f"{name}\n{text}" for name, text in tables.items()))
        return
    for path in texts():
        if fill(path, tables):
            print(f"{path.relative_to(ROOT)} is written anew")


if __name__ == "__main__":
    main()
