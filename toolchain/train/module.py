"""The Lightning module: loss, optimizer, schedule, and the switch from float to quantized training."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from brevitas.proxy.quant_proxy import QuantProxyFromInjector
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from toolchain.config.run import RunConfig, TrainConfig
from toolchain.errors import UserError
from toolchain.ir.input_types import parse_input
from toolchain.train.batches import Batches, augmentation
from toolchain.train.data import Dataset, input_map
from toolchain.train.distill import Teacher
from toolchain.train.inputs import InputMap, PixelMap
from toolchain.train.methods.base import Method, Switched
from toolchain.train.optimizer import optimizer_of

log = logging.getLogger(__name__)

_EVALUATION_BATCH = 500
_STATISTICS_IMAGES = 10_000  # whichever they are, ResNet-8 then has the same accuracy within 0.1 point
_INSIDE_LAYER = re.compile(r"_quant\b|\bparametrizations\b")
_AFTER_NAN = "the last checkpoint is kept; lower train.lr and train into another folder or with --overwrite"


class Classifier(L.LightningModule):
    """Trains ``model`` on ``data`` for one stage as ``config`` says, with the hooks of ``methods``.

    For the first ``pretrain_epochs`` the quantizers are off; ``float_top1`` is the accuracy at the end of that phase.

    Args:
        model: the network, in training mode.
        data: what it is trained and tested on.
        config: the run file with the stage's settings in place.
        methods: prepared for ``model``.
        pixels: how a sample becomes an input; by default as ``config`` says of ``data``.
        teacher: another network to learn from.
        labelled: whether the training images' labels mean anything; if not, the teacher's outputs alone are learned.
        first_epoch: epochs of the stages before; the order of the images goes on from there.
        seconds: what those stages took.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Dataset,
        config: RunConfig,
        methods: Sequence[Method] = (),
        *,
        pixels: InputMap | None = None,
        teacher: Teacher | None = None,
        labelled: bool = True,
        first_epoch: int = 0,
        seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self.model, self.config, self.first_epoch = model, config, first_epoch
        self.teacher, self.labelled = teacher, labelled
        self.methods = nn.ModuleList(methods)
        self.train_x, self.train_y = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
        self.test_x, self.test_y = torch.from_numpy(data.test_x), torch.from_numpy(data.test_y)
        self.held_x, self.held_y = self.test_x, self.test_y  # the epochs are judged by these samples
        if data.held is not None:
            self.held_x, self.held_y = (torch.from_numpy(part) for part in data.held)
        pixels = pixels or input_map(data, config.data.normalize, config.data.input)
        if not isinstance(pixels, PixelMap):  # numbers are mapped once, to values that the network reads as they are
            self.train_x, self.test_x = (torch.from_numpy(pixels.apply(x)) for x in (data.train_x, data.test_x))
            self.held_x = self.test_x if data.held is None else torch.from_numpy(pixels.apply(data.held[0]))
            pixels = PixelMap((Fraction(1),), (Fraction(0),))
        self.pixel_scale: Tensor
        self.pixel_offset: Tensor
        axes = len(data.shape)
        self.register_buffer("pixel_scale", _per_channel(pixels.scale, axes), persistent=False)
        self.register_buffer("pixel_offset", _per_channel(pixels.offset, axes), persistent=False)
        self.rounded: Tensor | None  # values of all pixels (256, channels or 1), where the host rounds them to a type
        self.register_buffer("rounded", _rounded(pixels), persistent=False)
        self.float_top1: float | None = None
        self.top1 = math.nan
        self.observed: dict[str, float] = {}
        self._begun = False  # whether an epoch has
        self._augment = augmentation(config.data.augment)
        self._seconds_before, self._started = seconds, time.monotonic()
        self._spatial = any(isinstance(layer, nn.Conv2d) for layer in model.modules())
        if self._spatial:
            set_memory_format(self.model, torch.channels_last)

    @property
    def seconds(self) -> float:
        """Wall-clock time of the run so far, the parts before a resume included."""
        return self._seconds_before + time.monotonic() - self._started

    def forward(self, pixels: Tensor) -> Tensor:
        """Logits (B, classes) of samples (B, C, ...): pixels in uint8, or numbers that are mapped already."""
        return self.model(self._values(pixels))  # type: ignore[no-any-return]

    def _values(self, pixels: Tensor) -> Tensor:
        """The network's input of samples (B, C, ...)."""
        if self.rounded is None:
            x = pixels.to(self.pixel_scale.dtype) * self.pixel_scale + self.pixel_offset
        else:
            channels = torch.arange(pixels.shape[1], device=pixels.device) if self.rounded.shape[1] > 1 else 0
            x = self.rounded[pixels.movedim(1, -1).long(), channels].movedim(-1, 1)
        return x.contiguous(memory_format=torch.channels_last) if self._spatial and x.dim() == 4 else x

    def train_dataloader(self) -> Batches:
        """Shuffled batches; the order follows from the seed and the epoch."""
        config = self.config
        return Batches(
            *self._near(self.train_x, self.train_y), config.train.batch_size, seed=config.train.seed,
            augment=self._augment, epoch=lambda: self.first_epoch + self.trainer.current_epoch,
            share=(self.trainer.global_rank, self.trainer.world_size),
        )  # fmt: skip

    def renew_batch_norms(self, device: torch.device) -> None:
        """Replace the batch norms' running statistics, in place, by those of the network as it is now.

        Args:
            device: where to compute them.
        """
        config = self.config
        epoch = self.first_epoch + config.train.epochs  # every process sees the same images, of an epoch after the last
        batches = Batches(
            self.train_x, self.train_y, config.train.batch_size, seed=config.train.seed, augment=self._augment,
            epoch=lambda: epoch,
        )  # fmt: skip
        some = islice(batches, math.ceil(_STATISTICS_IMAGES / batches.size))
        self.to(device)
        update_bn((self._values(pixels.to(device)) for pixels, _ in some), self.model)

    def val_dataloader(self) -> Batches:
        """While it is trained the images that are held back, if any; else the test images. Every process runs all."""
        if self.trainer.state.fn == TrainerFn.FITTING:
            return Batches(*self._near(self.held_x, self.held_y), _EVALUATION_BATCH)
        return Batches(*self._near(self.test_x, self.test_y), _EVALUATION_BATCH)

    def _near(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The samples and labels, on the model's GPU if they take at most half of what is free there."""
        if self.device.type != "cuda" or 2 * x.nbytes > torch.cuda.mem_get_info(self.device)[0]:
            return x, y
        return x.to(self.device), y.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Switch the quantizers on when the float phase is over; say whether the epoch's end is evaluated.

        What layers draw at random (Dropout) follows from the seed, the epoch and the process, so that a resumed run
        draws the same.
        """
        train = self.config.train
        drawn = np.random.SeedSequence((train.seed, self.first_epoch + self.current_epoch, self.global_rank))
        torch.manual_seed(int(drawn.generate_state(1)[0]))
        self.evaluate_if_due()
        self._begin(self.current_epoch)

    def on_fit_end(self) -> None:
        """A resume behind the last epoch has begun none: leave the network as in that one."""
        if not self._begun:
            self._begin(self.config.train.epochs - 1)

    def _begin(self, epoch: int) -> None:
        train, self._begun = self.config.train, True
        set_quantized(self.model, epoch >= train.pretrain_epochs)
        for method in self._methods():
            method.start_epoch(self.model, epoch, train.epochs)

    def evaluate_if_due(self) -> None:
        """Let the trainer evaluate at the end of the epoch, or not."""
        train = self.config.train
        self.trainer.check_val_every_n_epoch = 1 if evaluated(train, self.current_epoch) else train.epochs + 1

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        """Loss of one batch and the methods' penalties; stops the run when it is not finite."""
        x = self._values(batch[0])
        mixed = self.config.train.precision == "bfloat16"  # parameters, steps and evaluation stay in float32
        with torch.autocast(self.device.type, torch.bfloat16, enabled=mixed):
            logits = self.model(x)
            smoothing = self.config.train.label_smoothing
            if self.teacher is None:
                loss = nn.functional.cross_entropy(logits, batch[1], label_smoothing=smoothing)
            else:
                loss = self.teacher.loss(logits, x, batch[1] if self.labelled else None, smoothing)
        for method in self._methods():
            penalty = method.penalty(self.model)
            loss = loss if penalty is None else loss + penalty
        if not torch.isfinite(loss):
            layer = first_not_finite(self.model, x)
            raise UserError(
                f"the loss is {loss.item()} at step {self.global_step} (epoch {self.current_epoch})"
                + (f", not finite first in layer '{layer}'" if layer else ""),
                hint=_AFTER_NAN,
            )
        self.log("loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the methods change the weights: the average takes in what they leave."""
        super().optimizer_step(*args, **kwargs)
        progress = (self.global_step + 1) / max(1, int(self.trainer.estimated_stepping_batches))  # counted afterwards
        for method in self._methods():
            method.after_step(self.model, progress)

    def on_validation_start(self) -> None:
        """Stop before weights that are not finite are evaluated."""
        self._demand_finite()

    def on_train_epoch_end(self) -> None:
        """Stop before weights that are not finite become the last checkpoint; note what the methods observe."""
        self._demand_finite()
        self.observed = {name: v for method in self._methods() for name, v in method.observe(self.model).items()}
        for name, value in self.observed.items():
            self.log(name, value)

    def _demand_finite(self) -> None:
        for name, parameter in self.model.named_parameters():
            if not parameter.isfinite().all():
                raise UserError(
                    f"'{name}' is not finite after step {self.global_step} (epoch {self.current_epoch})",
                    hint=_AFTER_NAN,
                )

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        """Accuracy on the images of `val_dataloader`, logged for each epoch; nothing is selected by it."""
        with exact_products():
            correct = (self(batch[0]).argmax(1) == batch[1]).float().mean()
        self.log("top1", correct, on_epoch=True, prog_bar=True, batch_size=len(batch[1]), sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Note the accuracy, and that of the float phase."""
        if self.trainer.sanity_checking:
            return
        self.top1 = round(float(self.trainer.callback_metrics["top1"]), 6)
        if self.trainer.state.fn != TrainerFn.FITTING:  # the finished network
            return
        if self.config.train.float or self.current_epoch < self.config.train.pretrain_epochs:
            self.float_top1 = self.top1 if self.held_x is self.test_x else self.test_top1()
        log.info("epoch %d of %d: top-1 %.4f", self.current_epoch + 1, self.config.train.epochs, self.top1)

    @torch.no_grad()
    def test_top1(self) -> float:
        """Accuracy of the network as it is on the test images; leaves it in eval mode."""
        self.eval()
        batches = Batches(self.test_x, self.test_y, _EVALUATION_BATCH)
        with exact_products():
            correct = sum(int((self(x.to(self.device)).argmax(1).cpu() == y).sum()) for x, y in batches)
        return round(correct / len(self.test_y), 6)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """``optimizer_of`` the network; its rates follow ``rate_factor`` over all steps."""
        optimizer, train = optimizer_of(self, self.config.train), self.config.train
        total = max(1, int(self.trainer.estimated_stepping_batches))
        factor = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_factor(train, step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": factor, "interval": "step"}}

    def _methods(self) -> Iterator[Method]:
        for method in self.methods:
            assert isinstance(method, Method)
            yield method

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the accuracies and the time with the checkpoint."""
        kept = {"float_top1": self.float_top1, "top1": self.top1, "observed": self.observed}
        checkpoint["fpgaflow"] = {**kept, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the accuracies, the seconds and the observations of a checkpoint."""
        saved = checkpoint["fpgaflow"]
        self.float_top1, self.top1, self._seconds_before = saved["float_top1"], saved["top1"], saved["seconds"]
        self.observed = saved.get("observed", {})


@contextmanager
def exact_products() -> Iterator[None]:
    """Convolutions in float32: without it a GPU rounds what they multiply to ten bits (TF32)."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@torch.no_grad()
def first_not_finite(model: nn.Module, x: Tensor) -> str | None:
    """The first layer in the order of execution that gives a value that is no number; None if all are."""
    found: list[str] = []

    def hook(name: str) -> Any:
        def look(_: nn.Module, __: Any, output: Any) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return look

    with ExitStack() as hooks:
        for name, layer in model.named_modules():
            if name and not _INSIDE_LAYER.search(name):
                hooks.enter_context(layer.register_forward_hook(hook(name)))
        model(x)
    return found[0] if found else None


def evaluated(train: TrainConfig, epoch: int) -> bool:
    """Return whether the test images run after ``epoch``, counted from 0; at the ends of both phases they always do."""
    ended = epoch + 1
    return ended % train.evaluate_every == 0 or ended in (train.pretrain_epochs, train.epochs)


def rate_factor(train: TrainConfig, progress: float) -> float:
    """Return the learning rate over ``train.lr`` at ``progress`` of all steps, 0 to 1."""
    if train.schedule == "constant":
        return 1.0
    if train.schedule == "one-cycle":
        return min(progress / train.warm_up, (1 - progress) / (1 - train.warm_up))
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_quantized(model: nn.Module, on: bool) -> None:
    """Switch every quantizer of a model on or off."""
    for layer in model.modules():
        if isinstance(layer, QuantProxyFromInjector):
            layer.disable_quant = not on
        elif isinstance(layer, Switched):
            layer.switch(on)


def set_memory_format(model: nn.Module, memory_format: torch.memory_format) -> None:
    """Lay out the four-dimensional weights of a model in place."""
    for parameter in model.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)


def _rounded(pixels: PixelMap) -> Tensor | None:
    """The values of the pixels 0..255, (256, channels or 1), of a map that rounds."""
    if pixels.given is None:
        return None
    channels = max(len(pixels.scale), len(parse_input(pixels.given).scale))
    levels = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(channels, axis=1)
    return torch.from_numpy(pixels.apply(levels).reshape(256, channels))


def _per_channel(values: tuple[Fraction, ...], axes: int) -> Tensor:
    """Return ``values``, one a channel or one in all, shaped for batches of samples of ``axes`` axes."""
    return torch.tensor([float(v) for v in values], dtype=torch.float32).reshape(1, -1, *(1,) * (axes - 1))
