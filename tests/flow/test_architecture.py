"""The choice between streaming and engine, and what a refusal for size names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.onnx_models import Net, conv_bn_relu
from toolchain.errors import NoRoom
from toolchain.flow.choice import choose
from toolchain.flow.engine import Engine
from toolchain.flow.options import Search
from toolchain.flow.progress import silent
from toolchain.flow.stages import lower
from toolchain.flow.streaming import Streaming
from toolchain.ir.store import Stored

SMALL = {"bram18": 0.3}


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six products of 256 x 256 weights of 8 bits: more than 0.3 of the block RAM, in which an engine has room."""
    net = Net((1, 256, 2, 2), seed=8)
    x = net.quant("x", 8, 1 / 64)
    for _ in range(6):
        weight = net.quant(net.const(net.rng.normal(0, 0.3, (256, 256, 1, 1))), 8, 0.02, narrow=1)
        x = net.quant(net.add("Relu", net.conv(x, weight)), 8, 0.21, signed=0)
    return net.save(tmp_path_factory.mktemp("wide") / "wide.onnx", x)


def _lowered(model: Path, folder: Path) -> Stored:
    return lower(model, folder).network


def test_the_default_takes_the_engine_where_streaming_does_not_fit(wide: Path, tmp_path: Path) -> None:
    choice = choose(_lowered(wide, tmp_path / "b"), Search(budget=SMALL), silent)
    (note,) = choice.notes

    assert isinstance(choice.design, Engine)
    assert note.startswith("auto chose engine, ") and "streaming is impossible: the network does not fit: " in note


def test_the_default_keeps_streaming_where_no_engine_is_faster(tmp_path: Path) -> None:
    choice = choose(_lowered(conv_bn_relu(tmp_path / "net.onnx"), tmp_path / "b"), Search(), silent)

    assert isinstance(choice.design, Streaming)
    assert [note.rpartition("; ")[2] for note in choice.notes] == ["no engine is faster"]


def test_a_rate_that_streaming_reaches_asks_for_no_engine(tmp_path: Path) -> None:
    network = _lowered(conv_bn_relu(tmp_path / "net.onnx"), tmp_path / "b")
    choice = choose(network, Search(target_fps=1000.0), silent)

    assert isinstance(choice.design, Streaming) and choice.notes == ()


def test_a_streaming_build_without_room_is_told_of_the_engine_and_of_bits(wide: Path, tmp_path: Path) -> None:
    network = _lowered(wide, tmp_path / "b")
    with pytest.raises(NoRoom) as error:
        choose(network, Search(budget=SMALL, architecture="streaming"), silent)

    assert "--architecture engine runs it at " in error.value.hint
    assert re.search(r"; weights of \d bits? fit; it fits the boards? [a-z0-9-]+(, [a-z0-9-]+)*$", error.value.hint)
    assert "ultra96v2" not in error.value.hint  # the same device with the same budget


def test_a_rate_that_neither_reaches_names_what_both_do(wide: Path, tmp_path: Path) -> None:
    network = _lowered(wide, tmp_path / "b")
    with pytest.raises(NoRoom, match=r"; the engine does [\d,]+ fps"):
        choose(network, Search(budget=SMALL, target_fps=1e6), silent)


def test_what_fits_no_architecture_is_told_both_reasons(wide: Path, tmp_path: Path) -> None:
    network = _lowered(wide, tmp_path / "b")
    with pytest.raises(NoRoom) as error:
        choose(network, Search(budget={"bram18": 0.02, "lut": 0.2}), silent)

    assert (
        "the network does not fit: " in error.value.what and "; engine: no engine for this network" in error.value.what
    )
