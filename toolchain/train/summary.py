"""Results of a finished run, as a table for the terminal."""

from __future__ import annotations

import shlex
from pathlib import Path

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from toolchain.config.run import FLOAT_BITS
from toolchain.train.runs import saved_metrics

_JUDGED = {
    "test": "it was not calibrated on",
    "calibration": "it was calibrated on, there being no others: lower --count",
}


def summary(folder: Path) -> Panel:
    """The metrics of the run in ``folder``, and what to do next."""
    metrics = saved_metrics(folder)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    bits = f"W{metrics['weight_bits']}A{metrics['act_bits']}"
    grid.add_row("Network", f"{metrics['model']} {bits}, {metrics['params']:,} weights, {metrics['macs']:,} MAC")
    of = f" of {metrics['test_images']:,} test images" if metrics.get("test_images") else ""
    if metrics["top1"] is not None:
        grid.add_row("Test top-1", f"{_percent(metrics['top1'])}{of}")
    if "frozen_top1" in metrics:
        grid.add_row("With fixed exponents", f"{_percent(metrics['frozen_top1'])}{of}")
    if metrics["float_top1"] is not None and metrics["methods"]:
        grid.add_row("Float top-1", f"{_percent(metrics['float_top1'])}{of}, before it was quantized")
    if metrics["qonnx_top1"] is not None:
        some = f" of {metrics['qonnx_images']:,} of them" if metrics.get("qonnx_images") else ""
        grid.add_row("QONNX top-1", f"{_percent(metrics['qonnx_top1'])}{some}, by the exported file")
    if metrics.get("agreement") is not None:
        share = f"{_percent(metrics['agreement'])} of {metrics['agreement_images']:,} images"
        grid.add_row("As float", f"the same class on {share} {_JUDGED[metrics.get('judged_on', 'test')]}")
        if metrics["top1"] is not None and metrics["float_top1"] is not None:
            points = 100 * (metrics["float_top1"] - metrics["top1"])
            grid.add_row("Cost", f"{points:+.2f} points of top-1, both on these {metrics['agreement_images']:,} images")
    for line in metrics.get("warnings", ()):
        grid.add_row("Warning", line)
    exported = (folder / "model.onnx").is_file()
    if exported and metrics["act_bits"] == FLOAT_BITS:
        grid.add_row("Next", "set quant.act_bits to 8 or less: no unit computes on float activations")
    else:
        command = ["export", str(folder)] if exported else ["quantize", str(folder), "--weights", "8", "--acts", "8"]
        grid.add_row("Next", shlex.join(["fpgaflow", *command]))
    calibrated = metrics.get("calibration_images")
    epochs = f"{metrics['epochs']} epoch{'' if metrics['epochs'] == 1 else 's'}"
    how = epochs if calibrated is None else f"calibrated on {calibrated:,} images"
    return Panel(grid, title=Text(f"{metrics['data']}, {how}, {metrics['seconds']:.0f} s"), expand=False)


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
