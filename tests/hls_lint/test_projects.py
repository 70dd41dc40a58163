"""Generated projects break no rule but those of the list in ``known.py``, and all of those."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.conformance import cases
from tests.engine.networks import curved_maps, gated_maps, leaky_maps, residual_blocks
from tests.engine.test_csim import engine_for
from tests.graphs import Builder, conv_net
from tests.grids import ALL_GRIDS
from tests.hardware import Target, laned, serial
from tests.hls_lint.known import ENDS, ENGINE, UNITS, by_rule
from tests.hls_templates.test_headers import ENGINE as SHAPE
from tests.simulate.test_product_units import long_planes
from toolchain.engine.cut import cut
from toolchain.engine.generate import generate as generate_engine
from toolchain.engine.project import project
from toolchain.engine.tables import program
from toolchain.hls_lint.lint import lint
from toolchain.hls_templates.generate import generate, unit_sources
from toolchain.hls_templates.render import headers
from toolchain.ir.graph import Graph

pytestmark = pytest.mark.needs_gxx


@pytest.mark.slow
def test_the_units_of_the_conformance_grid_break_only_the_known_rules():
    """Every sixth: clang's tree takes a twentieth of a second a unit, and neighbours differ in sizes alone."""
    grids = (cases(grid().graphs(), 1000 * number)[::6] for number, grid in enumerate(ALL_GRIDS))
    units = [case.placed for found in grids for case in found]
    assert len({unit.name for unit in units}) == len(units)
    findings = lint({**headers(), **unit_sources(units)}, [f"{unit.name}_unit" for unit in units]).findings
    assert by_rule(findings) == UNITS


def test_bit_planes_are_cut_into_integers_that_the_tool_takes() -> None:
    """One of 1,100 bits was refused by the rule of limits."""
    (unit,) = [case.placed for case in cases([long_planes()])]
    assert lint({**headers(), **unit_sources([unit])}, [f"{unit.name}_unit"]).findings == ()


def test_delay_lines_are_no_arrays_of_more_parts_than_the_tool_makes() -> None:
    """Those of 5,000 words, and six of 16 words of 64 elements."""
    b, c = Builder((1, 2, 5000), 4), Builder((4, 4, 1024), 4)
    graphs = [laned(b, b.global_sum(b.input), (1, 1)), laned(c, c.window(c.input), (64, 576))]
    units = [case.placed for case in cases(graphs)]
    assert lint({**headers(), **unit_sources(units)}, [f"{unit.name}_unit" for unit in units]).findings == ()


def four_heads() -> Graph:
    """As many outputs as there are ports to memory."""
    b = Builder((1, 1, 4), 4)
    heads = tuple(b.matvec(b.input, count) for count in range(2, 6))
    return b.graph(heads[0], "net", heads[1:])


@pytest.mark.parametrize("graph", [conv_net(), four_heads()], ids=["convolutions", "four outputs"])
def test_a_streaming_project_breaks_no_other_rule_than_its_units_and_its_ends(graph: Graph) -> None:
    names = {(rule, name) for known in (UNITS, ENDS) for rule, files in known.items() for name in files}
    found = by_rule(lint(generate(serial(graph), Target(), 250.0)).findings)
    assert {(rule, name) for rule, files in found.items() for name in files} <= names
    units = {file for files in UNITS.values() for file in files}
    ends = {rule: files - units for rule, files in found.items() if files - units}
    assert ends == ENDS


@pytest.mark.parametrize(
    ("graph", "changes"),
    [
        (residual_blocks(), {}),
        (residual_blocks(), {"products_per_dsp": 2, "extra_outputs": 4}),
        (leaky_maps(), {}),
        (curved_maps(), {}),
        (gated_maps(), {}),
    ],
)
def test_an_engine_breaks_only_the_known_rules(graph, changes):
    network = cut(graph)
    found = program(network, engine_for([network], lanes=8, in_blocks=3, tile_depth=384, **changes), {})
    files = project(graph, found, Target(), 250.0)
    texts = {path: text for path, text in files.items() if isinstance(text, str)}
    assert by_rule(lint(texts).findings) == ENGINE


@pytest.mark.parametrize(
    "changes",
    [
        {"filters": False, "pools": False},
        {"in_blocks": 3},
        {"weight_bits": 8},
        {"mul_bits": 25, "sum_bits": 29, "add_bits": 37},
    ],
)
def test_the_units_of_engines_of_other_shapes_break_no_rule(changes):
    findings = lint(generate_engine(replace(SHAPE, **changes), 1)).findings
    assert [finding for finding in findings if finding.rule != "project"] == []
