"""The specification against the C simulation; the first node that deviates is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.errors import VerificationError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array, Reshape
from toolchain.simulate.csim import CSim, Progress


@dataclass(frozen=True)
class Comparison:
    """``mismatches`` of the output codes over ``images`` frames; ``node`` is the first deviating one, "" if none."""

    images: int
    mismatches: int
    node: str = ""
    detail: str = ""

    def check(self) -> None:
        """VerificationError unless every code is equal."""
        if self.mismatches:
            raise VerificationError(
                f"C simulation and integer network differ in {self.mismatches} output codes of {self.images} images; "
                f"first deviating node: {self.node} ({self.detail})"
            )


def compare(csim: CSim, codes: Array, *, threads: int = 2, progress: Progress | None = None) -> Comparison:
    """Run ``codes`` (N, H, W, C) through both; on a difference look for the first deviating node.

    Raises:
        VerificationError: the C simulation stopped on an empty or leftover stream.
    """
    graph = csim.graph
    expected = evaluate(graph, codes)[graph.output]
    found = csim.run(codes, threads=threads, progress=progress)
    wrong = (expected != found).reshape(len(codes), -1)
    if not wrong.any():
        return Comparison(len(codes), 0)
    frame = int(np.argmax(wrong.any(axis=1)))
    node, detail = first_deviation(csim, codes[frame : frame + 1])
    return Comparison(len(codes), int(wrong.sum()), node, detail)


def first_deviation(csim: CSim, codes: Array) -> tuple[str, str]:
    """Name of the first node whose output stream differs from the evaluator, and where; ("", "") when none does."""
    graph: Graph = csim.graph
    found = csim.taps(codes)
    expected = evaluate(graph, codes, taps=set(graph.values()))
    if not np.array_equal(found[graph.input.name], codes):
        return "@read", "the input stream"
    for node in graph.nodes:
        if isinstance(node, Reshape):
            continue
        for value in node.outputs:
            wrong = np.argwhere(found[value.name] != expected[value.name])
            if len(wrong):
                place = tuple(int(i) for i in wrong[0])
                return node.name, (
                    f"value '{value.name}' at {place} is {found[value.name][place]}, "
                    f"should be {expected[value.name][place]}; {len(wrong)} of {expected[value.name].size} differ"
                )
    return "@write", "the output words"
