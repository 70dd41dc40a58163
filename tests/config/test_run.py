"""Run files: what is accepted, what is refused and in which words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from toolchain.config.run import RunConfig, dump_toml, find_config, load_config, parse_config, recipes
from toolchain.errors import UserError


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _error(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(_write(tmp_path, text), list(overrides))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(tmp_path), "DIR")


def test_a_misspelt_key_is_named_with_file_and_nearest_valid_key(tmp_path: Path) -> None:
    assert _error(tmp_path, "[train]\nepoch = 3") == (
        "unknown key 'train.epoch' [DIR/run.toml]; did you mean 'train.epochs'?"
    )


def test_a_misspelt_section_is_named(tmp_path: Path) -> None:
    assert _error(tmp_path, "[trian]\nepochs = 3") == "unknown key 'trian' [DIR/run.toml]; did you mean 'train'?"


def test_a_misspelt_key_of_one_layer_is_named(tmp_path: Path) -> None:
    assert _error(tmp_path, "[quant.layers.fc]\nweight_bit = 3") == (
        "unknown key 'quant.layers.fc.weight_bit' [DIR/run.toml]; did you mean 'quant.layers.fc.weight_bits'?"
    )


def test_a_key_is_near_another_by_its_own_name_not_by_that_of_their_table(tmp_path: Path) -> None:
    found = _error(tmp_path, '[[stage]]\nname = "first"\nfloat = true')
    assert found.startswith("unknown key 'stage.0.float' [DIR/run.toml]; known: act_bits, data, dst, ")


def test_a_misspelt_override_is_named_with_the_override(tmp_path: Path) -> None:
    assert _error(tmp_path, "", "train.epochz=5") == (
        "unknown key 'train.epochz' [DIR/run.toml with --set train.epochz=5]; did you mean 'train.epochs'?"
    )


def test_an_unknown_model_is_refused_before_any_data_is_loaded(tmp_path: Path) -> None:
    assert _error(tmp_path, 'name = "t"\nmodel.name = "resnet18"') == (
        "unknown model 'resnet18'; did you mean 'resnet8'? (a network of your own: FILE.py:NAME)"
    )


def test_a_value_out_of_range_is_one_line_with_key_rule_and_value(tmp_path: Path) -> None:
    assert _error(tmp_path, "[quant]\nweight_bits = 9") == (
        "bad value for 'quant.weight_bits': Input should be less than or equal to 8, got 9 [DIR/run.toml]"
    )


def test_a_value_of_the_wrong_type_is_one_line(tmp_path: Path) -> None:
    assert _error(tmp_path, "", "train.lr=fast") == (
        "bad value for 'train.lr': Input should be a valid number, unable to parse string as a number, got 'fast' "
        "[DIR/run.toml with --set train.lr=fast]"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train.devices = 0", "'train.devices': should be 1 or more, or \"auto\", got 0"),
        (
            'train.devices = "all"',
            "'train.devices': Input should be a valid integer, unable to parse string as an integer, or should be "
            "'auto', got 'all'",
        ),
        ("quant.symog.growth = 701.0", "'quant.symog.growth': Input should be less than or equal to 700, got 701.0"),
        (
            "lanes = { conv1 = [0, 1] }",
            "'stage.0.qcqp.lanes.conv1.0': Input should be greater than or equal to 1, got 0",
        ),
        ("turns = { fc = [1, -1] }", "'stage.0.qcqp.turns.fc.1': Input should be greater than or equal to 1, got -1"),
        (
            "products_per_dsp = { fc = -1 }",
            "'stage.0.qcqp.products_per_dsp.fc': Input should be greater than or equal to 0, got -1",
        ),
    ],
)
def test_a_number_with_which_nothing_can_be_computed_is_refused_where_it_is_written(
    text: str, message: str, tmp_path: Path
) -> None:
    stage = "" if "." in text.partition(" ")[0] else '[[stage]]\nname = "s"\nepochs = 1\n[stage.qcqp]\nmacs = 0.5\n'
    assert _error(tmp_path, stage + text) == f"bad value for {message} [DIR/run.toml]"


def test_an_input_type_is_checked_where_it_is_written(tmp_path: Path) -> None:
    assert load_config(_write(tmp_path, '[data]\ninput = "int8:0.05"\n')).data.input == "int8:0.05"
    message = _error(tmp_path, '[data]\ninput = "int8:x"\n')
    assert message.startswith("bad value for 'data.input': 'int8:x' is no input type; write TYPE")
    niti = '[data]\ninput = "int8"\n[quant]\nmethod = "niti"\nact_bits = 8\nweight_bits = 8\n[model]\nplain = true\n'
    assert _error(tmp_path, niti).startswith('data.input does not fit quant.method = "niti"')


def test_an_override_without_a_value_is_refused(tmp_path: Path) -> None:
    assert _error(tmp_path, "", "train.epochs") == (
        "--set train.epochs: expected KEY=VALUE; for example --set train.epochs=5"
    )


def test_broken_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    message = _error(tmp_path, "name = \nepochs = 1")
    assert message.startswith("not valid TOML: ") and "line 1" in message and message.endswith("[DIR/run.toml]")


def test_a_float_phase_that_leaves_no_quantized_epoch_is_refused(tmp_path: Path) -> None:
    message = _error(tmp_path, "[train]\nepochs = 3\npretrain_epochs = 3")
    assert message == "train.pretrain_epochs = 3 leaves no quantized epoch of train.epochs = 3 [DIR/run.toml]"


def test_overrides_replace_values_and_keep_their_toml_type(tmp_path: Path) -> None:
    overrides = ["train.epochs=5", "train.float=true", "data.name=npy:here", "quant.layers.fc.weight_bits=8"]
    config = load_config(_write(tmp_path, "[train]\nepochs = 3\n"), overrides)
    assert (config.train.epochs, config.train.float, config.data.name) == (5, True, "npy:here")
    assert config.quant.layers["fc"].weight_bits == 8


def test_the_resolved_file_reads_back_to_an_equal_config(tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "name": 'a "quoted" näme\\',
            "data": {"name": "npy:C:\\x", "augment": True},
            "quant": {"layers": {"stage1_1.conv1": {"weight_bits": 2}, "fc": {"act_bits": 3}}},
            "train": {"lr": 1e-9, "devices": "auto"},
        }
    )
    assert load_config(_write(tmp_path, dump_toml(config))) == config


@pytest.mark.parametrize(
    "options",
    [
        {"größe": 3, "dot.ted": {"straße": "ß"}},
        {"mixed": [1, {"kernel": 3, "at.first": True}, [{"x": 0.5}], []]},
        {"tables": [{"kernel": 3}, {"inner": [{"a": 1}]}]},
        {"ends": [math.inf, -math.inf]},
    ],
)
def test_options_of_an_own_network_read_back(options: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "net.py").touch()
    table = {"name": "t", "model": {"name": "net.py:Net", "options": options}}
    config = parse_config(table, where="test", base=tmp_path)
    (tmp_path / "run.toml").write_text(dump_toml(config), encoding="utf-8")
    assert load_config(tmp_path / "run.toml") == config


@pytest.mark.parametrize("recipe", recipes())
def test_every_recipe_is_found_by_name_and_valid(recipe: str) -> None:
    assert load_config(find_config(recipe)).name == recipe


def test_a_path_wins_over_a_recipe_and_a_wrong_recipe_gets_a_suggestion(tmp_path: Path) -> None:
    path = _write(tmp_path, "")
    assert find_config(str(path)) == path
    with pytest.raises(UserError, match=r"unknown recipe 'digit'; did you mean 'digits'\?"):
        find_config("digit")
    with pytest.raises(UserError, match=r"no such run file: missing.toml; or give a recipe: digits"):
        find_config("missing.toml")
