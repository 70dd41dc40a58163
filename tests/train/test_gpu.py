"""Training on a CUDA GPU; nothing here runs without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.train.test_kernels import FULL, HALF, LEVELS, LINE, SHAPES, inputs, left_to_tensor_operations, results
from toolchain.config.run import find_config, load_config, recipes
from toolchain.flow.training import train
from toolchain.train import kernels
from toolchain.train.quantizers import Levels

if not torch.cuda.is_available():
    pytest.skip("no CUDA GPU", allow_module_level=True)


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
@pytest.mark.parametrize("line", [None, LINE], ids=["", "line"])
def test_values_and_gradients_are_those_of_the_tensor_operations(
    shape: tuple[int, ...], levels: Levels, channels: bool, dtype: torch.dtype, line: torch.Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bit for bit; sums but for their order, to a part of their absolute sum."""
    x, scale, grad = (of.cuda() for of in inputs(shape, levels, channels=channels, last=len(shape) == 4))
    x, line = x.to(dtype), None if line is None else line.cuda()
    assert kernels.kernel_for(x, scale, 0.0, 3.0, FULL) is not None
    y, to_x, to_scale, to_line = results(x, scale, levels, grad, line, FULL)
    left_to_tensor_operations(monkeypatch)
    expected, expected_to_x, expected_to_scale, expected_to_line = results(x, scale, levels, grad, line, FULL)

    assert torch.equal(y, expected) and torch.equal(to_x, expected_to_x)
    largest = grad.abs().sum() * max(-levels.low, levels.high)
    assert (to_scale - expected_to_scale).abs().max() <= 1e-6 * largest
    if to_line is not None and expected_to_line is not None:
        assert (to_line - expected_to_line).abs().max() <= 1e-6 * (grad.abs() * x.abs().clamp_min(1)).sum()


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0] * 8, device="cuda")
    y, to_x, *_ = results(x, torch.tensor(0.5, device="cuda"), LEVELS[1], torch.ones_like(x))
    assert y[:4].isnan().tolist() == [True, False, False, False]
    assert to_x[:4].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize("channels", [False, True])
def test_maps_of_more_blocks_than_a_grid_has_rows_are_quantized(channels: bool) -> None:
    """65,536 blocks of 2,048 elements."""
    x = torch.rand(4 if channels else 1, 2**27 // (4 if channels else 1) + 1, device="cuda")
    scale = torch.full((4, 1) if channels else (), 0.25, device="cuda")
    assert torch.equal(kernels.kernel_for(x, scale, 0.0, 3.0, FULL).quantize(x, scale), (x * 4).round().clamp(0, 3) / 4)


@pytest.mark.parametrize("recipe", [name for name in recipes() if name.startswith("digits") and name != "digits-niti"])
def test_every_method_trains_on_the_gpu_and_exports_what_it_has_trained(recipe: str, tmp_path: Path) -> None:
    out = train(load_config(find_config(recipe), ["train.accelerator=cuda"]), tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert {stage["device"] for stage in metrics["stages"]} == {torch.cuda.get_device_name()}
    assert metrics["top1"] > 0.5
