"""Tables of what yosys counts beside the estimates."""

from __future__ import annotations

from benchmarks.count_errors import LEAST, summary
from benchmarks.markdown import table
from benchmarks.part_counts import fitted_luts
from benchmarks.recorder import Row
from benchmarks.schemas import COUNTED_PLANS, FINN_MVU, RTL, UNIT_COUNTS
from benchmarks.tool_tables import SIMULATED

PLANNED = {
    "resnet20_w8a8": "ResNet-20 W8A8",
    "cnv_w2a2": "CNV W2A2",
    "cnv_w1a1": "CNV W1A1",
    "ultranet_w4a4": "UltraNet W4A4",
}
RESOURCES = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "bram18": "BRAM18"}


def counts() -> str:
    """All units of a network, estimated and counted, and what the counts took that were not known before."""
    rows = [row for row in RTL.rows() if row["unit"] == "all"]
    networks = {row["network"]: row for row in rows}  # the latest of each
    for name, latest in networks.items():
        same = (row for row in rows if row["network"] == name and row["counted_lut"] == latest["counted_lut"])
        networks[name] = min(same, key=lambda row: row["cached"])
    lines = [
        (SIMULATED[name], networks[name]["units"], *(_pair(networks[name], kind) for kind in RESOURCES),
         _took(networks[name]))
        for name in SIMULATED if name in networks
    ]  # fmt: skip
    return table(("estimated → counted", "units", *RESOURCES.values(), "processor time, memory"), lines)


def _pair(row: Row, kind: str) -> str:
    estimated, counted = row[f"estimated_{kind}"], row[f"counted_{kind}"]
    if estimated == counted:
        return f"{counted:,}"
    apart = f" ({100 * (estimated / counted - 1):+.0f} %)" if counted else ""
    return f"{estimated:,} → {counted:,}{apart}"


def _took(row: Row) -> str:
    counted = row["designs"] - row["cached"]
    if not counted:
        return ""
    return f"{row['cpu_seconds']:.0f} s for {counted} of {row['designs']} designs, {row['peak_mb']} MB"


def counted_plans() -> str:
    """Plans by estimates and by counts: rates, LUTs by estimates, fits and counts, and what planning by counts took."""
    rows = {(row["network"], row["costs"], row.get("warm", False)): row for row in COUNTED_PLANS.rows()}
    lines = []
    for name, title in (SIMULATED | PLANNED).items():
        estimated, forecast = (rows.get((name, costs, False)) for costs in ("estimated", "forecast"))
        cold, warm = (rows.get((name, "counted", kind)) for kind in (False, True))
        if first := estimated or forecast:
            luts = f"{first['estimated_lut']:,}", _told(forecast, "forecast_lut"), _told(estimated, "counted_lut")
            best = cold or warm
            counted = (f"{best['fps']:,.0f}", _told(best, "counted_lut")) if best else ("", "")
            lines.append((title, f"{first['fps']:,.0f}", *luts, *counted, _planning(cold, warm)))
    head = (
        "network",
        "fps",
        "LUT estimated",
        "by fits",
        "counted",
        "fps by counts",
        "LUT counted",
        "planning by counts",
    )
    return table(head, lines)


def _told(row: Row | None, column: str) -> str:
    if row is None:
        return ""
    return f"{row[column]:,}" + (", over" if row[column] > row["budget_lut"] else "")


def _planning(cold: Row | None, warm: Row | None) -> str:
    told = []
    if cold:
        told.append(f"{cold['cpu_seconds']:.0f} CPU s for {cold['designs']} designs, {cold['peak_mb']} MB")
    if warm:
        told.append(f"again {warm['cpu_seconds']:.0f} s")
    return ", ".join(told)


def counted_units() -> str:
    """Errors of the estimates by kind of unit, of shapes of the grids and in networks, before and after a fit."""
    networks, grid_rows = [row for row in RTL.rows() if "op" in row], UNIT_COUNTS.rows()
    told = [row for row in (*networks, *grid_rows) if "parts" in row]
    for row, luts in zip(told, fitted_luts(told), strict=True):
        row["fitted"] = luts
    grids = [
        line | {"kind": f"{line['kind']}, grids"}
        for line in summary(grid_rows, "kind")
        if line["n"] > LEAST or line["kind"] == "all"
    ]
    known = [line for line in summary(networks, "op") if line["n"] > LEAST]
    lines = [
        (
            line["kind"], line["n"], f"{line['mape']:.0f}", f"{line['total']:+.0f}", f"{line['fitted_mape']:.0f}",
            f"{line['fitted_total']:+.0f}", line["dsp_exact"], line["bram18_exact"],
        )
        for line in [*known, *grids]
    ]  # fmt: skip
    head = ("LUT, errors in %", "n", "MAPE", "total", "MAPE after", "total after", "DSP exact", "BRAM18 exact")
    return table(head, lines)


def finn_mvu() -> str:
    """Our matrix-vector unit beside FINN's."""
    lines = [
        (
            row["bits"], f"{row['inputs']} x {row['outputs']}", f"{row['simd']}, {row['pe']}", row["cycles"],
            f"{row['lut']:,} / {row['ff']:,} / {row['dsp']}",
            f"{row['finn_lut']:,} / {row['finn_ff']:,} / {row['finn_dsp']}",
            f"{row['lut_ratio']:.2f} / {row['ff_ratio']:.2f}",
        )
        for row in FINN_MVU.rows()
    ]  # fmt: skip
    head = ("bits", "matrix", "SIMD, PE", "cycles", "ours: LUT / FF / DSP", "FINN: LUT / FF / DSP", "LUT, FF ratio")
    return table(head, lines)
