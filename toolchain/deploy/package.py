"""``deploy/`` of a build: scripts to the bitstream, and the folder that goes to the board."""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files as package_files
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from toolchain.boards import Board, load_board
from toolchain.deploy.engine import engine_ends
from toolchain.deploy.facts import encoding_facts, network_facts, read_interface, streaming_ends
from toolchain.deploy.native import FOLDER as NATIVE
from toolchain.deploy.native import KRIA, kria_files, memory_bytes, native_files, native_samples
from toolchain.deploy.native import SAMPLES as NATIVE_SAMPLES
from toolchain.engine.generate import TOP as ENGINE_TOP
from toolchain.files import digest_bytes, replace_folder, write_bytes, write_files
from toolchain.flow.build import FIRST, REST, Build
from toolchain.flow.engine import MEMORY, Engine
from toolchain.flow.options import Check
from toolchain.flow.project import Project, change_notes, demand_own, foreign, manifest, seal
from toolchain.flow.records import ModelRecord
from toolchain.flow.simulate import demand_exact
from toolchain.flow.stages import report
from toolchain.flow.streaming import Streaming
from toolchain.frontend.layout import Layout
from toolchain.hls_templates.generate import top_name
from toolchain.hls_templates.render import render
from toolchain.ir.encode import encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Encoding, InputType
from toolchain.memory import spans
from toolchain.report.view import number

FOLDER, BOARD, ARCHIVE = "deploy", "board", "deploy.zip"
SUMS = "hls.sha256"
"""What run.sh knows the hls/ by that deploy/ was made of, in the form of sha256sum."""
NETWORK, SAMPLES, DRIVER = "network.json", "samples.npz", "accelerator.py"
SAMPLE_BYTES = 1 << 22
MOST_SAMPLES = 256

log = logging.getLogger(__name__)

_STAMP = (2000, 1, 1, 0, 0, 0)  # the time of every file in the archive: equal builds have equal archives


@dataclass(frozen=True)
class Deployable:
    """A deployment: images in ``axes`` give the values ``answers`` of ``graph`` on a board.

    ``image`` is the memory image of an engine.
    """

    graph: Graph
    answers: tuple[str, ...]
    board: Board
    axes: str
    facts: dict[str, Any]
    image: bytes | None = None


def deployable(build: Build) -> Deployable:
    """Return the deployment of ``build``.

    Raises:
        UserError: a part of it is missing or stale.
        VerificationError: it is not exact.
    """
    demand_exact(build.simulation)
    design, project = build.design, build.project
    if isinstance(design, Engine):
        graph, board, clock = build.network.graph, design.found.board, design.found.record.clock_mhz
        top, ends, image = ENGINE_TOP, engine_ends(graph, design.found.program), project.files[MEMORY]
    else:
        assert isinstance(design, Streaming)
        graph, board, clock = design.hardware, load_board(design.plan.board), design.plan.clock_mhz
        top, ends, image = top_name(graph), streaming_ends(graph), None
    summary = report(build)
    estimate = summary.estimate
    facts = network_facts(
        graph,
        board,
        clock,
        read_interface(top, project.files["src/top.cpp"].decode()),
        ends,
        axes=build.model.axes,
        joined=build.model.inputs,
        first=_first(build.model),
        host=None if build.model.host is None else build.model.host.model_dump() | {"file": REST},
        digest=digest_bytes(f"{design.digest} {project.digest} {board.part}".encode()),
        estimate={"fps": estimate.fps, "latency_ms": estimate.latency_ms},
        classes=summary.classes or None,
    )
    return Deployable(graph, ends.answers, board, build.model.axes, facts, image)


def _first(model: ModelRecord) -> dict[str, Any] | None:
    """Return the facts of first.onnx, which the driver runs before the accelerator: its input and what it makes."""
    first = model.first
    if first is None:
        return None
    given = InputType(0, 0) if first.input is None else first.input.type
    joined = first.joined and first.joined.model_dump()
    return {
        "file": FIRST,
        "tensors": first.tensors,
        "dtype": first.dtype,
        "real": first.input is None,
        "input": encoding_facts(Encoding(given), first.shape, first.axes) | {"joined": joined},
    }


def deploy(build: Build, check: Check, *, overwrite: bool = False) -> Path:
    """Write deploy/ and deploy.zip for ``build``; returns the path of deploy/.

    What run.sh has made there is kept where the accelerator is the same.

    Raises:
        UserError: the build is incomplete; or deploy/ holds what this tool did not write and would be lost, and
            ``overwrite`` is not given.
        VerificationError: the build is not exact.
    """
    found, target = deployable(build), build.folder / FOLDER
    for note in change_notes(build.project):
        log.warning("%s", note)
    contents = script_files(found) | board_files(build, found, check) | {SUMS: sums(build.project)}
    design = found.facts["design"]
    before = manifest(target)
    same = before is not None and before.design == design
    others = [path.relative_to(target) for path in foreign(target)] if target.is_dir() else []
    kept = [path for path in others if same and str(path) not in contents]
    if not overwrite:
        demand_own(iter(target / path for path in others if path not in kept), str(target))
    archive = build.folder / ARCHIVE
    archive.unlink(missing_ok=True)  # a kill leaves none beside the deploy/ of another design
    with replace_folder(target) as partial:
        write_files(contents, partial)
        os.chmod(partial / "run.sh", 0o755)
        seal(partial, design)
        for path in kept:
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(target / path, partial / path, follow_symlinks=False)
    write_bytes(archive, _archive(build, contents))
    return target


def sums(project: Project) -> str:
    """The digests of the files of hls/, as sha256sum reads them in deploy/."""
    return "".join(f"{digest_bytes(content)}  ../hls/{path}\n" for path, content in sorted(project.files.items()))


def script_files(found: Deployable) -> dict[str, str | bytes]:
    """The scripts that make the bitstream, and the README."""
    facts, board = found.facts, found.board
    variables: dict[str, Any] = {
        "design": facts["design"],
        "top": facts["top"],
        "name": facts["name"],
        "instance": facts["instance"],
        "masters": facts["masters"],
        "part": board.part,
        "board": board,
        "board_files": f"{board.board_part.rpartition(':')[0]}:*" if board.board_part else "",
        "port_bits": board.memory.port_bits,
        "clock_mhz": f"{facts['clock_mhz']:g}",
        "base": f"0x{facts['base']:08X}",
        "facts": facts,
        "fps": number(facts["estimate"]["fps"]),
        "latency": number(facts["estimate"]["latency_ms"]),
        "given": _given(facts["input"], facts["first"]),
        "inputs": " x ".join(str(n) for n in facts["input"]["shape"]),
        "memory_kib": memory_bytes(facts) >> 10,
    }
    names = {"build.tcl": "build.tcl", "run.sh": "run.sh", "README.md": "README.md"}
    scripts: dict[str, str | bytes] = {p: render(name, variables, "toolchain.deploy") for p, name in names.items()}
    overlay = kria_files(facts, board.memory.port_bits)
    return scripts | {f"{KRIA}/{path}": content for path, content in overlay.items()}


def _given(facts: Mapping[str, Any], first: Mapping[str, Any] | None) -> str:
    """Return the description of the driver's input for the README."""
    if first is not None:
        kind = "float32 numbers" if first["real"] else _kind(first["input"])
        return f"{kind}, which first.onnx reads in onnxruntime in front of the accelerator"
    if facts["joined"] is not None:
        names = ", ".join(f'"{name}": ...' for name in facts["joined"]["shapes"])
        return (
            f"arrays by the names of the inputs, {{{names}}}, or frames joined as `network.json` tells:\n{_kind(facts)}"
        )
    return _kind(facts)


def _kind(facts: Mapping[str, Any]) -> str:
    if facts["standard"] is not None:
        return "real numbers, which the driver standardizes as the training did"
    return f"integers {facts['low']} to {facts['high']} or the real values they stand for"


def board_files(build: Build, found: Deployable, check: Check) -> dict[str, str | bytes]:
    """Return the files that go to the board, without the bitstream."""
    driver = (package_files("toolchain.deploy") / "driver.py").read_text(encoding="utf-8")
    native = native_files(found.facts, found.graph, build.project.files)
    taken = samples(build, found, check)
    image = {} if found.image is None else {f"{BOARD}/{MEMORY}": found.image}
    return {
        **image,
        **{f"{BOARD}/{name}": content for name, content in build.parts.items()},
        f"{BOARD}/{DRIVER}": driver,
        f"{BOARD}/{NETWORK}": json.dumps(found.facts, indent=1) + "\n",
        f"{BOARD}/{SAMPLES}": taken.archive,
        **{f"{BOARD}/{NATIVE}/{path}": content for path, content in native.items()},
        f"{BOARD}/{NATIVE}/{NATIVE_SAMPLES}": taken.native,
    }


@dataclass(frozen=True)
class Samples:
    """The same samples as ``archive``, which numpy reads, and for the driver in C++."""

    archive: bytes
    native: bytes


def samples(build: Build, found: Deployable, check: Check) -> Samples:
    """Images in the network's axes, the codes of every output, and the classes where known."""
    given, graph = build.images(check), found.graph
    count = max(1, min(MOST_SAMPLES, SAMPLE_BYTES // (4 * prod(graph.given_shape)), len(given.x)))
    chosen = np.linspace(0, len(given.x) - 1, count).astype(int)  # data sets may be sorted by class
    images = given.x[chosen]
    taps = found.answers
    codes = [evaluate(graph, encode(graph, images[part]), taps=taps) for part in spans(len(images), 16)]
    arrays: dict[str, Any] = {"images": Layout(found.axes, graph.given_shape).from_ir(images)}
    for facts, answer in zip(found.facts["outputs"], taps, strict=True):
        found_codes = np.concatenate([part[answer] for part in codes]).astype(np.int64)
        arrays[facts["samples"]] = found_codes[..., : facts["shape"][2]]
    if given.y is not None:
        arrays["labels"] = given.y[chosen]
    data = io.BytesIO()
    np.savez_compressed(data, **arrays)
    answered = [arrays[facts["samples"]] for facts in found.facts["outputs"]]
    return Samples(data.getvalue(), native_samples(images, answered))


def _archive(build: Build, contents: Mapping[str, str | bytes]) -> bytes:
    """A zip of deploy/ and the hls/ that it starts from, below one folder."""
    files: dict[str, str | bytes] = {f"hls/{path}": content for path, content in build.project.files.items()}
    files |= {f"{FOLDER}/{path}": content for path, content in contents.items()}
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in sorted(files.items()):
            entry = zipfile.ZipInfo(f"{build.folder.resolve().name}/{path}", _STAMP)
            entry.external_attr = (0o100755 if path.endswith(".sh") else 0o100644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return data.getvalue()
