"""The tables, values and a figure of the README and of the docs, from the results files.

python -m benchmarks tables            # write them between <!-- table NAME --> or <!-- value NAME --> and <!-- end -->
python -m benchmarks tables --print    # print all of them
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from benchmarks import converter_table, count_tables, network_tables, paper_claims, tool_tables, training_tables
from benchmarks.front_figure import FIGURE, front_svg
from benchmarks.markdown import fill
from benchmarks.values import VALUES
from toolchain.files import write_text

ROOT = Path(__file__).resolve().parents[1]
TABLES: dict[str, Callable[[], str]] = {
    "summary": network_tables.summary,
    "main_flow": training_tables.main_flow,
    "others": network_tables.others,
    "static_quantization": network_tables.static_quantization,
    "user_networks": network_tables.user_networks,
    "own_networks": training_tables.own_networks,
    "converters": converter_table.converters,
    "niti": training_tables.niti,
    "niti_export": training_tables.niti_export,
    "quantization": training_tables.quantization,
    "soft_quantization": training_tables.soft_quantization,
    "soft_from_float": training_tables.soft_from_float,
    "from_float": training_tables.from_float,
    "bit_targets": training_tables.bit_targets,
    "fqconv": training_tables.fqconv,
    "noise": training_tables.noise,
    "step_times": training_tables.step_times,
    "pruned_from_float": training_tables.pruned_from_float,
    "pruning_resnet8": training_tables.pruning_resnet8,
    "pruning_lenet5": training_tables.pruning_lenet5,
    "dst": training_tables.dst,
    "qcqp": training_tables.qcqp,
    "paper_claims": paper_claims.paper_claims,
    "explorer": network_tables.explorer,
    "speed": network_tables.speed,
    "engine": network_tables.engine,
    "bits_front": network_tables.bits_front,
    "engine_decisions": network_tables.engine_decisions,
    "cost_model": network_tables.cost_model,
    "cost_model_stages": network_tables.cost_model_stages,
    "counted_units": count_tables.counted_units,
    "counted_plans": count_tables.counted_plans,
    "finn_mvu": count_tables.finn_mvu,
    "fuzz": tool_tables.fuzz,
    "kills": tool_tables.kills,
    "search": tool_tables.search,
    "rtl": tool_tables.rtl,
    "counts": count_tables.counts,
    "deploy": tool_tables.deploy,
    "trials": tool_tables.trials,
    "boards": tool_tables.boards,
}


def generated() -> dict[str, str]:
    """Every table and value by its name."""
    return {name: make() for name, make in (TABLES | VALUES).items()}


def texts() -> list[Path]:
    """The files that may hold tables and values."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def main() -> None:
    """Write or print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print them and write nothing")
    tables = generated()
    if parser.parse_args().print:
        print("\n".join(f"{name}\n{text}" for name, text in tables.items()))
        return
    for path in texts():
        if fill(path, tables):
            print(f"{path.relative_to(ROOT)} is written anew")
    write_text(FIGURE, front_svg())


if __name__ == "__main__":
    main()
