"""Single figures that the texts quote within a line, by name."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from benchmarks.schemas import (
    COUNTED_PLANS,
    EXPLORER,
    FUZZ,
    FUZZ_CURVES,
    FUZZ_GEOMETRY,
    FUZZ_TOKENS,
    KILLS,
    RATES,
    RESIDUALS,
    RTL,
    SEARCH,
    STEP_TIMES,
)

NEAR = 0.9
"""The share of the next multiple of eight's rate below which a count of channels is slow for its own sake."""


def _kills(how: str) -> Callable[[], str]:
    return lambda: f"{sum(row['kills'] for row in KILLS.rows() if row['how'] == how):,}"


def _lost() -> str:
    return f"{sum(row['wrong'] for row in KILLS.rows())}"


def _random_files() -> str:
    """Random QONNX files of every generator; raises where one was wrong."""
    rows = [row for results in (FUZZ, FUZZ_CURVES, FUZZ_GEOMETRY, FUZZ_TOKENS) for row in results.rows()]
    if any(row["failures"] for row in rows):
        raise ValueError("a random file was neither exact nor refused: the sentence of the README is false")
    return f"{sum(row['graphs'] for row in rows):,}"


def _simulated() -> str:
    """Networks that Verilator ran; raises where a code or a frame's interval was another than the model's."""
    rows = [row for row in RTL.rows() if "wrong_codes" in row]
    if any(row["wrong_codes"] or row["interval"] != row["model_interval"] for row in rows):
        raise ValueError("a simulated network differs from its model: the sentence of the README is false")
    return f"{len(rows)}"


def _counted(costs: str, key: str) -> Callable[[], str]:
    """A column of the plan of ResNet-8 W4A4 by ``costs``, as yosys counts it."""

    def value() -> str:
        rows = COUNTED_PLANS.rows()
        return f"{next(row[key] for row in rows if (row['network'], row['costs']) == ('resnet8-w4a4', costs)):,.0f}"

    return value


def _oracle(key: str) -> Callable[[], str]:
    return lambda: f"{next(row[key] for row in EXPLORER.rows() if row['kind'] == 'oracle'):,}"


def _slower(kind: str) -> Callable[[], str]:
    """Return a reader of how many times slower the designs of other tools' searches over the cost model are."""

    def value() -> str:
        ratios = [row["ratio"] for row in EXPLORER.rows() if row["kind"] == kind and row.get("ratio")]
        mean = prod(ratios) ** (1 / len(ratios))
        none = sum(row["kind"] == kind and row["fps"] is None for row in EXPLORER.rows())
        return (
            f"{min(ratios):.1f} to {max(ratios):.0f} times, {mean:.1f} on average (geometric), {none} times none at all"
        )

    return value


def _solved() -> str:
    seconds = [row["cpu_seconds"] for row in EXPLORER.rows() if row["kind"] == "network"]
    return f"{min(seconds):.0f} to {max(seconds):.0f} CPU seconds"


def _slow_counts(tree: str, network: str) -> Callable[[], str]:
    def value() -> str:
        rows = [row for row in RATES.rows() if (row["tree"], row["network"]) == (tree, network)]
        return f"{sum(row['of_next_multiple'] < NEAR for row in rows)} of {len(rows)}"

    return value


def _ranks(what: str) -> Callable[[], str]:
    """Kendall's tau of what ranks bit vectors, on digits and on CIFAR-10 with ResNet-8."""

    def value() -> str:
        found = {row["space"]: row["value"] for row in SEARCH.rows() if row["what"].startswith(what)}
        return " and ".join(f"{found[space]:.2f}" for space in ("digits-resnet", "cifar10-resnet8") if space in found)

    return value


def _residual(kind: str) -> Callable[[], str]:
    def value() -> str:
        ratios = [row[f"{kind}_ratio"] for row in RESIDUALS.rows() if row["operands"] == "sums"]
        return f"{min(ratios):.2f} to {max(ratios):.2f}"

    return value


def _step_time(precision: str) -> Callable[[], str]:
    """LSQ's step on ResNet-8 over that in float."""

    def value() -> str:
        keys = ("resnet8", "lsq", precision)
        (row,) = (row for row in STEP_TIMES.rows() if (row["model"], row.get("method"), row["precision"]) == keys)
        return f"{row['over_float']:.2f}"

    return value


def _recipe_rate() -> str:
    (row,) = (row for row in STEP_TIMES.rows() if "recipe" in row)
    return f"{row['images_per_second']:,.0f} ({row['low']:,.0f} to {row['high']:,.0f})"


VALUES: dict[str, Callable[[], str]] = {
    "killed": _kills("signal"),
    "full_disks": _kills("full disk"),
    "lost_builds": _lost,
    "fuzz_graphs": _random_files,
    "rtl_networks": _simulated,
    "counted_luts": _counted("estimated", "counted_lut"),
    "counted_budget": _counted("estimated", "budget_lut"),
    "counted_fps": _counted("counted", "fps"),
    "oracle_instances": _oracle("instances"),
    "oracle_infeasible": _oracle("infeasible"),
    "searches_networks": _slower("search"),
    "search_errors": _ranks("summed errors of single layers on images"),
    "search_random": _ranks("summed errors of single layers on 64 random inputs"),
    "search_noise": _ranks("summed noise"),
    "search_vectors": _ranks("predictor from"),
    "searches_random": _slower("random"),
    "solver_seconds": _solved,
    "slow_features_before": _slow_counts("before", "features"),
    "slow_features_after": _slow_counts("after", "features"),
    "slow_channels_before": _slow_counts("before", "channels"),
    "slow_channels_after": _slow_counts("after", "channels"),
    "residual_luts": _residual("lut"),
    "residual_dsps": _residual("dsp"),
    "lsq_step_float32": _step_time("float32"),
    "lsq_step_bfloat16": _step_time("bfloat16"),
    "recipe_rate": _recipe_rate,
}
