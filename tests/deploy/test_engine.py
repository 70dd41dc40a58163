"""The driver, unchanged, runs engines: its maps are the engine's, frame after frame in two memory images."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.conftest import CHECK
from tests.deploy.placed import place_engine
from tests.deploy.test_scripts import run_build
from tests.engine.networks import conv, inverted_residuals, residual_blocks, two_heads
from tests.engine.test_csim import engine_for
from tests.graphs import Builder
from tests.onnx_models import conv_bn_relu
from toolchain.deploy.mock import Board, BoardFault, installed
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import try_driver
from toolchain.engine.cut import cut
from toolchain.engine.layers import narrowed
from toolchain.engine.tables import Program, program
from toolchain.flow.build import Build
from toolchain.flow.options import Search
from toolchain.flow.stages import export
from toolchain.ir.encode import encode, predictions, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.ops.products import MatVec

pytestmark = pytest.mark.needs_gxx


GRAPHS = {
    "signed pixels, sums that leave": inverted_residuals(),
    "pixels, codes that leave": residual_blocks(),
    "odd sizes, kernels of 5": inverted_residuals(seed=1, size=17, kernel=5),
    "two outputs": two_heads(),
}


@cache
def engine_of(name: str) -> Program:
    """One shape, which is compiled once, with the program of one graph."""
    shape = engine_for([cut(graph) for graph in GRAPHS.values()], tile_depth=96)
    return program(narrowed(cut(GRAPHS[name]), shape.weight_bits), shape, {})


@pytest.mark.parametrize("name", GRAPHS)
def test_answers_are_the_integer_networks(name: str, tmp_path: Path) -> None:
    """Codes and classes of several frames, each a start; a batch is one frame, whatever is asked for."""
    graph = GRAPHS[name]
    placed = place_engine(graph, engine_of(name), tmp_path)
    images = random_inputs(graph.encoding, (5, *graph.input.shape), seed=3)  # type: ignore[arg-type]
    values = evaluate(graph, encode(graph, images))
    expected = {output.name: values[output.value] for output in graph.outputs}
    with installed(placed.board), placed.network(64) as network:
        found = network.predict_codes(images)
        if len(expected) == 1:
            (answer,) = expected.values()
            np.testing.assert_array_equal(network.predict(images), predictions(graph.answer, answer))
            found = dict.fromkeys(expected, found)
        np.testing.assert_equal(found, expected)
        assert network.validate()["wrong_codes"] == 0
    assert placed.board.starts == (5 + 5 + 5 if len(expected) == 1 else 5 + 5)


def test_a_flush_that_is_missing_shows(tmp_path: Path) -> None:
    graph = GRAPHS["pixels, codes that leave"]
    placed = place_engine(graph, engine_of("pixels, codes that leave"), tmp_path)
    images = random_inputs(graph.encoding, (3, *graph.input.shape))  # type: ignore[arg-type]
    with installed(placed.board), placed.network() as network:
        right = network.predict_codes(images)
        for pair in network.pairs:
            pair.input.flush = lambda: None
        assert (network.predict_codes(images[::-1]) != right[::-1]).any()


@pytest.fixture(scope="module")
def engine_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified engine build of a small network."""
    folder = tmp_path_factory.mktemp("engine")
    export(conv_bn_relu(folder / "net.onnx"), folder / "build", Search(architecture="engine"), CHECK)
    return folder / "build"


def test_an_engine_build_is_deployed_with_its_image_and_tried(engine_build: Path) -> None:
    target = deploy(Build(engine_build), CHECK)
    facts = json.loads((target / "board/network.json").read_text())
    assert (target / "board/memory.bin").stat().st_size == 16 * facts["memory"]["words"]
    found = try_driver(Build(engine_build))
    assert all(trial.images == 8 and trial.starts == 8 and trial.wrong_codes == 0 for trial in found)


def test_every_master_of_an_engine_has_a_memory_port_of_its_own(engine_build: Path, tmp_path: Path) -> None:
    target = deploy(Build(engine_build), CHECK)
    facts = json.loads((target / "board/network.json").read_text())
    masters = facts["masters"]
    text = (target / "build.tcl").read_text()
    done = run_build(tmp_path, text, bundles=" ".join(masters), top=facts["top"])
    assert done.code == 0, done.error
    for i, master in enumerate(masters):
        assert f"link master:accelerator/m_axi_{master} slave:ps/S_AXI_HP{i}_FPD" in done.said


def test_pointers_that_name_different_images_are_a_fault(tmp_path: Path) -> None:
    graph = GRAPHS["pixels, codes that leave"]
    placed = place_engine(graph, engine_of("pixels, codes that leave"), tmp_path)
    registers = {name: 4096 * i for i, name in enumerate(placed.facts["ports"])}
    board: Board = placed.board
    with pytest.raises(BoardFault, match=r"^the engine's pointers name different images$"):
        board.run({**registers, placed.facts["count"]["register"]: 1}, board.memory)


@pytest.mark.parametrize("last", [False, True])
def test_an_index_left_to_the_host_is_that_of_the_networks_equal_ones(last: bool, tmp_path: Path) -> None:
    """Outputs with the same weights are always equal; the network says which of them counts."""
    net = Builder((8, 8, 3), 8, seed=2)
    head = net.matvec(net.mulshift(net.global_sum(conv(net, net.input, 8, 3)), 8), 4)
    graph = net.graph(net.argmax(head, last=last))
    product = graph.nodes[-2]
    assert isinstance(product, MatVec)
    weight = product.weight.copy()
    weight[:] = weight[0]
    graph = replace(graph, nodes=(*graph.nodes[:-2], replace(product, weight=weight), graph.nodes[-1]))
    found = cut(graph)
    shape = engine_for([found], tile_depth=96)
    placed = place_engine(graph, program(narrowed(found, shape.weight_bits), shape, {}), tmp_path, simulated=False)
    images = random_inputs(graph.encoding, (40, *graph.input.shape))  # type: ignore[arg-type]
    codes = evaluate(graph, encode(graph, images), taps=[head.name])[head.name]
    expected = predictions(graph.answer, evaluate(graph, encode(graph, images))[graph.output])
    assert set(expected.tolist()) == {3 if last else 0}
    with installed(placed.board), placed.network() as network:
        np.testing.assert_array_equal(network.outputs[0].classes(codes), expected)
