"""Networks of blocks: one definition for float and quantized, and what their run files may say."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from toolchain.config.run import RunConfig, dump_toml, parse_config
from toolchain.errors import UserError
from toolchain.train.models import build
from toolchain.train.module import set_quantized
from toolchain.train.statistics import macs, weighted_layers

BLOCKS = [
    {"kind": "inverted", "channels": 8, "expansion": 2, "kernel": 5},
    {"kind": "inverted", "channels": 8, "expansion": 3},
    {"kind": "residual", "channels": 12, "stride": 2},
    {"kind": "residual", "channels": 12, "kernel": 5},
]


def _config(head: int = 16, **sections: Any) -> RunConfig:
    blocks = {"stem": 8, "head": head, "block": BLOCKS}
    return parse_config({"name": "t", "model": {"name": "blocks", "blocks": blocks}, **sections}, where="test")


@pytest.mark.parametrize("head", [0, 16])
def test_the_float_network_is_the_quantized_one_with_its_quantizers_off(head: int) -> None:
    quantized = build(_config(head), (1, 9, 7), 10)
    plain = build(_config(head, train={"float": True}), (1, 9, 7), 10)
    plain.load_state_dict({name: v for name, v in quantized.state_dict().items() if "tensor_quant" not in name})
    set_quantized(quantized, False)
    x = torch.rand(2, 1, 9, 7)
    with torch.no_grad():
        assert torch.equal(quantized.eval()(x), plain.eval()(x))


def test_the_sizes_are_those_of_the_blocks() -> None:
    network = build(_config(), (1, 8, 8), 10).eval()
    inner = 16 * 25 + 8 * 16 * 2, 24 * 9 + 8 * 24 * 2  # of the inverted ones, a position
    last = 9 * 8 * 12 + 9 * 12 * 12 + 8 * 12 + 2 * 25 * 12 * 12 + 12 * 16
    assert macs(network, (1, 8, 8)) == 64 * (9 * 8 + sum(inner)) + 16 * last + 160
    assert len(list(weighted_layers(network))) == 1 + 3 + 3 + 3 + 2 + 1 + 1


def test_a_run_file_of_blocks_reads_back_to_itself() -> None:
    import tomllib

    config = _config(quant={"layers": {"block1.expand.conv": {"weight_bits": 2}}})
    assert parse_config(tomllib.loads(dump_toml(config)), where="test") == config


def test_what_does_not_belong_together_is_refused() -> None:
    for model in ({"name": "blocks"}, {"name": "cnn", "blocks": {"stem": 8, "block": BLOCKS}}):
        with pytest.raises(UserError, match=r"\[model.blocks\]"):
            parse_config({"name": "t", "model": model}, where="test")
    with pytest.raises(UserError, match=r"^model.width with \[model.blocks\] \[test\]; write the channels themselves$"):
        model = {"name": "blocks", "width": 2.0, "blocks": {"stem": 8, "block": BLOCKS}}
        parse_config({"name": "t", "model": model}, where="test")
    with pytest.raises(UserError, match=r"^unknown key 'model.blocks.block.0.kernal' \[test\]; did you mean"):
        model = {"name": "blocks", "blocks": {"stem": 8, "block": [{"kind": "inverted", "channels": 8, "kernal": 3}]}}
        parse_config({"name": "t", "model": model}, where="test")
