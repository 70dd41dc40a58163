"""The trace of a network of the user's own, and what running it once tells: shapes, types and sizes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from toolchain.errors import UserError, first_line
from toolchain.train.own.kinds import LAYERS
from toolchain.train.own.twins import has_twin


def _parts(node: fx.Node) -> int | None:
    """The parts of a tensor that ``node`` makes at once; None where the call does not tell."""
    kinds = (torch.chunk, torch.tensor_split, "chunk", "tensor_split")
    if node.op == "call_module" or node.target not in kinds:
        return None
    named = node.kwargs.get("chunks", node.kwargs.get("indices_or_sections"))
    count = node.args[1] if len(node.args) > 1 else named
    return count if isinstance(count, int) else None


class _Proxy(fx.Proxy):
    """A value of the trace; `list` asks for its length first, and goes on without."""

    def __len__(self) -> int:
        """Count the parts."""
        count = _parts(self.node)
        if count is None:
            raise TypeError("the length of a tensor is not known before it is there")
        return count


class _Tracer(fx.Tracer):
    """Stops at layers, leaves all arguments but the first at their defaults; notes the module it is in."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []

    def create_args_for_root(self, root_fn: Any, is_module: bool, concrete_args: Any = None) -> tuple[Any, list[Any]]:
        """The network, its input, and the defaults of what else its forward takes, on which it may branch."""
        called, (root, *inputs) = super().create_args_for_root(root_fn, is_module, concrete_args)
        others = [proxy.node.args[0] if proxy.node.args else proxy for proxy in inputs[1:]]
        return called, [root, *inputs[:1], *others]

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether ``m`` is a layer: PyTorch's, Brevitas', or made from these with the same forward."""
        kinds = [kind for kind in LAYERS if isinstance(m, kind)]
        same = any(type(m).forward is kind.forward for kind in kinds)
        brevitas = type(m).__module__.startswith("brevitas.nn")
        return same or brevitas or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """A value of the trace, whose parts can be counted where the call tells how many it makes."""
        return _Proxy(node, self)

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Iterate over the parts of a tensor."""
        count = _parts(obj.node)
        return super().iter(obj) if count is None else iter([operator.getitem(obj, index) for index in range(count)])

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Trace a call; the path stays in ``inside`` when it fails."""
        self.inside.append(self.path_of_module(m))
        result = super().call_module(m, forward, args, kwargs)
        self.inside.pop()
        return result


def trace(model: nn.Module) -> fx.Graph:
    """The calls of ``model``, which reads one tensor.

    Raises:
        UserError: it cannot be traced, or reads more.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(model)
    except Exception as error:  # the forward of a network may raise anything
        where = f"layer '{tracer.inside[-1]}'" if tracer.inside else f"forward of {type(model).__name__}"
        raise UserError(
            f"the network cannot be traced: {first_line(error)}",
            where=where,
            hint="let forward branch and loop on what __init__ has fixed, not on tensors or their shapes",
        ) from error
    _demand_one_input(model, graph)
    return graph


def _demand_one_input(model: nn.Module, graph: fx.Graph) -> None:
    """Leave out further inputs that nothing reads; refuse others."""
    first, *others = [node for node in graph.nodes if node.op == "placeholder"]
    for node in others:
        if node.users:
            raise UserError(
                f"forward takes '{node.target}' besides '{first.target}'",
                where=f"forward of {type(model).__name__}",
                hint="a network has one input tensor",
            )
        graph.erase_node(node)


class Shapes(fx.Interpreter):
    """Runs a graph and notes the shapes and types of its tensors, and its numbers."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, tuple[int, ...]] = {}
        self.types: dict[fx.Node, torch.dtype] = {}
        self.numbers: dict[fx.Node, int | tuple[int, ...]] = {}
        self.extra_traceback = False

    def of(self, example: Tensor) -> Shapes:
        """Run the graph on ``example``."""
        self.run(example)
        return self

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found[n], self.types[n] = tuple(result.shape), result.dtype
        elif isinstance(result, int):
            self.numbers[n] = result
        elif isinstance(result, tuple) and all(isinstance(size, int) for size in result):
            self.numbers[n] = tuple(result)
        return result


def write_sizes(graph: fx.GraphModule, shapes: Shapes, example: Tensor) -> None:
    """Give functions numbers in place of sizes of tensors that are the same whatever the batch, in place."""
    functions = [node for node in graph.graph.nodes if node.op in ("call_function", "call_method")]
    calls = [node for node in functions if has_twin(node.target) and len(node.all_input_nodes) > 1]
    if not calls:
        return
    larger = Shapes(graph).of(torch.cat([example, example[:1]])).numbers
    fixed = {node: value for node, value in shapes.numbers.items() if larger.get(node) == value}
    for call in calls:
        call.args, call.kwargs = fx.node.map_arg((call.args, call.kwargs), lambda node: fixed.get(node, node))
