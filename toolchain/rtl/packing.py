"""LUTs of a yosys netlist as a Xilinx packer would count them: what drives a carry chain shares the chain's LUTs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

Cell = Mapping[str, Any]
_LUT = re.compile(r"LUT[1-6]")
_CARRY = ("CARRY4", "CARRY8")
_SHARED_INPUTS = 5  # a LUT6_2 holds two functions of at most five common inputs


def packed_luts(module: Mapping[str, Any]) -> int:
    """LUTs of one module of ``write_json`` behind ``synth_xilinx``.

    Every live carry bit is one LUT (its O6 drives S, passing through included); the LUT that feeds DI moves into its O5
    where both need at most five inputs. The other LUTs count, and inverters that no LUT can absorb.
    """
    cells: Mapping[str, Cell] = module["cells"]
    inputs = {name: _nets_in(cell) for name, cell in cells.items() if _is_logic(cell)}
    driver = {cells[name]["connections"]["O"][0]: name for name in inputs}
    bits, packed = _carry_bits(cells, inputs, driver)
    absorbed = _absorbed_inverters(module, inputs)
    return bits + sum(name not in packed and name not in absorbed for name in inputs)


def _is_logic(cell: Cell) -> bool:
    return bool(_LUT.fullmatch(cell["type"])) or cell["type"] == "INV"


def _nets_in(cell: Cell) -> frozenset[int]:
    nets = (net for port, bits in cell["connections"].items() if port != "O" for net in bits)
    return frozenset(net for net in nets if not isinstance(net, str))


def _carry_bits(
    cells: Mapping[str, Cell], inputs: Mapping[str, frozenset[int]], driver: Mapping[int, str]
) -> tuple[int, set[str]]:
    """Live carry bits, and the LUTs that lie in them."""
    bits, packed, shared = 0, set(), set()
    for cell in cells.values():
        if cell["type"] not in _CARRY:
            continue
        for select, data in zip(cell["connections"]["S"], cell["connections"]["DI"], strict=True):
            if isinstance(select, str):
                continue
            bits += 1
            chooses, feeds = driver.get(select), driver.get(data)
            if chooses is not None:
                packed.add(chooses)
            if feeds is None or feeds == chooses or feeds in shared or cells[feeds]["type"] == "INV":
                continue
            own = inputs[chooses] if chooses is not None else frozenset([select])
            if len(own | inputs[feeds]) <= _SHARED_INPUTS:
                shared.add(feeds)
    return bits, packed | shared


def _absorbed_inverters(module: Mapping[str, Any], inputs: Mapping[str, frozenset[int]]) -> set[str]:
    """Inverters whose loads are all LUT inputs or carry selects."""
    loads: Counter[Any] = Counter()
    lut_loads: Counter[Any] = Counter()
    for cell in module["cells"].values():
        is_lut = bool(_LUT.fullmatch(cell["type"]))
        for port, nets in cell["connections"].items():
            output = cell.get("port_directions", {}).get(port) == "output"
            if not output and not (cell["type"] in _CARRY and port == "S"):
                loads.update(nets)
            if is_lut and port != "O":
                lut_loads.update(nets)
    for port in module["ports"].values():
        if port["direction"] == "output":
            loads.update(port["bits"])
    cells = module["cells"]
    inverters = (name for name in inputs if cells[name]["type"] == "INV")
    return {n for n in inverters if loads[net := cells[n]["connections"]["O"][0]] == lut_loads[net]}
