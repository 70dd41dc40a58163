"""The block of a ResNet whose sum is not quantized before, beside the same block with quantized operands.

    python -m benchmarks residuals [FILE.onnx ...]

A block is ``quant(relu(x + bn(conv(x))))`` behind two convolutions, on random weights with a scale a channel; files are
taken as they are. The other side is the same file with a quantizer of as many bits as the output's in front of both
operands of each sum. Both are planned for the ZU3EG, once for most frames a second (``fps``) and once at one rate that
both reach (``target_fps``, three quarters of the slower one's best). LUT, DSP slices and block RAMs are those of the
explorer's report without the board's shell; ``ratio`` is to the row with quantized operands. Exactness is proven while
lowering; ``csim_mismatches`` counts codes of the C simulation of the unquantized sums that differ on 64 random images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.common import Row, print_rows
from benchmarks.schemas import RESIDUALS
from tests.onnx_models import Net
from toolchain.boards import load_board
from toolchain.dse.explore import explore
from toolchain.frontend.read import read_qonnx
from toolchain.hls_templates.generate import generate
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.add import Add
from toolchain.lowering.pipeline import to_integer
from toolchain.passes.pipeline import to_hardware
from toolchain.simulate.csim import build
from toolchain.units.totals import graph_cost, graph_cycles

BOARD = load_board("zu3eg")
CLOCK_MHZ = BOARD.clock.default_mhz
IMAGES = 64
COLUMNS = {"block": "block", "operands": "operands of the sum", "target_fps": "target", "fps": "fps", "lut": "LUT",
           "dsp": "DSP", "bram18": "BRAM18", "lut_ratio": "LUT ratio", "dsp_ratio": "DSP ratio", "sum_bits": "bits",
           "lower_seconds": "lowering s", "csim_mismatches": "mismatches"}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """Channels, bits of weights and activations, and whether a 1 x 1 convolution stands in the shortcut."""

    channels: int
    bits: int
    projection: bool = False

    @property
    def name(self) -> str:
        """The name in the table."""
        return f"{self.channels} channels, W{self.bits}A{self.bits}{', projection' if self.projection else ''}"

    def write(self, path: Path) -> Path:
        """The block on maps of 16 x 16, as QONNX."""
        net = Net((1, 3, 16, 16), seed=self.channels + self.bits)
        levels = 2**self.bits - 1
        x = self._conv(net, net.quant("x", 8, 1 / 255, signed=0), 3, 3)
        x = net.quant(net.add("Relu", x), self.bits, 2.3 / levels, signed=0)
        y = net.quant(net.add("Relu", self._conv(net, x, self.channels, 3)), self.bits, 1.9 / levels, signed=0)
        shortcut = self._conv(net, x, self.channels, 1) if self.projection else x
        total = net.add("Relu", net.add("Add", shortcut, self._conv(net, y, self.channels, 3)))
        return net.save(path, net.quant(total, self.bits, 3.7 / levels, signed=0))

    def _conv(self, net: Net, x: str, inputs: int, kernel: int) -> str:
        """A convolution with a batch normalization, some of whose scales are negative."""
        rng, shape = net.rng, (self.channels, inputs, kernel, kernel)
        weight = np.float32(rng.normal(0, 0.5, shape))
        scale = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) / (2 ** (self.bits - 1) - 1)
        x = net.conv(x, net.quant(net.const(weight), self.bits, scale, narrow=1), pads=[kernel // 2] * 4)
        gamma = rng.uniform(0.5, 1.5, self.channels) * rng.choice([1, 1, 1, -1], self.channels)
        variance = rng.uniform(0.5, 2, self.channels) * inputs * kernel**2 / 12
        shifts = (rng.normal(0, 0.3, self.channels) for _ in range(2))
        return net.add("BatchNormalization", x, *map(net.const, (gamma, *shifts, variance)))


BLOCKS = (
    *(Block(channels, bits) for bits in (4, 8) for channels in (16, 32, 64)),
    Block(16, 4, projection=True),
    Block(64, 4, projection=True),
)


def quantized_operands(path: Path, target: Path) -> Path:
    """``path`` with a quantizer, that behind the sum but signed, in front of both operands of every addition."""
    model = onnx.load(path)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    readers = {name: node for node in model.graph.node for name in node.input}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Add" and not constants.keys() & set(node.input):
            after = readers[node.output[0]]
            after = readers[after.output[0]] if after.op_type == "Relu" else after
            for i, name in enumerate(list(node.input)):
                out = f"{name}_operand"
                kinds: dict[str, Any] = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND"}
                nodes.append(
                    helper.make_node(
                        "Quant", [name, *after.input[1:]], [out], f"{out}_Quant", domain=after.domain, **kinds
                    )
                )
                node.input[i] = out
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    return target


def main() -> int:
    """Measure, write the rows, print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="QONNX files with sums that are not quantized before")
    rows: list[Row] = []
    for name, path in _models(parser.parse_args().files):
        with tempfile.TemporaryDirectory() as folder:
            rows += compared(name, path, quantized_operands(path, Path(folder) / "quantized.onnx"))
        RESIDUALS.replace(rows)
    print_rows("Residual blocks", rows, COLUMNS)
    return 0


def _models(files: list[Path]) -> Iterator[tuple[str, Path]]:
    for file in files:
        yield file.stem, file
    with tempfile.TemporaryDirectory() as folder:
        for i, block in enumerate(BLOCKS):
            yield block.name, block.write(Path(folder) / f"{i}.onnx")


def compared(name: str, path: Path, quantized: Path) -> list[Row]:
    """Rows of one block: both forms for most frames a second, then at one rate."""
    graphs = {}
    for operands, file in (("quantized", quantized), ("sums", path)):
        start = time.process_time()
        graphs[operands] = to_integer(read_qonnx(file).graph), round(time.process_time() - start, 2)
    rows = _pair(name, graphs, None)
    target = 0.75 * min(float(row["fps"] or 0) for row in rows)
    return rows + _pair(name, graphs, float(f"{target:.2g}"))


def _pair(name: str, graphs: dict[str, tuple[Graph, float]], target: float | None) -> list[Row]:
    rows: list[Row] = []
    for operands, (graph, seconds) in graphs.items():
        plan = explore(graph, BOARD, target_fps=target)
        hardware = to_hardware(graph, plan)
        used = graph_cost(hardware)
        fps = CLOCK_MHZ * 1e6 / graph_cycles(hardware)
        base = rows[0] if rows else {"lut": used.lut, "dsp": used.dsp}
        rows.append(
            {
                "block": name,
                "operands": operands,
                "target_fps": target,
                "fps": round(fps, 1),
                "lut": used.lut,
                "dsp": used.dsp,
                "bram18": used.bram18,
                "lut_ratio": _ratio(used.lut, base["lut"]),
                "dsp_ratio": _ratio(used.dsp, base["dsp"]),
                "sum_bits": sum_bits(graph),
                "lower_seconds": seconds,
                "csim_mismatches": mismatches(hardware) if target and rows else None,
            }
        )
    return rows


def _ratio(used: int, base: object) -> float | None:
    return round(used / base, 3) if isinstance(base, int) and base else None


def sum_bits(graph: Graph) -> int:
    """Bits of the widest sum of two branches."""
    return max(node.output.qint.bits for node in graph.nodes if isinstance(node, Add))


def mismatches(graph: Graph) -> int:
    """Codes of the C simulation of ``graph`` that differ from the evaluator's on random images."""
    rng, kind = np.random.default_rng(0), graph.input.qint
    x = rng.integers(kind.min, kind.max + 1, (IMAGES, *graph.input.shape), dtype=np.int64)
    found = build(graph, generate(graph, BOARD, CLOCK_MHZ)).run(x)
    return int((found != evaluate(graph, x)[graph.output]).sum())


if __name__ == "__main__":
    raise SystemExit(main())
