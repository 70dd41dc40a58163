"""The quantization methods beside LSQ and Brevitas: accuracy at equal epochs, and what the networks cost on the board.

    FPGAFLOW_DATA=... python -m benchmarks quantization [--gpu-schedule] [--runs FOLDER] [--figures] [--step-times]

A row a run: data, model, method, bits, seed, epochs, accuracy beside that of the float network it started from, and for
the first seed the resources and the rate that the explorer finds. Rows that are there are not run again, so a run that
was stopped goes on. The default schedule is for a CPU: few epochs, so that accuracies compare with each other alone.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.common import costs, print_rows, standard_error
from benchmarks.figures import lines_svg
from benchmarks.noise_curves import measure_noise
from benchmarks.recorder import Row, grouped
from benchmarks.schemas import QUANTIZATION
from benchmarks.step_times import measure_steps
from toolchain.config.run import FLOAT_BITS, RunConfig, parse_config
from toolchain.files import write_text
from toolchain.flow.options import Search
from toolchain.flow.stages import explore, lower
from toolchain.flow.streaming import Streaming
from toolchain.flow.training import train
from toolchain.train.runs import saved_metrics
from toolchain.units.totals import graph_cost

FIGURES = Path(__file__).resolve().parents[1] / "docs" / "figures"
SETTING = ("data", "model", "method", "variant", "weight_bits", "act_bits", "epochs")
SOLVER_SECONDS = 10.0
QONNX_IMAGES = 64  # the gate has compared file and network; their accuracy is measured on the network
METHODS = ("lsq", "brevitas", "qil", "fqconv")
SOFT_METHODS = ("symog", "sgm")
BITS = (2, 3, 4)
SGM_STRENGTH = 0.1  # ten times the default: without SYMOG's clip, few epochs leave weights far from their modes


@dataclass(frozen=True)
class Schedule:
    """Epochs of a network in float, and as many again quantized."""

    epochs: int
    batch: int
    lr: float
    seeds: int
    augment: bool = False
    precision: str = "float32"
    variants: tuple[str, ...] = ()  # variants of FQ-Conv, at all bits


WIDE = "wide ends"
WIDE_ENDS = {"first_weight_bits": 8, "last_weight_bits": 8, "residual_bits": 8}
CPU = {
    ("fashion-mnist", "lenet5"): Schedule(3, 256, 3e-3, seeds=3),
    ("mnist", "lenet5"): Schedule(2, 256, 3e-3, seeds=3),
    ("cifar10", "resnet8"): Schedule(
        2, 256, 4e-3, seeds=1, augment=True, precision="bfloat16", variants=("distilled", WIDE)
    ),
    ("cifar10", "resnet20"): Schedule(1, 256, 4e-3, seeds=1, augment=True, precision="bfloat16", variants=(WIDE,)),
}
GPU = {
    ("fashion-mnist", "lenet5"): Schedule(40, 256, 3e-3, seeds=3),
    ("mnist", "lenet5"): Schedule(40, 256, 3e-3, seeds=3),
    ("cifar10", "resnet20"): Schedule(150, 256, 4e-3, seeds=3, augment=True, variants=("distilled", WIDE)),
    ("cifar10", "vgg-small"): Schedule(100, 256, 2e-3, seeds=3, augment=True, variants=("distilled", WIDE)),
}
VARIANT_EPOCHS = 3  # fewer leave a variant no epoch for each of its stages


@dataclass(frozen=True)
class Case:
    """One row of the table.

    ``variant`` is '', 'gradual' (bits fall to the target), 'no batch norm' (gone after the first half), 'proximal'
    (weights are pulled after the step, whatever the learning rate is), 'distilled' (from the float network that it
    starts from) or 'wide ends' (8 bits for weights of the first and the last layer, as LSQ's paper has them, and for
    operands of adds).
    """

    data: str
    model: str
    method: str
    weight_bits: int
    act_bits: int
    seed: int
    epochs: int
    variant: str = ""

    @property
    def name(self) -> str:
        """The name of the run folder."""
        parts = (self.data, self.model, self.method, f"w{self.weight_bits}a{self.act_bits}", self.variant)
        return "-".join(part.replace(" ", "") for part in parts if part) + f"-e{self.epochs}-s{self.seed}"


def cases(schedules: dict[tuple[str, str], Schedule], seeds: int) -> Iterator[Case]:
    """The rows in the order of what they tell; the variants of one seed."""
    for (data, model), schedule in schedules.items():
        epochs = schedule.epochs
        for seed in range(min(seeds, schedule.seeds)):
            yield Case(data, model, "float", FLOAT_BITS, FLOAT_BITS, seed, epochs)
            for bits in (2, 4, 3):
                for method in METHODS:
                    yield Case(data, model, method, bits, bits, seed, epochs)
            for method in (*SOFT_METHODS, "lsq", "brevitas"):
                yield Case(data, model, method, 2, FLOAT_BITS, seed, epochs)
            yield Case(data, model, "symog", 2, FLOAT_BITS, seed, epochs, "proximal")
            if seed == 0:
                for variant, bits in product(schedule.variants, BITS):
                    yield Case(data, model, "fqconv", bits, bits, seed, epochs, variant)
            if seed == 0 and epochs >= VARIANT_EPOCHS:
                yield Case(data, model, "qil", 2, 2, seed, epochs, "gradual")
                yield Case(data, model, "fqconv", 2, 2, seed, epochs, "gradual")
                yield Case(data, model, "symog", 2, 4, seed, epochs)
            if epochs >= VARIANT_EPOCHS:
                yield Case(data, model, "fqconv", 4, 4, seed, epochs, "no batch norm")


def stages_of(case: Case) -> list[dict[str, object]]:
    """The stages of a run; the epochs of all add up to the case's."""
    if case.variant == "gradual":
        higher = [bits for bits in (8, 6, 5, 4, 3) if bits > case.weight_bits][-(case.epochs - 1) :]
        each = case.epochs // (len(higher) + 1)
        chain: list[dict[str, object]] = [
            {"name": f"w{bits}", "epochs": each, "weight_bits": bits, "act_bits": bits} for bits in higher
        ]
        return [*chain, {"name": "target", "epochs": case.epochs - each * len(higher)}]
    if case.variant == "no batch norm":
        first = case.epochs // 2
        bare = {"name": "bare", "epochs": case.epochs - first, "remove_batch_norm": True}
        return [{"name": "quantized", "epochs": first}, bare]
    return [{"name": "quantized", "epochs": case.epochs}]


def config_of(case: Case, schedule: Schedule, start: Path | None) -> RunConfig:
    """The run file of a case; ``start`` is the float run it starts from, None for that run itself."""
    training = {
        "epochs": case.epochs, "batch_size": schedule.batch, "lr": schedule.lr, "seed": case.seed,
        "threads": 0 if torch.cuda.is_available() else 1, "float": case.method == "float",
        "precision": schedule.precision,
    }  # fmt: skip
    if start is not None:
        training["start_from"] = str(start)
    if case.variant == "distilled":
        training["teacher"] = str(start)
    table: dict[str, object] = {
        "name": case.name,
        "data": {"name": case.data, "augment": schedule.augment},
        "model": {"name": case.model},
        "train": training,
    }
    if case.method != "float":
        bits = {"weight_bits": case.weight_bits, "act_bits": case.act_bits}
        quant: dict[str, object] = {"method": case.method, **bits}
        if case.method == "sgm":
            quant["symog"] = {"strength": SGM_STRENGTH}
        if case.variant == WIDE:
            quant |= WIDE_ENDS
        if case.variant == "proximal":
            quant["symog"] = {"proximal": True}
        table |= {"quant": quant, "stage": stages_of(case)}
    return parse_config(table, where=case.name)


def float_start(case: Case, schedule: Schedule, runs: Path) -> Path:
    """The float run that all methods of a network and a seed start from, trained once."""
    first = Case(case.data, case.model, "float", FLOAT_BITS, FLOAT_BITS, case.seed, case.epochs, "start")
    return train(config_of(first, schedule, None), runs / first.name, resume=True, qonnx_images=QONNX_IMAGES)


def row_of(case: Case, schedule: Schedule, runs: Path) -> Row:
    """Train a case and, for the first seed, let the explorer build it."""
    start = float_start(case, schedule, runs)
    out = train(config_of(case, schedule, start), runs / case.name, resume=True, qonnx_images=QONNX_IMAGES)
    found, before = saved_metrics(out), saved_metrics(start)
    row: Row = {key: getattr(case, key) for key in QUANTIZATION.key}
    row |= {"float_epochs": schedule.epochs, "float_top1": before["top1"], "top1": found["top1"]}
    row |= {"precision": schedule.precision, "weight_sparsity": found["weight_sparsity"], "seconds": found["seconds"]}
    if case.seed == 0 and case.act_bits != FLOAT_BITS:
        row |= board_costs(out, runs / f"{case.name}-build")
    return row | {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"}


def board_costs(run: Path, folder: Path, seconds: float = SOLVER_SECONDS) -> Row:
    """Estimated resources and rate on the zu3eg, of the fastest accelerator that fits; ``seconds`` a solver call."""
    lowered = lower(run / "model.onnx", folder)
    design = explore(lowered, Search(time_limit=seconds, architecture="streaming")).design
    assert isinstance(design, Streaming)
    plan = design.plan
    assert plan.solver is not None
    rate = round(plan.clock_mhz * 1e6 / plan.solver.cycles, 1)
    return costs(graph_cost(design.hardware)) | {"fps": rate}


def _most_bits_first(setting: tuple[Any, ...]) -> tuple[Any, ...]:
    """The order of settings in a table: by network, then activations and weights of the most bits first."""
    return *setting[:2], -setting[SETTING.index("act_bits")], -setting[SETTING.index("weight_bits")]


def summarize(rows: list[Row]) -> list[Row]:
    """A row a setting: the mean accuracy of the seeds that are there, its standard error, costs of the first seed."""
    settings = grouped(rows, *SETTING)
    summary = []
    for setting in sorted(settings, key=_most_bits_first):
        of_setting = settings[setting]
        found = [float(row["top1"]) for row in of_setting]
        over_seeds: Row = {"seeds": len(found), "top1": mean(found), "error": standard_error(found)}
        summary.append(min(of_setting, key=lambda row: int(row["seed"])) | over_seeds)
    return summary


def write_figures(summary: list[Row]) -> None:
    """Accuracy against bits, a figure a network."""
    for data, model in sorted({(str(row["data"]), str(row["model"])) for row in summary}):
        series: dict[str, list[tuple[float, float, float]]] = {}
        of_network = [row for row in summary if (row["data"], row["model"], row["variant"]) == (data, model, "")]
        epochs, _ = Counter(row["epochs"] for row in of_network).most_common(1)[0]  # other schedules have a row or two
        for row in of_network:
            if row["epochs"] != epochs:
                continue
            if row["method"] in ("float", *METHODS):
                point = 100 * float(row["top1"]), 100 * float(row["error"])
                for bits in BITS:
                    if row["method"] == "float" or row["act_bits"] == bits:
                        series.setdefault(str(row["method"]), []).append((bits, *point))
        ordered = {method: series[method] for method in ("float", *METHODS) if method in series}  # as coloured
        figure = lines_svg(ordered, "bits of weights and activations", f"top-1 %, {model} on {data}")
        write_text(FIGURES / f"quantization-{data}-{model}.svg", figure)


def main() -> None:
    """Run what is missing, write each row as it is found, then the figures and the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--gpu-schedule", action="store_true", help="full epochs, resnet20 and vgg-small, three seeds")
    parser.add_argument("--runs", type=Path, default=Path("runs/quantization"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of the schedules' own, in float and then quantized")
    parser.add_argument("--only", default="", help="names of runs that contain this")
    parser.add_argument("--figures", action="store_true", help="only draw the rows that are there")
    parser.add_argument("--step-times", action="store_true", help="only measure the time of a training step")
    parser.add_argument("--noise", action="store_true", help="only measure accuracy under noise")
    arguments = parser.parse_args()
    if arguments.step_times:
        measure_steps()
        return
    if arguments.noise:
        measure_noise(arguments.runs)
        return
    schedules = GPU if arguments.gpu_schedule else CPU
    if arguments.epochs:
        schedules = {network: replace(own, epochs=arguments.epochs) for network, own in schedules.items()}
    for case in cases(schedules, arguments.seeds):
        if arguments.figures or arguments.only not in case.name or QUANTIZATION.has(asdict(case)):
            continue
        row = row_of(case, schedules[case.data, case.model], arguments.runs)
        QUANTIZATION.record(row)
        print(case.name, row["top1"], flush=True)
    summary = summarize(QUANTIZATION.rows())
    write_figures(summary)
    columns = (*SETTING, "seeds", "top1", "error", "lut", "dsp", "bram18", "fps")
    print_rows("quantization", summary, {key: key for key in columns})


if __name__ == "__main__":
    main()
