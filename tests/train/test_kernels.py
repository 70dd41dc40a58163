"""The compiled quantizers are the tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolchain.train import kernels
from toolchain.train.quantizers import Levels, round_clamped

SHAPES = ((1,), (17,), (3, 5), (2, 3, 7, 5), (4, 16, 40, 40))
LEVELS = (Levels.weight(2), Levels.activation(4, signed=False), Levels.activation(8, signed=True))


def results(x: Tensor, scale: Tensor, levels: Levels, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The value and both gradients."""
    x, scale = x.detach().requires_grad_(), scale.detach().requires_grad_()
    y = round_clamped(x, scale, levels, 0.25)
    y.backward(grad)
    assert x.grad is not None and scale.grad is not None
    return y.detach(), x.grad, scale.grad


def inputs(shape: tuple[int, ...], levels: Levels, *, channels: bool, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Values over twice the range, ties and both bounds among them, a scale or one a row, and a gradient."""
    generator = torch.Generator().manual_seed(sum(shape))
    scale = torch.full((shape[0], *[1] * (len(shape) - 1)), 0.25) if channels else torch.tensor(0.375)
    x = torch.randn(shape, generator=generator) * levels.high * scale
    ties = torch.randint(2 * levels.low - 2, 2 * levels.high + 2, shape, generator=generator) / 2 * scale
    x = torch.where(torch.rand(shape, generator=generator) < 0.5, x, ties)
    grad = torch.randn(shape, generator=generator)
    return (x.contiguous(memory_format=torch.channels_last) if last else x), scale, grad


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_values_and_gradients_are_those_of_the_tensor_operations(
    shape: tuple[int, ...], levels: Levels, channels: bool, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit; the scale's gradient but for the order of a sum: float32 to a part of its absolute sum."""
    if last and len(shape) != 4:
        last = False
    x, scale, grad = inputs(shape, levels, channels=channels, last=last)
    assert kernels.rows_of(x, scale) == scale.numel()
    y, to_x, to_scale = results(x, scale, levels, grad)
    monkeypatch.setattr(kernels, "rows_of", lambda *_: None)
    expected, expected_to_x, expected_to_scale = results(x, scale, levels, grad)

    assert torch.equal(y, expected) and y.stride() == x.stride()
    assert torch.equal(to_x, expected_to_x)
    largest = grad.abs().sum() * max(-levels.low, levels.high)
    assert (to_scale - expected_to_scale).abs().max() <= 1e-6 * largest


def test_what_is_no_number_stays_none() -> None:
    """A network that diverges is seen in its loss."""
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0] * 8)
    y, to_x, _ = results(x, torch.tensor(0.5), Levels.activation(4, signed=True), torch.ones(32))

    assert y[:4].isnan().tolist() == [True, False, False, False]
    assert y[1:4].tolist() == [3.5, -4.0, 1.0]
    assert to_x[:4].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "x",
    [torch.zeros(4, dtype=torch.bfloat16), torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4).T, torch.zeros(0)],
    ids=["bfloat16", "float64", "transposed", "empty"],
)
def test_other_tensors_are_left_to_the_tensor_operations(x: Tensor) -> None:
    assert kernels.rows_of(x, torch.tensor(1.0)) is None


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels._library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    from toolchain.simulate.compiler import compiler

    compiler.cache_clear()
    try:
        assert kernels.rows_of(torch.zeros(4), torch.tensor(1.0)) is None
    finally:
        kernels._library.cache_clear()
        compiler.cache_clear()
