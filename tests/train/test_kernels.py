"""The compiled quantizers are the tensor operations."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toolchain.train import kernels
from toolchain.train.quantizers import Levels, round_clamped

SHAPES = ((1,), (17,), (3, 5), (2, 3, 7, 5), (4, 16, 40, 40))
LEVELS = (Levels.weight(2), Levels.activation(4, signed=False), Levels.activation(8, signed=True))
HALF = torch.bfloat16
FULL = torch.float32
KINDS = {"float32": (FULL, FULL), "bfloat16": (HALF, HALF), "widened": (HALF, FULL), "narrowed": (FULL, HALF)}
"""Types of x and of the result."""
LINE = torch.tensor([1.1875, 0.3])

Results = tuple[Tensor, Tensor, Tensor, Tensor | None]


def results(
    x: Tensor,
    scale: Tensor,
    levels: Levels,
    grad: Tensor,
    line: Tensor | None = None,
    result: torch.dtype | None = None,
) -> Results:
    """The value and the gradients to x, to the scale and to the line."""
    x, scale = x.detach().requires_grad_(), scale.detach().requires_grad_()
    line = None if line is None else line.detach().requires_grad_()
    y = round_clamped(x, scale, levels, 0.25, line=line, result=result)
    y.backward(grad.to(y.dtype))
    assert x.grad is not None and scale.grad is not None
    return y.detach(), x.grad, scale.grad, None if line is None else line.grad


def left_to_tensor_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "kernel_for", lambda *_: None)


def taken(x: Tensor, scale: Tensor) -> kernels.Kernel | None:
    return kernels.kernel_for(x, scale, 0.0, 3.0, x.dtype)


def inputs(shape: tuple[int, ...], levels: Levels, *, channels: bool, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Values over twice the range, ties and both bounds among them, a scale or one a row, and a gradient."""
    generator = torch.Generator().manual_seed(sum(shape))
    scale = torch.full((shape[0], *[1] * (len(shape) - 1)), 0.3) if channels else torch.tensor(0.375)
    x = torch.randn(shape, generator=generator) * levels.high * scale
    ties = torch.randint(2 * levels.low - 2, 2 * levels.high + 2, shape, generator=generator) / 2 * scale
    x = torch.where(torch.rand(shape, generator=generator) < 0.5, x, ties)
    grad = torch.randn(shape, generator=generator).to(HALF).float()
    return (x.contiguous(memory_format=torch.channels_last) if last else x), scale, grad


@pytest.mark.parametrize("levels", LEVELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("channels", [False, True])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", [None, LINE], ids=["", "line"])
def test_values_and_gradients_are_those_of_the_tensor_operations(
    shape: tuple[int, ...], levels: Levels, channels: bool, last: bool, kind: str, line: Tensor | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Bit for bit; sums but for their order, float32 to a part of their absolute sum; tensor operations round sums in
    bfloat16 and the products in them to bfloat16, eight bits."""
    dtype, result = KINDS[kind]
    x, scale, grad = inputs(shape, levels, channels=channels, last=last and len(shape) == 4)
    x = x.to(dtype)
    kernel = kernels.kernel_for(x, scale, 0.0, 3.0, result)
    if kind == "bfloat16" and channels:
        assert kernel is None
        return
    assert kernel is not None and kernel.kind == kind and kernel.rows == scale.numel()
    y, to_x, to_scale, to_line = results(x, scale, levels, grad, line, result)
    left_to_tensor_operations(monkeypatch)
    expected, expected_to_x, expected_to_scale, expected_to_line = results(x, scale, levels, grad, line, result)

    assert torch.equal(y, expected) and y.dtype == expected.dtype == result and y.stride() == x.stride()
    assert torch.equal(to_x, expected_to_x) and to_x.dtype == dtype
    close = 2**-8 if kind == "bfloat16" else 1e-6
    largest = grad.abs().sum() * max(-levels.low, levels.high)
    assert (to_scale - expected_to_scale).abs().max() <= close * largest
    if to_line is not None and expected_to_line is not None:
        assert (to_line - expected_to_line).abs().max() <= close * (grad.abs() * x.abs().clamp_min(1)).sum()


@pytest.mark.parametrize("result", [HALF, FULL], ids=str)
@pytest.mark.parametrize("line", [None, LINE], ids=["", "line"])
@pytest.mark.parametrize("scale", [0.375, 0.0871, 3e-5])
def test_every_bfloat16_has_the_value_and_the_gradient_of_the_tensor_operations(
    scale: float, line: Tensor | None, result: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All 65,536 of them, infinities too; then every one as a gradient inside the range.

    What is no number has a value that is none; its gradient depends on its place in the tensor operations.
    """
    every = torch.arange(-(2**15), 2**15).to(torch.int16).view(HALF)
    grad = every.nan_to_num(1.0, 2.0, 3.0).roll(12_345)
    inside = torch.full_like(every, scale)
    for x, down in ((every, grad), (inside, every)):
        made = results(x, torch.tensor(scale), LEVELS[1], down, line, result)[:2]
        with monkeypatch.context() as plain:
            left_to_tensor_operations(plain)
            expected = results(x, torch.tensor(scale), LEVELS[1], down, line, result)[:2]
        assert torch.equal(made[0].isnan(), x.isnan()) and made[0].dtype == expected[0].dtype
        for got, want in zip(made, expected, strict=True):
            same = (got == want) | (got.isnan() & want.isnan()) | x.isnan()
            assert same.all(), (x[~same], got[~same], want[~same])


def test_sums_in_bfloat16_are_those_of_float64() -> None:
    """Unlike the tensor operations', which are rounded to bfloat16."""
    x, scale, grad = inputs((4, 16, 40, 40), LEVELS[1], channels=False, last=False)
    x = x.to(HALF)
    *_, to_scale, to_line = results(x, scale, LEVELS[1], grad, LINE)
    moved = ((x * LINE[0] - LINE[1]) / scale).double()
    inside = ((moved > 0) & (moved < 15)) * grad.double()
    expected = (grad.double() * moved.clamp(0, 15).round() - inside * moved).sum() * 0.25

    assert to_scale == pytest.approx(expected.item(), rel=1e-5) and to_line is not None
    assert to_line.tolist() == pytest.approx([(inside * x.double()).sum().item(), -inside.sum().item()], rel=1e-5)


def test_what_is_no_number_stays_none() -> None:
    """A network that diverges is seen in its loss."""
    x = torch.tensor([float("nan"), float("inf"), -float("inf"), 1.0] * 8)
    y, to_x, *_ = results(x, torch.tensor(0.5), Levels.activation(4, signed=True), torch.ones(32))

    assert y[:4].isnan().tolist() == [True, False, False, False]
    assert y[1:4].tolist() == [3.5, -4.0, 1.0]
    assert to_x[:4].tolist() == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "x",
    [torch.zeros(4, dtype=torch.float16), torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4).T, torch.zeros(0)],
    ids=["float16", "float64", "transposed", "empty"],
)
def test_other_tensors_are_left_to_the_tensor_operations(x: Tensor) -> None:
    assert taken(x, torch.tensor(1.0)) is None


def test_without_a_compiler_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels._library.cache_clear()
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CXX", "no-such-compiler")
    from toolchain.simulate.compiler import compiler

    compiler.cache_clear()
    try:
        assert taken(torch.zeros(4), torch.tensor(1.0)) is None
    finally:
        kernels._library.cache_clear()
        compiler.cache_clear()
