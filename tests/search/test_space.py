"""Space files: what they may say, and the networks they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.search.spaces import space
from toolchain.config.run import parse_config
from toolchain.config.toml import to_toml
from toolchain.errors import UserError
from toolchain.search.network import canonical, drawn, every_point, largest, neighbours, network_at
from toolchain.search.space import load_space


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": {"weights": [4, 5]}}, r"bad value for 'bits.weights': should be of 2, 3, 4, 6, 8, got \[4, 5\]"),
        ({"stem": [16, 8]}, r"bad value for 'stem': should rise, each once, got \[16, 8\]"),
        ({"stem": []}, r"bad value for 'stem': "),
        ({"stage": [{"kind": "dense", "channels": [8]}]}, r"bad value for 'stage.0.kind': Input should be 'inverted'"),
        ({"stage": [{"kind": "residual", "channels": [8], "expansion": [2]}]}, r"stage.0.expansion of a residual"),
        ({"stage": [{"kind": "inverted", "channels": [8], "kernel": [5, 3]}]}, r"bad value for 'stage.0.kernel'"),
        ({"stage": [{"kind": "inverted", "chanels": [8]}]}, r"unknown key 'stage.0.chanels' \[test\]; did you mean"),
        (
            {"accuracy": {"networks": 13, "held_out": 8, "rounds": 3}},
            r"accuracy.networks = 13 are too few for accuracy.held_out = 8 and accuracy.rounds = 3 \[test\]; "
            r"give 14 or more: the predictor learns from 2 more in each round$",
        ),
        (
            {"size": [8], "data": {"size": 8}},
            r"data.size does not go with the resolutions of size \[test\]; leave one out",
        ),
        ({"architecture": ["systolic"]}, r"bad value for 'architecture.0': Input should be 'engine' or 'streaming'"),
        ({"bits": {"activations": [4, 8]}}, r"bits.activations of 4 on the engine: their quantizers are thresholds"),
        ({"search": {"seed": 2**32}}, r"bad value for 'search.seed': Input should be less than 4294967296"),
        ({"head": [-8, 16]}, r"bad value for 'head': should be 0 or more, got \[-8, 16\]"),
        ({"architecture": ["engine", "engine"]}, r"bad value for 'architecture': should hold each once, got "),
        (
            {"stage": [{"kind": "inverted", "channels": [8], "expansion": [1, 9]}]},
            r"bad value for 'stage.0.expansion': should be 1 to 8, got \[1, 9\]",
        ),
        ({"train": {"start_from": "runs/a"}}, r"train.start_from of a space of networks \[test\]; leave it out"),
        ({"train": {"epochs": 2, "pretrain_epochs": 2}}, r"train.pretrain_epochs = 2 leaves no quantized epoch of"),
        ({"train": {"float": True}}, r"train.float of a space of bits \[test\]"),
    ],
)
def test_what_a_space_cannot_say(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match="^" + message):
        space(**changes)


def test_a_file_that_is_no_space(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^cannot read the space file .*none.toml; No such file or directory$"):
        load_space(tmp_path / "none.toml")
    (tmp_path / "a.toml").write_text("stem = [")
    with pytest.raises(UserError, match=r"^not valid TOML: "):
        load_space(tmp_path / "a.toml")


def test_a_space_file_reads_back_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(to_toml(space().model_dump(exclude_none=True)))
    assert load_space(path) == space()


def test_points_that_differ_in_what_has_no_effect_are_one_network() -> None:
    point = {**largest(space()), "stage1.depth": 1, "stage1.2.kernel": 3}
    other = {**point, "stage1.2.kernel": 5, "bits.stage1.2.conv": 2}
    assert network_at(space(), point).key == network_at(space(), other).key
    assert canonical(space(), point) == canonical(space(), other)
    assert network_at(space(), canonical(space(), point)) == network_at(space(), point)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn_one = drawn(space(), rng)
        assert network_at(space(), canonical(space(), drawn_one)).key == network_at(space(), drawn_one).key


def test_a_network_is_a_run_file_of_its_bits() -> None:
    point = {**largest(space()), "bits.stage1.1.project": 2, "bits.fc": 4}
    config = network_at(space(), point).run(space(), "net")
    assert config.quant.weight_bits == 2 and config.quant.act_bits == config.quant.residual_bits == 8
    assert "block1.project" not in config.quant.layers
    assert config.quant.layers["fc"].weight_bits == 4 and config.quant.layers["conv1"].weight_bits == 8
    assert parse_config(config.model_dump(exclude_none=True), where="test") == config


def test_neighbours_are_one_step_of_one_axis_away() -> None:
    axes = space().axes
    for other in neighbours(space(), largest(space())):
        (changed,) = [name for name in axes if other[name] != largest(space())[name]]
        assert other[changed] == axes[changed][-2]


def test_every_point_is_counted() -> None:
    few = space(stage=[{"kind": "residual", "channels": [8, 16]}], bits={"weights": [4]})
    assert len(list(every_point(few))) == few.count == 8
