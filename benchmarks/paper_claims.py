"""Sentences of the eleven abstracts that can be tested here, in other words, beside the committed figures.

Sentences about ImageNet, other boards and schedules of hundreds of epochs are not here: no machine at hand tests them.
Where a paper says "without loss" the bounds are 0.5 points at four bits, 1 at three and 2.5 at two.
"""

from __future__ import annotations

from typing import Any

from benchmarks.evidence import Figure, Read, Tested, change, claims_table, column, observed
from benchmarks.noise_curves import ALL, KINDS
from benchmarks.schemas import CLAIMS, NITI, NOISE, PRUNING, QUANTIZATION, SEARCH

TOP1 = column("top1", 100)
MACS = column("macs", 100)
LOST_AT = {4: 0.5, 3: 1.0, 2: 2.5}
"""Points below float that count as none, by bits."""

NETWORKS = ("resnet8", "resnet20")
SHORT = "the papers' networks are wider and their schedules longer"
EQUAL_EPOCHS = "as many epochs in all leave one or less at the last bits; `claims quantize` compares equal last stages"
LENET = {"data": "fashion-mnist", "model": "lenet5"}
MNIST = {"data": "mnist", "model": "lenet5"}


def _claim(
    method: str, read: Read = change, bits: str = "W4A4", part: str = "quantize", model: str = "resnet8", **where: Any
) -> Figure:
    return Figure(CLAIMS, {"part": part, "method": method, "bits": bits, "model": model} | where, read)


def _pruned(method: str, read: Read = TOP1, budget: str = "30 % MACs") -> Figure:
    return _claim(method, read, part="prune", budget=budget)


def _trained(method: str, weights: int, acts: int, variant: str = "", **where: str) -> Figure:
    bits = {"weight_bits": weights, "act_bits": acts, "method": method, "variant": variant}
    return Figure(QUANTIZATION, bits | where, TOP1)


def _noise(trained: float, level: float, kind: str = ALL) -> Figure:
    return Figure(NOISE, {"trained_noise": trained, "kind": kind, "noise": level}, TOP1)


def _dst(model: str, alpha: float, read: Read) -> Figure:
    return Figure(PRUNING, {"part": "dst", "model": model, "budget": alpha, "method": "dst"}, read)


def _selected(read: Read, **where: Any) -> Figure:
    return Figure(PRUNING, {"part": "qcqp"} | where, read)


def _search(what: str) -> Figure:
    return Figure(SEARCH, {"what": what}, column("value"))


def _no_loss(paper: str, method: str, bits: int, model: str) -> Tested:
    sentence = {4: "4 bits are as accurate as float", 3: "3 bits lose little", 2: "2 bits lose little"}[bits]
    figure = _claim(method, bits=f"W{bits}A{bits}", model=model)
    return Tested(paper, sentence, "{f:+.2f} points", lambda v: v.f >= -LOST_AT[bits], {"f": figure}, SHORT)


def _better(paper: str, method: str, cause: str) -> tuple[Tested, ...]:
    return tuple(
        Tested(
            paper, f"more accurate than magnitude at {budget}", "{f:.2f} %, magnitude {g:.2f} %", lambda v: v.f > v.g,
            {"f": _pruned(method, budget=budget), "g": _pruned("magnitude", budget=budget)}, cause,
        )
        for budget in ("50 % MACs", "30 % MACs", "10 % MACs")
    )  # fmt: skip


def _last(row: dict[str, Any]) -> float:
    return float(row["layers"].rpartition("/")[2])


def _gone(row: dict[str, Any]) -> float:
    kept = [float(epoch.partition("@")[2]) for epoch in row["curve"].split()]
    return 100 * (kept[9] - kept[-1])


def _reached(row: dict[str, Any]) -> float:
    return 100 * max(row["macs"] / 0.3, row["params"] / 0.2)


def _left(row: dict[str, Any]) -> float:
    return 100 * min(row["macs"] / 0.3, row["params"] / 0.2)


QUANTIZERS = (
    *(_no_loss("QIL", "qil", bits, model) for model in NETWORKS for bits in (4, 3, 2)),
    Tested(
        "QIL", "intervals that the task's loss trains beat fixed ones",
        "{f:.2f} %, ranges of the largest values {g:.2f} %",
        lambda v: v.f > v.g, {"f": _trained("qil", 2, 2, **LENET), "g": _trained("brevitas", 2, 2, **LENET)},
        "LSQ, which is younger, is level",
    ),
    Tested(
        "QIL", "coming down from more bits helps", "{f:.2f} %, direct {g:.2f} %", lambda v: v.f > v.g,
        {"f": _trained("qil", 2, 2, "gradual", **LENET), "g": _trained("qil", 2, 2, **LENET)}, EQUAL_EPOCHS,
    ),
    Tested(
        "QIL", "coming down from more bits helps, the last stages being equal", "{f:.2f} %, direct {g:.2f} %",
        lambda v: v.f > v.g,
        {"f": _claim("qil, gradual", TOP1, "W2A2"), "g": _claim("qil, direct", TOP1, "W2A2")},
    ),
    *(_no_loss("FQ-Conv", "fqconv", bits, model) for model in NETWORKS for bits in (4, 3, 2)),
    Tested(
        "FQ-Conv", "ternary weights and 4-bit activations are almost as accurate as float", "{f:+.2f} points",
        lambda v: v.f >= -LOST_AT[2], {"f": _claim("fqconv, ternary weights", bits="W2A4")}, SHORT,
    ),
    Tested(
        "FQ-Conv", "ternary weights are almost as accurate as float on an easy task", "{f:.2f} %, float {g:.2f} %",
        lambda v: v.f >= v.g - 0.5, {"f": _trained("fqconv", 2, 2, **MNIST), "g": _trained("float", 32, 32, **MNIST)},
    ),
    Tested(
        "FQ-Conv", "batch norms can go", "{f:.2f} %, with them {g:.2f} %", lambda v: v.f >= v.g - 0.5,
        {"f": _trained("fqconv", 4, 4, "no batch norm", **LENET), "g": _trained("fqconv", 4, 4, **LENET)},
    ),
    Tested(
        "FQ-Conv", "coming down from more bits helps", "{f:.2f} %, direct {g:.2f} %", lambda v: v.f > v.g,
        {"f": _trained("fqconv", 2, 2, "gradual", **LENET), "g": _trained("fqconv", 2, 2, **LENET)}, EQUAL_EPOCHS,
    ),
    Tested(
        "FQ-Conv", "coming down from more bits helps, the last stages being equal", "{f:.2f} %, direct {g:.2f} %",
        lambda v: v.f > v.g,
        {"f": _claim("fqconv, gradual", TOP1, "W2A2"), "g": _claim("fqconv, direct", TOP1, "W2A2")},
        "by less than seeds differ",
    ),
    Tested(
        "FQ-Conv", "a teacher helps", "{f:.2f} %, without {g:.2f} %", lambda v: v.f > v.g,
        {"f": _claim("fqconv, taught by the parent", TOP1, "W2A2"), "g": _claim("fqconv", TOP1, "W2A2")},
    ),
    *(
        Tested(
            "FQ-Conv", f"networks stand noise of half a step on {where}", "{f:.2f} %, without noise {g:.2f} %",
            lambda v: v.f >= v.g - 2.5, {"f": _noise(0.0, 0.5, kind), "g": _noise(0.0, 0.0, kind)},
            "" if kind in ("activations", "sums") else "at a quarter of a step they do",
        )
        for where, kind in (*((f"{kind} alone", kind) for kind in KINDS), ("all of them at once", ALL))
    ),
    Tested(
        "FQ-Conv", "training with noise makes them stand it", "{f:.2f} % at half a step, {g:.2f} % without",
        lambda v: v.f > v.g and v.f >= v.clean - 2.5,
        {"f": _noise(0.5, 0.5), "g": _noise(0.0, 0.5), "clean": _noise(0.0, 0.0)},
        "half of what the noise costs is won back",
    ),
    *(
        Tested(
            paper, "weights are at their modes when training ends: rounding costs nothing (0.2 points)",
            "{f:.2f} % rounded, {g:.2f} % before", lambda v: v.f >= v.g - 0.2,
            {"f": _claim(method, observed("last", "top1", 100), "W2A32"),
             "g": _claim(method, observed("last", "trained", 100), "W2A32")},
            "weights are 0.002 of a step away at most: likely the batch norms that are renewed",
        )
        for paper, method in (("SYMOG", "symog"), ("SGM", "sgm"))
    ),
    *(
        Tested(
            paper, "2-bit weights are almost as accurate as float (a point)", "{f:.2f} %, float {g:.2f} %",
            lambda v: v.f >= v.g - 1.0,
            {"f": _trained(method, 2, 32, **MNIST), "g": _trained("float", 32, 32, **MNIST)},
            "two epochs, before sgd was the default of these methods",
        )
        for paper, method in (("SYMOG", "symog"), ("SGM", "sgm"))
    ),
    Tested(
        "SYMOG", "2-bit weights are almost as accurate as float on a wide network (a point)", "{f:+.2f} points",
        lambda v: v.f >= -1.0, {"f": _claim("symog", bits="W2A32", model="vgg-small")},
        "the draw: LSQ with SYMOG's levels loses a third of it (six epochs, one seed); drawn early, drawn less or with "
        "a teacher it loses more",
    ),
    Tested(
        "NITI", "8-bit integers alone train MNIST as float does", "{f:.2f} %, float {g:.2f} %",
        lambda v: v.f >= v.g - 0.5,
        {"f": Figure(NITI, {"name": "mnist"}, TOP1), "g": Figure(NITI, {"name": "mnist"}, column("float_top1", 100))},
    ),
    Tested(
        "NITI", "8-bit integers alone train CIFAR-10 as float does", "{f:.2f} %, float {g:.2f} %",
        lambda v: v.f >= v.g - 0.5,
        {"f": Figure(NITI, {"name": "cifar10"}, TOP1),
         "g": Figure(NITI, {"name": "cifar10"}, column("float_top1", 100))},
        "ten epochs of the paper's 200 on a quarter of the width, and no momentum",
    ),
    Tested(
        "NITI", "adding updates up in 16 bits wins accuracy back", "{f:.2f} %, in 8 bits {g:.2f} %",
        lambda v: v.f > v.g,
        {"f": Figure(NITI, {"name": "fashion-mnist-16"}, TOP1), "g": Figure(NITI, {"name": "fashion-mnist"}, TOP1)},
        "the paper says it of ImageNet",
    ),
    Tested(
        "NITI", "pseudo-stochastic rounding does without random numbers at no cost", "{f:.2f} %, stochastic {g:.2f} %",
        lambda v: v.f >= v.g - 0.5,
        {"f": _claim("niti, pseudo-stochastic", TOP1, "W8A8", "integers", "cnn", data="digits"),
         "g": _claim("niti, stochastic", TOP1, "W8A8", "integers", "cnn", data="digits")},
        "digits do not tell roundings apart: to nearest is as good",
    ),
    Tested(
        "NITI", "what is trained in integers runs in integers", "{f:.0f} of the codes on the accelerator differ",
        lambda v: v.f == 0, {"f": Figure(NITI, {"name": "export-niti"}, column("csim_mismatches"))},
    ),
)  # fmt: skip

PRUNERS = (
    Tested(
        "Transport", "the size of the result is exact", "{f:.3f} % of the MACs from the budget", lambda v: v.f < 1.0,
        {"f": Figure(PRUNING, {"part": "budgets", "method": "transport"}, column("budget_error", 100))},
        "mean over networks and budgets; a budget is met from below",
    ),
    Tested(
        "Transport", "masks harden by themselves (squared distance to hard ones below 0.01)", "{f:.4f}",
        lambda v: v.f < 0.01, {"f": _pruned("transport", observed("prune", "transport_softness"))},
    ),
    *_better("Transport", "transport", "ten epochs to prune and ten to tune; the paper has 120 and 120"),
    Tested(
        "Transport", "one plan can divide the budget over the layers", "{f:.2f} %, shares a layer {g:.2f} %",
        lambda v: v.f >= v.g - 0.5, {"f": _pruned("transport, one plan"), "g": _pruned("transport")},
        "one seed; the one plan leaves the last block 12 channels, shares a layer leave 25",
    ),
    Tested(
        "HFP", "rates of multiplications and of parameters are both reached (2 %)",
        "{least:.1f} to {most:.1f} % of the budgets used", lambda v: v.least >= 98 and v.most <= 100,
        {"least": _pruned("hfp, both budgets", _left), "most": _pruned("hfp, both budgets", _reached)},
    ),
    *_better("HFP", "hfp", "a reconstruction from the abstract"),
    Tested(
        "QCQP", "the selection is optimal", "{f:.2f} % gap at half of the MACs", lambda v: v.f < 1.0,
        {"f": _selected(column("gap", 100), budget=0.5, method="qcqp, highs 120 s")},
        "120 s of HiGHS; with a budget of cycles the gap stays at 10 to 15 %",
    ),
    Tested(
        "QCQP", "better than choosing channels one by one, by its own objective", "{f:.1f}, greedy {g:.1f}",
        lambda v: v.f > v.g,
        {"f": _selected(column("objective"), budget=32_768), "g": _selected(column("greedy_objective"), budget=32_768)},
    ),
    Tested(
        "QCQP", "better than choosing channels one by one, by accuracy (half a point)", "{f:.2f} %, greedy {g:.2f} %",
        lambda v: v.f > v.g + 0.5, {"f": _pruned("qcqp"), "g": _pruned("qcqp, greedy")},
        "both keep as many channels in every layer; seeds differ by a point",
    ),
    *_better(
        "QCQP", "qcqp",
        "at 30 and 10 % the first stage, most MACs a weight, has four channels, the floor, not 7 or 8",
    ),
    Tested(
        "QCQP", "what a skip supplies, its branch need not", "{f:.2f} %, no branch gone {g:.2f} %",
        lambda v: v.f > v.g, {"f": _pruned("qcqp, blocks"), "g": _pruned("qcqp")},
        "the branch that goes wins a seventh of the frame rate; after five epochs instead it won accuracy too",
    ),
    Tested(
        "QCQP", "a quadratic model gives the time of inference", "{f:,.0f} cycles, simulated {g:,.0f}",
        lambda v: v.f == v.g,
        {"f": _selected(column("cycles_predicted"), budget=32_768), "g": _selected(column("cycles"), budget=32_768)},
        "cycles of a folding are a product of channel counts; the paper fits times",
    ),
    Tested(
        "DST", "thresholds find the published sparsity (within half a point)", "{f:.2f} % kept, published 7.87 %",
        lambda v: abs(v.f - 7.87) <= 0.5, {"f": _dst("lenet-300-100", 5e-4, column("kept_share", 100))},
    ),
    Tested(
        "DST", "thresholds find the published sparsity (within half a point)",
        "{f:.2f} % kept in the sparsest epoch, published 1.64 %",
        lambda v: abs(v.f - 1.64) <= 0.5, {"f": _dst("lenet-5-caffe", 5e-4, column("kept_share_least", 100))},
        "their alpha was not read; the largest layer starts over at one per cent, so that other epochs keep far more",
    ),
    Tested(
        "DST", "sparse from the first step at next to no loss, in as many epochs (half a point)",
        "{f:.2f} %, dense {g:.2f} %", lambda v: v.f >= v.g - 0.5,
        {"f": _dst("lenet-300-100", 5e-4, TOP1), "g": _dst("lenet-300-100", 0.0, TOP1)},
    ),
    Tested(
        "DST", "layers find rates of their own: the last stays dense", "{f:.0f} % of its weights, {g:.1f} % of all",
        lambda v: v.f > 5 * v.g,
        {"f": _dst("lenet-300-100", 5e-4, lambda row: 100 * _last(row)),
         "g": _dst("lenet-300-100", 5e-4, column("kept_share", 100))},
    ),
    Tested(
        "DST", "thresholds follow the training by themselves: pruning slows down when the rate falls",
        "{f:.2f} % of the weights go from the tenth epoch to the last, {g:.2f} % at a constant rate",
        lambda v: v.f < v.g,
        {"f": Figure(PRUNING, {"part": "dst", "method": "dst, rate falls at 10"}, _gone),
         "g": _dst("lenet-300-100", 5e-4, _gone)},
    ),
    Tested(
        "NRMF", "ranks found in training keep more accuracy than VBMF's at its size",
        "{f:.2f} % at {f_macs:.0f} % of the MACs, VBMF {g:.2f} % at {g_macs:.0f} %",
        lambda v: v.f > v.g and v.f_macs <= v.g_macs + 1,
        {"f": _pruned("nrmf", budget="15 % MACs"), "f_macs": _pruned("nrmf", MACS, "15 % MACs"),
         "g": _pruned("nrmf, VBMF", budget=""), "g_macs": _pruned("nrmf, VBMF", MACS, "")},
    ),
    Tested(
        "NRMF", "accuracy falls gently with the size", "{f:.2f} % at half of the MACs, whole {g:.2f} %",
        lambda v: v.f >= v.g - 2.5,
        {"f": Figure(PRUNING, {"part": "budgets", "model": "resnet8", "method": "nrmf", "budget": 0.5}, TOP1),
         "g": Figure(PRUNING, {"part": "budgets", "model": "resnet8", "method": "dense"}, TOP1)},
        "three epochs in all; the two quantizers inside a factorized kernel have 8 bits by now",
    ),
    Tested(
        "HAO", "an integer program gives the best mapping of a network", "gap {f:.1f} %", lambda v: v.f == 0,
        {"f": Figure(SEARCH, {"space": "mobilenetv2-0.5", "what": "gap of the one program"}, column("value"))},
    ),
    Tested(
        "HAO", "bits and hardware together beat one after the other", "{f:,.0f} fps, one after the other {g:,.0f} fps",
        lambda v: v.f > v.g,
        {"f": Figure(SEARCH, {"space": "mobilenetv2-0.5", "what": "bits and engine in one program"}, column("value")),
         "g": Figure(SEARCH, {"space": "mobilenetv2-0.5", "what": "an engine of each width, then bits on it"},
                     column("value"))},
    ),
    Tested(
        "HAO", "a predictor ranks bits of layers by accuracy", "Kendall's tau {f:.2f}", lambda v: v.f >= 0.7,
        {"f": _search("summed errors of single layers on images, of the accuracies of 30 random bit vectors")},
        "errors on images; noise of rounded weights alone has 0.53",
    ),
    Tested(
        "HAO", "its front beats that of equal bits", "{f:.2f} of the hypervolume of 4 bits everywhere",
        lambda v: v.f > 1,
        {"f": Figure(SEARCH, {"what": "hypervolume on engines of their own, no bits a layer: all of 4"},
                     lambda row: 1 / row["value"])},
        "on digits, where 4 bits cost nothing",
    ),
)  # fmt: skip

TESTED: tuple[Tested, ...] = (*QUANTIZERS, *PRUNERS)


def paper_claims() -> str:
    """The table of all sentences."""
    return claims_table(TESTED)
