"""The LSQ quantizers: their codes, their gradients and their scales."""

from __future__ import annotations

import brevitas.nn as qnn
import pytest
import torch

from toolchain.train.methods.lsq import Lsq
from toolchain.train.module import set_quantized
from toolchain.train.quantizers import LeaningStep, LearnedStep, Levels, least_squares_step, nearest


def _step(levels: Levels, scale: float = 1.0, *, power_of_two: bool = False) -> LearnedStep:
    quantizer = LearnedStep(levels, (), power_of_two, is_weight=True)
    torch.nn.init.constant_(quantizer.step, scale)
    return quantizer.eval()


def test_a_value_outside_the_range_gets_no_gradient_even_when_it_rounds_into_it() -> None:
    """Round-first quantizers let x = 1.4 through at n = 1; clamp-first ones do not."""
    x = torch.tensor([-1.4, -0.9, -0.6, 0.2, 0.9, 1.4], requires_grad=True)
    _step(Levels.weight(2))(x)[0].sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_the_scale_gradient_is_lsqs() -> None:
    """Esser et al., eq. 3: round(v) - v inside the range, the bound outside, times 1 / sqrt(N * high)."""
    quantizer = _step(Levels.weight(3), 0.5)
    x = torch.tensor([-9.0, -0.6, 0.1, 0.8, 9.0])
    quantizer(x)[0].sum().backward()
    v = x / 0.5
    expected = torch.tensor([-3, -1 - v[1], 0 - v[2], 2 - v[3], 3]).sum() / (5 * 3) ** 0.5
    assert quantizer.step.grad is not None
    assert quantizer.step.grad.item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_span_exactly_the_levels(bits: int) -> None:
    wide = torch.linspace(-400, 400, 8001)
    weights = _step(Levels.weight(bits))(wide)[0].unique().tolist()
    high = max(1, 2 ** (bits - 1) - 1)
    assert weights == ([-1, 1] if bits == 1 else list(range(-high, high + 1)))
    unsigned = _step(Levels.activation(bits, signed=False))(wide)[0].unique().tolist()
    assert unsigned == list(range(2**bits))


def test_ties_round_to_even() -> None:
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    assert _step(Levels.weight(4))(x)[0].tolist() == [-2, -2, 0, 0, 2, 2]


def test_the_sign_of_zero_is_plus() -> None:
    assert _step(Levels.weight(1), 0.5)(torch.tensor([-0.1, 0.0, 0.1]))[0].tolist() == [-0.5, 0.5, 0.5]


def test_power_of_two_scales_are_exact_powers_and_still_learn() -> None:
    for exponent in range(-24, 11):
        quantizer = _step(Levels.weight(4), 1.2 * 2.0**exponent, power_of_two=True)
        mantissa, power = torch.frexp(quantizer.scale())
        assert (mantissa.item(), power.item() - 1) == (0.5, exponent)
        quantizer(torch.tensor([0.3, 100.0]))[0].sum().backward()
        assert quantizer.step.grad is not None and quantizer.step.grad.item() != 0


def test_the_initial_step_is_the_best_of_its_grid() -> None:
    torch.manual_seed(0)
    x, levels = torch.randn(4, 500), Levels.weight(3)

    def error(step: torch.Tensor) -> torch.Tensor:
        return (x - (x / step).clamp(-3, 3).round() * step).square().sum()

    found = least_squares_step(x, levels, ())
    assert all(error(found) <= error(found * 2 ** (k / 8)) for k in (-2, -1, 1, 2))
    assert least_squares_step(x, levels, (4, 1)).shape == (4, 1)


def test_the_initial_step_in_front_of_a_function_is_the_best_behind_it() -> None:
    """A sigmoid is flat where its input is large: these values need no codes of their own."""
    torch.manual_seed(0)
    x, levels = 10 * torch.randn(4000), Levels.activation(6, signed=True)

    def error(step: torch.Tensor) -> torch.Tensor:
        return (x.sigmoid() - ((x / step).clamp(-32, 31).round() * step).sigmoid()).square().sum()

    alone, found = (least_squares_step(x, levels, (), *seen) for seen in ((), (torch.sigmoid,)))
    assert found < alone / 2 and error(found) < error(alone) / 4
    assert all(error(found) <= error(found * 2 ** (k / 8)) for k in (-2, -1, 1, 2))


def test_the_initial_step_is_that_of_whole_images_and_not_of_a_few_of_their_columns() -> None:
    """Zero padding makes the first columns of feature maps smaller than the rest."""
    torch.manual_seed(0)
    x, levels = torch.randn(128, 16, 32, 32).relu(), Levels.activation(4, signed=False)
    x[..., 0] *= 0.1
    found = least_squares_step(x, levels, ()).item()
    inner = least_squares_step(x[:4, :4, :, 1:], levels, ()).item()  # few enough to be searched without a sample
    assert found == pytest.approx(inner, rel=0.2)  # two places of the grid, whose ends are the largest of each


def test_the_initial_step_of_bfloat16_is_that_of_the_same_values_in_float32() -> None:
    torch.manual_seed(0)
    x, levels = torch.randn(8, 16, 8, 8).relu().bfloat16(), Levels.activation(4, signed=False)
    assert torch.equal(least_squares_step(x, levels, ()), least_squares_step(x.float(), levels, ()))


def test_a_step_that_turns_negative_keeps_a_positive_scale() -> None:
    assert _step(Levels.weight(4), -0.25).scale().item() == 0.25
    assert _step(Levels.weight(4), 0.0).scale().item() > 0


@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_brevitas_layers_carry_the_quantizer(granularity: str) -> None:
    layer = qnn.QuantConv2d(3, 4, 3, weight_quant=Lsq().weight_quantizer(3, scale="float", granularity=granularity))  # type: ignore[arg-type]
    weight = layer.quant_weight()
    assert weight.scale.shape == ((4, 1, 1, 1) if granularity == "channel" else ())
    assert weight.int().abs().max() <= 3 and weight.is_valid


def test_an_activation_step_is_set_by_the_first_training_batch_only() -> None:
    act = qnn.QuantReLU(act_quant=Lsq().act_quantizer(4, signed=False, scale="float"))
    act.eval()(torch.rand(8))
    assert act.act_quant.scale().item() == 1
    act.train()(torch.rand(8, 10))
    scale = act.act_quant.scale().item()
    act(100 * torch.rand(8, 10))
    assert 0.04 < scale < 0.08 and act.act_quant.scale().item() == scale


def test_the_step_of_a_single_weight_is_set_by_it_in_training() -> None:
    """As of the first of three convolutions that stand for one over a grey picture."""
    quantizer = LearnedStep(Levels.weight(4), (), False, True, initial=torch.tensor([[0.01]]))
    quantizer.train()(torch.tensor([[7.0]]))
    assert quantizer.ready and quantizer.step.item() == 1.0


def _leaning(bits: int) -> LeaningStep:
    return LeaningStep(Levels.activation(bits, signed=False), power_of_two=False)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_the_first_batch_sets_an_even_zero_point_that_stays_and_is_saved(bits: int) -> None:
    x = torch.nn.functional.silu(torch.linspace(-6, 6, 4096)).reshape(4, -1)
    quantizer = _leaning(bits)
    value, step, zero_point, _ = quantizer.train()(x)
    assert zero_point % 2 == 0 and quantizer.levels.zero_point == zero_point > 0
    codes = (value / step).round() + zero_point
    assert codes.min() >= 0 and codes.max() == 2**bits - 1
    signed = Levels.activation(bits, signed=True)
    before = nearest(x, least_squares_step(x, signed, ()), signed)
    assert (value - x).square().sum() < 0.7 * (before - x).square().sum()
    assert torch.equal(quantizer(5 * x - 9)[2], zero_point)
    again = _leaning(bits)
    again.load_state_dict(quantizer.state_dict())
    assert again.levels == quantizer.levels and all(map(torch.equal, again.eval()(x), quantizer.eval()(x)))


def test_a_zero_point_changes_with_the_bits() -> None:
    wide, narrow = _leaning(8), _leaning(4)
    wide.shift(wide.levels.about(36))
    narrow.load_state_dict(wide.state_dict())
    narrow.adopt(wide)
    assert (narrow.levels.low, narrow.levels.high) == (-2, 13) and narrow(torch.zeros(1))[2] == 2


def test_values_that_are_never_negative_leave_the_zero_point_at_0() -> None:
    quantizer = _leaning(4).train()
    quantizer(torch.rand(2, 64))
    assert (quantizer.levels.low, quantizer.levels.high, int(quantizer.zero)) == (0, 15, 0)


def test_an_unsigned_quantizer_is_its_own_relu() -> None:
    """Its first step, its values and both gradients are those behind a ReLU, and it is one while it is off."""
    x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    found = []
    for fused in (True, False):
        layer = Lsq().relu(3, scale="float") if fused else super(Lsq, Lsq()).relu(3, scale="float")
        values = x.clone().requires_grad_()
        y = layer(values)
        (y * x).sum().backward()
        step = next(layer.parameters())
        set_quantized(layer, False)
        found.append((step.detach(), y, values.grad, step.grad, layer(x)))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert torch.equal(found[0][4], x.relu())
