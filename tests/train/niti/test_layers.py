"""Integer products, windows and layers against plain int64 and double arithmetic, which is exact at these sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from toolchain.config.run import parse_config
from toolchain.train.niti import matmul
from toolchain.train.niti.checks import IntegerOnly
from toolchain.train.niti.layers import VARIANTS, AvgPool, Conv, Flatten, Linear, MaxPool, ReLU, Residual
from toolchain.train.niti.matmul import ACCUMULATOR_LIMIT, MAX_DEPTH, Windows, check_device, int_mm
from toolchain.train.niti.network import build_integer
from toolchain.train.niti.numbers import Block, add, narrowed, requantize, width
from toolchain.train.niti.rounding import nearest, pseudo_stochastic

VARIANT = VARIANTS["2021"]


def _mantissas(*shape: int, seed: int = 0, low: int = -127) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, 128, shape, generator=generator, dtype=torch.int8)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (17, 25, 20), (64, 500, 10), (3, 1041, 5), (2, 4608, 8)])
def test_products_equal_int64_also_beyond_what_float32_holds(m: int, k: int, n: int) -> None:
    a, b = _mantissas(m, k), _mantissas(k, n, seed=1)
    assert torch.equal(int_mm(a, b).long(), a.long() @ b.long())
    assert torch.equal(int_mm(a.t().contiguous().t(), b).long(), a.long() @ b.long())
    extreme = torch.full((m, k), 127, dtype=torch.int8)
    assert int(int_mm(extreme, -extreme.t()).min()) == -k * 127**2


def test_products_deeper_than_int32_allows_are_summed_in_int64() -> None:
    depth = 3 * MAX_DEPTH + 5
    a = torch.full((2, depth), 127, dtype=torch.int8)
    product = int_mm(a, a.t())
    assert product.dtype == torch.int64 and int(product[0, 0]) == depth * 127**2 > 2**31
    assert ACCUMULATOR_LIMIT + (1 << 23) < 2**31  # what rounding adds fits as well
    assert int_mm(a[:, :MAX_DEPTH], a.t()[:MAX_DEPTH]).dtype == torch.int32


def test_the_device_is_compared_before_it_is_trusted() -> None:
    check_device(torch.device("cpu"))


@pytest.mark.parametrize(
    ("channels", "kernel", "padding"), [(1, 5, 0), (1, 3, 1), (3, 3, 1), (4, 3, 1), (8, 5, 0), (20, 1, 0)]
)
@pytest.mark.parametrize("block_bytes", [1, 1 << 22])
def test_windows_convolve_and_correlate_exactly_in_blocks_of_any_size(
    channels: int, kernel: int, padding: int, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "_BLOCK_BYTES", {"cpu": block_bytes})
    x, weight = _mantissas(3, 9, 8, channels), _mantissas(6, kernel * kernel * channels, seed=1)
    kernels = weight.view(6, kernel, kernel, channels).permute(0, 3, 1, 2).double().requires_grad_()
    expected = nn.functional.conv2d(x.permute(0, 3, 1, 2).double(), kernels, padding=padding)
    windows = Windows(x, kernel, padding)
    assert torch.equal(windows.times(weight).double(), expected.permute(0, 2, 3, 1))
    error = _mantissas(3, *expected.shape[2:], 6, seed=2)
    expected.backward(error.permute(0, 3, 1, 2).double())
    assert kernels.grad is not None
    found = windows.weight_gradient(error).view(6, kernel, kernel, channels).permute(0, 3, 1, 2)
    assert torch.equal(found.double(), kernels.grad)


@pytest.mark.parametrize("exponent", [-20, -7, 0, 3, 40])
def test_a_bias_is_the_weights_of_an_input_of_one(exponent: int) -> None:
    """Its accumulators are those of that input, rounded to their step; its gradient is that of its weights."""
    plain, layer = (Conv(2, 3, 3, 1, VARIANT, _generator(), bias=bias) for bias in (False, True))
    assert layer.bias is not None and not layer.bias.any() and plain.bias is None
    layer.bias.copy_(torch.tensor([-127, 3, 100]))
    x, error = Block(_mantissas(4, 5, 6, 2), exponent), _mantissas(4, 5, 6, 3, seed=1)
    found, without = layer.accumulate(x), plain.accumulate(x)
    steps = layer.bias.double() * 2.0 ** min(-exponent, 15)
    expected = steps.sign() * (steps.abs() + 0.5).floor()
    assert found.exponent == without.exponent == exponent + layer.exponent
    assert torch.equal((found.mantissa - without.mantissa).double(), expected.expand(4, 5, 6, 3))
    layer.forward(x)
    layer.backward(error)
    assert torch.equal(layer.bias_gradient.long(), error.long().sum((0, 1, 2)))
    before, step = layer.bias.clone(), pseudo_stochastic(layer.bias_gradient, width(layer.bias_gradient) - 2)
    layer.update(2, None)
    assert torch.equal(layer.bias.int(), (before - step).clamp(-127, 127)) and int(step.abs().max()) in (3, 4)


def test_weight_gradients_over_more_positions_than_int32_allows_are_summed_in_int64(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, error = torch.full((3, 8, 8, 4), 127, dtype=torch.int8), torch.full((3, 8, 8, 2), 127, dtype=torch.int8)
    assert Windows(x, 1, 0).weight_gradient(error).dtype == torch.int32
    monkeypatch.setattr(matmul, "MAX_DEPTH", 100)
    total = Windows(x, 1, 0).weight_gradient(error)
    assert total.dtype == torch.int64 and total.eq(192 * 127**2).all()


@pytest.mark.parametrize(
    ("kernel", "padding", "stride"), [(3, 1, 1), (5, 0, 1), (1, 0, 1), (3, 1, 2), (1, 0, 2), (3, 0, 3), (3, 1, 4)]
)
def test_a_convolution_goes_forward_and_backward_as_its_exact_derivative_requantized(
    kernel: int, padding: int, stride: int
) -> None:
    layer = Conv(4, 6, kernel, padding, VARIANT, _generator(), stride=stride)
    x = _mantissas(2, 7, 6, 4).permute(0, 3, 1, 2).double().requires_grad_()
    kernels = layer.weight.view(6, kernel, kernel, 4).permute(0, 3, 1, 2).double().requires_grad_()
    expected = nn.functional.conv2d(x, kernels, padding=padding, stride=stride)
    out = layer(Block(x.detach().permute(0, 2, 3, 1).to(torch.int8).contiguous(), -5))
    mantissa, shift = requantize(expected.detach().permute(0, 2, 3, 1).long(), nearest)
    assert torch.equal(out.mantissa, mantissa)
    assert (out.exponent, layer.shift) == (-5 + layer.exponent + shift, shift)
    error = _mantissas(*out.mantissa.shape, seed=4)
    expected.backward(error.permute(0, 3, 1, 2).double())
    assert x.grad is not None and kernels.grad is not None
    assert torch.equal(layer.backward(error), requantize(x.grad.permute(0, 2, 3, 1).long(), nearest)[0])
    assert torch.equal(layer.gradient.double(), kernels.grad.permute(0, 2, 3, 1).flatten(1))


def test_a_linear_layer_goes_forward_and_backward_and_the_first_one_makes_no_error() -> None:
    layer = Linear(30, 7, VARIANTS["2020"], _generator())
    x, error = _mantissas(5, 30), _mantissas(5, 7, seed=1)
    out = layer(Block(x, 0)).mantissa
    assert torch.equal(out, requantize(x.long() @ layer.weight.long().t(), pseudo_stochastic, shift_of_one=2)[0])
    back = requantize(error.long() @ layer.weight.long(), pseudo_stochastic, shift_of_one=2)[0]
    assert torch.equal(layer.backward(error), back)
    assert torch.equal(layer.gradient.long(), error.long().t() @ x.long())
    layer.first = True
    assert layer.backward(error) is error


@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_max_pooling_passes_the_error_to_the_first_largest_element_as_torch_does(size: tuple[int, int]) -> None:
    x = torch.randint(-3, 4, (2, *size, 5), generator=_generator(), dtype=torch.int8)  # many ties
    real = x.permute(0, 3, 1, 2).double().requires_grad_()
    expected = nn.functional.max_pool2d(real, 2)
    layer = MaxPool()
    assert torch.equal(layer(Block(x, 3)).mantissa.double(), expected.permute(0, 2, 3, 1))
    error = _mantissas(*layer.y.shape, seed=1)
    expected.backward(error.permute(0, 3, 1, 2).double())
    assert real.grad is not None
    assert torch.equal(layer.backward(error).double(), real.grad.permute(0, 2, 3, 1))


def test_pooling_tells_the_ends_of_the_mantissas_apart() -> None:
    x = torch.tensor([[-127, 127], [127, -127]], dtype=torch.int8).view(1, 2, 2, 1)
    layer = MaxPool()
    layer(Block(x, 0))
    assert layer.backward(torch.tensor([[[[9]]]], dtype=torch.int8)).flatten().tolist() == [0, 9, 0, 0]


def _sum(a: int, b: int, distance: int) -> tuple[int, int]:
    """The mantissa and the shift of a + b * 2**-distance by the scalar rule: halves away from zero, both times."""

    def shifted(v: int, shift: int) -> int:
        return (abs(v) + (1 << shift >> 1) >> shift) * (1 if v >= 0 else -1)

    total = a + shifted(b, distance)
    shift = 1 if abs(total) > 128 else 0
    return max(-127, min(127, shifted(total, shift))), shift


@pytest.mark.parametrize("distance", [0, 1, 3, 7, 8, 40])
def test_the_sum_of_two_blocks_is_the_scalar_rules_for_all_pairs_of_mantissas_and_both_orders(distance: int) -> None:
    values = torch.arange(-127, 128, dtype=torch.int8)
    for a in range(-127, 128, 14):
        for b in values.tolist():
            one, other = (Block(torch.tensor([v], dtype=torch.int8), e) for v, e in ((a, 5), (b, 5 - distance)))
            found, shift = add(one, other, nearest)
            mantissa, expected = _sum(a, b, distance)
            assert (found.mantissa.tolist(), found.exponent, shift) == ([mantissa], 5 + expected, expected)
            again, _ = add(other, one, nearest)
            assert torch.equal(again.mantissa, found.mantissa) and again.exponent == found.exponent


@pytest.mark.parametrize("variant", ["2020", "2021"])
@pytest.mark.parametrize("shortcut", [False, True])
def test_a_block_has_the_values_and_the_gradients_of_its_float_twin_but_for_rounding(
    variant: str, shortcut: bool
) -> None:
    """Directions of float autograd: of the output, of the error at the input and of every weight's gradient."""
    rule, generator, stride = VARIANTS[variant], _generator(), 2 if shortcut else 1
    convs = [Conv(8, 8, 3, 1, rule, generator, stride=stride), Conv(8, 8, 3, 1, rule, generator)]
    convs += [Conv(8, 8, 1, 0, rule, generator, stride=stride)] if shortcut else []
    block = Residual(convs[0], convs[1], convs[2] if shortcut else None, rule)
    x = _mantissas(4, 8, 8, 8, low=0)
    with IntegerOnly():
        out = block(Block(x, -7))
    kernels = [
        (conv.weight.view(8, conv.kernel, conv.kernel, 8).permute(0, 3, 1, 2).double() * 2.0**conv.exponent)
        .requires_grad_() for conv in convs
    ]  # fmt: skip
    real = (x.permute(0, 3, 1, 2).double() / 128).requires_grad_()
    inner = nn.functional.conv2d(real, kernels[0], padding=1, stride=stride).relu()
    rest = nn.functional.conv2d(real, kernels[2], stride=stride) if shortcut else real
    twin = (nn.functional.conv2d(inner, kernels[1], padding=1) + rest).relu()
    error = _mantissas(*out.mantissa.shape, seed=7)
    twin.backward(error.permute(0, 3, 1, 2).double())
    with IntegerOnly():
        back = block.backward(error)

    def like(found: Tensor, expected: Tensor | None) -> float:
        assert expected is not None
        return float(nn.functional.cosine_similarity(found.double().flatten(), expected.flatten(), dim=0))

    assert like(out.mantissa.permute(0, 3, 1, 2), twin.detach()) > 0.999
    ratio = out.mantissa.double().sum() * 2.0**out.exponent / twin.detach().sum()
    assert 0.98 < ratio < 1.02, "the exponent is that of the values"
    assert like(back.permute(0, 3, 1, 2), real.grad) > 0.98  # rounding flips some masks of the ReLUs
    for conv, kernel in zip(convs, kernels, strict=True):
        of = conv.gradient.view(8, conv.kernel, conv.kernel, 8).permute(0, 3, 1, 2)
        assert like(of, kernel.grad) > 0.98


def test_a_mean_is_the_sum_with_the_exponent_of_the_positions_and_gives_its_error_to_all() -> None:
    layer, x = AvgPool(64, VARIANT), _mantissas(3, 8, 8, 5)
    out = layer(Block(x, -4))
    mantissa, shift = requantize(x.long().sum((1, 2), keepdim=True), nearest)
    assert torch.equal(out.mantissa, mantissa) and out.exponent == -4 - 6 + shift
    error = _mantissas(3, 1, 1, 5, seed=1)
    assert torch.equal(layer.backward(error), error.expand(3, 8, 8, 5))


def test_relu_and_flatten_undo_their_shapes() -> None:
    x = _mantissas(2, 3, 4, 5)
    relu, flatten = ReLU(), Flatten()
    out = flatten(relu(Block(x, 0)))
    assert torch.equal(out.mantissa, x.clamp(min=0).flatten(1))
    error = _mantissas(2, 60, seed=1)
    assert torch.equal(relu.backward(flatten.backward(error)), torch.where(x > 0, error.view(x.shape), 0))


@pytest.mark.parametrize("mu", [5, 1, 0, -2])
def test_an_update_moves_no_weight_by_more_than_two_to_mu_and_none_without_a_gradient(mu: int) -> None:
    layer = Linear(40, 30, VARIANT, _generator())
    before = layer.weight.clone()
    layer.gradient = torch.zeros(30, 40, dtype=torch.int32)
    layer.update(mu, None)
    assert torch.equal(layer.weight, before)
    layer.gradient = torch.randint(-100000, 100001, (30, 40), generator=_generator(), dtype=torch.int32)
    layer.update(mu, None)
    moved = layer.weight.int() - before.int()
    assert 0 < moved.abs().max() <= max(1, 1 << max(mu, 0))
    assert (moved * layer.gradient <= 0).all()
    expected = pseudo_stochastic(layer.gradient, 17 - mu)  # 2**16 < the largest <= 2**17
    assert torch.equal(layer.weight, narrowed(before.int() - expected))


def test_weight_decay_pulls_towards_zero_by_its_share_of_the_gradient() -> None:
    layer = Linear(1, 2, VARIANT, _generator())
    layer.weight.copy_(torch.tensor([[100], [-100]]))
    layer.gradient = torch.tensor([[0], [1 << 20]], dtype=torch.int32)
    layer.update(7, 12)  # + 100 * 2**(20 - 12) on the first: 25600 / 2**(20 - 7) = 3.1
    assert layer.weight.flatten().tolist()[0] in (96, 97)
    layer.gradient = torch.tensor([[0], [3]], dtype=torch.int32)
    layer.update(2, 10)  # 2 - 10 bits: less than half of one
    assert layer.weight.flatten().tolist()[0] in (96, 97)


def test_fraction_bits_add_up_steps_smaller_than_one() -> None:
    layer = Linear(1, 1, VARIANT, _generator(), fraction_bits=8)
    layer.master.copy_(torch.tensor([[10 << 8]]))  # type: ignore[union-attr]
    layer.weight.fill_(10)
    for _ in range(64):
        layer.gradient = torch.tensor([[1 << 10]], dtype=torch.int32)
        layer.update(3, None)
    assert layer.master is not None and int(layer.master) == (10 << 8) - 64 * 8
    assert int(layer.weight) == 8
    for sign in (1, -1):
        for _ in range(300):
            layer.gradient = torch.tensor([[sign << 10]], dtype=torch.int32)
            layer.update(10, None)
        assert int(layer.weight) == -sign * 127 and int(layer.master) == -sign * 127 * 256


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 5), (3, 3), (784, 300), (500, 10), (4608, 512)])
def test_the_initial_exponent_is_that_of_xaviers_bound(inputs: int, outputs: int) -> None:
    """127 * 2**e lies between the bound and twice it, but for the 128th that 127 lacks."""
    layer = Linear(inputs, outputs, VARIANT, _generator())
    bound = (6 / (inputs + outputs)) ** 0.5
    assert bound <= 2.0 ** (layer.exponent + 7) < 2 * bound
    assert layer.weight.dtype == torch.int8 and layer.weight.abs().max() <= 127


def test_gradients_round_as_the_run_file_says_and_at_random_with_the_seed_alone() -> None:
    """Pseudo-stochastic and nearest are functions of the gradient; at random two seeds differ, one repeats."""

    def updated(rounding: str, seed: int) -> torch.Tensor:
        table = {
            "name": "t", "data": {"normalize": "standard"}, "model": {"name": "cnn", "plain": True},
            "quant": {"method": "niti", "weight_bits": 8, "act_bits": 8},
            "niti": {"gradient_rounding": rounding}, "train": {"seed": seed},
        }  # fmt: skip
        layer = build_integer(parse_config(table, where="test"), (1, 8, 8), 10).weighted()[-1][1]
        layer.weight.zero_()
        layer.gradient = torch.arange(layer.weight.numel(), dtype=torch.int32).reshape(layer.weight.shape) * 37
        layer.update(3, None)
        return layer.weight

    for rounding in ("pseudo-stochastic", "nearest"):
        assert torch.equal(updated(rounding, 0), updated(rounding, 1))
    assert not torch.equal(updated("nearest", 0), updated("pseudo-stochastic", 0))
    assert torch.equal(updated("stochastic", 4), updated("stochastic", 4))
    assert not torch.equal(updated("stochastic", 4), updated("stochastic", 5))
