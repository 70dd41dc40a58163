"""The files that a training run leaves in its folder: what reads them, and the metrics, which tell of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn

from toolchain import files
from toolchain.config.run import RunConfig
from toolchain.errors import UserError
from toolchain.train.chain import stages
from toolchain.train.checkpoints import read_whole
from toolchain.train.data import Dataset, load_for
from toolchain.train.data_record import demand_alike
from toolchain.train.own.record import demand_unchanged
from toolchain.train.stages import rebuilt
from toolchain.train.structure import Edit, from_json

METRICS_FILE = "metrics.json"
"""The last file that a run writes: what stands beside it is of as many epochs."""

MODEL_FILES = ("model.onnx", "model.pt")
"""The networks of a run, of which its metrics are: they hold the digests."""

_KINDS = {"edits", "ptq", "shifts"}  # keys of model.pt of a training, a quantization, an integer training
_RESUME = "the run has not finished; resume it"


def load_run(out: Path) -> tuple[nn.Module, RunConfig, Dataset]:
    """The trained network of a run's folder in eval mode, its config and its data.

    Raises:
        UserError: no model.pt, one that does not fit its config, or data that are others now.
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
    demand_alike(data, out)
    return rebuilt(stages(config)[-1].config, data, edits, saved["state_dict"]), edits, config, data


def saved_model(out: Path) -> dict[str, Any]:
    """Return the content of model.pt in a run's folder: tensors and text, nothing that is executed.

    Raises:
        UserError: there is none, or it is not what a run writes.
    """
    path = _of_run(out) / "model.pt"
    if not path.is_file():
        raise UserError(f"no trained model at {path}", hint=_RESUME)
    try:
        saved = read_whole(path)
    except ValueError as error:
        raise UserError(f"no run wrote {path}, or it is damaged", hint="give the folder of a run") from error
    if not isinstance(saved, dict) or not saved.keys() & _KINDS:
        raise UserError(f"no run wrote {path}", hint="give the folder of a run")
    return saved


def saved_metrics(out: Path) -> dict[str, Any]:
    """Return the content of metrics.json in a run's folder, which is the last file that a run writes.

    Raises:
        UserError: there is none, or it is not what a run writes.
    """
    path = _of_run(out) / METRICS_FILE
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"no {path}", hint=_RESUME) from error
    except ValueError as error:
        raise UserError(f"{path} is damaged", hint="remove it, and resume the run") from error
    if not isinstance(saved, dict) or not {"top1", "epochs"} <= saved.keys():
        raise UserError(f"no run wrote {path}", hint="remove it, and resume the run")
    return saved


def write_metrics(metrics: dict[str, Any], out: Path) -> None:
    """Write metrics.json into a run's folder, with the sha256 of the networks that are there."""
    made = {name: files.digest_file(out / name) for name in MODEL_FILES if (out / name).is_file()}
    files.write_text(out / METRICS_FILE, json.dumps(metrics | {"sha256": made}, indent=2) + "\n")


def _of_run(out: Path) -> Path:
    """The folder ``out``, which is there."""
    if not out.is_dir():
        raise UserError(f"no run at {out}")
    return out
