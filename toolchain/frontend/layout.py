"""The map from an ONNX tensor to a channels-last value of the IR."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolchain.ir.types import Value

CHANNELS_FIRST = ("NCHW", "NCW")
CHANNELS_LAST = ("NHWC", "NWC")
ANY = (*CHANNELS_FIRST, *CHANNELS_LAST, "NC")
HEADS = "NGWC"
"""Tokens by head: the value has the features of one head behind those of another."""
MOVED = "N*"
"""Numbers of a frame in any order: the value's number k is the tensor's number ``order[k]``."""
ACTIVE = (*ANY, HEADS)
TURNED = {"NCW": "NWC", "NWC": "NCW"}
"""The other view of a tensor of three axes: what its second and its third one are."""


@dataclass(frozen=True)
class Layout:
    """``axes`` of the ONNX tensor and the (H, W, C) shape of the value that holds it; H = 1 for "NCW" and "NWC".

    ``order``: the value's channel k is the ONNX tensor's channel ``order[k]``; empty for the same order. It comes from
    flattening a (C, H, W) map, whose elements a channels-last stream carries as (H, W, C). ``heads`` are those of
    HEADS, whose values are in order.
    """

    axes: str
    shape: tuple[int, int, int]
    order: tuple[int, ...] = ()
    heads: int = 1

    def onnx_shape(self, batch: int) -> tuple[int, ...]:
        """Shape of the ONNX tensor."""
        sizes = dict(zip("HWC", self.shape, strict=True)) | {"N": batch, "G": self.heads}
        sizes["C"] //= self.heads
        return tuple(sizes[axis] for axis in self.axes)

    @property
    def channel_axis(self) -> int:
        """Position of the channels in the ONNX tensor."""
        return self.axes.index("C")

    def to_ir(self, array: np.ndarray) -> np.ndarray:
        """A batch in ONNX order, (N, ...), as (N, H, W, C)."""
        h, w, c = self.shape
        if self.axes == HEADS:
            return array.reshape(-1, self.heads, w, c // self.heads).transpose(0, 2, 1, 3).reshape(-1, h, w, c)
        if self.axes == MOVED:
            size = len(self.order) if len(self.order) > max(self.order) else array[0].size  # the latter has more
            return array.reshape(-1, size)[:, list(self.order)].reshape(-1, h, w, c)
        batch = array.reshape(-1, *self.onnx_shape(1)[1:])
        batch = np.moveaxis(batch, self.channel_axis, -1).reshape(-1, h, w, c)
        return batch[..., list(self.order)] if self.order else batch

    def from_ir(self, array: np.ndarray) -> np.ndarray:
        """A batch (N, H, W, C) in ONNX order."""
        if self.axes == HEADS:
            return array.reshape(-1, self.shape[1], self.heads, self.shape[2] // self.heads).transpose(0, 2, 1, 3)
        if self.order:
            array = array[..., np.argsort(self.order)]
        sizes = [size for axis, size in zip(self.axes, self.onnx_shape(len(array)), strict=True) if axis != "C"]
        return np.moveaxis(array.reshape(*sizes, self.shape[2]), -1, self.channel_axis)

    def permute(self, per_channel: np.ndarray, axis: int = -1) -> np.ndarray:
        """Constants given per ONNX channel along ``axis``, in the value's order; one entry stays one."""
        if not self.order or per_channel.shape[axis] == 1:
            return per_channel
        return np.take(per_channel, list(self.order), axis=axis)


@dataclass(frozen=True)
class Tensor:
    """An ONNX tensor that depends on the input: its value in the IR, and its layout."""

    value: Value
    layout: Layout
    onnx_name: str


def elements(layout: Layout) -> np.ndarray:
    """Return each element's index in the stream of its value, for one frame in the shape of the ONNX tensor."""
    h, w, c = layout.shape
    return layout.from_ir(np.arange(h * w * c).reshape(1, h, w, c))[0]


def flattened(layout: Layout) -> Layout:
    """The layout of an (N, F) tensor made by flattening a tensor of ``layout``."""
    h, w, c = layout.shape
    if h * w == 1:
        return Layout("NC", layout.shape, layout.order)
    order = np.argsort(elements(layout).ravel())
    same = np.array_equal(order, np.arange(h * w * c))
    return Layout("NC", (1, 1, h * w * c), () if same else tuple(order.tolist()))


def layout_of(shape: tuple[int, ...]) -> Layout:
    """The layout of an input (N, *shape): (C, H, W), (C, length) or (features,)."""
    channels, *positions = shape
    height, width = (1, 1, *positions)[-2:]
    return Layout({3: "NCHW", 2: "NCW", 1: "NC"}[len(shape)], (height, width, channels))
