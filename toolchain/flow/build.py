"""A build folder: made whole or not at all, and read back by the stages that go on from its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from toolchain.errors import UserError
from toolchain.files import replace_folder
from toolchain.flow.images import Images, load_images
from toolchain.flow.options import Check
from toolchain.flow.records import ModelRecord, read_record
from toolchain.frontend.layout import Layout
from toolchain.ir.encode import encode
from toolchain.ir.graph import Graph
from toolchain.ir.store import load, stored_digest
from toolchain.ir.types import Array
from toolchain.memory import spans
from toolchain.passes.apply_plan import load_plan
from toolchain.passes.pipeline import hardware_form, to_hardware
from toolchain.plan import Plan
from toolchain.simulate.drive import Driven

ENCODING_BYTES = 32
"""Of an element of an image while it becomes a code: several float64 or int64 of it at a time."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the steps done and the steps in all."""


def silent(what: str, done: int, total: int) -> None:
    """A Progress that tells nobody."""


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder that takes the place of ``out`` when the block ends well and vanishes when it does not.

    What a killed run left behind is removed by the next one.
    """
    if out.exists() and not (out / "model.json").is_file() and any(out.iterdir()):
        raise UserError(f"the folder {out} holds something else than a build", hint="give another --out")
    with replace_folder(out) as folder:
        yield folder


def build_name(model: Path) -> str:
    """What a build of ``model`` is called: the file's stem, or its run folder's name."""
    return model.resolve().parent.name if model.name == "model.onnx" else model.stem


def load_hardware(folder: Path) -> tuple[Graph, Plan]:
    """The HARDWARE graph and the plan in ``folder``.

    Raises:
        UserError: a file is missing, or the plan was made for another graph.
    """
    graph = load(folder)
    plan = load_plan(folder / "plan.json", hardware_form(graph))
    if plan.model and plan.model != stored_digest(folder):
        raise UserError("plan.json was made for another graph", where=str(folder), hint="run 'fpgaflow explore' again")
    return to_hardware(graph, plan), plan


def load_folder_images(folder: Path, check: Check) -> Images:
    """The images of ``check``, else of the data the model was trained on, for the graph in ``folder``."""
    record = read_record(ModelRecord, folder / "model.json")
    graph = load(folder)
    layout = Layout(record.axes, graph.input.shape)
    data = check.data or (record.data if check.images is None else None)
    assert graph.encoding is not None
    images = load_images(layout, graph.encoding, images=check.images, labels=check.labels, data=data, count=check.count)
    for part in spans(len(images.x), check.memory.frames(ENCODING_BYTES * graph.input.size, "reading the images", 256)):
        encode(graph, images.x[part])  # refuses what the network cannot read
    return images


@dataclass(frozen=True)
class Simulated:
    """The ``classes`` (N,) that a C simulation told, and what of its answers differs from the evaluator.

    ``cycles`` are counted by unit over ``calls`` runs; ``classes`` is empty where the simulation stopped. ``driven``
    tells of the units driven by themselves; a deviation there is also ``deviation``.
    """

    classes: Array
    seconds: float
    mismatches: int
    deviation: str | None
    cycles: dict[str, int]
    calls: int
    driven: Driven
