"""What stands behind the last layer and fits no unit is left to the host, in a file that the driver runs."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import PIXELS, Net
from toolchain.deploy.mock import installed
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import load_driver, mock_board, on_the_board
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.coverage import check
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export, lower
from toolchain.frontend.execute import execute_qonnx
from toolchain.ir.types import InputType

CHECK = Check(count=3, qonnx_images=3)


def detector(path: Path) -> Path:
    """Two convolutions whose maps are decoded to boxes as detectors do: views of five axes, Sigmoid, grids, a join."""
    net = Net((1, 3, 6, 6))
    net.metadata = dict(PIXELS)
    x = net.conv("x", net.weight(8, 3, 3, 3), pads=[1] * 4)
    x = net.quant(net.add("Relu", net.batch_norm(x, 8)), 4, 0.3, signed=0)
    parts = []
    for size, stride in ((6, 1), (3, 2)):
        y = net.conv(x, net.weight(10, 8, 1, 1), strides=[stride] * 2)
        y = net.add("Reshape", y, net.const([1, 2, 5, size, size], np.int64))
        y = net.add("Sigmoid", net.add("Transpose", y, perm=[0, 1, 3, 4, 2]))
        y = net.add("Add", net.add("Mul", y, net.const(2.0)), net.const(np.arange(size)[:, None]))
        parts.append(net.add("Reshape", net.add("Exp", y), net.const([1, -1, 5], np.int64)))
    return net.save(path, net.add("Concat", *parts, axis=1, out="boxes"))


def bare_relu(path: Path) -> Path:
    """A network that ends in a ReLU without a quantizer, flattened, and puts out the sums in front of it too."""
    net = Net((1, 3, 6, 6))
    net.metadata = dict(PIXELS)
    x = net.conv("x", net.weight(4, 3, 3, 3), out="sums")
    return net.save(path, net.add("Flatten", net.add("Relu", x), out="y"), "sums")


@pytest.mark.needs_gxx
@pytest.mark.parametrize(("build", "outputs", "host"), [(detector, 2, 15), (bare_relu, 1, 2)])
def test_the_driver_gives_the_files_own_outputs(build, outputs: int, host: int, tmp_path: Path) -> None:
    path = build(tmp_path / "net.onnx")
    assert f"; the last {host} are left to the host" in check(path).verdict
    report = export(path, tmp_path / "build", Search(architecture="streaming", time_limit=5.0), CHECK)
    assert (len(report.outputs), report.verification.csim_mismatches) == (outputs, 0)
    assert any(note.startswith("left to the host, rest.onnx: ") for note in report.notes)
    found = Build(tmp_path / "build")
    deploy(found, CHECK)
    with on_the_board(found) as home:
        driver, facts = load_driver(home / "accelerator.py"), json.loads((home / "network.json").read_text())
        images = np.random.default_rng(0).integers(0, 256, (3, 3, 6, 6), dtype=np.uint8)
        with installed(mock_board(found, facts)), driver.Accelerator(home / "network.json") as network:
            results = network.results(images)
    expected = execute_qonnx(path, images.astype(np.float32) / 255)
    assert list(results) == list(expected)
    for name, array in expected.items():  # sums of float32
        np.testing.assert_allclose(results[name], array, rtol=1e-4, atol=1e-5)


def test_a_layer_that_cannot_be_built_is_refused_and_not_left_to_the_host(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 6))
    x = net.add("Sinh", net.quant("x"), name="bad")
    path = net.save(tmp_path / "net.onnx", net.conv(x, net.weight(4, 3, 1, 1)))
    with pytest.raises(UserError, match="the operation Sinh is not supported"):
        lower(path, tmp_path / "build")


def test_a_network_of_no_rest_has_none_of_a_build_before(tmp_path: Path) -> None:
    lower(bare_relu(tmp_path / "net.onnx"), tmp_path / "build")
    assert (tmp_path / "build/rest.onnx").is_file()
    net = Net((1, 3, 6, 6))
    net.metadata = dict(PIXELS)
    lower(net.save(tmp_path / "net.onnx", net.conv("x", net.weight(4, 3, 3, 3))), tmp_path / "build")
    assert not (tmp_path / "build/rest.onnx").exists()


@pytest.mark.parametrize("change", ["another", "gone", "cut"])
def test_an_end_that_is_not_as_it_was_written_is_not_deployed(change: str, tmp_path: Path) -> None:
    lower(bare_relu(tmp_path / "net.onnx"), tmp_path / "build")
    end = tmp_path / "build/rest.onnx"
    content = end.read_bytes()
    assert Build(tmp_path / "build").parts == {"rest.onnx": content}
    if change == "gone":
        end.unlink()
    else:
        end.write_bytes(content[:9] if change == "cut" else (tmp_path / "net.onnx").read_bytes())
    told = "cannot read rest.onnx: No such file" if change == "gone" else "rest.onnx is not as it was written"
    with pytest.raises(UserError, match=f"^{told}.*run 'fpgaflow lower' again"):
        _ = Build(tmp_path / "build").parts


def test_a_record_of_another_lowering_of_the_same_file_is_refused(tmp_path: Path) -> None:
    """As a kill leaves it between model.json and graph.json."""
    path = bare_relu(tmp_path / "net.onnx")
    for name, kind in (("a", InputType(0, 255, (Fraction(1, 255),))), ("b", InputType(0, 255, (Fraction(1, 64),)))):
        lower(path, tmp_path / name, given=kind)
    (tmp_path / "a/model.json").write_bytes((tmp_path / "b/model.json").read_bytes())
    with pytest.raises(UserError, match=r"^model.json is of another network than graph.json"):
        _ = Build(tmp_path / "a").network
