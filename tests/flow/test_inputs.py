"""Inputs that are no pixels: what a file notes or a user states of them, from the host's numbers to exact builds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.flow.test_export import one_line, run  # noqa: F401  a fixture
from tests.onnx_models import Net
from toolchain.frontend.execute import execute_qonnx
from toolchain.ir.encode import decode, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.store import load

FEATURES = 10


def perceptron(path: Path, datatype: str = "", step: float = 1.0, **metadata: str) -> Path:
    """Ten numbers, about ``step`` apart, into a layer of four and one of three; no quantizer on the input."""
    net = Net((1, FEATURES), seed=3)
    if datatype:
        net.datatypes["x"] = datatype
    net.metadata = dict(metadata)
    x = net.add("Relu", net.linear(net.add("Mul", "x", net.const(1 / step)), FEATURES, 4))
    x = net.quant(x, 4, 0.4, signed=0)
    return net.save(path, net.linear(x, 4, 3))


CASES = {
    "noted BIPOLAR": ("BIPOLAR", None, 1.0, "u1"),
    "noted INT3": ("INT3", None, 1.0, "s3"),
    "int8 of 0.05": ("", "int8:0.05", 0.05, "s8"),
    "int8 of 0.05 around -3": ("", "int8:0.05:-3", 0.05, "s8"),
    "FIXED<16,6>": ("", "fixed<16,6>", 1.0, "s16"),
    "a sensor of 12 bits": ("", "uint12:1/4096", 0.01, "u12"),
}


@pytest.mark.needs_gxx
@pytest.mark.parametrize("case", CASES)
def test_builds_are_exact_over_the_whole_input_type(case, run, tmp_path):  # noqa: F811
    """Random inputs of the type reach its ends; C simulation, host code and float32 execution agree on all of them."""
    datatype, given, step, bits = CASES[case]
    perceptron(tmp_path / "net.onnx", datatype, step)
    code, _, error = run("export", "net.onnx", *(["--input", given] if given else []))
    report = json.loads((tmp_path / "build" / "net" / "report.json").read_text())
    model = json.loads((tmp_path / "build" / "net" / "model.json").read_text())

    assert code == 0, error
    assert report["verification"]["csim_mismatches"] == 0
    assert report["verification"]["qonnx_top1_agreement"] == 1.0
    assert "verified on 64 images of random inputs" in report["notes"]
    assert next(n["bits"] for n in report["nodes"] if n["op"] == "Read") == bits
    assert f"input: {model['input']}" in report["notes"]


@pytest.mark.needs_gxx
def test_a_stated_type_is_a_quant_node_in_front(run, tmp_path):  # noqa: F811
    """Real features give the same answers, whether the file quantizes them or --input does; stages run again."""
    rows = np.random.default_rng(0).normal(0, 3, (40, FEATURES)).astype(np.float32)
    np.save(tmp_path / "x.npy", rows)
    perceptron(tmp_path / "net.onnx", step=0.05)
    net = Net((1, FEATURES), seed=3)
    x = net.add("Mul", net.quant("x", 8, 0.05, zero=-3), net.const(1 / 0.05))
    x = net.quant(net.add("Relu", net.linear(x, FEATURES, 4)), 4, 0.4, signed=0)
    quantized = net.save(tmp_path / "quantized.onnx", net.linear(x, 4, 3))
    code, _, error = run("export", "net.onnx", "--input", "int8:0.05:-3", "--images", "x.npy", "--out", "b")
    assert code == 0, error
    assert run("lower", "quantized.onnx", "--out", "q")[0] == 0
    assert run("simulate", "b", "--images", "x.npy")[0] == 0

    stated, own = load(tmp_path / "b").graph, load(tmp_path / "q").graph
    images = rows.reshape(-1, 1, 1, FEATURES)
    codes = encode(stated, images)
    np.testing.assert_array_equal(codes, encode(own, images))
    answers = decode(stated.answer, evaluate(stated, codes)[stated.output])
    np.testing.assert_allclose(answers, decode(own.answer, evaluate(own, codes)[own.output]), rtol=1e-6)
    (expected,) = execute_qonnx(quantized, rows).values()
    np.testing.assert_allclose(answers.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


def saved(tmp_path: Path, numbers: object) -> str:
    """A .npy file of one row that begins with ``numbers``."""
    row = np.ones((1, FEATURES), dtype=np.asarray(numbers).dtype)
    row[0, : np.size(numbers)] = numbers
    np.save(tmp_path / "x.npy", row)
    return "x.npy"


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    ("datatype", "numbers", "message"),
    [
        ("BIPOLAR", [-1, 0], "images hold 0, the input takes -1 and +1"),
        ("BIPOLAR", np.float32([-1, 0.5]), "float images that are no integers"),
        ("INT4", [8], "images reach 1..8, the input takes -8..7"),
        ("INT4", np.float32([-9.0]), "images reach -9..1, the input takes -8..7"),
        ("FIXED<8,4>", np.float32([1 / 32]), "float images that are no integers"),
    ],
)
def test_images_that_are_not_of_the_noted_type_are_refused(datatype, numbers, message, run, tmp_path):  # noqa: F811
    perceptron(tmp_path / "net.onnx", datatype)
    code, _, error = run("export", "net.onnx", "--images", saved(tmp_path, numbers))
    assert code == 2
    assert one_line(error).startswith(message)
    assert not (tmp_path / "build" / "net").exists()


@pytest.mark.parametrize(
    ("datatype", "entry", "options", "message"),
    [
        ("", "", ["--input", "int8:0.05,0.1"], "2 scales of an input of 10 channels; give one, or one a channel"),
        (
            "",
            "",
            ["--input", "int8", "--pixel-scale", "1/255"],
            "--input does not go with --pixel-scale; give one of them",
        ),
        (
            "",
            "",
            ["--input", "int8:x"],
            "'int8:x' is no input type; write TYPE, TYPE:SCALE or TYPE:SCALE:ZERO",
        ),
        (
            "SCALEDINT<8>",
            "",
            [],
            "the input is noted as SCALEDINT<8>, whose scale the file does not tell",
        ),
        (
            "",
            "",
            [],
            "nothing tells what the input 'x' holds: the network has no quantizer there; give --pixel-scale 1/255",
        ),
        ("INT32", "", [], "the input is noted as INT32, and float32 holds integers of at most 24 bits; give the type"),
        ("", '{"type": "int9:x"}', [], 'the metadata entry fpgaflow.input is malformed: {"type": "int9:x"} [net.onnx]'),
    ],
)
def test_types_that_do_not_fit_are_refused_alike(datatype, entry, options, message, run, tmp_path):  # noqa: F811
    """By every command that reads a network, in one line."""
    metadata = {"fpgaflow.input": entry} if entry else {}
    perceptron(tmp_path / "net.onnx", datatype, **metadata)
    for command in ("export", "lower", "check", "explore"):
        code, _, error = run(command, "net.onnx", *options)
        assert (code, one_line(error)[: len(message)]) == (2, message)
        assert not (tmp_path / "build").is_dir() or not any((tmp_path / "build").iterdir())


def test_a_quantizer_and_a_stated_type_are_refused(run, tmp_path):  # noqa: F811
    net = Net((1, 4))
    net.save(tmp_path / "net.onnx", net.quant("x", 8, 0.1))
    for command in ("export", "lower", "check", "explore"):
        code, _, error = run(command, "net.onnx", "--input", "int8:0.05")
        assert code == 2
        assert one_line(error).startswith(
            "--input gives the input a type, and a quantizer of the network gives it another"
        )
    assert run("lower", "net.onnx", "--pixel-scale", "1/128")[0] == 0  # tells what a pixel is worth to the quantizer


def test_the_file_says_its_type_and_the_user_may_say_another(run, tmp_path):  # noqa: F811
    """Metadata is taken before the noted datatype, --input before both."""
    texts = {}
    for name, datatype, entry, options in (
        ("pixel", "", "", ["--pixel-scale", "1/255"]),
        ("noted", "UINT4", "", []),
        ("entry", "UINT4", '{"type": "int6:1/4"}', []),
        ("given", "UINT4", '{"type": "int6:1/4"}', ["--input", "ternary"]),
        ("scaled", "SCALEDINT<8>", "", ["--input", "int8:1/2"]),
    ):
        metadata = {"fpgaflow.input": entry} if entry else {}
        perceptron(tmp_path / f"{name}.onnx", datatype, **metadata)
        assert run("lower", f"{name}.onnx", *options)[0] == 0
        record = json.loads((tmp_path / "build" / name / "model.json").read_text())
        texts[name] = record["input"]
    assert run("explore", "build/given", "--input", "int4")[2].startswith(
        "fpgaflow: build/given is a build, whose input"
    )
    assert texts == {
        "pixel": "uint8:1/255", "noted": "uint4", "entry": "int6:1/4", "given": "ternary", "scaled": "int8:1/2"
    }  # fmt: skip


def quantized(path: Path, **metadata: str) -> Path:
    """Ten numbers, rounded to a signed byte, into a layer of three."""
    net = Net((1, FEATURES), seed=3)
    net.metadata = dict(metadata)
    return net.save(path, net.linear(net.quant("x", 8, 0.02), FEATURES, 3))


@pytest.mark.needs_gxx
def test_a_quantizer_tells_the_input_and_every_code_of_it_is_verified(run, tmp_path):  # noqa: F811
    """Random inputs are its codes, both ends among them; the host code rounds numbers, and knows no pixels."""
    quantized(tmp_path / "net.onnx")
    code, _, error = run("export", "net.onnx", "--count", "8")
    build = tmp_path / "build" / "net"
    report = json.loads((build / "report.json").read_text())
    encoder = (build / "hls" / "host" / "encode.hpp").read_text()

    assert code == 0, error
    assert report["input"]["codes"] == [-128, 127]
    assert "verified on 8 images of random inputs" in report["notes"]
    assert not [note for note in report["notes"] if "pixel" in note]
    assert "encode_reals(const float* reals" in encoder and "encode_pixels(const std::uint8_t" not in encoder
    graph = load(build).graph
    drawn = random_inputs(graph.encoding, (8, *graph.input.shape))
    assert (drawn.min(), drawn.max()) == (-128, 127)


def test_integers_without_a_worth_are_refused(run, tmp_path):  # noqa: F811
    quantized(tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", np.zeros((4, FEATURES), np.uint8))
    code, _, error = run("export", "net.onnx", "--images", "x.npy")
    assert (code, one_line(error)[:84]) == (
        2, "images of uint8, and the model does not tell what they are worth to its quantizer [x"
    )  # fmt: skip


@pytest.mark.needs_gxx
@pytest.mark.parametrize("given", [None, "int8:0.02"])
def test_measured_numbers_are_standardized_by_the_host_code(given, run, tmp_path):  # noqa: F811
    """Mean and deviation of every feature come from the file; C++ and Python make the same codes of raw numbers."""
    rng = np.random.default_rng(4)
    mean, deviation = rng.normal(0, 50, FEATURES).astype(np.float32), rng.uniform(0.01, 90, FEATURES).astype(np.float32)
    entry = {"standard": {"mean": mean.tolist(), "deviation": deviation.tolist()}}
    if given is None:
        model = quantized(tmp_path / "net.onnx", **{"fpgaflow.input": json.dumps(entry)})
    else:
        entry["type"] = given
        model = perceptron(tmp_path / "net.onnx", step=0.02, **{"fpgaflow.input": json.dumps(entry)})
    x = (rng.normal(0, 3, (40, FEATURES)) * deviation + mean).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    code, _, error = run("export", "net.onnx", "--images", "x.npy")
    build = tmp_path / "build" / "net"
    report, graph = json.loads((build / "report.json").read_text()), load(build).graph

    assert code == 0, error
    assert report["verification"]["csim_mismatches"] == 0
    assert report["input"]["mean"] == mean.tolist() and report["input"]["deviation"] == deviation.tolist()
    codes = encode(graph, x.reshape(-1, 1, 1, FEATURES))
    expected = np.clip(np.rint((x - mean) / deviation / np.float32(0.02)), -128, 127)
    np.testing.assert_array_equal(codes.reshape(expected.shape), expected)
    values = ((x - mean) / deviation).astype(np.float32)
    rows = values if given is None else (expected * 0.02).astype(np.float32)
    (answers,) = execute_qonnx(model, rows).values()
    found = decode(graph.answer, evaluate(graph, codes)[graph.output]).reshape(answers.shape)
    np.testing.assert_allclose(found, answers, rtol=1e-5, atol=1e-4)
    assert run("export", "net.onnx", "--out", "random")[0] == 0  # over the whole type


def test_a_quantizer_behind_a_scaling_tells_the_input(run, tmp_path):  # noqa: F811
    """2 x - 1 in front of a quantizer of -1..1: the host sends its codes, which are worth 0, 1/2 and 1."""
    net = Net((1, FEATURES), seed=3)
    x = net.add("Sub", net.add("Mul", "x", net.const(2)), net.const(1))
    net.save(tmp_path / "net.onnx", net.linear(net.quant(x, 2, 1.0, narrow=1), FEATURES, 3))
    assert run("lower", "net.onnx")[0] == 0
    graph = load(tmp_path / "build" / "net").graph
    numbers = np.float32([-9, 0, 0.24, 0.26, 0.5, 0.74, 0.76, 1, 9, 0]).reshape(1, 1, 1, FEATURES)
    codes = encode(graph, numbers)
    (expected,) = execute_qonnx(tmp_path / "net.onnx", numbers.reshape(1, FEATURES)).values()
    assert codes.ravel().tolist() == [-1, -1, -1, 0, 0, 0, 1, 1, 1, -1]
    answers = decode(graph.answer, evaluate(graph, codes)[graph.output])
    np.testing.assert_allclose(answers.reshape(expected.shape), expected, rtol=1e-5)


@pytest.mark.parametrize(
    "entry",
    [
        {"standard": {"mean": [0.0] * 3, "deviation": [1.0]}},
        {"standard": {"mean": [0.0], "deviation": [0.0]}},
        {"standard": {"mean": ["x"], "deviation": [1.0]}},
        {"standard": {"mean": [0.0]}},
        {"standard": {"mean": [float("nan")], "deviation": [1.0]}},
        {"standard": {"mean": [], "deviation": []}},
        [],
    ],
)
def test_a_standardization_that_is_none_is_refused(entry, run, tmp_path):  # noqa: F811
    quantized(tmp_path / "net.onnx", **{"fpgaflow.input": json.dumps(entry)})
    code, _, error = run("lower", "net.onnx")
    assert (code, one_line(error)[:48]) == (2, "the metadata entry fpgaflow.input is malformed: ")


def test_numbers_that_nothing_rounds_are_refused(run, tmp_path):  # noqa: F811
    entry = {"standard": {"mean": [0.0], "deviation": [1.0]}}
    perceptron(tmp_path / "net.onnx", **{"fpgaflow.input": json.dumps(entry)})
    assert run("check", "net.onnx")[0] == 2
