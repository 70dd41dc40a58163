"""Readers of the files that a training run leaves in its folder."""

from __future__ import annotations

import json
from pathlib import Path

from torch import nn

from toolchain.config.run import RunConfig
from toolchain.errors import UserError
from toolchain.train.chain import stages
from toolchain.train.data import Dataset, load_for
from toolchain.train.own.record import demand_unchanged
from toolchain.train.stages import rebuilt, saved_model
from toolchain.train.structure import Edit, from_json


def load_run(out: Path) -> tuple[nn.Module, RunConfig, Dataset]:
    """The trained network of a run's folder in eval mode, its config and its data.

    Raises:
        UserError: no model.pt, or one that does not fit its config.
    """
    model, _, config, data = read_run(out)
    return model, config, data


def read_run(out: Path) -> tuple[nn.Module, list[Edit], RunConfig, Dataset]:
    """`load_run`, and how the network differs from the one its run file describes."""
    saved = saved_model(out)
    if "edits" not in saved:
        kind = "a network quantized after training" if "ptq" in saved else "an integer network"
        raise UserError(f"{out} holds {kind}, which has no run to go on from", hint="export its model.onnx")
    config, edits = RunConfig.model_validate(json.loads(saved["config"])), from_json(saved["edits"])
    demand_unchanged(out)
    data = load_for(config.data)
    return rebuilt(stages(config)[-1].config, data, edits, saved["state_dict"]), edits, config, data
