"""Keys of a run file that have no effect: which are named, and that none is without reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from toolchain.config.run import dump_toml, find_config, load_config, parse_config, recipes
from toolchain.config.unused import without_effect

EXAMPLES = sorted((Path(__file__).resolve().parents[2] / "examples").glob("*.toml"))
_STAGES = [{"name": "a", "epochs": 1, "quantized": False}, {"name": "b", "epochs": 1}]


def _pruning(**tables: Any) -> dict[str, Any]:
    return {"stage": [_STAGES[0], _STAGES[1] | tables]}


def _line(**sections: Any) -> str | None:
    return without_effect(parse_config({"name": "t"} | sections, where="test"))


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"train": {"nesterov": True}}, 'train.nesterov (goes with optimizer = "sgd")'),
        ({"train": {"momentum": 0.5}}, 'train.momentum (goes with optimizer = "sgd")'),
        ({"train": {"warm_up": 0.5}}, 'train.warm_up (goes with schedule = "one-cycle")'),
        ({"train": {"temperature": 2.0}}, "train.temperature (goes with train.teacher)"),
        ({"train": {"teacher_weight": 1.0}}, "train.teacher_weight (goes with train.teacher)"),
        ({"train": {"epochs": 30}, "stage": _STAGES}, "train.epochs (goes with a run without [[stage]])"),
        ({"quant": {"qil": {"start": 0.0}}}, 'quant.qil (goes with quant.method = "qil")'),
        ({"quant": {"fqconv": {"act_noise": 0.1}}}, 'quant.fqconv (goes with quant.method = "fqconv")'),
        ({"quant": {"symog": {"growth": 1.0}}}, 'quant.symog (goes with quant.method = "symog" or "sgm")'),
        ({"niti": {"bias": True}}, 'niti (goes with quant.method = "niti")'),
        ({"quant": {"input_bits": 4}}, 'quant.input_bits (goes with data.normalize = "standard" and no data.input)'),
        ({"data": {"layout": "NHWC"}}, "data.layout (goes with npy: data)"),
        ({"data": {"label": "kind"}}, "data.label (goes with csv: and parquet: data)"),
        ({"stage": [_STAGES[0], _STAGES[1] | {"momentum": 0.5}]}, 'stage.1.momentum (goes with optimizer = "sgd")'),
        ({"stage": [_STAGES[0] | {"act_bits": 8}, _STAGES[1]]}, "stage.0.act_bits (goes with quantized = true)"),
        ({"train": {"whiten": True, "start_from": "runs/a"}}, "train.whiten (goes with no train.start_from)"),
        (
            {"quant": {"method": "fqconv", "fqconv": {"offset": "faded"}}},
            "quant.fqconv.offset (goes with a stage with remove_batch_norm)",
        ),
        (
            _pruning(magnitude={"params": 0.5, "granularity": "weight", "least": 8}),
            'stage.1.magnitude.least (goes with granularity = "filter")',
        ),
        (
            _pruning(transport={"params": 0.5, "granularity": "weight", "strength": 2.0, "scope": "layer"}),
            'stage.1.transport.strength (goes with granularity = "filter")',
        ),
        (
            _pruning(transport={"macs": 0.5, "strength": 2.0, "scope": "layer"}),
            'stage.1.transport.strength (goes with scope = "global" or "network")',
        ),
        (
            _pruning(qcqp={"macs": 0.5, "gamma": 0.5, "lanes": {"conv1": [1, 1]}}),
            'stage.1.qcqp.gamma (goes with granularity = "position"), '
            "stage.1.qcqp.lanes (goes with a budget of cycles, lut, dsp, bram18)",
        ),
        (
            _pruning(qcqp={"macs": 0.5, "solver": "greedy", "seconds": 5.0}),
            'stage.1.qcqp.seconds (goes with solver = "highs" or "cpsat")',
        ),
        (_pruning(nrmf={"ranks": "vbmf", "energy": 0.9}), 'stage.1.nrmf.energy (goes with ranks = "energy")'),
        (
            {
                "model": {"plain": True},
                "quant": {"method": "niti", "weight_bits": 8, "act_bits": 8, "scale": "pot"},
                "train": {"lr": 0.1},
            },
            "train.lr (goes with methods other than niti), quant.scale (goes with methods other than niti)",
        ),
    ],
)
def test_a_key_that_nothing_reads_is_named_with_what_it_goes_with(sections: dict[str, Any], named: str) -> None:
    assert _line(**sections) == f"without effect in this run: {named}"


@pytest.mark.parametrize(
    "sections",
    [
        {"train": {"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "schedule": "one-cycle", "warm_up": 0.5}},
        {"train": {"nesterov": True, "warm_up": 0.5},
         "stage": [_STAGES[0] | {"optimizer": "sgd", "momentum": 0.1, "schedule": "one-cycle"}, _STAGES[1]]},
        {"train": {"teacher": "runs/teacher", "teacher_weight": 1.0, "temperature": 2.0}},
        {"quant": {"method": "sgm", "symog": {"growth": 1.0}}},
        {"quant": {"input_bits": 4}, "data": {"normalize": "standard"}},
        {"quant": {"method": "niti", "scale": "pot"}, "train": {"float": True, "lr": 0.1}, "niti": {"bias": True}},
        {"data": {"name": "npy:digits", "layout": "NHWC"}},
        _pruning(qcqp={"params": 0.5, "granularity": "position", "gamma": 0.5, "solver": "greedy", "seconds": 5.0}),
        _pruning(qcqp={"lut": 500, "lanes": {"conv1": [1, 1]}, "seconds": 5.0}),
        _pruning(transport={"macs": 0.5, "strength": 2.0, "scope": "network", "least": 8}),
        _pruning(nrmf={"energy": 0.9}),
        {"quant": {"method": "fqconv", "fqconv": {"offset": "faded"}},
         "stage": [_STAGES[0], _STAGES[1], {"name": "c", "epochs": 1, "remove_batch_norm": True}]},
        {"train": {"teacher": "runs/teacher"}, "data": {"layout": "NHWC"}, "stage": [{**_STAGES[1], "data": "npy:x"}]},
    ],
)  # fmt: skip
def test_a_key_that_one_stage_reads_is_not_named(sections: dict[str, Any]) -> None:
    assert _line(**sections) is None


@pytest.mark.parametrize("path", [*map(find_config, recipes()), *EXAMPLES], ids=lambda path: path.stem)
def test_no_run_file_of_ours_has_a_key_without_effect_nor_has_its_resolved_one(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    (tmp_path / "run.toml").write_text(dump_toml(config), encoding="utf-8")
    assert without_effect(config) is None
    assert without_effect(load_config(tmp_path / "run.toml")) is None
