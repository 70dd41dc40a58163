"""The specification against the C simulation; the first node that deviates is named."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.errors import VerificationError
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops import Array, Reshape
from toolchain.simulate.csim import CSim, Progress

BATCH = 64
"""Frames that both run before the next ones: the evaluator holds a whole batch of maps."""


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
    graph, wrong, first = csim.graph, 0, None
    for start in range(0, len(codes), BATCH):
        batch = codes[start : start + BATCH]
        expected = evaluate(graph, batch)[graph.output]
        differs = (expected != csim.run(batch, threads=threads)).reshape(len(batch), -1)
        wrong += int(differs.sum())
        if wrong and first is None:
            first = start + int(np.argmax(differs.any(axis=1)))
        if progress is not None:
            progress(start + len(batch), len(codes))
    if first is None:
        return Comparison(len(codes), 0)
    node, detail = first_deviation(csim, codes[first : first + 1])
    return Comparison(len(codes), wrong, node, detail)


def first_deviation(csim: CSim, codes: Array) -> tuple[str, str]:
    """Name of the first node whose output stream differs from the evaluator, and where.

    ``@read`` is the reader, ``@write`` the writer: it is at fault when every stream is right.
    """
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
