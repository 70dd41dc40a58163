"""Graphs survive a round trip through their files, and damaged files are refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.golden_files import assert_golden
from tests.model_graphs import pixels, random_model
from toolchain.errors import UserError
from toolchain.ir.encode import decode, encode
from toolchain.ir.evaluate import evaluate
from toolchain.ir.store import FORMAT, load, save
from toolchain.ir.text import to_text
from toolchain.lowering.pipeline import to_integer


@pytest.fixture
def graph():
    return to_integer(random_model(7, 4, dyadic=False))


def test_round_trip(graph, tmp_path):
    """The loaded graph has the same text, codes and real values."""
    save(graph, tmp_path)
    loaded = load(tmp_path).graph
    x = encode(graph, pixels(graph, 3))
    codes = evaluate(loaded, x)[loaded.output]

    assert to_text(loaded) == to_text(graph)
    np.testing.assert_array_equal(encode(loaded, pixels(graph, 3)), x)
    np.testing.assert_array_equal(codes, evaluate(graph, x)[graph.output])
    np.testing.assert_array_equal(decode(loaded.answer, codes), decode(graph.answer, codes))


def test_model_level_round_trip(tmp_path):
    """MODEL-level graphs store as well, quantizers and biases included."""
    model = random_model(7, 4, dyadic=False)
    stored = save(model, tmp_path, source_digest="ab")

    assert (stored.digest, stored.source) == (load(tmp_path).digest, "ab")
    assert to_text(load(tmp_path).graph) == to_text(model)


def test_digest_depends_on_the_graph_alone(graph, tmp_path):
    """Saving twice gives the same digest and bytes; another weight gives another."""
    first, second = save(graph, tmp_path / "a").digest, save(graph, tmp_path / "b").digest
    other = save(to_integer(random_model(8, 4, dyadic=False)), tmp_path / "c").digest

    assert first == second != other
    assert (tmp_path / "a" / "graph.json").read_bytes() == (tmp_path / "b" / "graph.json").read_bytes()


def test_text_is_golden(graph):
    """The printed graph is stable."""
    assert_golden("ir/graph.txt", to_text(graph))


def test_a_missing_file_is_named(tmp_path):
    """The error names the file and the command that makes it."""
    with pytest.raises(UserError, match=r"^no such file \[.*graph.json\]; run 'fpgaflow lower' first$"):
        load(tmp_path)


DAMAGES = {
    "truncate": "damaged graph file: ",
    "weights": "weights.npz does not belong to graph.json [",
    "torn": "damaged graph file: ",
    "empty": "damaged graph file: ",
    "field": "damaged graph file: ",
    "format": f"graph of format 99, this version reads {FORMAT} [",
    "edited": "graph.json is not as it was written [",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused(graph, tmp_path, damage):
    """A cut file, foreign, torn or empty weights, an unknown field, another format, an edit: one clear line each."""
    save(graph, tmp_path)
    path = tmp_path / "graph.json"
    if damage == "truncate":
        path.write_text(path.read_text()[:500])
    elif damage == "weights":
        save(to_integer(random_model(8, 4, dyadic=False)), tmp_path / "other")
        (tmp_path / "weights.npz").write_bytes((tmp_path / "other" / "weights.npz").read_bytes())
    elif damage in ("torn", "empty"):
        weights = tmp_path / "weights.npz"
        weights.write_bytes(weights.read_bytes()[: 500 * (damage == "torn")])
    else:
        record = json.loads(path.read_text())
        if damage == "field":
            record["nodes"][0]["kernal"] = 3
        elif damage == "format":
            record["format"] = 99
        else:
            record["name"] = "another"
        path.write_text(json.dumps(record))

    with pytest.raises(UserError) as error:
        load(tmp_path)
    assert str(error.value).startswith(DAMAGES[damage])
    assert str(error.value).endswith(f" [{path}]; lower the model again")
