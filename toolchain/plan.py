"""A plan: the lanes of every unit, as JSON that the explorer writes and a person can."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from toolchain.errors import UserError
from toolchain.records import Mhz, Record, parse_record

PositiveInt = Annotated[int, Field(ge=1)]
MOST_DEPTH = 1 << 26
"""More words, of a single bit even, no board's memories hold: a ZCU104 has 40 Mbit of them (AMD DS891)."""

Depth = Annotated[int, Field(ge=2, le=MOST_DEPTH)]


class Lanes(Record):
    """Elements per cycle into and out of a unit, and how it multiplies, see ``Parallelism``.

    Without ``products_per_dsp`` the operands' widths decide between LUTs and DSP slices. A matrix-vector product with
    several ``columns`` is built as a row convolution: of one tap when a slice gives as many products as there are
    columns, else of the kernel's row, whose window then has a single column. A ``constant`` one has its weights in its
    logic and takes and gives all lanes at once. The memories and output FIFOs of an ``ultra`` one lie in UltraRAM where
    that pays.
    """

    lanes_in: PositiveInt
    lanes_out: PositiveInt
    products_per_dsp: Annotated[int, Field(ge=0)] | None = None
    columns: PositiveInt = 1
    constant: bool = False
    ultra: bool = False


class SolverRecord(Record):
    """The search that found the plan. ``cycles`` are of a frame; ``gap`` is relative and proved.

    ``limited_by`` names the resource or the unit that sets the rate, ``prices`` the gain that more of it would give;
    no design of these bit widths exceeds ``bound_fps`` on the board. ``costs`` is such as "counted by yosys 0.9", and
    empty for estimates. ``budget`` has the shares of the device that were asked for in place of the board's.
    """

    name: str
    status: str
    gap: float
    seconds: float
    cycles: int
    limited_by: str = ""
    prices: list[str] = Field(default_factory=list)
    bound_fps: float | None = None
    bound_by: str = ""
    costs: str = ""
    budget: dict[str, float] = Field(default_factory=dict)


class Plan(Record):
    """Lanes by node name, after forks were inserted. ``model`` is the digest of the graph it was made for.

    Thresholds, multiply-shifts and forks may be left out: they then have the lanes of what they read. A reshape is
    no unit and needs no entry. ``depths`` are words of the FIFO of every value of the hardware graph; without them each
    stream is as deep as its bound says. ``output_lanes`` are of every output, or of each by its name.

    ``padded`` are channels of values that have fewer: lanes may then divide these. A value is named for all that have
    the same channels.
    """

    version: Literal[1] = 1
    model: str = ""
    board: str
    clock_mhz: Mhz
    input_lanes: PositiveInt
    output_lanes: PositiveInt | dict[str, PositiveInt]
    padded: dict[str, PositiveInt] = Field(default_factory=dict)
    nodes: dict[str, Lanes]
    depths: dict[str, Depth] | None = None
    solver: SolverRecord | None = None

    def lanes_of_outputs(self, names: Sequence[str], *, where: str = "plan") -> list[int]:
        """Lanes of the outputs called ``names``.

        Raises:
            UserError: ``output_lanes`` tells other outputs than these.
        """
        given = self.output_lanes
        if isinstance(given, int):
            return [given] * len(names)
        if given.keys() != set(names):
            raise UserError("output_lanes are of other outputs", where=where, hint=f"name {', '.join(names)}")
        return [given[name] for name in names]


def plan_text(plan: Plan) -> str:
    """``plan`` as JSON, one node a line."""
    table = plan.model_dump()
    nodes = {name: lanes.model_dump(exclude_defaults=True) for name, lanes in plan.nodes.items()}
    del table["nodes"]
    if not plan.padded:
        del table["padded"]
    for key in ("costs", "budget"):
        if plan.solver is not None and not table["solver"][key]:
            del table["solver"][key]
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(lanes)}" for name, lanes in nodes.items())
    head = json.dumps(table, indent=1).removesuffix("\n}")
    return f'{head},\n "nodes": {{\n{lines}\n }}\n}}\n'


def read_plan(path: Path) -> Plan:
    """The plan in ``path``, not checked against any graph.

    Raises:
        UserError: unreadable file, or an unknown or missing key.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the plan {path}", hint=error.strerror or "") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"not valid JSON: {error}", where=str(path)) from error
    if not isinstance(table, dict):
        raise UserError("a plan is a JSON object", where=str(path))
    return parse_record(Plan, table, where=str(path))
