"""QIL's intervals: what they compute, what they learn, and that they do nothing while the quantizers are off."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from toolchain.config.run import QilConfig, RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.train.methods.qil import ActTransform, Interval, WeightTransform, _Transform
from toolchain.train.models import build, layers_of
from toolchain.train.module import set_quantized
from toolchain.train.quantizers import LearnedStep, Levels, normal_step


def _weights(low: float, width: float, bits: int = 3, **config: str) -> tuple[WeightTransform, Interval]:
    interval = Interval(Levels.weight(bits), (), True, QilConfig.model_validate(config)).eval()
    nn.init.constant_(interval.low, low)
    nn.init.constant_(interval.width, width)
    return WeightTransform(interval), interval


def _codes(low: float, width: float, w: Tensor, bits: int = 3) -> Tensor:
    transform, interval = _weights(low, width, bits)
    value, scale, *_ = interval(transform(w))
    return (value / scale).round().detach()


def _config(**quant: object) -> RunConfig:
    return parse_config({"name": "t", "model": {"name": "cnn"}, "quant": {"method": "qil", **quant}}, where="test")


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_an_interval_that_starts_at_zero_is_lsq(bits: int) -> None:
    """With c = d and gamma = 1 the values, the weights' gradients and the scale's are those of LSQ."""
    torch.manual_seed(0)
    levels, w = Levels.weight(bits), torch.randn(500)
    lsq = LearnedStep(levels, (), False, True).eval()
    nn.init.constant_(lsq.step, 0.3)
    transform, interval = _weights(0.0, 0.3 * levels.high, bits)
    grads = []
    upstream = torch.randn(500)
    for quantizer, function in ((lsq, lambda x: x), (interval, transform)):
        x = w.clone().requires_grad_()
        value = quantizer(function(x))[0]
        value.backward(upstream)
        grads.append((value.detach(), x.grad))
    assert torch.allclose(grads[0][0], grads[1][0], rtol=1e-6)
    assert torch.allclose(grads[0][1], grads[1][1], atol=1e-6)
    assert lsq.step.grad is not None and interval.width.grad is not None
    assert interval.width.grad.item() * levels.high == pytest.approx(lsq.step.grad.item(), rel=1e-4)


@pytest.mark.parametrize("gamma", [None, 0.7, 1.6])
def test_the_transformers_gradients_are_those_of_its_formula(gamma: float | None) -> None:
    magnitudes = torch.tensor([0.05, 0.31, 0.42, 0.77, 0.98, 1.4, 2.0], dtype=torch.float64)
    w = torch.cat([magnitudes, -magnitudes]).requires_grad_()
    low, width = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.2, 0.9))
    exponent = None if gamma is None else torch.tensor(gamma, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: _Transform.apply(*a, exponent), (w, low, width))  # type: ignore[no-untyped-call]
    if exponent is not None:
        base, g = (torch.ones(1, dtype=torch.float64) * 0.65), exponent.detach().requires_grad_()
        assert torch.autograd.gradcheck(lambda e: _Transform.apply(base, low.detach(), width.detach(), e), (g,))  # type: ignore[no-untyped-call]


def test_intervals_begin_with_a_dead_zone_and_fewer_bits_widen_it_and_move_the_upper_end_as_the_best_step() -> None:
    eight, two = (Interval(Levels.weight(bits), (), True, QilConfig()) for bits in (8, 2))
    with torch.no_grad():
        eight.set_step(torch.tensor(0.01))
    assert eight.low.item() == pytest.approx(0.003) and (eight.low + eight.width).item() == pytest.approx(1.27)
    two.load_state_dict(eight.state_dict())
    two.adopt(eight)
    high = 0.01 * normal_step(Levels.weight(2)) / normal_step(Levels.weight(8))
    assert two.low.item() == pytest.approx(0.3 * high) and (two.low + two.width).item() == pytest.approx(high)


def test_codes_are_odd_and_monotone_and_zero_below_the_interval() -> None:
    """gamma = 1: the code is 0 exactly below (c - d) + d / q, d half the width."""
    w, low, width, high = torch.linspace(-2, 2, 4001), 0.3, 0.8, 3
    codes = _codes(low, width, w)
    assert torch.equal(codes, -codes.flip(0)) and (codes.diff() >= 0).all()
    edge = low + width / 2 / high
    clear = (w.abs() - edge).abs() > 1e-4
    assert torch.equal((codes == 0)[clear], (w.abs() < edge)[clear])
    assert codes.unique().tolist() == list(range(-high, high + 1))


def test_the_share_of_zeros_is_that_of_a_normal_distribution_in_the_dead_zone() -> None:
    torch.manual_seed(0)
    found = (_codes(0.5, 1.2, torch.randn(200_000), bits=2) == 0).float().mean().item()
    assert found == pytest.approx(math.erf((0.5 + 0.6) / math.sqrt(2)), abs=3e-3)


def test_activations_below_the_interval_are_zero_and_its_end_is_the_largest_code() -> None:
    interval = Interval(Levels.activation(2, signed=False), (), False, QilConfig()).eval()
    nn.init.constant_(interval.low, 1.0)
    nn.init.constant_(interval.width, 3.0)
    act = ActTransform()
    act.serve(interval)
    value, scale, *_ = interval(act(torch.tensor([-5.0, 0.9, 1.4, 2.1, 3.9, 9.0])))
    assert (value / scale).round().tolist() == [0, 0, 0, 1, 3, 3] and scale.item() == pytest.approx(4 / 3)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("added", [False, True])
def test_transformer_and_quantizer_in_one_pass_give_the_values_of_the_two(precision: torch.dtype, added: bool) -> None:
    """And their gradients, but for the order of sums in those of the interval and, in bfloat16, for their rounding."""
    x = (2 * torch.randn(64, 8, generator=torch.Generator().manual_seed(0))).to(precision)
    found = []
    for once in (False, True):
        layer = layers_of(_config()).relu("act", added=added).train()
        pair = layer.act_quant.fused_activation_quant_proxy  # type: ignore[union-attr]
        layer(x)  # starts the interval
        with torch.no_grad():
            pair.tensor_quant.low.fill_(-0.3)  # type: ignore[union-attr,operator]
        leaf = x.clone().requires_grad_()
        given = leaf.float() if added else leaf
        y = layer(leaf) if once else pair.tensor_quant(pair.activation_impl(given))[0]  # type: ignore[union-attr,operator]
        y.square().sum().backward()
        assert leaf.grad is not None
        found.append((y, leaf.grad, torch.stack([end.grad for end in pair.tensor_quant.parameters()])))  # type: ignore[union-attr]
    (y, to_x, to_ends), (same_y, same_to_x, same_to_ends) = found
    assert torch.equal(y, same_y) and y.dtype == (torch.float32 if added else precision)
    assert torch.equal(to_x, same_to_x)
    assert torch.allclose(to_ends, same_to_ends, rtol=1e-5 if added or precision == torch.float32 else 2**-6)


def test_the_dead_zone_grows_where_small_weights_are_noise() -> None:
    """Half the weights are small and should be zero: the interval learns to begin above them."""
    torch.manual_seed(0)
    target = torch.cat([torch.zeros(200), torch.ones(200)])
    w = torch.cat([0.45 * torch.ones(200), torch.ones(200)]) + 0.02 * torch.randn(400)
    transform, interval = _weights(0.0, 1.0, bits=3)
    optimizer = torch.optim.SGD([interval.low, interval.width], lr=1.0)
    for _ in range(200):
        optimizer.zero_grad()
        (interval(transform(w))[0] - target).square().mean().backward()
        optimizer.step()
    assert interval.low.abs().item() > 0.1 and (interval(transform(w))[0][:200] == 0).float().mean() > 0.95


def test_the_papers_gradient_scale_is_a_rate_of_one_hundredth() -> None:
    interval = Interval(Levels.weight(2), (), True, QilConfig(gradient="paper"))
    assert interval.rate("sgd") == interval.rate("adam") == 0.01
    assert Interval(Levels.weight(2), (), True, QilConfig()).rate("sgd") == 1.0


def test_weights_keep_their_names_while_the_quantizers_are_off_and_intervals_start_when_they_go_on() -> None:
    network = build(_config(), (1, 8, 8), 10).train()
    names = list(network.state_dict())
    set_quantized(network, False)
    network(torch.rand(4, 1, 8, 8))
    interval = network.conv1.weight_quant.tensor_quant  # type: ignore[union-attr]
    assert list(network.state_dict()) == names and not interval.ready
    assert torch.equal(network.conv1.weight, network.conv1.parametrizations.weight.original)  # type: ignore[union-attr,arg-type]
    set_quantized(network, True)
    network(torch.rand(4, 1, 8, 8))
    assert interval.ready


@pytest.mark.parametrize(
    ("quant", "message"),
    [
        ({"weight_bits": 1}, "quant.method = 'qil' needs 2 weight bits or more [layer conv1]"),
        (
            {"scale": "pot"},
            "quant.method = 'qil' learns its scales freely; set quant.scale = 'float' [layer conv1]",
        ),
    ],
)
def test_a_layer_that_it_cannot_take_is_named(quant: dict[str, object], message: str) -> None:
    with pytest.raises(UserError) as caught:
        build(_config(**quant), (1, 8, 8), 10)
    assert str(caught.value) == message
