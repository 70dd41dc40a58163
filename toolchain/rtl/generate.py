"""A HARDWARE graph to SystemVerilog: pure, a mapping from path to text, of the same calls as the C++."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import prod
from typing import Any

from toolchain.errors import UserError
from toolchain.hls_templates.generate import End, PlacedUnit, Target, clock_facts, ends, place_units, top_name
from toolchain.hls_templates.render import environment
from toolchain.hls_templates.streams import streams
from toolchain.ir.graph import Graph
from toolchain.ir.types import Array, QInt
from toolchain.ir.verify import Level, verify
from toolchain.rtl.network import Operand, timed
from toolchain.rtl.stages import PORT_STAGES, STAGES, stages
from toolchain.units.call import Constant, Table
from toolchain.units.limits import MEMORY_BITS

PACKAGE = "toolchain.rtl"
MODULES = dict.fromkeys(("matvec_grouped", "matvec_narrow", "matvec_grouped_narrow"), "matvec")
"""Modules of functions that share one with another function."""

FRAME_BITS = 16
"""Bits of the counter of a call's frames; every unit has one."""

BURST = 64
"""Most beats of a burst, as in the C++."""

FIRST_ARGUMENT, POINTER_BYTES = 0x10, 12
"""Address of the first argument's register, and bytes of a pointer: two words and a reserved one (AMD UG1399)."""

MEMORY_PORT = "@"
"""Name of the memory's words among the streams; the number of an output follows it."""


@dataclass(frozen=True)
class Module:
    """An instance in the top: parameters as SystemVerilog writes them, and the names of its streams."""

    title: str
    name: str
    module: str
    parameters: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def rtl_top(graph: Graph) -> str:
    """Name of the module with AXI ports."""
    return f"{top_name(graph)}_top"  # no keyword of SystemVerilog ends so


def rtl_core(graph: Graph) -> str:
    """Name of the module with streams, which is in that one."""
    return f"{top_name(graph)}_core"


def rtl_bundles(graph: Graph) -> list[str]:
    """The ports to memory, as they are called in C++."""
    return sorted({end.bundle for end in ends(graph)})


def missing_units(graph: Graph) -> dict[str, str]:
    """The function of every unit of a HARDWARE graph that has no module, or one that knows less, by its node's name."""
    return {p.node.name: p.unit.function for p in place_units(graph) if not _has_module(p)}


def demand_rtl(graph: Graph, hint: str = "the C++ has every unit") -> None:
    """Raise UserError where a HARDWARE graph has units without a module; all of them are listed."""
    missing = missing_units(graph)
    if missing:
        listed = ", ".join(f"{name} ({function})" for name, function in missing.items())
        raise UserError(f"no SystemVerilog yet for {listed}", hint=hint)


def _has_module(placed: PlacedUnit) -> bool:
    function = placed.unit.function
    if function not in STAGES:
        return False
    return placed.unit.network is not None or parameters(placed).keys() <= _declared()[unit_module(placed).module]


@cache
def _declared() -> dict[str, set[str]]:
    """The parameters of every module."""
    found = re.findall(r"^module (\w+) #\((.*?)^\) \(", "".join(modules().values()), re.MULTILINE | re.DOTALL)
    return {name: set(re.findall(r"(\w+) =", text)) for name, text in found}


def generate_rtl(graph: Graph) -> dict[str, str]:
    """The SystemVerilog project of a HARDWARE graph as ``{path: text}``.

    Raises:
        UserError: a unit without a module, or a stream wider than Vitis HLS or the memory port takes.
        IllFormed: ``graph`` is no HARDWARE graph.
    """
    verify(graph, Level.HARDWARE)
    demand_rtl(graph)
    units = place_units(graph)
    project = {**modules(), f"{rtl_core(graph)}.sv": _core(graph, units), f"{rtl_top(graph)}.sv": _top(graph)}
    for placed in units:
        project |= unit_files(placed)
    return dict(sorted(project.items()))


def synthesis(graph: Graph, board: Target, clock_mhz: float) -> dict[str, str]:
    """The Vivado script of the project of a HARDWARE graph, and the modules that hold a unit each for it."""
    units = place_units(graph)
    names = {"top": rtl_top(graph), "core": rtl_core(graph), "board": board.name, "part": board.part}
    variables = clock_facts(clock_mhz) | names | {"units": [placed.name for placed in units]}
    return {f"alone/{p.name}.sv": unit_alone(p, f"alone_{p.name}") for p in units} | {
        "synth.tcl": _render("synth.tcl", variables)
    }


def unit_alone(placed: PlacedUnit, top: str) -> str:
    """Module ``top`` with nothing but the unit of a node."""
    carried = [stream.bits for stream in placed.inputs], [stream.bits for stream in placed.outputs]
    return alone(top, unit_module(placed), *carried)


@cache
def modules() -> dict[str, str]:
    """The static modules by their path in a project."""
    entries = (files(PACKAGE) / "modules").iterdir()
    return dict(sorted((f"modules/{e.name}", e.read_text(encoding="utf-8")) for e in entries if e.is_file()))


def unit_files(placed: PlacedUnit) -> dict[str, str]:
    """The memories of a unit and, for one of constants, its module."""
    found = {
        f"{_file(placed, table)}_{number:04}.mem": text
        for table in placed.unit.tables
        for number, text in enumerate(memory_texts(table))
    }
    if placed.unit.network is not None:
        found[f"units/{placed.name}.sv"] = _network(placed)
    return found


def unit_module(placed: PlacedUnit) -> Module:
    """The instance of a unit."""
    call = placed.unit
    module = f"fpgaflow_{MODULES.get(call.function, call.function)}" if call.network is None else _network_name(placed)
    title = f"{type(placed.node).__name__} {placed.node.name}"
    names = tuple(s.name for s in placed.inputs), tuple(s.name for s in placed.outputs)
    return Module(title, placed.name, module, parameters(placed), *names)


def used_modules(texts: Iterable[str]) -> dict[str, str]:
    """Return the files of ``modules`` that hold modules named in ``texts``, and those that they need in turn."""
    known = modules()
    home = {name: path for path, text in known.items() for name in re.findall(r"^module (\w+)", text, re.MULTILINE)}
    found: dict[str, str] = {}
    todo = list(texts)
    while todo:
        for path in {home[name] for name in _NAME.findall(todo.pop()) if name in home} - found.keys():
            found[path] = known[path]
            todo.append(known[path])
    return dict(sorted(found.items()))


_NAME = re.compile(r"fpgaflow_\w+")


def alone(top: str, unit: Module, inputs: Sequence[int], outputs: Sequence[int]) -> str:
    """Module ``top`` with nothing but ``unit``, whose streams have words of so many bits; a FIFO has no frames."""
    fifo = unit.module == "fpgaflow_fifo"
    sizes = {"in_bits": sum(inputs), "out_bits": sum(outputs), "ins": len(inputs), "outs": len(outputs)}
    return _render("alone.sv", {"top": top, "unit": unit, "fifo": fifo, "frame_bits": FRAME_BITS, **sizes})


def parameters(placed: PlacedUnit) -> dict[str, str]:
    """Return the parameters of a unit's module: sizes, types, memories and their storage."""
    call = placed.unit
    found = {"STAGES": str(stages(call)), "FRAME_BITS": str(FRAME_BITS)}
    if call.variadic:
        found["STREAMS"] = str(len(placed.inputs if call.variadic == "inputs" else placed.outputs))
    if call.variadic == "inputs":
        found["IN_WIDTH"] = str(sum(stream.bits for stream in placed.inputs))
        found["STREAM_BITS"] = _list([stream.type.bits for stream in placed.inputs])
        found["STREAM_SIGNED"] = _list([int(stream.type.signed) for stream in placed.inputs])
    for name, number in call.declared.items():
        value = number.value if isinstance(number, Constant) else int(number)
        found[name.upper()] = _number(value) if isinstance(number, Constant) else str(value)
    for name, kind in call.types.items():
        prefix = "" if name == "type" else f"{name.removesuffix('_t').upper()}_"
        found |= {f"{prefix}BITS": str(kind.bits), f"{prefix}SIGNED": str(int(kind.signed))}
    for name, numbers in call.lists.items():
        found[name.upper()] = _list(numbers)
    for table in call.tables:
        found[f"{table.name.upper()}_FILE"] = f'"{_file(placed, table)}"'
        found[f"{table.name.upper()}_STYLE"] = f'"{table.storage.impl}"'
    for buffer in call.buffers:
        found[f"{buffer.name.upper()}_STYLE"] = f'"{buffer.storage.impl}"'
    return found


def memory_texts(table: Table) -> list[str]:
    """The memories of a table, a word a line in hexadecimal: one for every index of its dimensions that are split.

    The first entry of a word is lowest.
    """
    shape = table.values.shape
    split, joined = ([dim - 1 for dim in dims] for dims in (table.storage.partition, table.storage.reshape))
    words = [dim for dim in range(len(shape)) if dim not in (*split, *joined)]
    count, width = (prod(shape[dim] for dim in dims) for dims in (split, joined))
    ordered = table.values.transpose(*split, *words, *joined).reshape(count, -1, width)
    return [_words(memory, table.type) for memory in ordered]


def _words(entries: Array, kind: QInt) -> str:
    digits = -(-entries.shape[1] * kind.bits // 4)
    mask = (1 << kind.bits) - 1
    lines = []
    for row in entries.tolist():
        word = 0
        for entry in reversed(row):
            word = word << kind.bits | (entry & mask)
        lines.append(f"{word:0{digits}x}\n")
    return "".join(lines)


def _list(numbers: Sequence[int]) -> str:
    """Numbers of 32 bits in one vector, the first one lowest."""
    return "{" + ", ".join(f"32'd{n}" for n in reversed(numbers)) + "}"


def _number(value: int) -> str:
    return f"-64'sd{-value}" if value < 0 else f"64'sd{value}"


def _file(placed: PlacedUnit, table: Table) -> str:
    return f"data/{placed.name}_{table.name}"


def _core(graph: Graph, units: Sequence[PlacedUnit]) -> str:
    reader, *writers = ends(graph)
    instances = [
        _end(reader, "unpack", (MEMORY_PORT,), (reader.stream.name,)),
        *(unit_module(placed) for placed in units),
        *(_end(end, "pack", (end.stream.name,), (f"{MEMORY_PORT}{i}",)) for i, end in enumerate(writers)),
    ]
    carried = {stream.index: stream for stream in streams(graph).values()}
    variables = {"core": rtl_core(graph), "reader": reader, "writers": writers, "frame_bits": FRAME_BITS}
    variables |= {"units": instances, "streams": [carried[index] for index in sorted(carried)]}
    return _render("core.sv", variables)


def _top(graph: Graph) -> str:
    reader, *writers = ends(graph)
    last_register = FIRST_ARGUMENT + POINTER_BYTES * (1 + len(writers))
    variables = {"top": rtl_top(graph), "core": rtl_core(graph), "reader": reader, "writers": writers}
    variables |= {"bundles": rtl_bundles(graph), "frame_bits": FRAME_BITS, "burst": BURST}
    variables |= {"address_bits": last_register.bit_length(), "fifo_id": 1 + len(streams(graph))}
    return _render("top.sv", variables)


def _network_name(placed: PlacedUnit) -> str:
    return f"fpgaflow_{placed.name}_network"


def _network(placed: PlacedUnit) -> str:
    call = placed.unit
    assert call.network is not None
    kind = call.types["in_t"]
    inputs = [_signed_bits(kind)] * call.network.inputs
    variables = {"node": placed.node.name, "module": _network_name(placed), "network": call.network}
    variables |= {"in_type": kind, "out_type": call.types["out_t"], "timed": timed(call.network)}
    return _render("network.sv", variables | {"widths": [*inputs, *(_signed_bits(s.type) for s in call.network.sums)]})


def _signed_bits(kind: QInt) -> int:
    """Bits of a signed number that holds ``kind``."""
    return kind.bits + (not kind.signed)


def _wires(names: Sequence[str], side: str, signal: str) -> str:
    """The ``signal`` of several streams at the ``side`` of a FIFO, "of" it or "to" it; the first stream is lowest."""
    port = {"of": "in", "to": "out"}[side]
    if names[0].startswith(MEMORY_PORT):
        return f"{port}_{signal}{_place(names[0].removeprefix(MEMORY_PORT), signal)}"
    wires = [f"{side}_{name}_{signal}" for name in reversed(names)]
    return wires[0] if len(wires) == 1 else "{" + ", ".join(wires) + "}"


def _place(number: str, signal: str) -> str:
    """Return the Verilog slice of output ``number`` in the ``signal`` that all outputs share."""
    if not number:
        return ""
    return f"[{MEMORY_BITS * int(number)} +: {MEMORY_BITS}]" if signal == "data" else f"[{number}]"


def _operand(operand: Operand) -> str:
    return f"n{operand.number}_{operand.waits}" if operand.waits else f"n{operand.number}"


def _render(template: str, variables: Mapping[str, Any]) -> str:
    env = environment(PACKAGE)
    env.filters.update(wires=_wires, at=_operand)
    return env.get_template(f"{template}.j2").render(variables)


def _end(end: End, module: str, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Module:
    numbers = {"STAGES": PORT_STAGES, "FRAME_BITS": FRAME_BITS, "GROUPS": end.groups}
    numbers |= {"LANES": end.stream.lanes, "BITS": end.stream.type.bits}
    written = {name: str(number) for name, number in numbers.items()}
    return Module(f"the {end.role} of the accelerator", end.role, f"fpgaflow_{module}", written, inputs, outputs)
