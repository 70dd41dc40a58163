"""Small JSON files between the stages; each records the tool's version and the digest of what it was made from."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field

from toolchain import __version__
from toolchain.boards import DEFAULT_BOARD
from toolchain.errors import UserError
from toolchain.files import digest_bytes, digest_file, write_text
from toolchain.frontend.layout import Layout
from toolchain.frontend.several_inputs import Joined
from toolchain.ir.types import InputType
from toolchain.records import Record, parse_record
from toolchain.report.data import Hls4ml

R = TypeVar("R", bound=Record)


class InputsRecord(Record):
    """How the frames of several inputs are one, see `toolchain.frontend.several_inputs.Joined`."""

    shapes: dict[str, list[int]]
    axis: int | None

    @staticmethod
    def of(joined: Joined | None) -> InputsRecord | None:
        """``joined`` as a record."""
        if joined is None:
            return None
        return InputsRecord(shapes={name: list(shape) for name, shape in joined.shapes.items()}, axis=joined.axis)

    @property
    def joined(self) -> Joined:
        """How the frames are joined."""
        return Joined({name: tuple(shape) for name, shape in self.shapes.items()}, self.axis)


class IntegersRecord(Record):
    """The worth of integers of [low, high]: ``integer * scale + offset``, fractions, one or one a channel."""

    low: int
    high: int
    scale: list[str]
    offset: list[str]

    @property
    def type(self) -> InputType:
        """The same as the IR has it."""
        scale, offset = (tuple(map(Fraction, numbers)) for numbers in (self.scale, self.offset))
        return InputType(self.low, self.high, scale, offset)


class HostRecord(Record):
    """rest.onnx, the part of a network that is left to the host: it reads ``tensors`` and makes the file's ``outputs``.

    The tensors are the values of the accelerator's outputs, in their order, with these ``axes``. ``nodes`` are told.
    ``sha256`` is the file's.
    """

    tensors: list[str]
    axes: list[str]
    outputs: list[str]
    nodes: list[str]
    sha256: str


class FirstRecord(Record):
    """first.onnx, what of a network the host runs in front of the accelerator: it makes ``tensors``, that one's inputs.

    Frames of its input have ``shape`` (H, W, C) and ``axes`` and are of ``dtype``; integers are those of ``input``,
    which is None where real numbers alone are taken. ``joined`` is of a file of several inputs. ``sha256`` is the
    file's, ``network`` that of network.onnx, which has the other nodes. ``nodes`` are told.
    """

    axes: str
    shape: list[int]
    dtype: str
    input: IntegersRecord | None
    joined: InputsRecord | None
    tensors: list[str]
    nodes: list[str]
    sha256: str
    network: str

    @property
    def layout(self) -> Layout:
        """How frames lie in the input."""
        height, width, channels = self.shape
        return Layout(self.axes, (height, width, channels))

    @property
    def inputs(self) -> Joined | None:
        """How the frames of the file's several inputs are joined; None where it has one."""
        return None if self.joined is None else self.joined.joined


class ModelRecord(Record):
    """model.json: the QONNX file a build stems from. ``axes`` are those of its input, ``input`` tells its type.

    ``first`` is of one whose beginning is left to the host; all that is said of the input is then of the accelerator's.

    ``data`` is what it was trained on, ``reading`` how such files are read. ``joined`` is of a file of several inputs,
    ``host`` of one whose end is left to the host; the accelerator computes the tensors ``ends`` where those are not the
    file's outputs. ``board`` is the one that it was lowered for.
    """

    file: str
    sha256: str
    macs: int
    params: int
    data: str | None
    reading: dict[str, Any]
    axes: str
    input: str
    notes: list[str]
    joined: InputsRecord | None = None
    ends: list[str] = Field(default_factory=list)
    host: HostRecord | None = None
    first: FirstRecord | None = None
    board: str = DEFAULT_BOARD
    fpgaflow: str = __version__

    @property
    def inputs(self) -> Joined | None:
        """How the frames of the file's several inputs are joined; None where it has one."""
        return None if self.joined is None else self.joined.joined

    @property
    def unchanged(self) -> bool:
        """Whether the file is where it was and still the one that was read."""
        path = Path(self.file)
        return path.is_file() and digest_file(path) == self.sha256


class BuildRecord(Record):
    """build.json: which ``architecture`` a build has, and ``notes`` on how it was chosen.

    ``plans`` are the sha256 of the architecture's file as the latest searches wrote it: another one is a person's.
    """

    architecture: str
    plans: list[str]
    notes: list[str]
    fpgaflow: str = __version__


class ManifestRecord(Record):
    """manifest.json: the sha256 of every file that was written to its folder, and the digest of the accelerator."""

    design: str
    files: dict[str, str]
    fpgaflow: str = __version__


class SimulationRecord(Record):
    """simulation.json: what was compared, what differed, and the cycles counted by unit over ``calls`` runs.

    ``design`` is the digest of the accelerator, ``project`` that of the files that were simulated. ``vectors`` are
    those that drove each unit by itself, ``vector_mismatches`` the elements it answered wrongly.
    """

    design: str
    project: str
    data: str
    images: int
    qonnx_images: int
    qonnx_top1_agreement: float | None
    qonnx_code_mismatches: int | None
    csim_mismatches: int
    csim_seconds: float
    vectors: dict[str, int]
    vector_mismatches: int
    first_deviation: str | None
    top1: float | None
    calls: int
    cycles: dict[str, int]
    compiler: str
    fpgaflow: str = __version__


class RtlRecord(Record):
    """rtl.json: what the simulation of the SystemVerilog of accelerator ``design`` found on ``images``.

    ``mismatches`` counts wrong codes of a run without and one with pauses at the ends. ``frame_ends`` are the cycles in
    which the writer took the last word of each frame, without pauses, beside those of the cycle simulator. ``fill`` is,
    by value, the most words that its FIFO held. ``seconds`` are those of the run, ``build_seconds`` of its program.
    rtl.vcd has the waveform of ``traced_frame``.
    """

    design: str
    project: str
    data: str
    images: int
    mismatches: int
    first_deviation: str | None
    traced_frame: int | None = None
    frame_ends: list[int]
    model_frame_ends: list[int]
    fill: dict[str, int]
    build_seconds: float
    seconds: float
    fpgaflow: str = __version__


class CountRecord(Record):
    """counts.json: what ``tool`` counts of the SystemVerilog of the accelerator ``design``.

    ``counts`` has LUT, FF, DSP, BRAM18 and URAM of every unit by its name; ``failed`` maps units that could not be
    counted to the reason.
    """

    design: str
    tool: str
    counts: dict[str, list[int]]
    failed: dict[str, str]
    fpgaflow: str = __version__


class Hls4mlRecord(Record):
    """hls4ml.json: what hls4ml's project beside the accelerator of digest ``design`` computes."""

    design: str
    found: Hls4ml
    fpgaflow: str = __version__


def record_text(record: Record) -> str:
    """``record`` as JSON."""
    return json.dumps(record.model_dump(), indent=1) + "\n"


def write_record(record: Record, path: Path) -> None:
    """Write ``record`` as JSON by rename."""
    write_text(path, record_text(record))


def write_result(record: Record, path: Path) -> None:
    """Write ``record`` as JSON by rename, with its own digest: what was found is not to be another later."""
    table = record.model_dump()
    write_text(path, json.dumps({"digest": _digest(table), **table}, indent=1) + "\n")


def read_result(kind: type[R], path: Path, hint: str) -> R:
    """The record that ``write_result`` wrote to ``path``; ``hint`` is what helps where it did not.

    Raises:
        UserError: it is missing, damaged, or not as it was written.
    """
    table = _read(path, hint)
    digest = table.pop("digest", None)
    if digest != _digest(table):
        raise UserError("not as it was written", where=str(path), hint=hint)
    return parse_record(kind, table, where=str(path))


def read_record(kind: type[R], path: Path, hint: str = "run 'fpgaflow export' again") -> R:
    """The record in ``path``; ``hint`` is what helps where it is missing or damaged.

    Raises:
        UserError: it is.
    """
    return parse_record(kind, _read(path, hint), where=str(path))


def _digest(table: dict[str, Any]) -> str:
    return digest_bytes(json.dumps(table).encode())


def _read(path: Path, hint: str) -> dict[str, Any]:
    """The JSON object in ``path``."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError("no such file", where=str(path), hint=hint) from error
    except OSError as error:
        raise UserError(f"cannot read it: {error.strerror}", where=str(path), hint=hint) from error
    except ValueError as error:
        raise UserError(f"not valid JSON: {error}", where=str(path), hint=hint) from error
    if not isinstance(table, dict):
        raise UserError("the file holds no JSON object", where=str(path), hint=hint)
    return table
