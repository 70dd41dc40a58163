"""The progress of a training in lines, for logs and pipes."""

from __future__ import annotations

import time
from typing import Any, TextIO

import lightning as L
from lightning.pytorch.callbacks import Callback


class EpochLines(Callback):
    """Writes a line to ``stream`` at the end of every epoch: the loss, the accuracy, the seconds it took."""

    def __init__(self, stage: str, stream: TextIO) -> None:
        self.stage, self.stream, self._began = stage, stream, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Note the time."""
        self._began = time.monotonic()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Write the line."""
        if not trainer.is_global_zero:
            return
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        parts = [f"{self.stage} {trainer.current_epoch + 1}/{trainer.max_epochs}"]
        parts += [f"loss {found['loss']:.4f}"] if "loss" in found else []
        judged = "held back" if pl_module.config.data.validation else "test"
        parts += [f"{judged} {100 * found['top1']:.2f} %"] if "top1" in found else []
        self.stream.write(", ".join([*parts, f"{time.monotonic() - self._began:.1f} s"]) + "\n")
        self.stream.flush()
