"""What the check says of a file against what the export does with it."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import UserError
from toolchain.flow.coverage import check
from toolchain.flow.inputs import chosen_encoding
from toolchain.frontend.read import read_qonnx
from toolchain.lowering.pipeline import to_integer


def demand_one_verdict(path: Path) -> UserError | None:
    """Why the export refuses ``path``, None when it does not; AssertionError where the check differs.

    Both must refuse or both build, for the same reason, and at the same node where it is one node's.
    """
    try:
        model = read_qonnx(path)
        to_integer(model.graph, chosen_encoding(model, None)[0])
        fault = None
    except UserError as error:
        fault = error
    try:
        found = check(path)
    except UserError as error:
        assert fault is not None, f"the check alone refuses the file: {error}"
        assert str(fault) == str(error)
        return fault
    if fault is None:
        assert found.supported, f"the check alone refuses: {found.verdict}"
        return None
    assert found.first is not None, f"the export alone refuses: {fault}"
    assert (found.first.reason, found.first.hint) == (fault.what, fault.hint)
    assert found.first.name in fault.where, f"the check blames {found.first.name}, the export {fault.where}"
    return fault
