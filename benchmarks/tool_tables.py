"""Tables of what was done to the tool: random networks, kills, its own hardware simulated, its driver timed."""

from __future__ import annotations

from benchmarks.markdown import table
from benchmarks.schemas import BOARDS, DEPLOY, FUZZ, FUZZ_CURVES, FUZZ_GEOMETRY, FUZZ_TOKENS, KILLS, RTL, SEARCH, TRIALS
from benchmarks.shell import LUT, with_shell

RANDOM = {
    FUZZ: "sums of unlike scales, groups, 9 to 16 bits, Q/DQ of all types, names that meet",
    FUZZ_GEOMETRY: "maps that are moved: slices, joints, transposes, resizes, pads",
    FUZZ_TOKENS: "tokens: attention, norms, softmax, class tokens, gathers, joined rows, several inputs",
    FUZZ_CURVES: "functions and products between the layers",
}


def fuzz() -> str:
    """Random QONNX files: built and exact, or refused with a reason."""
    lines = []
    for results, what in RANDOM.items():
        (row,) = results.rows()
        ties = f"{row['ties']:,} of {row['codes']:,}"
        counts = (f"{row[key]:,}" for key in ("graphs", "exact", "refusals", "failures", "verdicts_that_differ"))
        lines.append((what, *counts, ties))
    head = ("random files with", "files", "exact", "refused with a reason", "wrong", "judged otherwise by `check`",
            "codes at a float32 tie")  # fmt: skip
    return table(head, lines)


def kills() -> str:
    """Commands that were ended at random moments, and disks that filled."""
    head = ("command", "ended by", "runs", "were done", "old build stands", "new build stands", "lost or torn")
    return table(head, (
        (f"`{row['stage']}`", {"signal": "SIGTERM or SIGKILL", "full disk": "a full disk"}[row["how"]],
         *(row[key] for key in ("kills", "ended", "old", "new", "wrong")))
        for row in sorted(KILLS.rows(), key=lambda row: row["how"], reverse=True)
    ))  # fmt: skip


SIMULATED = {
    "quick": "the network of `make quickstart`", "lenet": "LeNet-5 W4A4", "tfc": "TFC W2A2", "kws": "KWS W3A3",
    "resnet8": "ResNet-8 W8A8", "resnet8-w4a4": "ResNet-8 W4A4",
    "transformer": "transformer of two blocks, trained on digits",
}  # fmt: skip


def rtl() -> str:
    """Networks in SystemVerilog, simulated by Verilator."""
    head = (
        "network",
        "wrong codes",
        "cycles a frame",
        "by the model",
        "frame ends in the model's cycle",
        "frames a CPU second",
    )
    return table(head, (
        (SIMULATED[row["network"]], row["wrong_codes"], f"{row['interval']:,}", f"{row['model_interval']:,}",
         f"{row['equal_frame_ends']} of {row['images']}", f"{row['frames_a_second']:,.0f}")
        for row in RTL.rows() if not row["unit"]
    ))  # fmt: skip


def search() -> str:
    """The parts of the search of networks, and what it finds in a space whose front is known."""
    return table(("space", "what", "networks", "value"), (
        (f"`{row['space']}`", row["what"], f"{row['networks']:,}", f"{_four_digits(row['value'])} {row['unit']}")
        for row in SEARCH.rows()
    ))  # fmt: skip


def _four_digits(value: float) -> str:
    """Four digits, or all in front of the point."""
    return f"{value:,.0f}" if value >= 1e4 else f"{value:.4g}"


def boards() -> str:
    """Networks on all boards; boards of one answer share a line."""
    head = ("network", "board", "architecture", "fps", "plan", LUT, "DSP", "BRAM18", "UltraRAM", "without UltraRAM")
    together: dict[tuple[object, ...], list[str]] = {}
    for row in map(with_shell, BOARDS.rows()):
        costs = tuple(f"{row[key]:,}" if key in row else None for key in ("lut", "dsp", "bram18", "uram"))
        fps = None if "fps" not in row else f"{row['fps']:,.0f}"
        without = f"{row['fps_without']:,.0f} fps, {row['bram18_without']} BRAM18" if "fps_without" in row else None
        facts = (row["network"], row["architecture"], fps, row["status"], *costs, without)
        together.setdefault(facts, []).append(row["board"])
    rows = ((facts[0], ", ".join(names), *facts[1:]) for facts, names in together.items())
    return table(head, rows)


def trials() -> str:
    """The driver's answers on the mock board, by network: images and wrong codes of both architectures."""
    rows: dict[str, dict[str, str]] = {}
    for row in TRIALS.rows():
        told = "not run" if "refused" in row else f"{row['wrong_codes']} of {row['codes']:,}, {row['images']:,} images"
        rows.setdefault(row["network"], {})[row["architecture"]] = told
    head = ("network", "wrong codes, streaming", "wrong codes, engine")
    return table(head, ((name, found.get("streaming"), found.get("engine")) for name, found in rows.items()))


def deploy() -> str:
    """Rates of the driver's packing, one core."""
    head = ("bits", "codes a word", "10^9 codes a second", "numpy's packing", "FINN's packing")
    return table(head, (
        (row["bits"], row["lanes"], f"{row['gigacodes']:.1f}", f"{row['numpy_gigacodes']:.2f}",
         f"{row['finn_gigacodes']:.2f}" if "finn_gigacodes" in row else None)
        for row in DEPLOY.rows()
    ))  # fmt: skip
