"""The channel selection by CP-SAT (OR-tools), which takes tables of costs and starts from a given selection.

It runs in a process of its own, ``python -m toolchain.train.selection.cpsat`` with a request as JSON: OR-tools and
highspy each bring a library of HiGHS under one name, and a process that has loaded one cannot load the other.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import numpy as np

from toolchain.errors import UserError
from toolchain.train.selection.program import ChannelProgram, Kept, Limit, Weights

_UNIT = 1e-9  # importances are counted in; rounded up, so that the bound stays one
_NOT_INSTALLED = 3  # exit code
_SPARE_SECONDS = 120.0  # beyond the solver's limit, to load and to build the model


def solve(program: ChannelProgram, start: Kept, seconds: float) -> tuple[Kept, float]:
    """The best selection found in ``seconds`` from ``start`` on, and a bound of any selection's objective.

    Raises:
        UserError: OR-tools is not installed.
    """
    request = {
        "seconds": max(seconds, 0.1),
        "sizes": {name: program.sizes[name] for name in program.free},
        "allowed": {name: program.allowed(name) for name in program.free},
        "start": start,
        "layers": [_units(program, layer) for layer in program.layers],
        "limits": [
            {"bound": limit.bound, "each": limit.each, "tables": [_table(program, x, limit) for x in program.layers]}
            for limit in program.limits
        ],
    }
    done = subprocess.run(
        [sys.executable, "-m", "toolchain.train.selection.cpsat"], input=json.dumps(request), capture_output=True,
        text=True, check=False, timeout=seconds + _SPARE_SECONDS,
    )  # fmt: skip
    if done.returncode == _NOT_INSTALLED:
        raise UserError("solver 'cpsat' needs OR-tools", hint="pip install 'fpgaflow[cpsat]'")
    if done.returncode:
        raise RuntimeError(f"CP-SAT failed: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout)
    if answer["kept"] is None:
        return start, math.inf
    return answer["kept"], answer["bound"] * _UNIT


def _units(program: ChannelProgram, layer: Weights) -> dict[str, Any]:
    """A layer's importance in units, with the free groups it belongs to."""
    reads = layer.reads if layer.reads in program.free else None
    writes = layer.writes if layer.writes in program.free else None
    units = np.ceil(layer.importance / _UNIT).astype(np.int64)
    if reads is None:
        units = units.sum(1, keepdims=True)
    if writes is None:
        units = units.sum(0, keepdims=True)
    return {"reads": reads, "writes": writes, "units": units.tolist()}


def _table(program: ChannelProgram, layer: Weights, limit: Limit) -> list[int]:
    """A layer's cost for all pairs of counts, from zero, of its free groups; those of the written one run fastest."""

    def counts(name: str | None) -> range:
        size = 1 if name is None else program.sizes[name]
        return range(0 if name in program.free else size, size + 1)

    return [limit.cost(layer.name, m, n) for m in counts(layer.reads) for n in counts(layer.writes)]


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the solver's answer to a request: the kept channels by group or None, and the bound in units."""
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    sizes: dict[str, int] = request["sizes"]
    channels = {name: [model.new_bool_var(f"{name}_{j}") for j in range(size)] for name, size in sizes.items()}
    domains = {name: cp_model.Domain.from_values(request["allowed"][name]) for name in sizes}
    counts = {name: model.new_int_var_from_domain(domain, f"{name}_n") for name, domain in domains.items()}
    for name, row in channels.items():
        model.add(sum(row) == counts[name])
        for j, x in enumerate(row):
            model.add_hint(x, j in request["start"][name])
    model.maximize(sum(_importance(model, channels, layer) for layer in request["layers"]))
    for limit in request["limits"]:
        costs = [
            _cost(model, sizes, counts, layer, table)
            for layer, table in zip(request["layers"], limit["tables"], strict=True)
        ]
        for cost in costs if limit["each"] else [sum(costs)]:
            model.add(cost <= limit["bound"])
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = request["seconds"]
    solver.parameters.num_workers = 1
    if solver.solve(model) not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return {"kept": None}
    kept = {name: [j for j, x in enumerate(row) if solver.value(x)] for name, row in channels.items()}
    return {"kept": kept, "bound": solver.best_objective_bound}


def _importance(model: Any, channels: dict[str, list[Any]], layer: dict[str, Any]) -> Any:
    """A layer's part of the objective: a variable for each pair that is at most either channel."""
    written, read = channels.get(layer["writes"]), channels.get(layer["reads"])
    terms = []
    for j, row in enumerate(layer["units"]):
        for i, unit in enumerate(row):
            both = [group[at] for group, at in ((written, j), (read, i)) if group is not None]
            if len(both) < 2:
                terms.append(unit * (both[0] if both else 1))
                continue
            pair = model.new_bool_var("")
            for x in both:
                model.add_implication(pair, x)
            terms.append(unit * pair)
    return sum(terms)


def _cost(model: Any, sizes: dict[str, int], counts: dict[str, Any], layer: dict[str, Any], table: list[int]) -> Any:
    """Return a layer's cost in a limit: the entry of its table at its counts."""
    if len(table) == 1:
        return table[0]
    writes, reads = layer["writes"], layer["reads"]
    index = 0 if reads is None else counts[reads] * (sizes[writes] + 1 if writes in sizes else 1)
    index += 0 if writes is None else counts[writes]
    entry = model.new_int_var(min(table), max(table), "")
    model.add_element(index, table, entry)
    return entry


def main() -> None:
    """Answer the request on standard input."""
    try:
        answer = _answer(json.load(sys.stdin))
    except ImportError:
        sys.exit(_NOT_INSTALLED)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
