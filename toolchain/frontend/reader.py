"""State of one reading: the tensors and IR nodes made so far, and what every handler needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from toolchain.frontend.constants import Constants
from toolchain.frontend.layout import ANY, CHANNELS_FIRST, CHANNELS_LAST, TURNED, Layout, Tensor
from toolchain.frontend.onnx_file import CHANNELS_LAST_DOMAIN, OnnxFile, OnnxNode
from toolchain.ir.channels import shrink_rows
from toolchain.ir.names import CPP_WORDS, Names, identifier
from toolchain.ir.ops.maps import Transpose
from toolchain.ir.ops.model import Quantize
from toolchain.ir.ops.node import Node
from toolchain.ir.types import QInt, Quantizer, Real, Value

MAX_NAME = 48
"""The length of a name in the IR, in characters, before the number that makes it unique."""
_RESERVED = CPP_WORDS | {"main"}


@dataclass(frozen=True)
class Padded:
    """A Pad node's output: ``source`` inside (top, left, bottom, right) elements of ``value``."""

    source: Tensor
    pads: tuple[int, int, int, int]
    value: float


@dataclass(frozen=True)
class Codes:
    """A QuantizeLinear node's output: the codes of ``source``, in [low, high] with the zero point taken away.

    ``scale`` broadcasts to the tensor; ``type`` holds the codes with the zero point. ``node`` makes them.
    """

    node: OnnxNode
    source: Tensor
    scale: np.ndarray
    zero_point: int
    low: int
    high: int
    origin: tuple[str, ...]
    type: QInt


@dataclass(frozen=True)
class Integers:
    """A tensor of codes of ``type``, whose real value in the IR is the code less ``zero_point``."""

    tensor: Tensor
    zero_point: int
    type: QInt


@dataclass(frozen=True)
class Moved:
    """A tensor that nothing has read yet: the elements of a frame are those of the stream of ``source`` at ``index``.

    ``integers`` tells the type of codes, where it holds such. ``turned``: the batch, of one frame, has an axis in it,
    which is not the first.
    """

    source: Tensor
    index: np.ndarray
    integers: Integers | None = None
    turned: bool = False

    @property
    def whole(self) -> np.ndarray:
        """The index with an axis for the batch."""
        return self.index if self.turned else self.index[None]


def ir_name(text: str, prefix: str) -> str:
    """``text`` as a C identifier; ``prefix`` goes before one that starts with a digit or is empty."""
    return identifier(text, prefix=prefix, reserved=_RESERVED, longest=MAX_NAME)


class Reader:
    """Collects the IR nodes of ``file`` in order; handlers ask for a ``tensor`` and then ``emit`` or ``alias``."""

    def __init__(self, file: OnnxFile) -> None:
        self.file = file
        self.constants = Constants(file)
        self.batch = max(file.shape[0], 1)
        self.names = Names(first=2)
        self.tensors: dict[str, Tensor] = {}
        self.padded: dict[str, Padded] = {}
        self.codes: dict[str, Codes] = {}
        self.integers: dict[str, Integers] = {}
        self.moved: dict[str, Moved] = {}
        self.ordered: dict[tuple[str, tuple[int, ...]], Value] = {}
        self.transposed: dict[str, Value] = {}
        self.rows: set[str] = set()
        """Tensors (positions, features) of a file of batch 1, which have the axes (1, positions, features) here."""
        self.source: Value
        self.nodes: list[Node] = []
        self.notes = [f"outputs that depend on no input are left out: {', '.join(file.fixed)}"] if file.fixed else []
        self.left_out: set[str] = set()
        self.consumers: dict[str, list[OnnxNode]] = {}
        for node in file.nodes:
            for name in node.inputs:
                self.consumers.setdefault(name, []).append(node)

    def fresh(self, text: str, prefix: str) -> str:
        """A new name like ``text``, see ``ir_name``; the same for the same file."""
        return self.names.fresh(ir_name(text, prefix))

    def start(self, layout: Layout) -> Value:
        """Define the graph's input."""
        value = self.source = Value(self.fresh(self.file.input, "t"), layout.shape, Real())
        tensor = Tensor(value, layout, self.file.input)
        if self.file.integer is None:
            self.tensors[self.file.input] = tensor
        else:
            self.integers[self.file.input] = Integers(tensor, 0, self.file.integer)
        return value

    def tensor(self, node: OnnxNode, index: int = 0, axes: Iterable[str] = ANY) -> Tensor:
        """Input ``index`` of ``node``, which must depend on the network's input and have one of the ``axes``.

        A tensor of three axes is turned where its other view is wanted.
        """
        name = node.input(index)
        if name in self.padded:
            raise self.file.fault(node, "a Pad in front of it", "pad only in front of a convolution or a pool")
        if name not in self.tensors and (name in self.codes or name in self.integers):
            raise self.file.fault(node, f"it reads the codes '{name}'", "put DequantizeLinear in front of it")
        if name not in self.tensors:
            missing = "is a constant" if name in self.constants else "is missing"
            raise self.file.fault(node, f"input {index} {missing}; it must be an activation", "reorder the operands")
        tensor = self.tensors[name]
        wanted = tuple(axes)
        if tensor.layout.axes not in wanted and TURNED.get(tensor.layout.axes) in wanted and not tensor.layout.order:
            return self.turned(node, tensor)
        if tensor.layout.axes not in wanted:
            raise self.file.fault(
                node,
                f"input '{name}' has the axes {tensor.layout.axes}, this operation takes {' or '.join(wanted)}",
                "flatten before it" if wanted == ("NC",) else "transpose before it (torch.permute)",
            )
        return tensor

    def active(self, name: str) -> bool:
        """Return whether the tensor ``name`` depends on the network's input and holds real numbers."""
        return name in self.tensors or (name in self.moved and self.moved[name].integers is None)

    def turned(self, node: OnnxNode, tensor: Tensor) -> Tensor:
        """``tensor``, of three axes and in the order of the file, with its positions as channels, for ``node``."""
        source = tensor.value.name
        _, width, channels = tensor.value.shape
        layout = Layout(TURNED[tensor.layout.axes], (1, channels, width))
        if source not in self.transposed:
            self.transposed[source] = self.emit(
                node,
                layout,
                lambda name, value: Transpose(name=name, inputs=(source,), outputs=(value,), origin=(node.own_name,)),
                define=False,
            )
        return Tensor(self.transposed[source], layout, tensor.onnx_name)

    def map_tensor(self, node: OnnxNode, index: int = 0) -> Tensor:
        """Input ``index`` of a ``node`` that works on maps, in the order of axes that its domain has."""
        last = node.domain == CHANNELS_LAST_DOMAIN
        return self.tensor(node, index, CHANNELS_LAST if last else CHANNELS_FIRST)

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The tensor's ONNX shape."""
        return tensor.layout.onnx_shape(self.batch)

    def depends(self, name: str) -> bool:
        """Whether the tensor ``name`` depends on the network's input."""
        return any(name in known for known in (self.tensors, self.padded, self.codes, self.integers))

    def constant(self, node: OnnxNode, index: int, what: str, *, infinite: bool = False) -> np.ndarray:
        """Input ``index`` of ``node`` as a constant, float64 if it is real; a finite one unless ``infinite``."""
        name = node.input(index)
        if name not in self.constants:
            raise self.file.fault(node, f"the {what} is not a constant", "export the model in eval mode")
        array = self.constants.get(name)
        if np.issubdtype(array.dtype, np.floating):
            array = array.astype(np.float64)
            if np.isnan(array).any() or (np.isinf(array).any() and not infinite):
                raise self.file.fault(node, f"the {what} holds NaN or infinity", "train the model again")
        return array

    def number(self, node: OnnxNode, index: int, what: str, *, infinite: bool = False) -> float:
        """Input ``index`` of ``node`` as a single number, see `constant`."""
        array = self.constant(node, index, what, infinite=infinite)
        if array.size != 1:
            raise self.file.fault(node, f"the {what} has the shape {array.shape}", "give a single number")
        return float(array.ravel()[0])

    def emit(
        self,
        node: OnnxNode,
        layout: Layout,
        make: Callable[[str, Value], Node],
        output: int = 0,
        *,
        define: bool = True,
    ) -> Value:
        """Append the IR node ``make(name, value)`` that stands for output ``output`` of ``node``."""
        onnx_name = node.outputs[output]
        value = Value(self.fresh(onnx_name, "t"), layout.shape, Real())
        self.nodes.append(make(self.fresh(node.name, "n"), value))
        if define:
            self.tensors[onnx_name] = Tensor(value, layout, onnx_name)
        return value

    def quantize(
        self,
        node: OnnxNode,
        source: Tensor,
        quantizer: Quantizer,
        origin: tuple[str, ...] = (),
        *,
        tensor: str = "",
        define: bool = True,
    ) -> Value:
        """Append the Quantize of ``source`` that stands for ``node`` and the nodes in front of it, ``origin``.

        ``tensor`` is the ONNX tensor of its codes, the node's output where it is not given.
        """
        return self.emit(
            node,
            source.layout,
            lambda name, value: Quantize(
                name=name,
                inputs=(source.value.name,),
                outputs=(value,),
                origin=origin or (node.own_name,),
                quantizer=quantizer,
                tensor=tensor or node.outputs[0],
            ),
            define=define,
        )

    def alias(self, node: OnnxNode, tensor: Tensor, layout: Layout | None = None, output: int = 0) -> None:
        """Output ``output`` of ``node`` is the value of ``tensor``, seen with ``layout``."""
        name = node.outputs[output]
        self.tensors[name] = Tensor(tensor.value, layout or tensor.layout, name)

    def leave_out(self, node: OnnxNode, why: str = "") -> None:
        """``node`` at the network's end is left to the host: its output stands for what it reads. ``why`` is noted."""
        self.tensors[node.outputs[0]] = self.tensor(node)
        self.left_out.add(node.outputs[0])
        if why:
            self.notes.append(f"{node.op} '{node.name}' is left out: {why}")

    def per_channel(self, node: OnnxNode, array: np.ndarray, layout: Layout, what: str) -> np.ndarray:
        """``array``, broadcast against the ONNX tensor, as (C,) in ONNX order, or (1,) when all are equal."""
        shape = layout.onnx_shape(self.batch)
        padded = (1,) * (len(shape) - array.ndim) + array.shape
        fits = array.ndim <= len(shape) or array.size == 1
        if array.size == 1:
            return array.reshape(1)
        if not fits or any(a not in (1, s) for a, s in zip(padded, shape, strict=True)):
            raise self.file.fault(
                node,
                f"the {what} of shape {array.shape} does not fit the tensor's {shape}",
                "give one a tensor or channel",
            )
        array = array.reshape(padded)
        for axis in range(array.ndim):
            if axis != layout.channel_axis and array.shape[axis] > 1:
                first = array.take([0], axis=axis)
                if (array != first).any():
                    raise self.file.fault(
                        node, f"the {what} differs along {layout.axes[axis]}", "give one a tensor or one a channel"
                    )
                array = first
        vector = np.tile(array.ravel(), layout.heads)
        return shrink_rows(vector)
