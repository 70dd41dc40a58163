"""A build: its folder and what the stages wrote there, each part read once and checked against what it was made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from toolchain.errors import UserError, unknown_name
from toolchain.files import digest_bytes, digest_file, remove, replace_folder, written_as
from toolchain.flow.architecture import Architecture
from toolchain.flow.choice import ARCHITECTURES
from toolchain.flow.first import run_first
from toolchain.flow.images import Images, Trained, load_images
from toolchain.flow.options import Check
from toolchain.flow.project import Project, demand_own, foreign, read_project
from toolchain.flow.records import (
    BuildRecord,
    FirstRecord,
    HostRecord,
    ModelRecord,
    SimulationRecord,
    read_record,
    read_result,
    record_text,
)
from toolchain.frontend.layout import Layout
from toolchain.frontend.read import ModelFile, read_qonnx
from toolchain.ir.encode import encode
from toolchain.ir.graph import Graph
from toolchain.ir.store import Stored, load
from toolchain.ir.types import Encoding
from toolchain.locks import locked
from toolchain.memory import spans

ENCODING_BYTES = 32
"""Bytes of an element of an image while it becomes a code: several float64 or int64 of it at a time."""

HLS, HLS4ML, RTL = "hls", "hls4ml", "rtl"
FIRST, NETWORK, REST = "first.onnx", "network.onnx", "rest.onnx"
"""The part of a network that the host runs in front, the accelerator's part, and the host's part behind."""
RTL_RECORD, WAVEFORM, COUNT_RECORD = "rtl.json", "rtl.vcd", "counts.json"
VITIS = "vitis"
"""The folder in which the scripts of hls/ let Vitis work: no stage writes there."""

PLANS = tuple(kind.file for kind in ARCHITECTURES.values())
FILES = (
    "model.json", "graph.json", "weights.npz", "build.json", *PLANS, "simulation.json", "report.json", "report.html",
    FIRST, NETWORK, REST, "hls4ml.json", RTL_RECORD, WAVEFORM, COUNT_RECORD, "pareto.json", "bits.json", "deploy.zip",
    "measured.json",
)  # fmt: skip
"""The files that the stages write into a build folder, beside the projects, which have a manifest each."""

UNFINISHED = (*FILES, HLS, HLS4ML, RTL, "deploy")
"""What may be there half-written, see `toolchain.files.written_as`."""


@dataclass(frozen=True)
class Build:
    """The build in ``folder``.

    A part is read when it is first asked for. UserError is raised where it is missing, or where it was made of another
    network or accelerator than the one that stands there now; it names the command that helps.
    """

    folder: Path

    @cached_property
    def model(self) -> ModelRecord:
        """The record of the file that the network was read from."""
        return read_record(ModelRecord, self.folder / "model.json", "run 'fpgaflow lower' first")

    @cached_property
    def network(self) -> Stored:
        """The integer network."""
        stored = load(self.folder)
        if stored.source != digest_bytes(record_text(self.model).encode()):
            raise self._stale("model.json is of another network than graph.json, or not as it was written", "lower")
        return stored

    @cached_property
    def record(self) -> BuildRecord:
        """The record of the architecture and of how it was chosen."""
        if not any(self.folder.joinpath(name).exists() for name in ("graph.json", "build.json")):
            raise UserError("no build", where=str(self.folder), hint="name the folder that 'fpgaflow export' wrote")
        return read_record(BuildRecord, self.folder / "build.json", "run 'fpgaflow explore' first")

    @cached_property
    def design(self) -> Architecture:
        """The accelerator."""
        kind, network = ARCHITECTURES.get(self.record.architecture), self.network
        if kind is None:
            raise unknown_name("architecture", self.record.architecture, ARCHITECTURES)
        return kind.read(network, self.folder, by_hand=self.folder / kind.file in self.foreign_plans())

    @cached_property
    def parts(self) -> dict[str, bytes]:
        """The parts of the network that the host runs in front and behind, by name."""
        wanted: dict[str, FirstRecord | HostRecord | None] = {FIRST: self.model.first, REST: self.model.host}
        return {name: self._part(name, record.sha256) for name, record in wanted.items() if record is not None}

    def _part(self, name: str, sha256: str) -> bytes:
        """The file ``name`` of digest ``sha256``."""
        path = self.folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise self._stale(f"cannot read {name}: {error.strerror}", "lower") from error
        if digest_bytes(content) != sha256:
            raise self._stale(f"{name} is not as it was written", "lower")
        return content

    @property
    def board(self) -> str:
        """The board of the accelerator; where there is none yet, or one of another network, that of the lowering."""
        try:
            return self.design.board
        except UserError:
            return self.model.board

    @cached_property
    def project(self) -> Project:
        """The files of hls/."""
        design, found = self.design, read_project(self.folder / HLS, "fpgaflow generate")
        if found.design != design.digest:
            raise self._stale(f"hls/ was made from another {design.file} or board.toml", "generate")
        return found

    @cached_property
    def simulation(self) -> SimulationRecord:
        """The results of the project's simulation."""
        project = self.project
        found = read_result(SimulationRecord, self.folder / "simulation.json", "run 'fpgaflow simulate' first")
        if found.design != project.design:
            raise self._stale("simulation.json is of another hls/", "simulate")
        if found.project != project.digest:
            raise self._stale("hls/ was changed after it was simulated", "simulate")
        return found

    def knowing(self, **parts: object) -> Build:
        """The build with ``parts`` that were just written, so that nobody reads them again.

        Of the others those are kept that come before the first of them.
        """
        order = ("model", "network", "record", "design", "project", "simulation")
        first = min(order.index(name) for name in parts)
        new = Build(self.folder)
        vars(new).update({name: vars(self)[name] for name in order[:first] if name in vars(self)} | parts)
        return new

    def images(self, check: Check) -> Images:
        """The images of ``check``, else of the data the model was trained on.

        Raises:
            UserError: unreadable images, or such as the network cannot take.
        """
        model, graph = self.model, self.network.graph
        layout, first = Layout(model.axes, graph.input.shape), model.first
        assert graph.encoding is not None
        given = graph.encoding if first is None else None if first.input is None else Encoding(first.input.type)
        images = load_images(
            layout if first is None else first.layout,
            given,
            images=check.images,
            labels=check.labels,
            data=check.data,
            count=check.count,
            trained=Trained(model.data, model.reading, graph.classes, outputs_of(graph)),
            joined=model.inputs if first is None else first.inputs,
        )
        if first is not None:
            images = replace(images, x=run_first(self.parts[FIRST], first, images.x, layout, model.inputs))
        at_once = check.memory.frames(ENCODING_BYTES * graph.input.size, "reading the images", 256)
        for part in spans(len(images.x), at_once):
            encode(graph, images.x[part])  # refuses what the network cannot read
        return images

    def source(self) -> ModelFile | None:
        """The QONNX file; None where it is gone or has changed."""
        path, first = Path(self.model.file), self.model.first
        known = self.model.unchanged
        if first is not None:
            path = self.folder / NETWORK
            known = known and path.is_file() and digest_file(path) == first.network
        return read_qonnx(path, self.model.ends) if known else None

    def demand_source(self) -> ModelFile:
        """The QONNX file.

        Raises:
            UserError: it is gone or has changed.
        """
        found = self.source()
        if found is None:
            what = "the QONNX file of the build is gone or has changed"
            raise UserError(what, where=self.model.file, hint="export it again")
        return found

    def foreign_plans(self) -> Iterator[Path]:
        """Plans that a person wrote or changed."""
        own = self._searched()
        yield from (path for path, digest in self._plans().items() if digest not in own)

    def own_plans(self) -> list[str]:
        """sha256 of the plans that stand as a search wrote them."""
        own = self._searched()
        return [digest for digest in self._plans().values() if digest in own]

    def _plans(self) -> dict[Path, str]:
        paths = (self.folder / name for name in PLANS)
        return {path: digest_file(path) for path in paths if path.is_file()}

    def _searched(self) -> list[str]:
        return self.record.plans if (self.folder / "build.json").is_file() else []

    def _stale(self, what: str, command: str) -> UserError:
        return UserError(what, where=str(self.folder), hint=f"run 'fpgaflow {command}' again")


@contextmanager
def opened(folder: Path, command: str) -> Iterator[Build]:
    """The build in ``folder``, while no other process works on it; what killed ones left half-written is removed.

    Raises:
        UserError: another process does, and for long.
    """
    with locked(folder, command):
        for path in folder.iterdir() if folder.is_dir() else ():
            if written_as(path.name) in UNFINISHED and not path.name.endswith(".old"):  # that may be all there is
                remove(path)
        yield Build(folder)


@contextmanager
def staged(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder that takes the place of the build ``out`` when the block ends well and vanishes when it does not.

    Raises:
        UserError: ``out`` holds something that would be lost, and ``overwrite`` is not given.
    """
    demand_build(out)
    if not overwrite:
        demand_own(foreign_files(out), f"the build {out}")
    with replace_folder(out) as folder:
        yield folder


def demand_build(out: Path) -> None:
    """Raise UserError where ``out`` is neither a build nor an empty folder nor nothing."""
    if out.is_file():
        raise UserError(f"{out} is a file", hint="give a folder with --out")
    if out.exists() and not (out / "model.json").is_file() and any(out.iterdir()):
        raise UserError(f"the folder {out} holds something else than a build", hint="give another --out")


def foreign_files(out: Path) -> Iterator[Path]:
    """Files of the build folder ``out`` that no stage wrote, or that were changed since."""
    if not out.is_dir():
        return
    yield from Build(out).foreign_plans()
    for path in sorted(out.iterdir()):
        if path.name in FILES or written_as(path.name) in UNFINISHED:
            continue
        if path.is_dir() and not path.is_symlink():
            yield from foreign(path)
        else:
            yield path


def build_name(model: Path) -> str:
    """The name of a build of ``model``: the file's stem, or its run folder's name."""
    return model.resolve().parent.name if model.name == "model.onnx" else model.stem


def outputs_of(graph: Graph) -> int | None:
    """Outputs that an image's class is found among; None where the accelerator tells the class itself, or none."""
    found = graph.classifier
    return None if found is None or found.decoding is None else graph.value(found.value).shape[2]
