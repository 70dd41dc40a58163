"""Conclusions from the facts: the verdict, the bottleneck, shares, and numbers as people write them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from toolchain.report.data import Accuracy, NodeFacts, Report, Usage

RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18", "uram": "URAM"}


def resources(report: Report) -> dict[str, str]:
    """Titles of the resources that the device has, by key."""
    return {kind: RESOURCES[kind] for kind, _ in report.resources.items()}


class Verdict(Enum):
    """The answer to whether the accelerator computes the integer network."""

    EXACT = "exact"
    DIFFERS = "differs"
    OPEN = "not simulated"


@dataclass(frozen=True)
class Conclusion:
    """The verdict in a sentence."""

    verdict: Verdict
    text: str


def conclude(report: Report) -> Conclusion:
    """The verdict over ``report``: exact only if a C simulation ran on at least one image and nothing deviates."""
    facts = report.verification
    images = plural(facts.images, "image")
    at = f", first at {facts.first_deviation}" if facts.first_deviation else ""
    if facts.csim_mismatches:
        wrong = plural(facts.csim_mismatches, "mismatch", "mismatches")
        return Conclusion(Verdict.DIFFERS, f"C simulation against the integer network: {images}, {wrong}{at}")
    if facts.vector_mismatches:
        wrong = plural(facts.vector_mismatches, "mismatch", "mismatches")
        text = f"Driven alone against the integer network: {plural(facts.vectors, 'vector')}, {wrong}{at}"
        return Conclusion(Verdict.DIFFERS, text)
    if facts.qonnx_unexplained:
        wrong = plural(facts.qonnx_unexplained, "code")
        text = f"Integer network against QONNX: {images}, {wrong} beyond float32 rounding{at}"
        return Conclusion(Verdict.DIFFERS, text)
    if facts.csim_mismatches is None or facts.images == 0:
        return Conclusion(Verdict.OPEN, "The C simulation has not run; nothing is claimed about the generated code")
    return Conclusion(Verdict.EXACT, f"C simulation equals the integer network: {images}, 0 mismatches")


def driven(report: Report) -> str:
    """Return the sentence on vectors that drove units, or an engine's passes, alone; empty if none did."""
    counts = [node.vectors for node in report.nodes if node.vectors]
    if not counts:
        return ""
    each = f"{min(counts):,} to {max(counts):,} each" if min(counts) < max(counts) else f"{counts[0]:,} each"
    wrong = plural(report.verification.vector_mismatches, "mismatch", "mismatches")
    parts = plural(len(counts), "pass", "passes") if report.architecture == "engine" else plural(len(counts), "unit")
    return f"{plural(report.verification.vectors, 'vector')} at the ends of {parts}, {each}, {wrong}"


def float_accuracy(accuracy: Accuracy) -> str:
    """Return the float network's accuracy and its number of images in words; empty if they are not known."""
    if accuracy.float_top1 is None:
        return ""
    of = "" if accuracy.float_images is None else f" of {plural(accuracy.float_images, 'test image')}"
    return f"in float, before it was quantized, {percent(accuracy.float_top1, 2)}{of}"


def bottlenecks(report: Report) -> tuple[NodeFacts, ...]:
    """The nodes that take the most cycles, all of them when several tie."""
    most = max((node.cycles for node in report.nodes), default=0)
    return tuple(node for node in report.nodes if node.cycles == most and most > 0)


def bottleneck(report: Report) -> NodeFacts | None:
    """The one bottleneck that is shown: of equally slow nodes that which the report names, else the first."""
    nodes = bottlenecks(report)
    named = [node for node in nodes if node.name == report.estimate.limited_by]
    return next(iter((*named, *nodes)), None)


def limited_by(report: Report) -> str:
    """Return the name of what sets the frame rate: the report's own word for it, else the slowest node."""
    nodes = bottlenecks(report)
    if report.estimate.limited_by or not nodes:
        return report.estimate.limited_by or "nothing known"
    others = len(nodes) - 1
    return nodes[0].name + (f" and {plural(others, 'equally slow node')}" if others else "")


def interval_share(report: Report, node: NodeFacts) -> float:
    """Cycles of ``node`` as a share of the cycles per frame."""
    return node.cycles / max(report.estimate.cycles_per_frame, 1)


def bound_share(report: Report) -> float | None:
    """Estimated frame rate as a share of the bound; None when the bound is zero."""
    return report.estimate.fps / report.bound.fps if report.bound.fps > 0 else None


def used_share(usage: Usage) -> float:
    """Used as a share of what the device holds; 0 when it holds none."""
    return usage.used / usage.available if usage.available else 0.0


def over_budget(usage: Usage) -> bool:
    """Tell whether more is used than the plan allows."""
    return usage.used > usage.budget


def slowest(report: Report, limit: int) -> tuple[NodeFacts, ...]:
    """The ``limit`` nodes of most cycles, in network order."""
    order = sorted(range(len(report.nodes)), key=lambda i: (-report.nodes[i].cycles, i))
    return tuple(report.nodes[i] for i in sorted(order[:limit]))


def counts_differ(node: NodeFacts) -> bool:
    """Tell whether the C simulation counted other cycles than the model says."""
    return node.counted_cycles is not None and node.counted_cycles != node.cycles


def counted(report: Report) -> str:
    """Return the sentence that compares the C simulation's cycles with the model's; empty if none were counted."""
    known = [node for node in report.nodes if node.counted_cycles is not None]
    if not known:
        return ""
    same = sum(not counts_differ(node) for node in known)
    which = f"all {len(known)}" if same == len(known) else f"{same} of {len(known)}"
    return f"C simulation counts the same cycles as the model for {which} nodes"


def recounted(estimated: int, found: int) -> str:
    """An estimate and a count of the same: "1,504 → 1,684", one number where they are equal."""
    return f"{found:,}" if estimated == found else f"{estimated:,} → {found:,}"


def counting(report: Report) -> str:
    """Return the sentence on counted units: their number, the error of estimated LUTs, failed ones; or empty."""
    found = report.counted
    if found is None:
        return ""
    text = f"{plural(found.units, 'unit')} in SystemVerilog with their streams, counted by {found.tool}"
    if found.units and found.estimated.lut:
        text += f": {found.counted.lut / found.estimated.lut - 1:+.1%} LUT beside the estimates".replace("%", " %")
    failed = "".join(f"; {name} is not counted: {why}" for name, why in found.failed.items())
    return text + failed


@dataclass(frozen=True)
class Compared:
    """One quantity as text: estimated, measured, and how far the measured one is from the estimate."""

    name: str
    estimated: str
    measured: str
    difference: str = ""


def compared(report: Report) -> tuple[Compared, ...]:
    """Return the measured quantities beside their estimates; empty without a measurement."""
    found = report.measured
    if found is None:
        return ()
    rows = []

    def add(name: str, estimate: float | None, value: float | None, unit: str = "") -> None:
        if value is None:
            return
        apart = "" if not estimate else f"{100 * (value / estimate - 1):+.1f} %"
        estimated = "" if estimate is None else f"{number(estimate)}{unit}"
        rows.append(Compared(name, estimated, f"{number(value)}{unit}", apart))

    add("Frames a second", report.estimate.fps, found.fps)
    add("Latency", report.estimate.latency_ms, found.latency_ms, " ms")
    add("Images to classes a second", None, found.end_to_end_fps)
    add("Clock", report.clock_mhz, found.clock_mhz, " MHz")
    if found.top1 is not None:
        own = "" if report.accuracy is None else percent(report.accuracy.top1, 2)
        rows.append(Compared("Top-1", own, f"{percent(found.top1, 2)} of {plural(found.images or 0, 'image')}"))
    if found.wrong_codes is not None:
        rows.append(Compared("Wrong codes", "0", f"{found.wrong_codes:,} of {found.codes or 0:,}"))
    for kind, title in resources(report).items():
        add(title, getattr(report.resources, kind).used, (found.resources or {}).get(kind))
    if found.slack_ns is not None:
        rows.append(Compared("Worst slack", "", f"{found.slack_ns:.3f} ns"))
    return tuple(rows)


def number(value: float) -> str:
    """Three significant digits, or a whole number with separators from 100 on."""
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-4 or value == 0 else f"{value:.1e}"


def large(value: float, unit: str = "") -> str:
    """A count with a prefix and a unit: 12.5 MB."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * factor:  # three digits of less would read 1e+03
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:,.0f} {unit}".rstrip()


def percent(share: float, digits: int = 1) -> str:
    """A share in percent. Only a full share reads 100 and only nothing reads 0."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    text = f"{100 * share:.{digits}f}"
    full, none = f"{100:.{digits}f}", f"{0:.{digits}f}"
    step = 10.0**-digits
    if text == full:
        return f"{100 - step:.{digits}f} %" if share < 1 else f"> {full} %"
    return f"< {step:.{digits}f} %" if text == none else f"{text} %"


def plural(count: int, noun: str, many: str = "") -> str:
    """The count with its noun."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def lanes(node: NodeFacts) -> str:
    """The parallelism in one short text: "PE 4, SIMD 16"; lanes_in and lanes_out read as an arrow.

    "4/DSP" are four products a DSP slice, "LUT" says that products are made of LUTs, "constants" that weights
    are part of the logic.
    """
    shown = dict(node.parallelism)
    constant = shown.pop("constant", 0)
    products = shown.pop("products_per_dsp", None)
    texts = []
    if {"lanes_in", "lanes_out"} <= shown.keys():
        texts.append(f"{shown.pop('lanes_in')} → {shown.pop('lanes_out')}")
    texts += [f"{key} {value}" for key, value in shown.items()]
    if products is not None:
        texts.append(f"{products}/DSP" if products else "LUT")
    if constant:
        texts.append("constants")
    return ", ".join(texts)
