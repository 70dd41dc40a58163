"""The papers' claims from one trained float network: quantized, pruned, trained in integers, under noise.

    python -m benchmarks claims quantize --parent runs/float-resnet8 --seed-list 0 1 2 [--only w2a2] [--teacher RUN]
    python -m benchmarks claims prune --parent runs/float-resnet8 --seed-list 0 1 2 [--shares 0.3] [--epochs 2 3 1]
    python -m benchmarks claims integers --seed-list 0 1 2
    python -m benchmarks claims merge FILE...

Rows go to ``--out`` (results/claims.json). A row that is there is not made again and a run that was killed goes on, so
a stopped benchmark goes on where it was. Two processes, each with seeds, ``--runs`` and ``--out`` of its own, use two
cores best, and ``--lanes`` trains many on one GPU; ``merge`` adds the rows of their files. Every run has one thread,
the same optimizer and no choice by the test images.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.common import finished_run, print_rows
from benchmarks.quantization import QONNX_IMAGES, WIDE_ENDS, board_costs
from benchmarks.recorder import Results, Row
from benchmarks.schemas import CLAIMS
from toolchain.config.run import FLOAT_BITS, RunConfig, find_config, load_config, parse_config
from toolchain.errors import UserError
from toolchain.flow.training import train
from toolchain.train.runs import saved_metrics

BITS = (2, 3, 4)
SHARES = (0.3, 0.1, 0.5)
HOLISTIC = {0.5: 0.3, 0.3: 0.2, 0.1: 0.1}  # of the weights, beside a share of the MACs: another allocation
EXPLORER_SECONDS = 30.0
QUANTIZING, PRUNING = 0.02, 0.05  # rates
ROUNDINGS = ("pseudo-stochastic", "stochastic", "nearest")
INTEGERS: dict[str, list[str]] = {"digits-niti": [], "niti-mnist": ["train.epochs=5", "niti.milestones=[2, 3, 4]"]}
COLUMNS = ("part", "model", "method", "bits", "budget", "seed", "epochs", "float_top1", "top1", "macs", "params", "fps")


@dataclass(frozen=True)
class Claim:
    """A run. ``method`` names what is compared, ``stages`` are those of its run file, ``teacher`` a float run."""

    part: str
    method: str
    bits: str
    seed: int
    stages: list[dict[str, Any]]
    quant: dict[str, Any] = field(default_factory=dict)
    budget: str = ""
    teacher: Path | None = None

    @property
    def name(self) -> str:
        """Name of the run folder."""
        parts = (self.part, self.method, self.bits.lower(), self.budget, f"e{self.epochs}", f"s{self.seed}")
        return "-".join(part.replace(" ", "").replace(",", "-") for part in parts if part)

    @property
    def epochs(self) -> int:
        """Epochs of all stages."""
        return sum(stage["epochs"] for stage in self.stages)


def quantized(seed: int, epochs: int, parent: Path, teacher: Path | None = None) -> Iterator[Claim]:
    """Three methods at three widths, then what each abstract claims besides.

    ``teacher`` is a float run that teaches in place of ``parent``.
    """
    by = load_config(teacher / "run.toml").model.label if teacher else "the parent"

    def taught(claim: Claim) -> Claim:
        return replace(claim, method=f"{claim.method}, taught by {by}", teacher=teacher or parent)

    def claim(method: str, weights: int, acts: int, label: str = "", *before: dict[str, Any], **quant: Any) -> Claim:
        last = {"name": "last", "epochs": epochs}
        bits = {"method": method, "weight_bits": weights, "act_bits": acts}
        return Claim("quantize", label or method, f"W{weights}A{acts}", seed, [*before, last], {**bits, **quant})

    def wide(bits: int) -> dict[str, Any]:
        return {"name": f"w{bits}", "epochs": max(1, epochs // 5), "weight_bits": bits, "act_bits": bits}

    more = {"name": "float", "epochs": 3 * max(1, epochs // 5), "quantized": False}
    for bits in BITS:
        for method in ("lsq", "qil", "fqconv"):
            yield claim(method, bits, bits)
    for method in ("symog", "sgm", "lsq", "brevitas"):
        yield claim(method, 2, FLOAT_BITS)
    early = {"strength": 0.115, "growth": 4.0}  # the same draw in all, more of it in the first half
    yield claim("symog", 2, FLOAT_BITS, "symog, drawn early", symog=early)
    yield claim("symog", 2, FLOAT_BITS, "symog, drawn less", symog={"strength": 3e-3})
    yield claim("lsq", 2, FLOAT_BITS, "lsq, steps of powers of two", scale="pot")  # symog's levels, not its draw
    yield claim("fqconv", 2, 4, "fqconv, ternary weights")
    for offset in ("kept", "faded"):
        bare = {"name": "bare", "epochs": epochs, "remove_batch_norm": True}
        of = claim(
            "fqconv", 2, 4, f"fqconv, ternary weights, no batch norms, offset {offset}", fqconv={"offset": offset}
        )
        yield replace(of, stages=[*of.stages, bare])
    for method in ("qil", "fqconv", "lsq"):  # the last stage of both is as long, and so is what is before it
        yield claim(method, 2, 2, f"{method}, gradual", *(wide(bits) for bits in (5, 4, 3)))
        yield claim(method, 2, 2, f"{method}, direct", more)
    yield taught(claim("fqconv", 2, 2))
    yield taught(claim("symog", 2, FLOAT_BITS))
    for bits in BITS:
        yield taught(claim("lsq", bits, bits))
        yield taught(claim("lsq", bits, bits, "lsq, wide ends", **WIDE_ENDS))
    yield claim("lsq", 2, 2, "lsq, wide ends", **WIDE_ENDS)
    yield claim("qil", 3, 3, "qil, lower ends start at 0", qil={"start": 0.0})


def pruned(seed: int, epochs: Sequence[int], shares: Sequence[float]) -> Iterator[Claim]:
    """Every method at the same shares of the MACs, the same optimizer and tuning, then 4 bits: ``epochs`` of each."""
    for share in shares:
        tables: dict[str, dict[str, Any]] = {
            "magnitude": {"magnitude": {"macs": share}},
            "transport": {"transport": {"macs": share}},
            "hfp": {"hfp": {"macs": share}},
            "hfp, both budgets": {"hfp": {"macs": share, "params": HOLISTIC.get(share, share)}},
            "qcqp": {"qcqp": {"macs": share}},
            "qcqp, blocks": {"qcqp": {"macs": share, "blocks": True}},
            "qcqp, greedy": {"qcqp": {"macs": share, "solver": "greedy"}},
            "transport, one plan": {"transport": {"macs": share, "scope": "network"}},
            "slimming": {"slimming": {"macs": share}},
            "magnitude, layer by layer": {"magnitude": {"macs": share, "scope": "layer"}},
            "nrmf": {"nrmf": {"macs": share, "energy": 1.0}},
        }
        for method, table in tables.items():
            yield _pruned(seed, epochs, method, f"{100 * share:g} % MACs", table)
    others: dict[str, dict[str, Any]] = {
        "nrmf, energy 0.95": {"nrmf": {"energy": 0.95}},
        "nrmf, energy 0.95, no norm": {"nrmf": {"energy": 0.95, "strength": 0.0}},
        "nrmf, VBMF": {"nrmf": {"ranks": "vbmf"}},
        "nrmf, VBMF, no norm": {"nrmf": {"ranks": "vbmf", "strength": 0.0}},
        "dst": {"dst": {"alpha": 5e-4}},
        "transport, 20 % of the weights": {"transport": {"params": 0.2, "granularity": "weight"}},
        "none": {},
    }
    for method, table in others.items():
        yield _pruned(seed, epochs, method, "", table)


def _pruned(seed: int, epochs: Sequence[int], method: str, budget: str, table: dict[str, Any]) -> Claim:
    prune, tune, last = epochs
    stages = [
        {"name": "prune", "epochs": prune, "quantized": False, "lr": PRUNING} | table,
        {"name": "tune", "epochs": tune, "quantized": False, "lr": PRUNING},
        {"name": "last", "epochs": last},
    ]
    return Claim("prune", method, "W4A4", seed, stages, {"weight_bits": 4, "act_bits": 4}, budget)


def config_of(claim: Claim, parent: RunConfig, folder: Path) -> RunConfig:
    """The run file of a claim: the parent's data and network, its weights, and one optimizer for all."""
    training = {
        "optimizer": "sgd", "nesterov": True, "lr": QUANTIZING, "batch_size": 128, "weight_decay": 1e-4,
        "label_smoothing": parent.train.label_smoothing, "precision": parent.train.precision, "threads": 1,
        "evaluate_every": 1000, "seed": claim.seed, "start_from": str(folder),
    }  # fmt: skip
    if claim.teacher:
        training["teacher"] = str(claim.teacher)
    table = {
        "name": claim.name, "data": parent.data.model_dump(exclude_none=True), "quant": claim.quant,
        "model": parent.model.model_dump(), "train": training, "stage": claim.stages,
    }  # fmt: skip
    return parse_config(table, where=claim.name)


def row_of(claim: Claim, options: argparse.Namespace) -> Row:
    """Train a claim, resuming where it was killed; the first seed is planned for the board."""
    folder = options.parent.resolve()
    parent = load_config(folder / "run.toml")
    key: Row = {name: asdict(claim)[name] for name in ("part", "method", "bits", "budget", "seed")}
    key |= {"epochs": claim.epochs} | parent_key(options.parent)
    key["parent_epochs"] = float_epochs(folder)
    config, runs = config_of(claim, parent, folder), options.runs
    try:
        out = train(config, runs / claim.name, resume=True, qonnx_images=QONNX_IMAGES)
    except UserError as error:
        return key | {"refused": str(error)}
    found, before = saved_metrics(out), saved_metrics(folder)
    stages = [
        {"name": s["name"], "epochs": s["epochs"], "trained": s["trained_top1"], "top1": s["top1"], **s["observed"]}
        for s in found["stages"]
    ]
    devices = {s.get("device", "cpu") for s in found["stages"]}
    row = key | {
        "float_top1": before["top1"], "top1": found["top1"], "stages": json.dumps(stages),
        "macs": round(found["macs"] / before["macs"], 5), "params": round(found["params"] / before["params"], 5),
        "weight_sparsity": round(found["weight_sparsity"], 5), "seconds": found["seconds"],
    }  # fmt: skip
    if claim.teacher and claim.teacher != folder:
        row["teacher_top1"] = saved_metrics(claim.teacher)["top1"]
    if devices != {"cpu"}:
        row["trained_on"] = ", ".join(sorted(devices))
    if claim.seed == 0 and found["act_bits"] != FLOAT_BITS:
        row |= board_costs(out, runs / f"{claim.name}-build", EXPLORER_SECONDS)
    return row


def train_beside_each_other(claims: Sequence[Claim], options: argparse.Namespace) -> None:
    """Train claims ``options.lanes`` at a time in processes of their own, which keeps one accelerator busy.

    Their rows are made afterwards, from what has finished.
    """
    with ProcessPoolExecutor(options.lanes, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = [pool.submit(_trained, claim, options.parent.resolve(), options.runs) for claim in claims]
        for done in as_completed(waiting):
            print(done.result(), flush=True)


def _trained(claim: Claim, folder: Path, runs: Path) -> str:
    """Train a claim in a process of its own; return how it ended."""
    config = config_of(claim, load_config(folder / "run.toml"), folder)
    try:
        train(config, runs / claim.name, resume=True, qonnx_images=QONNX_IMAGES)
    except UserError as error:
        return f"{claim.name}: {error}"
    return f"{claim.name}: trained"


def float_epochs(folder: Path) -> int:
    """Return the epochs behind a float run: its own and those of the runs that it started from."""
    training = load_config(folder / "run.toml").train
    return training.epochs + (float_epochs(Path(training.start_from)) if training.start_from else 0)


def parent_key(folder: Path) -> Row:
    """Return the columns that tell a float network in ``folder`` apart: its data, name and weights."""
    config, weights = load_config(folder / "run.toml"), (folder / "model.pt").read_bytes()
    return {
        "data": config.data.name, "model": config.model.label, "parent": hashlib.sha256(weights).hexdigest()[:12]
    }  # fmt: skip


def integer_row(recipe: str, rounding: str, seed: int, runs: Path) -> Row:
    """A recipe's network in integers with one rounding of the gradients."""
    settings = [*INTEGERS[recipe], f"train.seed={seed}", f"niti.gradient_rounding={rounding}"]
    config = load_config(find_config(recipe), settings)
    out = train(config, runs / f"{recipe}-{rounding}-s{seed}", resume=True)
    found = saved_metrics(out)
    return integer_key(recipe, rounding, seed) | {"top1": found["top1"], "seconds": found["seconds"]}


def integer_key(recipe: str, rounding: str, seed: int) -> Row:
    """Return the columns that tell a row of integer-only training apart."""
    config = load_config(find_config(recipe), INTEGERS[recipe])
    return {
        "part": "integers", "method": f"niti, {rounding}", "bits": "W8A8", "budget": "", "seed": seed,
        "data": config.data.name, "model": config.model.name, "epochs": config.train.epochs,
    }  # fmt: skip


def _integers(options: argparse.Namespace, results: Results) -> None:
    """Make the rows that are missing of training in integers."""
    for seed, recipe, rounding in product(options.seed_list, INTEGERS, ROUNDINGS):
        wanted = any(text in recipe for text in options.only)
        if wanted and not results.has(integer_key(recipe, rounding, seed)):
            results.record(integer_row(recipe, rounding, seed, options.runs))


def _missing(options: argparse.Namespace, results: Results) -> list[Claim]:
    """The claims that are asked for and have no row, seed by seed."""
    parent = parent_key(options.parent)
    makes = {"quantize": lambda seed: quantized(seed, options.epochs, options.parent.resolve(), options.teacher),
             "prune": lambda seed: pruned(seed, options.epochs, options.shares)}  # fmt: skip
    claims = [claim for seed in options.seed_list for claim in makes[options.part](seed)]
    return [
        claim
        for claim in claims
        if any(text in claim.name for text in options.only)
        and not results.has(parent | {"epochs": claim.epochs} | asdict(claim))
    ]


def main() -> None:
    """Run what is missing of a part, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for name in ("quantize", "prune", "integers"):
        part = parts.add_parser(name)
        part.add_argument("--seed-list", type=int, nargs="+", default=[0, 1, 2])
        part.add_argument("--out", type=Path, default=CLAIMS.path, help="the file of the rows")
        part.add_argument("--runs", type=Path, default=Path("runs/claims"))
        part.add_argument("--only", nargs="+", default=[""], help="names of runs that contain one of these")
        if name != "integers":
            part.add_argument("--parent", type=finished_run, required=True, help="folder of a finished float run")
            part.add_argument("--lanes", type=int, default=1, help="runs beside each other, for an accelerator")
    parts.choices["quantize"].add_argument("--epochs", type=int, default=10, help="of a stage")
    parts.choices["quantize"].add_argument(
        "--teacher", type=lambda text: finished_run(text).resolve(), help="a float run that teaches, not the parent"
    )
    stages: dict[str, Any] = {"type": int, "nargs": 3, "default": [10, 10, 10], "metavar": ("PRUNE", "TUNE", "LAST")}
    parts.choices["prune"].add_argument("--epochs", **stages)
    parts.choices["prune"].add_argument("--shares", type=float, nargs="+", default=list(SHARES))
    parts.add_parser("merge").add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    if options.part == "merge":
        for file in options.files:
            CLAIMS.record(*replace(CLAIMS, name=file.stem, folder=file.parent).rows())
        return
    results = replace(CLAIMS, name=options.out.stem, folder=options.out.parent)
    if options.part == "integers":
        _integers(options, results)
    else:
        claims = _missing(options, results)
        if options.lanes > 1:
            train_beside_each_other(claims, options)
        for claim in claims:
            results.record(row_of(claim, options))
            print(claim.name, results.rows()[-1].get("top1", "refused"), flush=True)
    print_rows("claims", results.rows(), {key: key for key in COLUMNS})


if __name__ == "__main__":
    main()
