"""The C simulation as hardware runs it: every unit a thread, every stream as deep as its FIFO."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping

from toolchain.errors import FlowError
from toolchain.hls_templates.streams import streams
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array
from toolchain.simulate.csim import CSim

_CALL = re.compile(r"^    ((?:fpgaflow::|\w+_unit\().*\));$", re.MULTILINE)
_TOP = "src/top.cpp"


class BoundedCSim(CSim):
    """A compiled accelerator whose streams block; to be run by ``run_bounded`` only."""

    def __init__(self, graph: Graph, files: Mapping[str, str], *, jobs: int = 2) -> None:
        super().__init__(graph, as_tasks(files), jobs=jobs, bounded=True)

    def run_bounded(self, codes: Array, depths: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        """Codes (N, H, W, C) of every output for input ``codes`` (N, H, W, C) in one call of the accelerator.

        ``depths`` by value are taken instead of the graph's.

        Raises:
            VerificationError: all units wait for each other; the streams they wait for are named.
        """
        given = depths or {}
        found = {s.name: max(given.get(name, s.depth) for name in s.values) for s in streams(self.graph).values()}
        names = (ctypes.c_char_p * len(found))(*[name.encode() for name in found])
        words = (ctypes.c_int64 * len(found))(*found.values())
        self._library.fpgaflow_set_depths(names, words, len(found))
        results, counts = self._call(self._library, self._checked(codes))
        self._counts += counts
        self.calls += 1
        return results


def as_tasks(files: Mapping[str, str]) -> dict[str, str]:
    """``files`` with every call of the top function marked as a task, the last one as the last."""
    top = files[_TOP]
    calls = _CALL.findall(top)
    if not calls:
        raise FlowError(f"no calls of units in {_TOP}")
    marked = _CALL.sub(r"    FPGAFLOW_TASK((\1));", top)
    before, _, after = marked.rpartition("FPGAFLOW_TASK(")
    return {**files, _TOP: f"{before}FPGAFLOW_LAST_TASK({after}"}
