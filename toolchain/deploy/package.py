"""``deploy/`` of a build: scripts to the bitstream, and the folder that goes to the board."""

from __future__ import annotations

import io
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.boards import Board, load_board
from toolchain.deploy.facts import Interface, network_facts, streaming_interface
from toolchain.errors import UserError
from toolchain.files import digest_bytes, replace_folder, write_bytes, write_files
from toolchain.flow.build import load_folder_images, load_hardware
from toolchain.flow.options import Check
from toolchain.flow.records import ModelRecord, read_record
from toolchain.frontend.layout import Layout
from toolchain.hls_templates.render import render
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.memory import spans
from toolchain.report.data import read_report
from toolchain.report.view import number

FOLDER, BOARD, ARCHIVE = "deploy", "board", "deploy.zip"
NETWORK, SAMPLES, DRIVER = "network.json", "samples.npz", "accelerator.py"
SAMPLE_BYTES = 1 << 22
MOST_SAMPLES = 256
RESULTS = ("ip", "vivado", "vivado.json", "vivado.log")
"""Made by run.sh in deploy/; the bitstream is in board/."""

_STAMP = (2000, 1, 1, 0, 0, 0)  # of every file in the archive, so that equal builds have equal archives


@dataclass(frozen=True)
class Deployable:
    """A build as its files tell it: what is to be deployed and where."""

    folder: Path
    graph: Graph
    board: Board
    interface: Interface
    model: ModelRecord
    facts: dict[str, Any]


def load_deployable(folder: Path) -> Deployable:
    """The build in ``folder``.

    Raises:
        UserError: a file of it is missing, or it is not exact.
    """
    graph, plan = load_hardware(folder)
    board, interface = load_board(plan.board), streaming_interface(graph)
    model, report = read_record(ModelRecord, folder / "model.json"), read_report(folder)
    if not (folder / "hls" / "src" / "top.cpp").is_file():
        raise UserError("no hls/ to deploy", where=str(folder), hint="run 'fpgaflow generate' and 'simulate' first")
    if report.verification.csim_mismatches != 0 or report.verification.vector_mismatches:
        raise UserError("the build is not exact", where=str(folder), hint="'fpgaflow simulate' says where it deviates")
    facts = network_facts(
        graph,
        board,
        plan.clock_mhz,
        interface,
        axes=model.axes,
        digest=project_digest(folder / "hls", board, plan.clock_mhz),
        estimate={"fps": report.estimate.fps, "latency_ms": report.estimate.latency_ms},
        classes=None,
    )
    return Deployable(folder, graph, board, interface, model, facts)


def project_digest(project: Path, board: Board, clock_mhz: float) -> str:
    """What tells this accelerator, on this device and at this clock, from every other."""
    sources = [path for part in ("include", "src") for path in sorted((project / part).rglob("*")) if path.is_file()]
    parts = [f"{path.relative_to(project)} {digest_bytes(path.read_bytes())}" for path in sources]
    return digest_bytes("\n".join([board.part, f"{clock_mhz:g}", *parts]).encode())


def deploy(folder: Path, check: Check, *, overwrite: bool = False) -> Path:
    """Write deploy/ and deploy.zip for the build in ``folder``; returns the path of deploy/.

    What run.sh has made there for the same accelerator is kept.

    Raises:
        UserError: the build is incomplete; or deploy/ holds the bitstream of another accelerator.
    """
    build = load_deployable(folder)
    target = folder / FOLDER
    kept = _results(target)
    if kept and not overwrite and _design(target) != build.facts["design"]:
        raise UserError(
            f"{target} holds synthesis results of another accelerator: {', '.join(str(path) for path in kept)}",
            hint="move them away, or give --overwrite to remove them",
        )
    contents = script_files(build) | board_files(build, check)
    with replace_folder(target) as partial:
        write_files(contents, partial)
        os.chmod(partial / "run.sh", 0o755)
        if _design(target) == build.facts["design"]:
            for path in kept:
                _link(target / path, partial / path)
    write_bytes(folder / ARCHIVE, _archive(folder, contents))
    return target


def script_files(build: Deployable) -> dict[str, str | bytes]:
    """The scripts that make the bitstream, and the README."""
    facts, board = build.facts, build.board
    variables: dict[str, Any] = {
        "design": facts["design"],
        "top": facts["top"],
        "name": facts["name"],
        "instance": facts["instance"],
        "masters": build.interface.masters,
        "part": board.part,
        "board": board,
        "board_part": board.board_part,
        "port_bits": board.memory.port_bits,
        "clock_mhz": f"{facts['clock_mhz']:g}",
        "base": f"0x{facts['base']:08X}",
        "facts": facts,
        "fps": number(facts["estimate"]["fps"]),
        "latency": number(facts["estimate"]["latency_ms"]),
        "inputs": " x ".join(str(n) for n in facts["input"]["shape"]),
    }
    names = {"build.tcl": "build.tcl", "run.sh": "run.sh", "README.md": "README.md"}
    return {path: render(name, variables, "toolchain.deploy") for path, name in names.items()}


def board_files(build: Deployable, check: Check) -> dict[str, str | bytes]:
    """What goes to the board, beside the bitstream."""
    driver = (package_files("toolchain.deploy") / "driver.py").read_text(encoding="utf-8")
    return {
        f"{BOARD}/{DRIVER}": driver,
        f"{BOARD}/{NETWORK}": json.dumps(build.facts, indent=1) + "\n",
        f"{BOARD}/{SAMPLES}": samples(build, check),
    }


def samples(build: Deployable, check: Check) -> bytes:
    """samples.npz: images in the network's axes, the codes that it answers, and the classes where known."""
    graph = build.graph
    found = load_folder_images(build.folder, check)
    count = max(1, min(MOST_SAMPLES, SAMPLE_BYTES // (4 * graph.input.size), len(found.x)))
    chosen = np.linspace(0, len(found.x) - 1, count).astype(int)  # data sets may be sorted by class
    images, labels = found.x[chosen], None if found.y is None else found.y[chosen]
    codes = np.concatenate(
        [
            evaluate(graph, encode(graph, images[part]), taps=[graph.output])[graph.output]
            for part in spans(len(images), 16)
        ]
    )
    arrays: dict[str, Any] = {
        "images": Layout(build.model.axes, graph.input.shape).from_ir(images),
        "codes": codes.astype(np.int64),
    }
    if labels is not None:
        arrays["labels"] = labels
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    return data.getvalue()


def _results(target: Path) -> list[Path]:
    """What run.sh has made below ``target``, as paths from there."""
    made = [Path(name) for name in RESULTS if (target / name).exists()]
    bits = [
        path for end in ("*.bit", "*.hwh", f"{BOARD}/*.bit", f"{BOARD}/*.hwh", "*.xsa") for path in target.glob(end)
    ]
    return made + sorted(path.relative_to(target) for path in bits)


def _design(target: Path) -> str | None:
    """The design that ``target`` was written for."""
    path = target / BOARD / NETWORK
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return str(found["design"])


def _link(source: Path, target: Path) -> None:
    """The same files at another place, without a copy of their bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=os.link, symlinks=True)
    else:
        os.link(source, target)


def _archive(folder: Path, contents: Mapping[str, str | bytes]) -> bytes:
    """A zip of deploy/ and the hls/ that it starts from, below one folder."""
    project = {path.relative_to(folder): path.read_bytes() for path in _project_files(folder / "hls")}
    deployed = {
        Path(FOLDER) / name: text.encode() if isinstance(text, str) else text for name, text in contents.items()
    }
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted((project | deployed).items()):
            entry = zipfile.ZipInfo(f"{folder.resolve().name}/{path.as_posix()}", _STAMP)
            entry.external_attr = (0o100755 if path.suffix == ".sh" else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def _project_files(project: Path) -> list[Path]:
    """The files that were generated, without what Vitis has made beside them."""
    made = ("vitis_project", "work", "logs")
    return [
        path for path in sorted(project.rglob("*")) if path.is_file() and path.relative_to(project).parts[0] not in made
    ]
