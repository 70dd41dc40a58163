"""Tables of networks of others, of the explorer and the engine, of the tool's speed, and of the cost model."""

from __future__ import annotations

from benchmarks.markdown import percent, table
from benchmarks.recorder import Row, grouped
from benchmarks.schemas import (
    BITS_FRONT,
    CASES,
    COST_MODEL,
    CSIM_SPEED,
    EFFICIENTNET,
    ENGINE,
    EXPLORER,
    EXPORT_TIME,
    MAIN_FLOW,
    MEMORY,
    MODELS,
    STATIC_QUANTIZATION,
    USER_NETWORKS,
)
from benchmarks.shell import COSTS, LUT, with_shell

MODEL_NAMES = {
    "TFC_2W2A": "`TFC_2W2A` (Brevitas, published 96.60 %)",
    "finn_tfc_w1a1_multithreshold": "TFC W1A1, `MultiThreshold` (finn-plus-tests)",
    "kws_w3a3_mlperf_tiny_v0.7": "`kws_w3a3` (MLPerf Tiny, published 82.6 %)",
    "resnet8_a8w8b16": "`resnet8_a8w8b16` (nn2FPGA)",
    "mobilenet_v2_a8w6b32": "`mobilenet_v2_a8w6b32` (nn2FPGA)",
}
SLOW = 5
"""Seconds of a lowering that are worth a word."""
SHORT = 20
"""Numbers below have a digit behind the point."""


def others() -> str:
    """Networks of others: codes beside QONNX's, C simulation, accuracy, and hls4ml."""
    rows = {row["model"]: row for row in MODELS.rows()}
    lines = [_model(name, rows[model]) for model, name in MODEL_NAMES.items()]
    for row in EFFICIENTNET.rows():
        same = round(row["agreement"] * row["agreement_images"])
        lost = (
            "" if row["top1"] == row["float_top1"] else f"; {row['top1']:.0%} where float has {row['float_top1']:.0%}"
        )
        lines.append((
            f"EfficientNet-Lite0 {row['bits']}, quantized here with {row['calibration_images']} images",
            f"{row['mismatches']} of {row['codes']:,}", None,
            f"the float network's class on {same} of {row['agreement_images']} images{lost.replace('%', ' %')}",
            None, None, None,
        ))  # fmt: skip
    head = (
        "model", "QONNX codes that differ (all within float32 rounding of a tie)", "C-sim mismatches (images)", "top-1",
        "evaluator against the QONNX executor", "hls4ml 1.3.0 on the file", "`--backend hls4ml`",
    )  # fmt: skip
    return table(head, lines)


def _model(name: str, row: Row) -> tuple[str | None, ...]:
    slow = f", lowered in {row['lower_seconds']:.0f} s" if row["lower_seconds"] > SLOW else ""
    csim = f"{row['csim_mismatches']} ({row['csim_images']})" if "csim_images" in row else None
    speed = row["evaluator_speedup_cpu"]
    return (
        f"{name}{slow}", f"{row['qonnx_code_mismatches_at_ties']} of {row['codes']:,}", csim, _top1(row),
        f"{_short(speed)}x", _documented(row), _backend(row),
    )  # fmt: skip


def _top1(row: Row) -> str | None:
    if "top1" not in row:
        return None
    digits = 2 if row["images_top1"] >= 10_000 else 1
    text = f"{percent(row['top1'], digits)} of {row['images_top1']:,}"
    if "expected_output_matches_of_4" in row:
        return f"{text}; {row['expected_output_matches_of_4']} of its 4 expected outputs"
    if 0 < row["top1_last_of_equals"] - row["top1"] < 0.01:
        text += f"; {percent(row['top1_last_of_equals'], digits)} with the last of equal logits"
    return text


def _documented(row: Row) -> str:
    """Return hls4ml's result for the file, used as its documentation says, in words."""
    said = str(row["hls4ml_as_documented"])
    for part in ("MultiThreshold", "rounding_mode"):
        if said.startswith("exit code") and part in said:
            return f"fails: no `{part}`"
    found = said.removeprefix("hls4ml 1.3.0: largest error ").partition(", top-1 agreement ")
    if not found[1]:
        return said
    classes = "same classes" if found[2] == "100%" else f"{found[2]} of the classes".replace("%", " %")
    return f"off by up to {float(found[0]):.2g}, {classes}"


def _backend(row: Row) -> str:
    if "hls4ml_mismatches" not in row:
        return "not finished in 150 s" if "did not finish in 150 s" in row["hls4ml_backend"] else "refused"
    differ = f"{row['hls4ml_mismatches']} of {row['hls4ml_outputs']} codes differ"
    return differ if row["hls4ml_mismatches"] else "exact"


def static_quantization() -> str:
    """Files of onnxruntime's static quantization, by format and types."""
    groups = grouped(STATIC_QUANTIZATION.rows(), "format", "types")
    counts = ("codes", "ties", "csim_mismatches", "outputs_apart", "ort_default_apart")
    on_engine = "C-sim mismatches on the engine (networks)"
    totals = {key: {name: sum(row[name] for row in rows) for name in counts} for key, rows in groups.items()}
    ran = {key: [row["engine_mismatches"] for row in rows if not row["engine_refused"]] for key, rows in groups.items()}
    head = ("format", "activations and weights", "networks", "codes that differ from onnxruntime's, all at a tie",
            "C-sim mismatches", on_engine, "outputs that differ", "outputs that its defaults change")  # fmt: skip
    return table(head, (
        (f"`{kind}`", types, len(groups[kind, types]), f"{found['ties']} of {found['codes']:,}",
         found["csim_mismatches"], f"{sum(ran[kind, types])} ({len(ran[kind, types])})", found["outputs_apart"],
         found["ort_default_apart"])
        for (kind, types), found in totals.items()
    ))  # fmt: skip


def user_networks() -> str:
    """Networks of the kinds that users bring."""
    names = {"unet": "U-net", "mobilenet_v3": "MobileNetV3-Small", "gru": "GRU", "mixer": "MLP-Mixer"}
    names |= {"keyword_transformer": "keyword transformer"}
    head = ("network", "of", "input", "outputs", "C-sim mismatches (images)", "top-1", "fps", "gap", LUT)
    return table((*head, "DSP", "BRAM18"), (
        (names.get(row["network"], row["network"]), row["what"],
         row["input"], row["outputs"],
         f"{row['mismatches']} ({row['images']})", percent(row["top1"], 1),
         f"{row['fps']:,.0f}", percent(row["gap"], 1),
         *(f"{row[key]:,}" for key in COSTS))
        for row in USER_NETWORKS.rows()
    ))  # fmt: skip


EXPLORED = {
    "resnet8_a8w8b16": "ResNet-8 W8A8",
    "resnet20_w8a8": "ResNet-20 W8A8 (random weights)",
    "kws_w3a3_mlperf_tiny_v0.7": "KWS W3A3",
    "TFC_2W2A": "TFC W2A2",
    "lenet5_w4a4": "LeNet-5 W4A4 (random weights)",
    "cnv_w2a2": "CNV W2A2 (random weights)",
    "cnv_w1a1": "CNV W1A1 (random weights)",
    "ultranet_w4a4": "UltraNet W4A4, 160 x 320 (random weights)",
}


def explorer() -> str:
    """Rates of the explorer's accelerators and of those that other tools predict for theirs."""
    rows = EXPLORER.rows()
    ours = {row["network"]: row for row in rows if row["kind"] == "network"}
    theirs = {(row["network"], row["tool"].partition(",")[0]): row["fps"] for row in rows if row["kind"] == "peer"}

    def line(network: str, name: str) -> tuple[str | None, ...]:
        row = ours[network]
        port = ", all the memory port gives" if "input reader" in row["limited_by"] else ""
        peers = [theirs.get((network, tool)) for tool in ("NN2FPGA", "FINN")]
        told = (None if fps is None else f"{fps:,.0f}" for fps in peers)
        return name, f"{row['fps']:,.0f}", f"{row['status']}, {row['gap']:.2g}{port}", *told

    head = ("network", "fpgaflow", "status, gap", "NN2FPGA", "FINN")
    return table(head, (line(network, name) for network, name in EXPLORED.items()))


EXPORTED = {
    "lenet5-w4a4": "LeNet-5 W4A4",
    "resnet8-w8a8": "ResNet-8 W8A8",
    "resnet20-w8a8": "ResNet-20 W8A8",
    "mobilenet_v2_a8w6b32": "MobileNetV2 W6A8 on the engine",
}


def speed() -> str:
    """Return the table of the tool's own costs: C simulation, exports, memory; and of its verdicts on small models."""
    lines = [*_csim_speed(), *_export_time(), _memory()]
    verdicts = [row["verdict"] for row in CASES.rows()]
    exact, refused, wrong = (verdicts.count(verdict) for verdict in ("exact", "refused", "WRONG"))
    found = f"of {len(verdicts)} files {exact} are built and exact, {refused} refused with a reason, "
    found += f"{wrong or 'none'} is wrong" if wrong < 2 else f"{wrong} are wrong"
    lines.append(
        ("small models on which such tools were reported to fail", found, "`python -m benchmarks cases FOLDER`")
    )
    return table(("what", "figure", "how"), lines)


def _csim_speed() -> list[tuple[str, str, str]]:
    names = {"lenet5-w4a4": "LeNet-5 W4A4", "kws-mlp-w3a3": "the KWS network"}
    return [
        (
            f"C simulation of {names[row['network']]} against hls4ml's, same machine, same run",
            f"{_short(row['ratio'])}x its MMAC/s (CPU time: {_short(row['cpu_ratio'])}x), "
            f"exact where `{row['precision']}` agrees on {row['top1_agreement']:.0%} of the classes".replace("%", " %"),
            "`python -m benchmarks csim_speed`, busy machine; a later change to its counters costs up to a quarter",
        )
        for row in CSIM_SPEED.rows()
        if row["tool"].startswith("hls4ml") and row["precision"] == "fixed<16,6>"
    ]  # fmt: skip


def _export_time() -> list[tuple[str, str, str]]:
    """A line a commit that was measured."""
    cold = [row for row in EXPORT_TIME.rows() if row["what"] == "export, cold"]
    lines = []
    for (baseline, commit), rows in grouped(cold, "baseline_commit", "commit").items():
        found = ", ".join(f"{EXPORTED[row['network']]} {_short(row['cpu'])} ({row['ratio']:.2f})" for row in rows)
        pairs, images = (sorted({row[key] for row in rows}) for key in ("pairs", "images"))
        told = " or ".join(map(str, pairs)), " or ".join(f"{n:,}" for n in images)
        lines.append((
            f"CPU seconds of an export with an empty cache, commit {commit} (share of {baseline}'s in the same run)",
            found, f"medians of {told[0]} pairs, {told[1]} images: `python -m benchmarks export_time`",
        ))  # fmt: skip
    return lines


def _memory() -> tuple[str, str, str]:
    rows = {(row["network"], row["tree"]): f"{row['peak_mb']:,} MB" for row in MEMORY.rows()}

    def both(network: str) -> str:
        return f"{rows[network, 'this']}, fd93236 {rows[network, 'baseline']}"

    found = f"{rows['U-net, defaults', 'this']} on a U-net of 23 layers and 256 x 256 pixels; a wide one "
    found += f"{both('wide U-net 192 x 192')}; MobileNetV2 W6A8 on the engine {both('MobileNetV2 W6A8, engine')}"
    return "peak memory of an export, all processes", found, "one run each, `python -m benchmarks memory`"


def _short(value: float) -> str:
    return f"{value:.1f}" if value < SHORT else f"{value:.0f}"


def engine() -> str:
    """Return the table of the engine's accelerators."""

    def line(row: Row) -> tuple[object, ...]:
        same = row.get("agreement")
        agreement = None if same is None else f"{same * row['agreement_images']:.0f} of {row['agreement_images']}"
        units = ", ".join(row["limited_by"].split(", ")[:2]).replace("convolve", "convolution")
        costs = (f"{with_shell(row)[key]:,}" for key in COSTS)
        return row["network"], f"W{row['weight_bits']}A{row['act_bits']}", f"{row['fps']:.0f}", agreement, *costs, units

    head = ("network", "bits", "fps", "classes as in float", LUT, "DSP", "BRAM18", "most cycles in")
    return table(head, (line(row) for row in ENGINE.rows() if row["variant"] == "engine"))


VARIANTS = {
    "256:144 fixed": "free shares of the units' products, instead of 256:144",
    "no fusion": "fusion: chains of units in one pass",
    "DSP only": "products in LUTs beside those in DSP slices",
    "no double buffering": "double buffering of weights",
    "no maps on chip": "maps kept on the chip",
    "free factors": "requantizers' factors kept to 16 bits",
}


def bits_front() -> str:
    """Bits a layer and engine chosen together, beside all layers in 4 bits."""
    head = ("bits of the weights", "fps", "classes as in float", "top-1", "bits a layer", "engine", "filters")
    return table(head, (
        (row["bits"].partition(",")[0], f"{row['fps']:.0f}",
         f"{row['agreement'] * row['images']:.0f} of {row['images']}", f"{100 * row['top1']:.1f} %",
         row["mean_bits"], row["engine_bits"], row["filter_bits"])
        for row in sorted(BITS_FRONT.rows(), key=lambda row: -row["fps"])
    ))  # fmt: skip


def engine_decisions() -> str:
    """Return the table of what each decision of the engine is worth: the rate without it."""
    rows = ENGINE.rows()
    with_all = {(row["network"], row["weight_bits"]): row["fps"] for row in rows if row["variant"] == "engine"}
    lines = []
    for row in rows:
        if row["variant"] in VARIANTS:
            fps = with_all[row["network"], row["weight_bits"]]
            network = f"{row['network']} W{row['weight_bits']}A{row['act_bits']}"
            lines.append(
                (VARIANTS[row["variant"]], network, f"{fps:.0f}", f"{row['fps']:.0f}", f"{fps / row['fps']:.1f}x")
            )
    return table(("decision", "network", "fps", "fps without it", "worth"), lines)


SUMMARY = {
    "tfc-mnist-w2a2": "TFC, MNIST",
    "lenet5-fashion-w2a2": "LeNet-5, Fashion-MNIST",
    "lenet5-fashion-w4a4": "LeNet-5, Fashion-MNIST",
    "resnet8-cifar10-w4a4": "ResNet-8, CIFAR-10",
    "resnet8-cifar10-w8a8": "ResNet-8, CIFAR-10",
    "resnet20-cifar10-w4a4": "ResNet-20, CIFAR-10",
}


def summary() -> str:
    """A few networks on either architecture: accuracy, mismatches, rate and resources."""
    rows = {row["name"]: row for row in MAIN_FLOW.rows()}
    lines = []
    for name, label in SUMMARY.items():
        row = rows[name]
        lines.append((
            label, f"W{row['weight_bits']}A{row['act_bits']}", percent(row["float_top1"]), percent(row["csim_top1"]),
            f"{row['csim_mismatches']} in {row['csim_images']:,}", *(f"{row[key]:,}" for key in ("fps", *COSTS)),
        ))  # fmt: skip
    for row in ENGINE.rows():
        if row["variant"] == "engine" and row["network"] == "MobileNetV2" and "simulated_images" in row:
            lines.append((
                f"{row['network']}, ImageNet, engine", f"W{row['weight_bits']}A{row['act_bits']}", None, None,
                f"{row['simulation_mismatches']} in {row['simulated_images']}", f"{row['fps']:.0f}",
                *(f"{with_shell(row)[key]:,}" for key in COSTS),
            ))  # fmt: skip
    head = ("network", "bits", "float", "C-sim top-1", "C-sim mismatches", "fps", LUT, "DSP", "BRAM18")
    return table(head, lines)


COST_ROWS = {
    "matrix-vector LUT, ZU3EG, after synthesis": ("mvau", "post-synth", "LUT"),
    "matrix-vector LUT, routed": ("mvau", "post-route", "LUT"),
    "sliding window LUT, routed": ("swg", "post-route", "LUT"),
}
COST_STAGES = {
    "matrix-vector, ZU3EG post-synth, LUT": ("mvau", "post-synth", "LUT"),
    "matrix-vector, post-route, LUT": ("mvau", "post-route", "LUT"),
    "matrix-vector, csynth, LUT": ("mvau", "csynth", "LUT"),
    "sliding window, post-route, LUT": ("swg", "post-route", "LUT"),
    "threshold, post-route, LUT": ("threshold", "post-route", "LUT"),
    "hls4ml dense, csynth, LUT": ("dense", "csynth", "LUT"),
}


def _errors() -> dict[tuple[str, ...], Row]:
    return {COST_MODEL.key_of(row): row for row in COST_MODEL.rows()}


def _exact() -> tuple[int, int]:
    """Matrix-vector rows whose block RAMs are predicted exactly, and all of them."""
    rows = [row for (kind, _, resource), row in _errors().items() if (kind, resource) == ("mvau", "BRAM18")]
    return sum(round(row["exact"] * row["rows"]) for row in rows), sum(row["rows"] for row in rows)


def cost_model() -> str:
    """Errors of the cost model, in short."""
    rows = _errors()
    lines = [(name, f"{rows[key]['mape']} %", f"{rows[key]['finn_mape']} %") for name, key in COST_ROWS.items()]
    exact, count = _exact()
    head = ("what", "error (MAPE)", "FINN's formula on the same rows")
    return table(head, [*lines, ("matrix-vector BRAM18", f"exact on {exact} of {count}", None)])


def cost_model_stages() -> str:
    """Errors of the cost model by stage of synthesis."""
    rows, lines = _errors(), []
    for name, key in COST_STAGES.items():
        row = rows[key]
        median = f" (median {row['median_ape']})" if row["n"] > 100 else ""
        lines.append((name, row["n"], f"{row['mape']}{median}", "-" if row["finn_mape"] is None else row["finn_mape"]))
    exact, count = _exact()
    lines.insert(
        3, ("matrix-vector, block RAM, all stages", count, f"{exact / count:.0%} exact".replace("%", " %"), None)
    )
    return table(("held-out MAPE in %, distinct rows", "n", "this model", "FINN's formula"), lines)
