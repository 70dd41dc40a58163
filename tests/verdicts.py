"""What the check says of a file against what the export does with it."""

from __future__ import annotations

from pathlib import Path

from toolchain.errors import UserError
from toolchain.flow.coverage import judge
from toolchain.flow.inputs import chosen_encoding
from toolchain.frontend.metadata import INPUT
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.graph import Graph
from toolchain.ir.types import UNIT_PIXEL, InputType
from toolchain.lowering.pipeline import to_integer


def given(path: Path) -> InputType | None:
    """Pixels, as a user would state them, where the file ``path`` says nothing of its input."""
    try:
        file = load_onnx(path)
    except UserError:
        return None
    return None if INPUT in file.metadata or file.datatypes.get(file.input) else UNIT_PIXEL


def lowered(path: Path) -> tuple[ModelFile, Graph] | UserError:
    """The file ``path`` and its integer network as the export makes them, or why it refuses."""
    try:
        model = read_qonnx(path)
        return model, to_integer(model.graph, chosen_encoding(model, given(path))[0])
    except UserError as error:
        return error


def demand_one_verdict(path: Path) -> UserError | None:
    """Why the export refuses ``path``, None when it does not; AssertionError where the check differs."""
    found = lowered(path)
    fault = found if isinstance(found, UserError) else None
    demand_verdict(path, fault)
    return fault


def demand_verdict(path: Path, fault: UserError | None) -> None:
    """AssertionError unless the check says of ``path`` what the export does: builds it, or refuses it for ``fault``.

    The reason is the same, and the node where it is one node's.
    """
    try:
        found = judge(load_onnx(path), given(path))
    except UserError as error:
        assert fault is not None, f"the check alone refuses the file: {error}"
        assert str(fault) == str(error)
        return
    if fault is None:
        assert found.supported, f"the check alone refuses: {found.verdict}"
        return
    assert found.first is not None, f"the export alone refuses: {fault}"
    assert (found.first.reason, found.first.hint) == (fault.what, fault.hint)
    assert found.first.name in fault.where, f"the check blames {found.first.name}, the export {fault.where}"
