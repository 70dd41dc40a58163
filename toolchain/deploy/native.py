"""Files for a board without PYNQ: the driver in C++, its samples, and the overlay of the device tree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from math import prod
from typing import Any

import numpy as np

from toolchain.frontend.layout import Layout
from toolchain.frontend.several_inputs import Joined
from toolchain.hls_templates.render import render
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, Shape

FOLDER, KRIA, SAMPLES = "cpp", "kria", "samples.bin"
BATCH = 64
"""Frames a start of the driver in C++, as of the one in Python."""

_MAGIC = 0x6C70_6173_6667_6166
_PAGE = 4096
_STATIC = ("CMakeLists.txt", "main.cpp", "accelerator.hpp", "device.hpp", "uio.hpp", "xrt.hpp")
_HOST = ("host/", "include/fpgaflow/host.hpp", "include/fpgaflow/engine/host.hpp")
"""The files of the HLS project that the driver needs: its host code, which names no header of a vendor."""


def native_files(facts: Mapping[str, Any], graph: Graph, project: Mapping[str, str | bytes]) -> dict[str, str | bytes]:
    """The driver's sources by path below ``cpp/``; packing and encoding are the ``project``'s own host code."""
    found: dict[str, str | bytes] = {path: text for path, text in project.items() if path.startswith(_HOST)}
    sources = package_files("toolchain.deploy") / "native_cpp"
    found |= {name: (sources / name).read_text(encoding="utf-8") for name in _STATIC}
    return found | {"network.hpp": render("network.hpp", _variables(facts, graph), "toolchain.deploy")}


def kria_files(facts: Mapping[str, Any], port_bits: int) -> dict[str, str | bytes]:
    """The overlay's source, the image description for bootgen and shell.json by path below ``kria/``."""
    design = facts["design"]
    variables = {"facts": facts, "memory_bytes": memory_bytes(facts), "width": {128: 0, 64: 1, 32: 2}[port_bits]}
    return {
        f"{design}.dts": render("overlay.dts", variables, "toolchain.deploy"),
        f"{design}.bif": f"all: {{ [destination_device = pl] {design}.bit }}\n",
        "shell.json": json.dumps({"shell_type": "XRT_FLAT", "num_slots": "1"}) + "\n",
    }


def memory_bytes(facts: Mapping[str, Any]) -> int:
    """Bytes of two pairs of buffers, in whole pages."""
    words = [facts["memory"]["words"]] if facts["memory"] else [e["words"] * BATCH for e in _layouts(facts)]
    return 2 * sum(-(-16 * n // _PAGE) * _PAGE for n in words)


def native_samples(images: Array, codes: Sequence[Array]) -> bytes:
    """samples.bin of ``images`` (N, H, W, C) and the ``codes`` (N, ...) of every output."""
    planes = np.moveaxis(images, -1, 1).reshape(len(images), -1)
    real = planes.dtype.kind == "f"
    answers = np.concatenate([found.reshape(len(images), -1) for found in codes], axis=1)
    head = np.array([_MAGIC, 1, len(images), planes.shape[1], int(real), answers.shape[1]], "<i8")
    return head.tobytes() + planes.astype("<f4" if real else "<i8").tobytes() + answers.astype("<i8").tobytes()


def _layouts(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the layouts of the input and of every output in words; the last of ``all`` channels fill lanes."""
    found = []
    for end in (facts["input"], *facts["outputs"]):
        groups, (height, width, channels) = end["size"] // end["lanes"], end["shape"]
        words = -(-groups // (128 // (end["lanes"] * end["bits"])))
        shape = {"all": end["size"] // (height * width), "channels": channels}
        found.append(
            {**{k: end[k] for k in ("bits", "lanes", "size", "signed")}, "groups": groups, "words": words} | shape
        )
    return found


def _parts(given: Mapping[str, Any], shape: Shape) -> list[dict[str, Any]]:
    """Return where each input lies in the joined frame (C, H, W): its first element, and the steps of its indices.

    A part has three axes, the first of length 1 where the ONNX file has fewer; none where the file has one input.
    """
    if given["joined"] is None:
        return []
    joined = Joined({name: tuple(sizes) for name, sizes in given["joined"]["shapes"].items()}, given["joined"]["axis"])
    ends = np.cumsum([prod(sizes) for sizes in joined.shapes.values()])
    every = np.split(np.arange(ends[-1]), ends[:-1])
    numbers = {name: e.reshape(1, *joined.shapes[name]) for name, e in zip(joined.shapes, every, strict=True)}
    frame = np.moveaxis(Layout(given["axes"], shape).to_ir(joined.join(numbers)), -1, 1)
    places, found = np.argsort(frame.ravel()), []
    for name, number in numbers.items():
        sizes = [1] * (4 - number.ndim) + list(number.shape[1:])
        place = places[number].reshape(sizes)
        steps = [int(np.diff(place, axis=i).ravel()[0]) if size > 1 else 0 for i, size in enumerate(sizes)]
        found.append({"name": _text(name), "sizes": sizes, "steps": steps, "first": int(place[0, 0, 0])})
    return found


def _text(name: str) -> str:
    """``name`` as C++ writes it between quotes: what is no plain letter or sign as bytes of UTF-8."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in name.encode())


def _variables(facts: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
    engine = facts["memory"] is not None
    layouts = [] if engine else _layouts(facts)
    return {
        "facts": facts,
        "layouts": layouts,
        "words": [facts["memory"]["words"]] if engine else [layout["words"] for layout in layouts],
        "numbers": prod(graph.given_shape),
        "input_codes": graph.input.size if engine else facts["input"]["size"],
        "inputs": _parts(facts["input"], graph.given_shape),
        "answer_codes": [prod(end["shape"]) for end in facts["outputs"]],
    }
