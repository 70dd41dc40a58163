"""Faults planted into generated code, one at a time: directed vectors find every one, random images do not.

Headers that a unit includes are copied into its source before and every unit is compiled by itself, so that a fault in
a header changes that unit alone and all others come from the cache.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.graphs import Builder, random_input
from tests.hardware import Target, with_lanes
from toolchain.errors import VerificationError
from toolchain.hls_templates.generate import generate
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.ops.products import MatVec, dot_bounds
from toolchain.ir.ops.requantizers import MulShift
from toolchain.ir.types import Array, QInt
from toolchain.passes.insert_forks import insert_forks
from toolchain.simulate import compiler
from toolchain.simulate.csim import CSim, build
from toolchain.simulate.drive import directed_units, drive_unit, drive_units

pytestmark = pytest.mark.needs_gxx

IMAGES = 64


@pytest.fixture(autouse=True)
def _units_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that are compiled together would share what one of them brings."""
    monkeypatch.setattr(compiler, "UNITS_AN_OBJECT", 1)
    monkeypatch.setattr(compiler, "FEW_UNITS", 0)


def vectors() -> Graph:
    """A dense network: packed products, limits beyond 32 bits, thresholds."""
    b = Builder((1, 1, 96), 8, signed=True, seed=1)
    x = b.mulshift(b.matvec(b.input, 8, 8))
    product, quantizer = b.nodes
    assert isinstance(product, MatVec)
    assert isinstance(quantizer, MulShift)
    limit = (1 << 32) + (1 << 31) - 1000  # 32 bits leave a third of it, which random sums do not reach
    factor = 2 + limit // int(dot_bounds(product.weight, -128, 127)[1].max())
    facts = {"mul": np.array([factor]), "add": np.array([5]), "shift": 0, "low": -limit, "high": limit}
    x = replace(x, type=QInt.holding(-limit, limit))
    b.nodes[-1] = replace(quantizer, outputs=(x,), **facts)
    seen = evaluate(b.graph(x), b.rng.integers(-128, 128, (200, 1, 1, 96)))[x.name].reshape(200, 8)
    x = b.threshold(x, 4)
    levels = np.quantile(seen, np.linspace(0.05, 0.95, 15), axis=0).T.astype(np.int64)
    b.nodes[-1] = replace(b.nodes[-1], thresholds=levels)
    return _placed(b.graph(b.matvec(x, 6, 4), "vectors"), {"matvec0": (8, 4, 2), "matvec3": (4, 2)})


def classes() -> Graph:
    """The index of the largest of six sums."""
    b = Builder((1, 1, 16), 8, signed=True, seed=3)
    graph = b.graph(b.argmax(b.matvec(b.input, 6, 6)), "classes")
    return _placed(graph, {"matvec0": (4, 2), "argmax1": (2, 1)})


def maps() -> Graph:
    """Signed maps with a residual branch: windows, rows, both pools, every kind of sum."""
    b = Builder((6, 6, 4), 5, signed=True, seed=2)
    x = b.matvec(b.window(b.input, pad_value=-7), 4, 4)
    x = b.mulshift(x, 5, signed=True, per_channel=False)
    quantizer = b.nodes[-1]
    assert isinstance(quantizer, MulShift)
    b.nodes[-1] = replace(quantizer, mul=np.array([3]), add=np.array([0]), shift=5)
    y = b.row_conv(b.window(x, (3, 1), pads=(1, 0, 1, 0)), 4)
    y = b.mulshift(y, 5, signed=True)
    x = b.mulshift(b.add(y, x, (1, -3)), 5, signed=True)
    x = b.pool(b.window(x, (2, 2), stride=(2, 2), pads=(0, 0, 0, 0)), 4)
    x = b.depthwise(b.window(x), 9)
    x = b.threshold(x, 5)
    x = b.matvec(b.global_sum(x), 3, 3)
    lanes = {node.name: (4, 4) for node in b.nodes}
    lanes |= {"rowconv4": (4, 4, 6, 2), "matvec14": (4, 3, None, 1, True)}
    return _placed(b.graph(x, "maps"), lanes)


def _placed(graph: Graph, lanes: Mapping[str, tuple[Any, ...]]) -> Graph:
    forked = insert_forks(graph)
    return with_lanes(forked, {node.name: lanes.get(node.name, (4, 4)) for node in forked.nodes})


@dataclass(frozen=True)
class Fault:
    """``new`` in place of ``old`` in the source of a unit, its headers and its constants included.

    ``seen``: whether random images show it too.
    """

    name: str
    network: Callable[[], Graph]
    unit: str
    old: str
    new: str
    seen: bool


FAULTS = (
    Fault(
        "limits cut to 32 bits",
        vectors,
        "mulshift1",
        "low = Config::low, high = Config::high",
        "low = int(Config::low), high = int(Config::high)",
        False,
    ),
    Fault("a high limit one too low", maps, "mulshift2", "high = Config::high", "high = Config::high - 1", True),
    Fault(
        "half up instead of half to even",
        maps,
        "mulshift2",
        "sum + below_half + odd",
        "sum + below_half + !exact",
        True,
    ),
    Fault(
        "reaching instead of passing a threshold", vectors, "threshold2", "count += value >=", "count += value >", False
    ),
    Fault("borrows subtracted", vectors, "matvec0", "fields[i] + borrows[i]", "fields[i] - borrows[i]", True),
    Fault(
        "no borrow from the lane above",
        vectors,
        "matvec0",
        "borrows[I] += bit<borrow_at>(wide) ^ hiding(weight, value);",
        "",
        True,
    ),
    Fault(
        "an accumulator one bit short",
        vectors,
        "matvec0",
        "typename Config::out_t(sum)",
        "typename Config::out_t(ap_int<Bits<typename Config::out_t>::width - 1>(sum))",
        False,
    ),
    Fault("the largest is the last of equals", classes, "argmax1", "value > largest ||", "value >= largest ||", False),
    Fault(
        "the largest of the frame before stays",
        classes,
        "argmax1",
        "if (block == 0 ||",
        "if ((frame == 0 && block == 0) ||",
        True,
    ),
    Fault("another value outside the map", maps, "window0", "pad_value = -7", "pad_value = 0", True),
    Fault("lanes swapped", maps, "window8", "held.v[l] :", "held.v[lanes_out - 1 - l] :", True),
    Fault(
        "a product one bit short",
        maps,
        "matvec1",
        "product<product_t>(weight[p][l], block[l])",
        "product<ap_int<Bits<typename Config::product_t>::width - 1>>(weight[p][l], block[l])",
        True,
    ),
    Fault("the carry of a row lost", maps, "rowconv4", "first && f >= Config::pad", "f >= Config::pad", True),
    Fault("a field of a chain not turned", maps, "rowconv4", "(wide, Bit(1))", "(wide, Bit(0))", True),
    Fault("a multiplier's sign lost", maps, "add6", "second = -3", "second = 3", True),
    Fault("a maximum that begins at zero", maps, "pool9", "value = tap;", "value = tap > 0 ? tap : value_t(0);", True),
    Fault("a sum that goes on over frames", maps, "globalsum13", "position == 0 ?", "frame + position == 0 ?", True),
    Fault(
        "a filter that begins with the sum before",
        maps,
        "depthwise11",
        "taps == 0 ?",
        "taps == 0 && position == 0 ?",
        True,
    ),
    Fault(
        "a term of a constant product subtracted",
        maps,
        "matvec14",
        "s0 = fpgaflow::sum",
        "s0 = fpgaflow::difference",
        True,
    ),
)


def planted(files: Mapping[str, str], fault: Fault) -> dict[str, str]:
    """``files`` with the fault in its one unit; AssertionError unless the place is found exactly once."""
    path = f"src/units/{fault.unit}.cpp"
    source = _with_headers(files, files[path], set())
    assert source.count(fault.old) == 1, f"{fault.name}: {source.count(fault.old)} times in {path}: {fault.old}"
    return {**files, path: source.replace(fault.old, fault.new)}


def _with_headers(files: Mapping[str, str], text: str, done: set[str]) -> str:
    def included(found: re.Match[str]) -> str:
        if found[1] in done:
            return ""
        done.add(found[1])
        return _with_headers(files, files[f"include/{found[1]}"], done)

    return re.sub(r'#include "(fpgaflow/[^"]+)"', included, text)


@dataclass(frozen=True)
class Project:
    """A right project with the answers to random images."""

    graph: Graph
    files: Mapping[str, str]
    images: Array
    answers: Array


@cache
def project(network: Callable[[], Graph]) -> Project:
    graph = network()
    images = random_input(graph, IMAGES)
    return Project(graph, generate(graph, Target(), 250.0), images, evaluate(graph, images)[graph.output])


def images_show(csim: CSim, found: Project) -> bool:
    """Whether the answers to random images are wrong."""
    try:
        return not np.array_equal(csim.run(found.images), found.answers)
    except VerificationError:
        return True


@pytest.mark.parametrize("network", [vectors, maps, classes])
def test_nothing_deviates_without_a_fault(network):
    found = project(network)
    csim = build(found.graph, found.files)
    assert drive_units(csim).deviation == ""
    assert not images_show(csim, found)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_directed_vectors_find_the_fault(fault):
    found = project(fault.network)
    csim = build(found.graph, planted(found.files, fault))
    node, given = next(pair for pair in directed_units(found.graph) if pair[0].name == fault.unit)
    assert given is not None
    mismatches, where = drive_unit(csim, node, given)
    assert mismatches > 0
    assert where.startswith(f"unit '{fault.unit}' ")
    assert images_show(csim, found) == fault.seen


def test_random_images_miss_faults():
    """So that the vectors are worth their time."""
    assert len(FAULTS) >= 10
    assert sum(not fault.seen for fault in FAULTS) >= 4
