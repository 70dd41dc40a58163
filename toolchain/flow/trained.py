"""metrics.json of a run, beside its QONNX file: what a report tells of the training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field

from toolchain.flow.records import ModelRecord
from toolchain.report.data import Count, Share, Training


class Metrics(Training):
    """The keys of metrics.json that a report tells; the others are passed over.

    ``float_top1`` is of ``test_images`` images, see `toolchain.report.data.Accuracy`.
    """

    model_config = ConfigDict(extra="ignore")

    float_top1: Share | None
    test_images: Count | None = None
    sha256: Mapping[str, str] = Field(default_factory=dict)

    @property
    def training(self) -> Training:
        """What is told beside the accuracy."""
        return Training(**self.model_dump(include=set(Training.model_fields)))


def trained(model: ModelRecord) -> Metrics | None:
    """The metrics of the run that made the file of ``model``.

    None where another file has taken its place, or that of theirs, and where they are missing or no run's.
    """
    if not model.unchanged:
        return None
    path = Path(model.file)
    try:
        found = Metrics.model_validate(json.loads(path.with_name("metrics.json").read_bytes()))
    except (OSError, ValueError):  # pydantic's error is a ValueError
        return None
    return found if found.sha256.get(path.name, model.sha256) == model.sha256 else None
