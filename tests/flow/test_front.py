"""What stands in front of the first quantizer and fits no unit is left to the host, in a file that the driver runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.onnx_models import PIXELS, Net
from toolchain.deploy.mock import installed
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import load_driver, mock_board, on_the_board
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.coverage import check
from toolchain.flow.engine import refusals_of
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export, lower
from toolchain.frontend.execute import execute_frames, execute_qonnx

CHECK = Check(count=5, qonnx_images=5)


def body(net: Net, x: str, channels: int) -> str:
    return net.conv(x, net.weight(3, channels, 3, 3), out="y")


def enlarged_pixels(path: Path) -> Path:
    """Pixels / 255, normalized, enlarged by 3/2 between neighbours, and a first convolution in float."""
    net = Net((1, 3, 4, 4))
    net.metadata = dict(PIXELS)
    x = net.add("Sub", "x", net.const(np.array([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)))
    scales = net.const([1, 1, 1.5, 1.5])
    x = net.add("Resize", x, net.const([]), scales, mode="linear", coordinate_transformation_mode="half_pixel")
    x = net.add("Relu", net.conv(x, net.const(net.rng.normal(0, 0.4, (4, 3, 3, 3))), pads=[1] * 4))
    return net.save(path, body(net, net.quant(x, 6, 0.05, signed=0), 4))


def mel_spectrum(path: Path) -> Path:
    """Frames of a spectrum, a filter bank in float, its logarithm and its root: two maps for the accelerator."""
    net = Net((1, 6, 12))
    power = net.add("Mul", "x", "x")
    mel = net.add("MatMul", power, net.const(net.rng.uniform(0, 1, (12, 5))))
    low = net.quant(net.add("Log", mel), 6, 0.1)
    high = net.quant(net.add("Sqrt", mel), 5, 0.2, signed=0)
    x = net.add("Concat", low, high, axis=1)
    return net.save(path, net.conv(x, net.weight(3, 12, 3), out="y"))


BUILDS = [(enlarged_pixels, 4, "integers"), (mel_spectrum, 4, "reals")]


@pytest.mark.needs_gxx
@pytest.mark.parametrize(("build", "front", "kind"), BUILDS)
def test_the_driver_runs_what_stands_in_front(
    build: Callable[[Path], Path], front: int, kind: str, tmp_path: Path
) -> None:
    path = build(tmp_path / "net.onnx")
    assert f"; the first {front} are left to the host" in check(path).verdict
    report = export(path, tmp_path / "build", Search(architecture="streaming", time_limit=5.0), CHECK)
    assert (report.verification.csim_mismatches, report.verification.qonnx_code_mismatches) == (0, 0)
    assert any(note.startswith("left to the host in front, first.onnx: ") for note in report.notes)
    found = Build(tmp_path / "build")
    deploy(found, CHECK)
    rng = np.random.default_rng(0)
    given = rng.integers(0, 256, (3, 3, 4, 4), dtype=np.uint8) if kind == "integers" else rng.normal(size=(3, 6, 12))
    given[0] = 0  # the logarithm is minus infinity
    with on_the_board(found) as home:
        driver, facts = load_driver(home / "accelerator.py"), json.loads((home / "network.json").read_text())
        with installed(mock_board(found, facts)), driver.Accelerator(home / "network.json") as network:
            results, checked = network.results(given), network.validate()
            with pytest.raises(driver.BoardError, match="images of type"):
                network.results(given.astype(np.complex64))
    assert (checked["images"], checked["wrong_codes"]) == (5, 0)
    reals = (given.astype(np.float64) / 255 if kind == "integers" else given).astype(np.float32)
    (expected,) = execute_qonnx(path, reals).values()
    last = np.moveaxis(expected, 1, -1).reshape(results["y"].shape)
    np.testing.assert_allclose(results["y"], last, rtol=1e-4, atol=1e-5)  # sums of float32


def test_what_is_left_is_judged_for_the_engine(tmp_path: Path) -> None:
    assert refusals_of(enlarged_pixels(tmp_path / "net.onnx")) == []


@pytest.mark.parametrize("build", [enlarged_pixels, mel_spectrum])
def test_the_accelerator_is_given_the_numbers_that_the_executor_has_there(
    build: Callable[[Path], Path], tmp_path: Path
) -> None:
    path = build(tmp_path / "net.onnx")
    first = lower(path, tmp_path / "build").model.first
    assert first is not None
    x = np.random.default_rng(1).normal(size=(4, *first.layout.onnx_shape(1)[1:])).astype(np.float32)
    whole = execute_qonnx(path, x, first.tensors, batch=1)
    for name, array in execute_frames(onnx.load(tmp_path / "build/first.onnx"), x).items():
        np.testing.assert_array_equal(array, whole[name])


def test_a_layer_that_can_be_built_is_not_left_to_the_host(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 6))
    x = net.conv(net.quant("x"), net.weight(4, 3, 3, 3), pads=[1] * 4)
    path = net.save(tmp_path / "net.onnx", body(net, net.quant(net.add("Sinh", x)), 4))
    with pytest.raises(UserError, match="the operation Sinh is not supported"):
        lower(path, tmp_path / "build")
    assert not check(path).supported


def test_a_network_is_not_run_on_the_host_as_a_whole(tmp_path: Path) -> None:
    net = Net((1, 3, 6, 6))
    x = net.conv("x", net.const(net.rng.normal(size=(4, 3, 3, 3))))
    with pytest.raises(UserError, match="weight"):
        lower(net.save(tmp_path / "net.onnx", net.quant(net.add("Sinh", x))), tmp_path / "build")


def test_a_network_without_a_front_has_none_of_a_build_before(tmp_path: Path) -> None:
    lower(enlarged_pixels(tmp_path / "net.onnx"), tmp_path / "build")
    assert (tmp_path / "build/first.onnx").is_file() and (tmp_path / "build/network.onnx").is_file()
    net = Net((1, 3, 6, 6))
    lower(net.save(tmp_path / "net.onnx", body(net, net.quant("x"), 3)), tmp_path / "build")
    assert not (tmp_path / "build/first.onnx").exists() and not (tmp_path / "build/network.onnx").exists()


def test_a_changed_part_is_not_taken_for_the_builds_own(tmp_path: Path) -> None:
    build = lower(enlarged_pixels(tmp_path / "net.onnx"), tmp_path / "build")
    assert build.source() is not None
    (tmp_path / "build/network.onnx").write_bytes(b"other")
    assert build.source() is None
