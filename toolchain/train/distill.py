"""Learning from another network's outputs (Hinton et al., Distilling the Knowledge in a Neural Network)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toolchain.config.run import RunConfig
from toolchain.errors import UserError
from toolchain.train.data import Dataset, demand_same


class Teacher:
    """A trained network whose outputs a student learns; no part of what the student trains or saves.

    Args:
        model: in eval mode; takes what the student takes.
        weight: its share of the loss, in 0..1.
        temperature: what the logits of both are divided by.
    """

    def __init__(self, model: nn.Module, weight: float, temperature: float) -> None:
        self.model, self.weight, self.temperature = model.eval(), weight, temperature

    def loss(self, logits: Tensor, x: Tensor, labels: Tensor | None, smoothing: float = 0.0) -> Tensor:
        """The loss of a batch: ``weight`` of T^2 KL(teacher / T || student / T), the rest cross entropy.

        Args:
            logits: the student's (B, classes).
            x: the input (B, C, H, W) they come from.
            labels: (B,); None for images without, which are learned from the teacher alone.
            smoothing: of the labels, 0 to 1.
        """
        self.model.to(x.device)
        with torch.no_grad():
            targets = nn.functional.log_softmax(self.model(x) / self.temperature, 1)
        own = nn.functional.log_softmax(logits / self.temperature, 1)
        distance = nn.functional.kl_div(own, targets, reduction="batchmean", log_target=True) * self.temperature**2
        if labels is None:
            return distance
        return self.weight * distance + (1 - self.weight) * nn.functional.cross_entropy(
            logits, labels, label_smoothing=smoothing
        )


def check_teacher(config: RunConfig, data: Dataset, teacher: RunConfig, taught: Dataset) -> None:
    """A teacher takes the student's images and knows its classes.

    Args:
        config, data: the student's run file and data.
        teacher, taught: the teacher's.

    Raises:
        UserError: it does not.
    """
    where = f"train.teacher {config.train.teacher}"
    if (taught.shape, taught.classes) != (data.shape, data.classes):
        raise UserError(
            f"the teacher takes images of {taught.shape} and knows {taught.classes} classes, "
            f"'{data.name}' has {data.shape} and {data.classes}",
            where=where,
        )
    demand_same("the teacher's classes", taught.names, data.names, data.name, where)
    demand_same("the teacher's columns", taught.reading.features, data.reading.features, data.name, where)
    if teacher.data.normalize != config.data.normalize or taught.pixel_levels != data.pixel_levels:
        raise UserError(
            f"the teacher's pixels are '{teacher.data.normalize}' of {taught.pixel_levels} levels, "
            f"the student's '{config.data.normalize}' of {data.pixel_levels}",
            where=where,
        )
    if teacher.data.input != config.data.input:
        types = [repr(name or "none") for name in (teacher.data.input, config.data.input)]
        raise UserError(f"the teacher's data.input is {types[0]}, the student's {types[1]}", where=where)
