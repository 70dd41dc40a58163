"""Tables of trained networks: accuracy, and what their accelerators take."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import product
from statistics import mean
from typing import Any

from benchmarks.common import standard_error
from benchmarks.markdown import marked, percent, table
from benchmarks.noise_curves import ALL
from benchmarks.recorder import Row, grouped
from benchmarks.schemas import CLAIMS, MAIN_FLOW, NITI, NOISE, OWN_NETWORKS, PRUNING, QUANTIZATION, STEP_TIMES
from benchmarks.shell import COSTS, LUT, with_shell

NETWORKS = {"lenet5": "LeNet-5", "resnet8": "ResNet-8", "resnet20": "ResNet-20", "vgg-small": "VGG-Small"}
DATA = {"mnist": "MNIST", "fashion-mnist": "Fashion-MNIST", "cifar10": "CIFAR-10"}
FLOAT_BITS = 32
WORDS = {1: "one epoch", 2: "two epochs", 6: "six epochs"}


def main_flow() -> str:
    """Reference networks, trained, exported and simulated."""
    head = (
        "network", "data", "bits", "epochs", "float", "top-1", "C-sim top-1 (images)", "fps", LUT, "DSP", "BRAM18",
    )  # fmt: skip
    return table(head, (
        (
            f"`{row['model']}`", row["data"], f"W{row['weight_bits']}A{row['act_bits']}", row["epochs"],
            percent(row["float_top1"]), percent(row["top1"]), f"{percent(row['csim_top1'])} ({row['csim_images']:,})",
            *(f"{row[key]:,}" for key in ("fps", *COSTS)),
        )
        for row in MAIN_FLOW.rows() if "csim_top1" in row
    ))  # fmt: skip


def _with_error(shares: Sequence[float]) -> str:
    """The mean of one value a seed in percent and its standard error, where there are several."""
    found = [100 * share for share in shares]
    error = f" ± {standard_error(found):.2f}" if len(found) > 1 else ""
    return f"{mean(found):.2f}{error}"


def own_networks() -> str:
    """Networks of others' making, trained, pruned, quantized and exported."""
    groups = grouped(OWN_NETWORKS.rows(), "network")
    (seeds,) = {len(rows) for rows in groups.values()}
    head = (f"top-1 % of {seeds} seeds", "of", "data", "pruned by", "float", "pruned", "bits", "quantized",
            "MACs, weights left %", "C-sim mismatches (samples)", "fps", LUT, "DSP", "BRAM18")  # fmt: skip
    return table(head, (
        (
            f"`{name}`", rows[0]["what"], rows[0]["data"], rows[0]["pruned"],
            *(_with_error([row[key] for row in rows]) for key in ("float_top1", "pruned_top1")), rows[0]["bits"],
            _with_error([row["top1"] for row in rows]),
            ", ".join(f"{100 * mean(row[key] for row in rows):.1f}" for key in ("kept_macs", "kept_params")),
            f"{sum(row['mismatches'] for row in rows)} ({sum(row['images'] for row in rows):,})",
            *(f"{rows[0][key]:,.0f}" for key in ("fps", *COSTS)),
        )
        for (name,), rows in groups.items()
    ))  # fmt: skip


NITI_NAMES = {
    "mnist": "LeNet-5 (20-50-500), MNIST",
    "fashion-mnist": "the same, Fashion-MNIST",
    "fashion-mnist-16": "Fashion-MNIST, weights added up in 16 bits",
    "fashion-mnist-bias": "Fashion-MNIST, layers with biases",
    "cifar10": "VGG-Small, a quarter of its width, CIFAR-10",
    "cifar10-16": "the same, weights added up in 16 bits",
}


def niti() -> str:
    """Integer-only training beside float."""
    rows = {row["name"]: row for row in NITI.rows()}
    usual = Counter(rows[name]["epochs"] for name in NITI_NAMES).most_common(1)[0][0]
    other = {DATA[rows[name]["data"]]: rows[name]["epochs"] for name in NITI_NAMES if rows[name]["epochs"] != usual}
    besides = "".join(f" ({data}: {epochs})" for data, epochs in other.items())
    head = (
        "network, data", f"NITI (2021), {usual} epochs{besides}", "float, same epochs and batch",
        "with fixed exponents", "a step", "peak memory",
    )  # fmt: skip
    return table(head, (
        (
            label, percent(row["top1"]), percent(row["float_top1"]), percent(row["frozen_top1"]),
            f"{1000 * row['step_seconds']:.0f} ms, float {1000 * row['float_step_seconds']:.0f} ms",
            f"{row['step_mb']:.0f} MiB, float {row['float_step_mb']:.0f} MiB",
        )
        for label, row in ((label, rows[name]) for name, label in NITI_NAMES.items())
    ))  # fmt: skip


def niti_export() -> str:
    """The same network for the board, trained in integers and by LSQ."""
    rows = [row for row in NITI.rows() if row["name"].startswith("export-")]
    head = (
        "LeNet-5 (20-50-500), MNIST, 8 bits",
        "epochs",
        "C-sim top-1 (images)",
        "C-sim mismatches",
        "fps",
        LUT,
        "DSP",
    )
    return table(head, (
        (
            {"niti": "NITI, shifts only", "lsq": "LSQ"}[row["method"]], row["epochs"],
            f"{percent(row['csim_top1'])} ({row['csim_images']:,})", row["csim_mismatches"],
            *(f"{row[key]:,}" for key in ("fps", "lut", "dsp")),
        )
        for row in rows
    ))  # fmt: skip


class Trained:
    """The rows of one network and one schedule, over the seeds."""

    def __init__(self, data: str, model: str, epochs: int | None = None) -> None:
        """Read the recorded rows of a network; of the usual schedule where ``epochs`` is not given."""
        rows = [row for row in QUANTIZATION.rows() if (row["data"], row["model"]) == (data, model)]
        usual = Counter(row["epochs"] for row in rows).most_common(1)[0][0]
        self.name, self.data, self.epochs = NETWORKS[model], DATA[data], epochs or usual
        self.rows = [row for row in rows if row["epochs"] == self.epochs]

    def of(self, method: str, weight: int, act: int, variant: str = "") -> list[Row]:
        """Return the rows of a method at some bits, the first seed first."""
        key = (method, weight, act, variant)
        names = ("method", "weight_bits", "act_bits", "variant")
        return sorted((r for r in self.rows if tuple(r[n] for n in names) == key), key=lambda row: row["seed"])

    def top1(self, method: str, weight: int, act: int, variant: str = "") -> str:
        """Mean over the seeds in percent and its standard error."""
        return _with_error([row["top1"] for row in self.of(method, weight, act, variant)])

    @property
    def real(self) -> str:
        """The accuracy of the float network, as text."""
        return self.top1("float", FLOAT_BITS, FLOAT_BITS)


def _usual() -> list[Trained]:
    chosen = (("fashion-mnist", "lenet5"), ("mnist", "lenet5"), ("cifar10", "resnet8"), ("cifar10", "resnet20"))
    return [Trained(*network) for network in chosen]


BOARD = f"on zu3eg: fps, {LUT}, DSP, BRAM18"


def _board(row: Row) -> str:
    return ", ".join(f"{with_shell(row)[key]:,.0f}" for key in ("fps", *COSTS))


def quantization() -> str:
    """Methods at four, three and two bits."""
    methods = {"lsq": "LSQ", "brevitas": "Brevitas' own", "qil": "QIL", "fqconv": "FQ-Conv"}
    rows = []
    for network in _usual():
        seeds = len(network.of("lsq", 4, 4))
        about = f"{network.name}, {network.data}, {seeds} seed{'s' if seeds > 1 else ''}: {network.real}"
        for bits in (4, 3, 2):
            top1 = [network.top1(method, bits, bits) for method in methods]
            rows.append((about, f"W{bits}A{bits}", *top1, _board(network.of("lsq", bits, bits)[0])))
            about = ""
    return table(("top-1 %, in float", "bits", *methods.values(), BOARD), rows)


def soft_quantization() -> str:
    """Two-bit weights beside float activations."""
    methods = {
        ("lsq", ""): "LSQ", ("brevitas", ""): "Brevitas' own", ("symog", ""): "SYMOG",
        ("symog", "proximal"): "SYMOG, proximal", ("sgm", ""): "SGM",
    }  # fmt: skip
    return table(("top-1 %, W2A32", *methods.values()), (
        (f"{network.name}, {network.data}", *(network.top1(m, 2, FLOAT_BITS, v) for m, v in methods))
        for network in _usual()
    ))  # fmt: skip


SOFT = {
    "lsq": "LSQ", "lsq, steps of powers of two": "LSQ, steps of powers of two", "brevitas": "Brevitas' own",
    "symog": "SYMOG", "symog, drawn early": "drawn early", "symog, drawn less": "drawn less",
    "symog, taught by the parent": "SYMOG, a teacher", "sgm": "SGM",
}  # fmt: skip


def soft_from_float() -> str:
    """Two-bit weights beside float activations, from trained float networks, and the points lost."""
    found: dict[tuple[str, int], dict[str, list[Row]]] = {}
    for row in CLAIMS.rows():
        if row["bits"] == f"W2A{FLOAT_BITS}" and row["method"] in SOFT:
            found.setdefault((_float_of(row), row["epochs"]), {}).setdefault(row["method"], []).append(row)
    return table(("top-1 %, W2A32, in float", "epochs", *SOFT.values()), (
        (about, str(epochs), *(_top1_and_lost(of.get(method, [])) for method in SOFT))
        for (about, epochs), of in sorted(found.items(), reverse=True)
    ))  # fmt: skip


FROM_FLOAT = {
    "lsq": "LSQ", "lsq, taught": "LSQ, a teacher", "lsq, wide ends, taught": "and 8 bits at the ends", "qil": "QIL",
    "fqconv": "FQ-Conv",
}  # fmt: skip
TARGETS = {"W4A4": 0.5, "W3A3": 1.0, "W2A2": 2.5}
"""Points below the float network that quantization may cost."""


def from_float() -> str:
    """Networks quantized from long float trainings: what each method loses, mean and standard error.

    Only schedules of four epochs and more are shown.
    """
    found = _from_float()
    ordered = sorted({of[:-1] for of in found}, key=lambda of: (of[0], of[2], of[1]), reverse=True)

    return table(("top-1 %, in float", "bits", "epochs", *FROM_FLOAT.values()), (
        (about, bits, str(epochs), *(_top1_and_lost(found.get((about, bits, epochs, of), [])) for of in FROM_FLOAT))
        for about, bits, epochs in ordered
    ))  # fmt: skip


def bit_targets() -> str:
    """What quantization costs the networks of `from_float` at most, and the least that it was found to cost."""
    lines = []
    for model, (bits, target) in product(("resnet8", "resnet20"), TARGETS.items()):
        fit = [(of, rows) for of, rows in _from_float().items() if (rows[0]["model"], of[1]) == (model, bits)]
        (about, _, epochs, method), rows = min(fit, key=lambda item: _lost(item[1]))
        how = FROM_FLOAT[method].replace("and 8", "LSQ, a teacher, 8")
        seeds = f"{len(rows)} seed{'s' if len(rows) > 1 else ''}"
        lines.append((
            NETWORKS[model], bits, target, f"{_lost(rows):.2f}", "yes" if _lost(rows) <= target else "no", how,
            about.removeprefix(f"{NETWORKS[model]}, "), f"{epochs}, {seeds}",
        ))  # fmt: skip
    head = ("network", "bits", "points, at most", "the least here", "met", "with", "in float, %", "epochs")
    return table(head, lines)


def _from_float() -> dict[tuple[str, str, int, str], list[Row]]:
    """The seeds of each (float network, bits, epochs, method) of `from_float`."""
    found: dict[tuple[str, str, int, str], list[Row]] = {}
    for row in CLAIMS.rows():
        method, _, teacher = row["method"].partition(" by ")
        if method in FROM_FLOAT and row["bits"] in TARGETS and row["epochs"] >= 4:
            about = _float_of(row)
            if "teacher_top1" in row:
                about += f", taught by {NETWORKS[teacher]} of {100 * row['teacher_top1']:.2f}"
            found.setdefault((about, row["bits"], row["epochs"], method), []).append(row)
    return found


def _top1_and_lost(rows: Sequence[Row]) -> str | None:
    return f"{_with_error([row['top1'] for row in rows])} ({-_lost(rows):+.2f})" if rows else None


def _lost(rows: Sequence[Row]) -> float:
    """Points below the float network, the mean over seeds."""
    return mean(100 * (row["float_top1"] - row["top1"]) for row in rows)


def _float_of(row: Row) -> str:
    """The float network of a claim: its name, accuracy, and epochs where they were recorded."""
    epochs = f", {row['parent_epochs']} epochs" if "parent_epochs" in row else ""
    return f"{NETWORKS[row['model']]}, {100 * row['float_top1']:.2f}{epochs}"


def pruned_from_float() -> str:
    """ResNet-8 pruned from long float trainings, tuned, and quantized: accuracy stage by stage, and the board.

    Accuracies are means over the seeds with their standard errors, the rest is of the first seed. Only the longest
    schedule of a method and a budget is shown, from each float network.
    """
    found = [r for r in CLAIMS.rows() if (r["part"], r["model"]) == ("prune", "resnet8") and "top1" in r]
    longest: dict[tuple[str, str], int] = {}
    for row in found:
        of = row["method"], row["budget"]
        longest[of] = max(row["epochs"], longest.get(of, 0))
    seeds: dict[tuple[str, str, str], list[Row]] = {}
    for row in found:
        if row["epochs"] == longest[row["method"], row["budget"]]:
            seeds.setdefault((row["method"], row["budget"], row["parent"]), []).append(row)
    lines = []
    for rows in sorted(seeds.values(), key=_rank, reverse=True):
        first = min(rows, key=lambda row: row["seed"])
        top1 = [_with_error([_stages(row)[name]["top1"] for row in rows]) for name in ("prune", "tune", "last")]
        board = [f"{with_shell(first)[key]:,.0f}" for key in ("fps", *COSTS)] if "fps" in first else [None] * 4
        lines.append((
            first["method"], first["budget"] or "its own", f"{percent(first['float_top1'])}, {_epochs_of(first)}",
            f"{len(rows)}", *top1, percent(first["macs"]), percent(first["params"]), *board,
        ))  # fmt: skip
    head = (
        "ResNet-8, CIFAR-10", "budget", "float, epochs", "seeds", "pruned, top-1 %", "tuned", "W4A4", "MACs", "weights",
        "fps", LUT, "DSP", "BRAM18",
    )  # fmt: skip
    return table(head, lines)


def _stages(row: Row) -> dict[str, Row]:
    return {stage["name"]: stage for stage in json.loads(row["stages"])}


def _epochs_of(row: Row) -> str:
    return " + ".join(str(stage["epochs"]) for stage in _stages(row).values())


def _rank(rows: list[Row]) -> tuple[Any, ...]:
    """By budget, length and float network, then by accuracy."""
    first = rows[0]
    share = float(first["budget"].partition(" ")[0] or 0)
    return share, first["epochs"], first["float_top1"], mean(row["top1"] for row in rows)


def fqconv() -> str:
    """FQ-Conv in longer schedules and in variants, below its float network."""
    cases = (
        ("resnet8", None, ""), ("resnet8", None, "wide ends"), ("resnet8", None, "distilled"), ("resnet8", 6, ""),
        ("resnet20", None, ""), ("resnet20", None, "wide ends"),
    )  # fmt: skip
    rows = []
    for model, epochs, variant in cases:
        network = Trained("cifar10", model, epochs)
        (real,) = network.of("float", FLOAT_BITS, FLOAT_BITS)
        found = [network.of("fqconv", bits, bits, variant)[0] for bits in (4, 3, 2)]
        label = f"the same, {variant}" if variant else f"{network.name}, {WORDS[network.epochs]}"
        below = [f"{100 * row['top1']:.2f} ({100 * (row['top1'] - real['top1']):+.2f})" for row in found]
        rows.append((label, f"{100 * real['top1']:.2f}", *below, _board(found[-1])))
    head = ("FQ-Conv, CIFAR-10, 1 seed", "float", "W4A4", "W3A3", "W2A2", f"W2A2 {BOARD}")
    return table(head, rows)


METHODS = {
    "hfp": "hfp, reconstructed from its abstract",
    "transport": "transport",
    "transport-4": "transport, multiples of four channels",
    "magnitude": "magnitude",
    "magnitude-layer": "magnitude, layer by layer",
    "slimming": "slimming",
    "hfp-penalty": "hfp without its falling budget",
    "nrmf": "nrmf (low rank)",
    "qcqp": "qcqp",
}
SHARES = (0.5, 0.3, 0.1)


def _pruned(data: str, model: str, left_out: Sequence[str], costs: Sequence[str]) -> str:
    """Methods by their accuracy at 30 % of the MACs, best ones in bold; what their accelerators take there.

    The rate stands in the head of a column in which it is the same for all, or below the table where it always is.
    """
    found = {
        (row["method"], row["budget"]): row
        for row in PRUNING.rows()
        if (row["part"], row["data"], row["model"], row["budget_kind"]) == ("budgets", data, model, "macs")
    }
    methods = [method for method in METHODS if method not in left_out and (method, 0.3) in found]
    methods.sort(key=lambda method: -found[method, 0.3]["top1"])
    built = {s: [r for m in methods if (r := found.get((m, s))) and "top1" in r] for s in SHARES}
    rates = {share: sorted({row["fps"] for row in rows}) for share, rows in built.items()}
    paced = len({fps for share in SHARES for fps in rates[share]}) > 1

    def head(share: float) -> str:
        return f"{100 * share:.0f} %" + (
            f" (all at {rates[share][0]:,.0f} fps)" if paced and len(rates[share]) == 1 else ""
        )

    def text(method: str, share: float) -> str | None:
        row = found.get((method, share))
        if row is None:
            return None
        if "refused" in row:
            return "refused: " + re.sub(r".*: (rank 1) .*", r"\1 takes more", str(row["refused"]))
        best = max(row["top1"] for row in built[share])
        fps = f", {row['fps']:,.0f}" if len(rates[share]) > 1 else ""
        return marked(f"{100 * row['top1']:.2f} %", bold=row["top1"] == best) + fps

    def taken(row: Row) -> str:
        return ", ".join(f"{with_shell(row)[key]:,}" for key in costs)

    whole = found["dense", 1.0]
    dense = f"{100 * whole['top1']:.2f} %, {whole['fps']:,.0f} fps"
    names = ", ".join({"lut": LUT, "dsp": "DSP", "bram18": "BRAM18"}[key] for key in costs)
    real = percent(whole["float_top1"])
    first = f"{NETWORKS[model]}, {DATA[data]} (float {real}), top-1{', fps' if paced else ''}"
    lines = [(METHODS[m], *(text(m, share) for share in SHARES), taken(found[m, 0.3])) for m in methods]
    lines.append((f"whole, W4A4: {dense}", *(None for _ in SHARES), taken(whole)))
    return table((first, *map(head, SHARES), f"{names} at 30 %"), lines)


def pruning_resnet8() -> str:
    """ResNet-8."""
    return _pruned("cifar10", "resnet8", (), COSTS)


def pruning_lenet5() -> str:
    """LeNet-5, whose first window sets the rate of all."""
    return _pruned("fashion-mnist", "lenet5", ("hfp-penalty", "transport-4"), ("lut", "dsp"))


def dst() -> str:
    """Dynamic sparse training beside its paper."""
    names = {"lenet-300-100": "LeNet-300-100", "lenet-5-caffe": "LeNet-5 (20-50-500)"}
    published = [row for row in PRUNING.rows() if row["part"] == "dst" and row["published"]]
    groups = grouped(published, "model", "budget")
    lines = []
    for (model, alpha), rows in groups.items():
        theirs = re.fullmatch(r"(?P<kept>.+?) kept, best (?P<best>.+?) \((?P<where>.+)\)", str(rows[0]["published"]))
        assert theirs is not None
        kept, least, last = (
            _with_error([row[key] for row in rows]) for key in ("kept_share", "kept_share_least", "top1")
        )
        unread = " (theirs not read)" if "not read" in theirs["where"] else ""
        lines.append((
            f"{names[model]}, alpha {alpha:.0e}{unread}".replace("e-0", "e-"),
            f"{kept} %", f"{least} %", theirs["kept"], f"{last} %",
            percent(mean(row["best_top1"] for row in rows)), theirs["best"],
        ))  # fmt: skip
    (epochs,) = {row["epochs"] for rows in groups.values() for row in rows}
    (seeds,) = {len(rows) for rows in groups.values()}
    head = f"dst on MNIST, {epochs} epochs, {seeds} seeds"
    return table(
        (f"{head} (`python -m benchmarks pruning dst`)", "weights kept", "in the sparsest epoch", "published",
         "top-1, last epoch", "best epoch", "published best"),
        lines,
    )  # fmt: skip


def qcqp() -> str:
    """Channels of ResNet-20 as one integer program, by HiGHS."""
    budgets = {
        0.5: "half of the MACs",
        0.3: "30 % of the MACs",
        65_536: "half of the cycles",
        32_768: "a quarter of the cycles",
    }
    rows = {
        row["budget"]: row for row in PRUNING.rows() if row["part"] == "qcqp" and row["method"] == "qcqp, highs 120 s"
    }
    lines = []
    for budget, label in budgets.items():
        row = rows[budget]
        if row["cycles_predicted"] is not None:
            label += f": {row['cycles_predicted']:,} predicted, {row['cycles']:,} simulated"
        gap = float(f"{100 * row['gap']:.2g}")
        numbers = (f"{row[key]:.2f}" for key in ("objective", "greedy_objective", "bound"))
        lines.append((label, *numbers, f"{gap:g} %"))
    head = "channels of ResNet-20 as one program, 120 s (`python -m benchmarks pruning qcqp`, random weights)"
    return table((head, "objective", "greedy", "bound", "gap"), lines)


def noise() -> str:
    """FQ-Conv under noise: of all kinds, without and after training with it, and of each kind alone."""
    rows = NOISE.rows()
    levels = sorted({row["noise"] for row in rows})
    found = {(row["trained_noise"], row["kind"], row["noise"]): row for row in rows}
    curves = {
        "trained without noise": (0.0, ALL),
        "noise on weights alone": (0.0, "weights"),
        "on activations alone": (0.0, "activations"),
        "on sums alone": (0.0, "sums"),
        "trained with half a step": (0.5, ALL),
    }

    def cell(trained: float, kind: str, level: float) -> str:
        row = found[trained, kind, level]
        return f"{100 * row['top1']:.2f} ± {100 * row['error']:.2f}"

    head = ("FQ-Conv W4A4, LeNet-5, Fashion-MNIST: top-1 % at a noise of", *(f"{level:g} steps" for level in levels))
    return table(head, ((name, *(cell(*curve, level) for level in levels)) for name, curve in curves.items()))


def step_times() -> str:
    """Training steps beside those of the float network, and the rate of the recipe."""
    rows = [row for row in STEP_TIMES.rows() if "method" in row]
    columns = list(dict.fromkeys((row["model"], row["data"], row["batch"], row["precision"]) for row in rows))
    found = {(row["method"], row["model"], row["precision"]): row for row in rows}

    def cell(row: Row) -> str:
        if row["method"] == "float":
            return f"{row['ms']:.0f} ms"
        return f"{row['over_float']:.2f} ({row['over_float_low']:.2f} to {row['over_float_high']:.2f})"

    head = (
        f"a step, times that in float (quartiles of {rows[0]['turns']} turns)",
        *(f"{NETWORKS[model]}, {DATA[data]}, batch {batch}, {precision}" for model, data, batch, precision in columns),
    )
    return table(head, (
        (
            f"`{method}`" if method == "float" else f"`{method}` W{bits}A{bits}",
            *(cell(found[method, model, precision]) for model, _, _, precision in columns),
        )
        for method, bits in dict.fromkeys((row["method"], row["bits"]) for row in rows)
    ))  # fmt: skip
