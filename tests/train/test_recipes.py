"""Every method has a recipe that runs on digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from toolchain.config.run import RunConfig, find_config, load_config, recipes
from toolchain.flow import training
from toolchain.flow.training import train
from toolchain.train.data import load

DIGITS = [name for name in recipes() if name.startswith("digits-")]
METHODS = (
    "qil", "fqconv", "symog", "sgm", "niti", "magnitude", "slimming", "transport", "hfp", "qcqp", "nrmf", "dst"
)  # fmt: skip
OBSERVED = {
    "symog": "symog_distance", "sgm": "symog_distance", "transport": "transport_softness", "hfp": "hfp_macs_used",
    "nrmf": "nrmf_rank_conv2_in", "dst": "dst_kept",
}  # fmt: skip


def _short(config: RunConfig) -> RunConfig:
    """One epoch a stage."""
    stages = [stage.model_copy(update={"epochs": 1}) for stage in config.stage]
    update: dict[str, Any] = {"epochs": 1, "accelerator": "cpu"}
    return config.model_copy(update={"stage": tuple(stages), "train": config.train.model_copy(update=update)})


def test_every_method_has_a_recipe() -> None:
    assert sorted(DIGITS) == sorted(f"digits-{method}" for method in METHODS)


@pytest.mark.parametrize("method", METHODS)
def test_a_methods_recipe_runs_and_says_what_it_observes(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch a stage and the first 400 images; only the budget's method is exported, through the gate."""
    if method != "nrmf":
        monkeypatch.setattr(training, "_export", lambda *_: 0.0)
    data = load("digits")
    few = data.__class__(**{**data.__dict__, "train_x": data.train_x[:400], "train_y": data.train_y[:400]})
    out = train(_short(load_config(find_config(f"digits-{method}"))), tmp_path / "run", data=few, qonnx_images=8)
    metrics = json.loads((out / "metrics.json").read_text())
    assert method in metrics["methods"] and metrics["warnings"] == []
    seen = {name for stage in metrics["stages"] for name in stage.get("observed", {})}
    assert OBSERVED.get(method) in {None, *seen}


@pytest.mark.parametrize("model", ["resnet8", "resnet20"])
def test_a_float_parent_has_the_recipe_of_its_benchmarks(model: str) -> None:
    train_config = load_config(find_config(f"float-{model}")).train
    assert train_config.float and train_config.schedule == "one-cycle" and train_config.nesterov
