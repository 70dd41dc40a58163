"""Runs the network of network.json on a board under PYNQ 3 or 4: `python3 accelerator.py --help`.

Needs numpy and, on the board, pynq; Python 3.8 or later. From a program:

    from accelerator import Accelerator
    with Accelerator() as network:
        classes = network.predict(images)
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np

START, DONE, IDLE, READY = 1, 2, 4, 8
"""Bits of the register CTRL; DONE is cleared by reading it."""

BLOCK_CODES = 1 << 17
"""Codes packed at a time: their intermediate results stay in the cache."""

ROUNDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ROUND": np.rint,
    "FLOOR": np.floor,
    "CEIL": np.ceil,
    "DOWN": np.trunc,
    "UP": lambda x: np.sign(x) * np.ceil(np.abs(x)),
    "HALF_UP": lambda x: np.sign(x) * np.floor(np.abs(x) + 0.5),
    "HALF_DOWN": lambda x: np.sign(x) * np.ceil(np.abs(x) - 0.5),
}


class BoardError(RuntimeError):
    """The board, a file or an input is not as it must be: one line says what and where."""


class Packing:
    """Layout of a frame's codes in 128-bit words, which are pairs of uint64, the low half first.

    A word holds as many whole groups of `lanes` codes as fit, the first in its lowest bits; a frame begins a new word.
    """

    def __init__(self, size: int, bits: int, signed: bool, lanes: int) -> None:
        self.size, self.bits, self.signed = size, bits, signed
        self.codes_a_word = 128 // (lanes * bits) * lanes
        self.words = -(-size // self.codes_a_word)
        self.code = np.dtype(("int" if signed else "uint") + ("8" if bits <= 8 else "16" if bits <= 16 else "64"))
        self.row = 128 // bits if bits in (1, 2, 4) else self.codes_a_word  # codes of a word in the scratch
        self._scratch = np.zeros(0, np.uint8)

    def pack(self, codes: np.ndarray, words: np.ndarray) -> None:
        """Write integer `codes` (frames, size) to `words`, uint64 (frames, 2 * self.words)."""
        frames = max(1, BLOCK_CODES // self.size)
        for start in range(0, len(codes), frames):
            part = codes[start : start + frames]
            self._pack_block(part, words[start : start + len(part)].reshape(-1, 2))

    def unpack(self, words: np.ndarray) -> np.ndarray:
        """Codes int64 (frames, size) in `words`, uint64 (frames, 2 * self.words)."""
        halves = words.reshape(-1, 2)
        place = np.arange(self.codes_a_word) * self.bits
        half, shift = place // 64, (place % 64).astype(np.uint64)
        codes = halves[:, half] >> shift
        over = np.flatnonzero(place % 64 + self.bits > 64)
        if len(over):
            codes[:, over] |= halves[:, half[over] + 1] << (np.uint64(64) - shift[over])
        if self.bits < 64:
            codes &= np.uint64((1 << self.bits) - 1)
        signed = codes.view(np.int64)
        if self.signed and self.bits < 64:
            sign = np.int64(1 << (self.bits - 1))
            signed = (signed ^ sign) - sign
        return np.ascontiguousarray(signed.reshape(len(words), -1)[:, : self.size])

    def _pack_block(self, codes: np.ndarray, words: np.ndarray) -> None:
        """Write the `codes` of whole frames to `words` (count, 2)."""
        filled = self.codes_a_word * self.bits == 128 and self.size % self.codes_a_word == 0
        if filled and self.bits == 8 * self.code.itemsize == 8 * codes.itemsize:  # the codes are the words
            words.reshape(-1).view(np.uint8)[:] = np.ascontiguousarray(codes).reshape(-1).view(np.uint8)
            return
        lanes = self._padded(codes)
        if self.row * self.bits == 128:
            words.reshape(-1).view(np.uint8)[:] = self._squeezed(lanes.view(np.uint64)).view(np.uint8)
            return
        count = -(-self.codes_a_word * lanes.itemsize // 8)
        rows, stride = -(-len(words) // 8) * 8, self.codes_a_word * lanes.itemsize
        chunks = np.zeros((count, rows), np.uint64)  # eight bytes of every word each, the next word's codes at the end
        for i in range(count):
            np.copyto(chunks[i, : len(words)], np.ndarray((len(words),), np.uint64, self._scratch, 8 * i, (stride,)))
        if stride % 8:
            chunks[-1] &= np.uint64((1 << 8 * (stride % 8)) - 1)
        squeezed = self._squeezed(chunks.reshape(-1))
        pieces = squeezed.view(f"u{squeezed.nbytes // chunks.size}").reshape(count, rows)[:, : len(words)]
        step, low, high = 8 // lanes.itemsize * self.bits, words[:, 0] * np.uint64(0), words[:, 1] * np.uint64(0)
        for i, piece in enumerate(pieces):
            wide = piece.astype(np.uint64)
            if i * step < 64:
                low |= wide << np.uint64(i * step)
            if i * step >= 64:
                high |= wide << np.uint64(i * step - 64)
            elif i * step + step > 64:
                high |= wide >> np.uint64(64 - i * step)
        words[:, 0], words[:, 1] = low, high

    def _padded(self, codes: np.ndarray) -> np.ndarray:
        """The masked `codes` in the least of 8, 16 or 64 bits each, zeros behind a frame; they lie in the scratch."""
        kind = np.dtype(f"u{self.code.itemsize}")
        needed = len(codes) * self.words * self.row * kind.itemsize + 8  # the last chunk may begin at the last code
        if len(self._scratch) != needed:
            self._scratch = np.zeros(needed, np.uint8)
        flat = self._scratch[: needed - 8].view(kind)
        rows = flat.reshape(len(codes), self.words, self.row)
        if self.row == self.codes_a_word:
            rows = rows.reshape(len(codes), 1, -1)
        step = min(rows.shape[2], self.codes_a_word, self.size) if rows.shape[1] > 1 else self.size
        whole = self.size // step
        self._copy(rows[:, :whole, :step], codes[:, : whole * step].reshape(len(codes), whole, step))
        self._copy(rows[:, whole:, : self.size - whole * step], codes[:, None, whole * step :])
        return flat

    def _copy(self, rows: np.ndarray, codes: np.ndarray) -> None:
        """Write masked `codes` to `rows`."""
        if codes.size:
            np.copyto(rows, codes, casting="unsafe")
            if self.signed and self.bits < 8 * rows.itemsize:
                rows &= rows.dtype.type((1 << self.bits) - 1)

    def _squeezed(self, chunks: np.ndarray) -> np.ndarray:
        """uint64 `chunks` of codes in 8, 16 or 64 bits each, without the unused bits between the codes of a chunk."""
        width, room = self.bits, 8 * self.code.itemsize
        codes = 64 // room
        while codes > 1 and width < room:
            wide, shift = chunks.view(np.uint64), np.uint64(room - width)
            if 2 * width <= room:
                pairs = wide >> shift
                pairs |= wide
                chunks = pairs.view(f"u{room // 4}").astype(f"u{room // 8}")
            else:
                room *= 2
                lanes = wide.view(f"u{room // 8}")  # a + 2^(room / 2) * b each, to be a + 2^width * b
                high = lanes >> lanes.dtype.type(room // 2)
                high *= lanes.dtype.type((1 << room // 2) - (1 << width))
                lanes -= high
            width, codes = 2 * width, codes // 2
        return chunks


class Encoder:
    """Images to the codes of network.json's "input", exactly as the network was verified."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.shape = tuple(facts["shape"])
        sizes = dict(zip("HWC", self.shape))
        self.axes = facts["axes"][1:]
        self.given = tuple(sizes[axis] for axis in self.axes)
        table = facts["table"]
        self.table = None if table is None else np.array(table, dtype=np.int64)

    def codes(self, images: np.ndarray) -> np.ndarray:
        """Codes (frames, H, W, C) of `images`: integers of the input's type, or real values."""
        x = self._arranged(np.asarray(images))
        if x.dtype.kind in "ui":
            self._check_integers(x)
            if self.table is not None:
                return self._looked_up(x)
            codes = x if self.facts["coded"] else self._rounded(self._worth(x))
        elif x.dtype.kind == "f":
            if not np.isfinite(x).all():
                raise BoardError("the images hold NaN or infinity")
            values = self._standardized(x.astype(np.float32))
            exact = not self.facts["quantized"] and not self.facts["rounds"]
            codes = self._exact(values) if exact else self._rounded(values)
        else:
            raise BoardError(f"images of type {x.dtype}; give integers of the input's type, or float32 values")
        return (codes + 1) // 2 if self.facts["signs_as_bits"] else codes

    def values(self, images: np.ndarray, real: bool) -> np.ndarray:
        """Real values (frames, ...), in the network's own axes, of `images`: integers, where not `real`, or floats."""
        x = self._arranged(np.asarray(images))
        if x.dtype.kind in "ui" and not real:
            self._check_integers(x)
            x = self._worth(x)
        elif x.dtype.kind != "f":
            raise BoardError(f"images of type {x.dtype}; give {'' if real else 'integers, or '}float32 values")
        batch = x.reshape((len(x), *(size for axis, size in zip("HWC", self.shape) if axis in self.axes)))
        return np.moveaxis(batch, -1, 1 + self.axes.index("C"))

    def joined(self, images: Any) -> np.ndarray:
        """Return `images` as one array; images of several inputs come as a dictionary by the inputs' names."""
        parts = self.facts["joined"]
        if not isinstance(images, dict):
            return np.asarray(images)
        if parts is None or set(images) != set(parts["shapes"]):
            takes = "one array" if parts is None else f"arrays of {', '.join(parts['shapes'])}"
            raise BoardError(f"arrays of {', '.join(images) or 'nothing'}; the network takes {takes}")
        arrays = [np.asarray(images[name]) for name in parts["shapes"]]
        for name, array in zip(parts["shapes"], arrays):
            shape = tuple(parts["shapes"][name])
            if array.shape[1:] != shape or len(array) != len(arrays[0]):
                raise BoardError(f"'{name}' of shape {array.shape}; the network takes (frames, *{shape})")
        if len({array.dtype.kind == "f" for array in arrays}) > 1:
            raise BoardError("integers for one input and real numbers for another; give float32 values for all")
        if parts["axis"] is not None:
            return np.concatenate(arrays, axis=parts["axis"])
        # no -1: of no frames it is not known
        flat = [np.moveaxis(array, 1, -1).reshape(len(array), int(np.prod(array.shape[1:]))) for array in arrays]
        return np.concatenate(flat, axis=1)

    def _arranged(self, x: np.ndarray) -> np.ndarray:
        """`images` as (frames, H, W, C): from the network's axes, channels last, or flat."""
        height, width, channels = self.shape
        if x.dtype == np.bool_:
            x = x.astype(np.uint8)
        if x.shape[1:] == self.shape and self.shape != self.given:
            return x
        flat = x.shape[1:] == (height * width * channels,)
        grey = channels == 1 and x.shape[1:] == (height, width)
        vector = self.axes == "C" and x.ndim > 1 and x[:1].size == channels
        if not len(x) or not (flat or grey or vector or x.shape[1:] == self.given):
            takes = f"{self.given} ({self.axes})"
            raise BoardError(f"images of shape {x.shape}; the network takes (frames, *{takes})")
        batch = x.reshape((len(x), *self.given))
        return np.moveaxis(batch, 1 + self.axes.index("C"), -1).reshape((len(x), *self.shape))

    def _check_integers(self, x: np.ndarray) -> None:
        low, high = self.facts["low"], self.facts["high"]
        kind = np.iinfo(x.dtype)
        if (kind.min < low or kind.max > high) and (x.min() < low or x.max() > high):
            raise BoardError(f"images reach {x.min()}..{x.max()}; the input takes {low}..{high}")
        if self.facts["bipolar"] and not x.all():
            raise BoardError("images hold 0; the input takes -1 and +1")

    def _looked_up(self, x: np.ndarray) -> np.ndarray:
        """The codes of integers by the table, which has one column or one a channel."""
        assert self.table is not None
        if self.table.shape[1] > 1:
            return self.table[x, np.arange(self.shape[2])]
        column = self.table[:, 0]
        if column.min() < 0 or column.max() > 255:
            return column[x]
        table = np.zeros(256, np.uint8)
        table[: len(column)] = column
        return np.frombuffer(x.astype(np.uint8).tobytes().translate(table.tobytes()), np.uint8).reshape(x.shape)

    def _worth(self, x: np.ndarray) -> np.ndarray:
        """Real values (float32) of integers, by exact arithmetic and one rounding."""
        steps, starts, whole = (self.facts["worth"][key] for key in ("steps", "starts", "whole"))
        reach = max(steps) * max(-self.facts["low"], self.facts["high"]) + max(map(abs, starts))
        kind: Any = np.int64 if max([reach, *whole]) < 1 << 62 else object
        numerators = x.astype(kind) * np.array(steps, dtype=kind) + np.array(starts, dtype=kind)
        return np.asarray((numerators / np.array(whole, dtype=kind)).astype(np.float32))

    def _standardized(self, x: np.ndarray) -> np.ndarray:
        """Real numbers less their mean, over their deviation, where the network was trained on such."""
        standard = self.facts["standard"]
        if standard is None:
            return x
        mean, deviation = (np.array(standard[key], dtype=np.float32) for key in ("mean", "deviation"))
        with np.errstate(over="ignore"):
            return np.asarray((x - mean) / deviation)

    def _rounded(self, x: np.ndarray) -> np.ndarray:
        rule = self.facts["rule"]
        if rule["bipolar"]:
            return np.where(x >= 0, 1, -1)
        scale, zero = np.array(rule["scale"], dtype=np.float32), np.array(rule["zero"], dtype=np.float32)
        with np.errstate(over="ignore"):
            position = x / scale + zero
        codes = ROUNDING[rule["rounding"]](np.clip(position, rule["low"], rule["high"]))
        return np.asarray(codes).astype(np.int64)

    def _exact(self, x: np.ndarray) -> np.ndarray:
        """The integers that real values are worth; the network rounds nothing in front of itself."""
        scale, offset = np.array(self.facts["scale"]), np.array(self.facts["offset"])
        exact = (x.astype(np.float64) - offset) / scale
        integers = np.rint(exact)
        if (np.abs(exact - integers) > 1e-3 + 2.0**-23 * np.abs(x / scale)).any():
            raise BoardError(f"real values that are no integers * {scale} + {offset}, and the network rounds none")
        integers = integers.astype(np.int64)
        self._check_integers(integers)
        return integers


def read_hwh(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Base address and register offsets of the accelerator in the .hwh file of its bitstream.

    The offsets of network.json hold where the file tells none; `{"base": ..., "range": ..., "registers": {...}}`.
    """
    if not path.is_file():
        raise BoardError(f"no {path.name} beside the bitstream; copy all of board/")
    data = path.read_bytes()
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise BoardError(f"{path.name} declares entities, which no .hwh file does")
    try:
        root = ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise BoardError(f"{path.name} is no .hwh file: {error}") from error
    system = root.find("SYSTEMINFO")
    name = None if system is None else system.get("NAME")
    wanted, cell = facts["design"], facts["instance"]
    if name != wanted:
        raise BoardError(f"{path.name} describes the design '{name}', network.json '{wanted}'; copy all of board/")
    module = next((m for m in root.iter("MODULE") if m.get("INSTANCE") == cell), None)
    ranges = [m for m in root.iter("MEMRANGE") if m.get("INSTANCE") == cell]
    if module is None or not ranges:
        raise BoardError(f"{path.name} has no addressable cell '{cell}'")
    base, high = int(ranges[0].get("BASEVALUE", "0"), 16), int(ranges[0].get("HIGHVALUE", "0"), 16)
    registers = dict(facts["registers"])
    offsets = {
        register.get("NAME", ""): int(offset.get("VALUE", "0"), 0)
        for register in module.iter("REGISTER")
        for offset in register.findall("PROPERTY[@NAME='ADDRESS_OFFSET']")
    }
    for name in registers:
        halves = f"{name}_1"  # of an address: in_r_1, in_r_2
        registers[name] = offsets.get(halves, offsets.get(name, registers[name]))
    return {"base": base, "range": high - base + 1, "registers": registers}


def check_bitstream(path: Path, facts: dict[str, Any]) -> None:
    """Raise BoardError unless `path` is there and its header, where it has one, names the design of network.json."""
    if not path.is_file():
        raise BoardError(f"no bitstream {path}; make it with run.sh and copy it beside network.json")
    with path.open("rb") as file:
        head = file.read(256)
    if head[:2] == b"\0\t" and head[13:14] == b"a":
        name, wanted = head[16:].split(b"\0")[0].split(b";")[0].decode("ascii", "replace"), facts["design"]
        if not name.startswith(wanted):
            raise BoardError(f"{path.name} holds the design '{name}', network.json '{wanted}'; copy all of board/")


class FeatureMap:
    """Layout of a map in the engine: unsigned codes in `lanes` of which words are made, position by position.

    At the network's input windows may be laid out in advance, so that the first layer reads them as channels; behind
    its last layer sums may come as several codes each, the lowest first.
    """

    def __init__(self, facts: dict[str, Any], shape: tuple[int, ...]) -> None:
        self.facts, self.shape = facts, shape

    def stored(self, codes: np.ndarray) -> np.ndarray:
        """The map (frames, size) of codes (frames, H, W, C)."""
        x = codes.astype(np.int64) + self.facts["zero"]
        if self.facts["window"] is not None:
            x = self._windows(x, **self.facts["window"])
        padded = np.zeros((*x.shape[:3], self.facts["channels"]), np.int64)
        padded[..., : x.shape[3]] = x
        return padded.reshape(len(x), -1)

    def _windows(self, x: np.ndarray, kernel: list, stride: list, pads: list, dilation: list, fill: int) -> np.ndarray:
        """Windows (frames, rows, columns, taps * C) of `x` (frames, H, W, C), padded with `fill`."""
        top, left, bottom, right = pads
        x = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=fill)
        reach = [(k - 1) * d for k, d in zip(kernel, dilation)]
        taps = [
            x[:, r * dilation[0] : x.shape[1] - reach[0] + r * dilation[0] : stride[0]][
                :, :, c * dilation[1] : x.shape[2] - reach[1] + c * dilation[1] : stride[1]
            ]
            for r in range(kernel[0])
            for c in range(kernel[1])
        ]
        return np.concatenate(taps, axis=3)

    def codes(self, stored: np.ndarray) -> np.ndarray:
        """Codes (frames, H, W, C) of a map (frames, size)."""
        height, width, channels = self.facts["shape"]
        x = stored.reshape(len(stored), height, width, -1)
        sums = self.facts["sums"]
        if sums is not None:
            digits = x.reshape(len(x), height, width, -1, sums["digits"], sums["lanes"])
            x = (digits << (sums["bits"] * np.arange(sums["digits"]))[:, None]).sum(axis=4)
            x = x.reshape(len(x), height, width, -1)[..., :channels] + np.array(sums["correction"])
        return (x[..., :channels] - self.facts["zero"]).reshape(len(x), *self.shape)


def widened(codes: np.ndarray, size: int) -> np.ndarray:
    """Codes (frames, size) of `codes` (frames, H, W, C), zeros in the channels that only fill lanes."""
    frames, height, width, channels = codes.shape
    extra = size // (height * width) - channels
    return (np.pad(codes, ((0, 0), (0, 0), (0, 0), (0, extra))) if extra else codes).reshape(frames, -1)


def narrowed(stored: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Codes (frames, *shape) of `stored` (frames, size), without the channels that only fill lanes."""
    height, width, channels = shape
    return stored.reshape(len(stored), height, width, -1)[..., :channels]


class Output:
    """One of the accelerator's outputs: how its codes lie in words, and what they are worth."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.name = facts["name"]
        self.shape = tuple(facts["shape"])
        self.packing = packing_of(facts)
        self.map = None if facts["map"] is None else FeatureMap(facts["map"], self.shape)

    def codes(self, words: np.ndarray) -> np.ndarray:
        """Codes int64 (frames, H, W, C) in `words`, uint64 (frames, 2 * words a frame)."""
        stored = self.packing.unpack(words)
        return narrowed(stored, self.shape) if self.map is None else self.map.codes(stored)

    def values(self, codes: np.ndarray) -> np.ndarray:
        """Real values of `codes`; the codes themselves where they stand for none."""
        if self.facts["scale"] is None:
            return codes
        return codes * np.array(self.facts["scale"]) + np.array(self.facts["offset"])

    def classes(self, codes: np.ndarray) -> np.ndarray:
        """Class (frames,) of each frame of `codes`: the largest of the values, or the code where that is the class."""
        flat = self.values(codes).reshape(len(codes), -1)
        if self.facts["scale"] is None and flat.shape[1] == 1:
            return flat[:, 0]
        return flat.shape[1] - 1 - flat[:, ::-1].argmax(axis=1) if self.facts["last"] else flat.argmax(axis=1)


def packing_of(facts: dict[str, Any]) -> Packing:
    """Return the layout of the codes of an input or output of network.json."""
    return Packing(facts["size"], facts["bits"], facts["signed"], facts["lanes"])


class FirstPart:
    """The part of the network that runs in onnxruntime in front of the accelerator."""

    def __init__(self, facts: dict[str, Any], folder: Path) -> None:
        self.facts, self.path = facts, folder / facts["file"]
        self.encoder = Encoder(facts["input"])
        self._session: Any = None

    def __call__(self, images: Any) -> Any:
        """Return what the accelerator reads for `images`: an array, or a dictionary of several tensors."""
        images = self.encoder.joined(images)
        if images.shape in (self.encoder.given, self.encoder.shape):
            images = images[None]
        values = self.encoder.values(images, self.facts["real"]).astype(self.facts["dtype"])
        if self._session is None:
            self._session = onnx_session(self.path)
        (source,), names = self._session.get_inputs(), self.facts["tensors"]
        frames = [self._session.run(names, {source.name: values[i : i + 1]}) for i in range(len(values))]
        most = np.finfo(np.float32).max  # a logarithm of 0 is minus infinity, which the network's quantizer clamps
        found = {name: np.concatenate(parts).clip(-most, most) for name, parts in zip(names, zip(*frames))}
        return found if len(names) > 1 else found[names[0]]


def onnx_session(path: Path) -> Any:
    """A session of onnxruntime that runs the nodes as they stand in the file, and sends nothing of it to its maker."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ImportError as error:
        raise BoardError(f"no onnxruntime here ({error}), which runs {path.name}; install it") from error
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])


def _onnx_order(values: np.ndarray, axes: str) -> np.ndarray:
    """Real `values` (frames, H, W, C) as float32 with the `axes` of the ONNX file, "NCHW" or fewer."""
    sizes = dict(zip("HWC", values.shape[1:]))
    batch = values.astype(np.float32).reshape([len(values), *(sizes[a] for a in axes if a in "HW"), sizes["C"]])
    return np.moveaxis(batch, -1, axes.index("C"))


class _Pair(NamedTuple):
    """Views of the words read and written, the address for every pointer register, and the buffers behind them."""

    input: Any
    outputs: list[Any]
    addresses: dict[str, int]
    buffers: list[Any]


class Accelerator:
    """The network on the board. Loads the bitstream that lies beside `network`, a path to network.json.

    `batch` frames are packed into one pair of buffers while the accelerator works on the other. What a network with
    one output answers is an array; of one with several it is a dictionary of arrays by the outputs' names. So are the
    images of a network with several inputs, by theirs.
    """

    def __init__(self, network: Any = None, batch: int = 64, timeout: float = 0.0) -> None:
        path = Path(network) if network else Path(__file__).resolve().with_name("network.json")
        if not path.is_file():
            raise BoardError(f"no file {path}; copy all of board/")
        self.facts = json.loads(path.read_text(encoding="utf-8"))
        self.folder, self.timeout = path.parent, timeout
        self.batch = batch if self.facts["memory"] is None else 1
        if batch < 1:
            raise BoardError(f"a batch of {batch} frames")
        self.encoder = Encoder(self.facts["input"])
        first, given = self.facts["first"], self.facts["input"]
        self.first = None if first is None else FirstPart(first, self.folder)
        self.input = packing_of(given)
        self.map_in = None if given["map"] is None else FeatureMap(given["map"], tuple(given["shape"]))
        self.outputs = [Output(facts) for facts in self.facts["outputs"]]
        self.classifier = next((o for o in self.outputs if o.name == self.facts["classifier"]), None)
        self.classes = self.facts["classes"]
        bitstream = self.folder / (self.facts["design"] + ".bit")
        check_bitstream(bitstream, self.facts)
        self.map = read_hwh(bitstream.with_suffix(".hwh"), self.facts)
        self._load(bitstream)

    def _load(self, bitstream: Path) -> None:
        """Program the device, set its clock, and only then allocate buffers."""
        try:
            import pynq
            from pynq.ps import Clocks
        except ImportError as error:
            raise BoardError(
                f"no PYNQ here ({error}); run this on the board, as root, in its PYNQ environment"
            ) from error
        self.pynq = pynq
        self.overlay = pynq.Overlay(str(bitstream))
        Clocks.fclk0_mhz = wanted = self.facts["clock_mhz"]
        self.clock_mhz = float(Clocks.fclk0_mhz)
        if self.clock_mhz > 1.01 * wanted:
            raise BoardError(f"the clock is {self.clock_mhz:.1f} MHz; the design is for {wanted:.1f}")
        self.registers = pynq.MMIO(self.map["base"], self.map["range"])
        self.pairs = [self._pair() for _ in range(2)]

    def _pair(self) -> _Pair:
        """Return the memory of one start: buffers, or one image that holds the network's weights too."""
        image, ports = self.facts["memory"], self.facts["ports"]
        packings = [self.input, *(output.packing for output in self.outputs)]
        if image is None:
            buffers = [self._buffer(packing.words * self.batch) for packing in packings]
            return _Pair(buffers[0], buffers[1:], dict(zip(ports, (b.device_address for b in buffers))), buffers)
        whole = self._buffer(image["words"])
        whole[:] = np.fromfile(self.folder / image["file"], np.uint64)
        whole.flush()
        ends = zip((image["input"], *image["outputs"]), packings)
        views = [whole[2 * at : 2 * (at + packing.words)] for at, packing in ends]
        return _Pair(views[0], views[1:], dict.fromkeys(ports, whole.device_address), [whole])

    def _buffer(self, words: int) -> Any:
        """A contiguous, cached buffer of 128-bit words."""
        try:
            buffer = self.pynq.allocate(shape=(2 * words,), dtype=np.uint64, cacheable=True)
        except (MemoryError, RuntimeError, OSError) as error:
            raise BoardError(f"no buffer of {16 * words} bytes ({error}); ask for a smaller batch") from error
        if buffer.nbytes < 16 * words:
            raise BoardError(f"a buffer of {buffer.nbytes} bytes where {16 * words} are needed")
        return buffer

    def predict(self, images: np.ndarray) -> Any:
        """Class (frames,) of each of `images`; of a network with several outputs their values, see `scores`."""
        if len(self.outputs) > 1:
            return self.scores(images)
        return self.outputs[0].classes(self._answers(images)[0])

    def top(self, images: np.ndarray, k: int = 5) -> list:
        """Return the `k` best (class name, score) of each image, best first."""
        judge, codes = self._judged(images)
        flat = judge.values(codes).reshape(len(codes), -1)
        best = np.argsort(-flat, axis=1, kind="stable")[:, :k]
        return [[(self.name(c), float(row[c])) for c in order] for row, order in zip(flat, best)]

    def name(self, index: int) -> str:
        """Name of a class."""
        return self.classes[index] if self.classes and index < len(self.classes) else str(index)

    def scores(self, images: np.ndarray) -> Any:
        """Real values (frames, H, W, C) of the answers; the codes where they stand for none."""
        return self._named([o.values(codes) for o, codes in zip(self.outputs, self._answers(images))])

    def results(self, images: Any) -> dict:
        """The outputs of the ONNX file for `images`, by name: what is left to the host runs in onnxruntime."""
        host = self.facts["host"]
        values = [o.values(codes) for o, codes in zip(self.outputs, self._answers(images))]
        if host is None:
            return {o.name: found for o, found in zip(self.outputs, values)}
        given = {name: _onnx_order(array, axes) for name, axes, array in zip(host["tensors"], host["axes"], values)}
        session = onnx_session(self.folder / host["file"])
        read = {entry.name: given[entry.name] for entry in session.get_inputs()}
        made = [entry.name for entry in session.get_outputs()]
        frames = [session.run(made, {k: v[i : i + 1] for k, v in read.items()}) for i in range(len(values[0]))]
        found = {name: np.concatenate(parts) for name, parts in zip(made, zip(*frames))}
        return {name: found[name] if name in found else given[name] for name in host["outputs"]}

    def predict_codes(self, images: np.ndarray) -> Any:
        """Output codes int64 (frames, H, W, C) of `images`."""
        return self._named(self._answers(images))

    def _named(self, answers: list) -> Any:
        """Return `answers`, an array an output: alone where there is one output, else by the outputs' names."""
        return answers[0] if len(answers) == 1 else {o.name: found for o, found in zip(self.outputs, answers)}

    def _judged(self, images: np.ndarray) -> Any:
        """The output that tells a frame's class, and its codes of `images`."""
        if self.classifier is None:
            names = ", ".join(output.name for output in self.outputs)
            raise BoardError(f"no single output tells a class; see scores() of {names}")
        return self.classifier, self._answers(images)[self.outputs.index(self.classifier)]

    def _answers(self, images: Any) -> list:
        """Codes of every output for `images`."""
        return self._accelerated(images if self.first is None else self.first(images))

    def _accelerated(self, images: Any) -> list:
        """Codes of every output for `images` that the accelerator reads."""
        images = self.encoder.joined(images)
        if images.shape in (self.encoder.given, self.encoder.shape):
            images = images[None]
        return self.run(len(images), lambda part: self.encoder.codes(images[part]))

    def run(self, count: int, codes: Callable[[slice], np.ndarray]) -> list:
        """Codes of every output for `count` frames; `codes(part)` are the input codes of a slice of them."""
        results = [np.empty((count, *output.shape), np.int64) for output in self.outputs]
        before = None
        for turn, start in enumerate(range(0, count, self.batch)):
            pair, part = self.pairs[turn % 2], slice(start, min(start + self.batch, count))
            frames = part.stop - part.start
            words = np.asarray(pair.input)[: 2 * frames * self.input.words].reshape(frames, -1)
            given = codes(part)
            stored = widened(given, self.input.size) if self.map_in is None else self.map_in.stored(given)
            self.input.pack(stored, words)
            pair.input.flush()
            if before is not None:
                self._wait()
            self._start(pair, frames)
            if before is not None:
                self._collect(*before, results)
            before = pair, part
        if before is not None:
            self._wait()
            self._collect(*before, results)
        return results

    def _collect(self, pair: _Pair, part: slice, results: list) -> None:
        """Put the answers in a pair's buffers where they belong."""
        frames = part.stop - part.start
        for output, buffer, result in zip(self.outputs, pair.outputs, results):
            buffer.invalidate()
            words = np.asarray(buffer)[: 2 * frames * output.packing.words].reshape(frames, -1)
            result[part] = output.codes(words)

    def _start(self, pair: _Pair, frames: int) -> None:
        offsets, count = self.map["registers"], self.facts["count"]
        if not self.registers.read(offsets["CTRL"]) & IDLE:
            raise BoardError(f"the accelerator is busy before its start: {self.state()}")
        for name, address in pair.addresses.items():
            self.registers.write(offsets[name], int(address) & 0xFFFFFFFF)
            self.registers.write(offsets[name] + 4, int(address) >> 32)
        self.registers.write(offsets[count["register"]], count["value"] or frames)
        self.registers.write(offsets["CTRL"], START)
        self._until = time.monotonic() + (self.timeout or 1.0 + 10.0 * self._expected(frames))
        self._frames = frames

    def _expected(self, frames: int) -> float:
        """Seconds that `frames` frames should take."""
        estimate = self.facts["estimate"]
        return frames / estimate["fps"] + estimate["latency_ms"] / 1e3

    def _wait(self) -> None:
        control = self.map["registers"]["CTRL"]
        while not self.registers.read(control) & DONE:
            if time.monotonic() > self._until:
                raise BoardError(f"{self._frames} frames are not done in time: {self.state()}")

    def state(self) -> str:
        """The registers as text."""
        found = {name: self.registers.read(offset) for name, offset in sorted(self.map["registers"].items())}
        bits = (("start", START), ("done", DONE), ("idle", IDLE), ("ready", READY))
        control = "+".join(name for name, bit in bits if found["CTRL"] & bit) or "none"
        return f"CTRL={control}, " + ", ".join(f"{name}=0x{found[name]:x}" for name in found if name != "CTRL")

    def validate(self, samples: Any = None) -> dict[str, Any]:
        """Run the stored samples and compare every code: images, wrong codes, and top-1 where classes are known."""
        path = Path(samples) if samples else self.folder / "samples.npz"
        with np.load(path, allow_pickle=False) as stored:
            images, labels = stored["images"], stored.get("labels", None)
            expected = [stored[output.facts["samples"]] for output in self.outputs]
        answers = self._accelerated(images)
        wrong = sum(int((codes != right).sum()) for codes, right in zip(answers, expected))
        size = sum(right.size for right in expected)
        found: dict[str, Any] = {"images": len(images), "codes": size, "wrong_codes": wrong, "top1": None}
        if labels is not None and self.classifier is not None:
            classes = self.classifier.classes(answers[self.outputs.index(self.classifier)])
            found["top1"] = float((classes == labels).mean())
        return found

    def benchmark(self, frames: int = 1000) -> dict[str, Any]:
        """Rates of the accelerator by itself and of images to classes, and the time of one frame, on random frames."""
        facts, rng = self.facts["input"], np.random.default_rng(0)
        kind = np.uint8 if facts["low"] >= 0 and facts["high"] <= 255 else np.int64
        images = rng.integers(facts["low"], facts["high"] + 1, (self.batch, *self.encoder.given), dtype=kind)
        images = np.where(images > 0, 1, -1) if facts["bipolar"] else images
        turns = max(1, -(-frames // self.batch))
        single = self._seconds(1, min(turns, 100))
        whole = self._seconds(self.batch, turns)
        began = time.perf_counter()
        self.run(turns * self.batch, lambda part: self.encoder.codes(images[: part.stop - part.start]))
        end = time.perf_counter() - began
        return {
            "batch": self.batch,
            "frames": turns * self.batch,
            "fps": self.batch / whole,
            "latency_ms": 1e3 * single,
            "end_to_end_fps": turns * self.batch / end,
        }

    def _seconds(self, frames: int, turns: int) -> float:
        """Median time of a run on `frames` frames that lie in the buffers."""
        taken = []
        for _ in range(turns):
            began = time.perf_counter()
            self._start(self.pairs[0], frames)
            self._wait()
            taken.append(time.perf_counter() - began)
        return float(np.median(taken))

    def close(self) -> None:
        """Free the buffers."""
        for buffer in [buffer for pair in self.pairs for buffer in pair.buffers]:
            buffer.freebuffer()
        self.pairs.clear()

    def __enter__(self) -> Accelerator:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def measure(network: Accelerator, images: Any, labels: Any, frames: int) -> dict[str, Any]:
    """Return what `fpgaflow measure` reads: validation, rates, and the accuracy on `images` where given."""
    found: dict[str, Any] = {"kind": "board", "design": network.facts["design"], "clock_mhz": network.clock_mhz}
    found["validation"] = network.validate()
    found["benchmark"] = network.benchmark(frames)
    if images is not None:
        judge, codes = network._judged(images)
        if len(labels) != len(codes):
            raise BoardError(f"{len(codes)} images and {len(labels)} labels")
        classes = judge.classes(codes)
        found["accuracy"] = {"images": len(classes), "top1": float((classes == labels).mean())}
    versions = {"python": platform.python_version(), "numpy": np.__version__}
    found["versions"] = dict(versions, pynq=str(getattr(network.pynq, "__version__", "unknown")))
    found["machine"] = platform.machine()
    return found


def main() -> int:
    """Validate, measure, and write board.json."""
    parser = argparse.ArgumentParser(description="Check and measure the network on this board.")
    parser.add_argument("--images", help=".npy file of test images, of several inputs .npz; needs --labels")
    parser.add_argument("--labels", help=".npy file of their classes")
    parser.add_argument("--batch", type=int, default=64, help="frames a start of the accelerator")
    parser.add_argument("--frames", type=int, default=1000, help="frames to measure on")
    parser.add_argument("--out", default="board.json", help="file to write")
    options = parser.parse_args()
    if (options.images is None) != (options.labels is None):
        parser.error("--images and --labels go together")
    try:
        images, labels = (
            None if name is None else np.load(name, allow_pickle=False) for name in (options.images, options.labels)
        )
        if isinstance(images, np.lib.npyio.NpzFile):
            images = dict(images)
        with Accelerator(batch=options.batch) as network:
            found = measure(network, images, labels, options.frames)
    except (RuntimeError, OSError, ValueError) as error:  # PYNQ's own too
        sys.stderr.write(f"accelerator.py: {error}\n")
        return 2
    Path(options.out).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    if found["validation"]["wrong_codes"]:
        sys.stderr.write("accelerator.py: {wrong_codes} of {codes} codes are wrong\n".format(**found["validation"]))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
