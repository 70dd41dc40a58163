"""Training of the shared network, and the accuracies of networks on its weights."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from toolchain import files
from toolchain.config.run import TrainConfig
from toolchain.errors import UserError
from toolchain.search.network import Network, drawn, largest, network_at, smallest
from toolchain.search.passes import Task
from toolchain.search.shared import SharedWeights
from toolchain.search.space import Space
from toolchain.train.batches import Batches, augmentation
from toolchain.train.checkpoints import read_whole, state_bytes
from toolchain.train.data import Dataset, input_map, load_for
from toolchain.train.module import rate_factor
from toolchain.train.optimizer import optimizer_of

log = logging.getLogger(__name__)

SHARED_FILE = "shared.pt"
_STATISTICS_IMAGES = 2000
_EVALUATION_BATCH = 500
_SPLIT_SEED = 0

Tell = Callable[[int, int, float], None]
"""Told the epoch that ended, of how many, and its loss."""


@dataclass(frozen=True)
class Images:
    """The training images of a resolution: those that networks learn from, and those that they are tested on."""

    data: Dataset
    learned: np.ndarray
    tested: np.ndarray
    normalize: str
    given: str | None

    @cached_property
    def _pixels(self) -> Any:
        return input_map(self.data, self.normalize, self.given)

    def values(self, samples: Tensor, device: torch.device) -> Tensor:
        """Return the network's input for samples as they are stored."""
        return torch.from_numpy(self._pixels.apply(samples.numpy())).to(device)

    def batches(self, train: TrainConfig, epoch: int, augment: bool | str) -> Batches:
        """Return the batches to learn from, in the order of an epoch."""
        x, y = torch.from_numpy(self.data.train_x[self.learned]), torch.from_numpy(self.data.train_y[self.learned])
        return Batches(x, y, train.batch_size, seed=train.seed, augment=augmentation(augment), epoch=lambda: epoch)

    def test(self, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches to test on."""
        for start in range(0, len(self.tested), _EVALUATION_BATCH):
            some = self.tested[start : start + _EVALUATION_BATCH]
            x = self.values(torch.from_numpy(self.data.train_x[some]), device)
            yield x, torch.from_numpy(self.data.train_y[some]).to(device)


def images_of(space: Space, size: int) -> Images:
    """The training images at a resolution, 0 for their own; the test images are for finished networks alone."""
    config = space.data.model_copy(update={"size": size}) if size else space.data
    data = load_for(config)
    if len(data.shape) != 3 or data.real:
        raise UserError(f"a space is searched on pictures, and '{data.name}' holds {data.shape}")
    if data.classes < 2:
        raise UserError(f"data set '{data.name}' has one class", hint="any network is right on it")
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(data.train_x))
    count = max(1, round(space.accuracy.valid * len(order)))
    return Images(data, np.sort(order[count:]), np.sort(order[:count]), config.normalize, config.input)


def task_of(space: Space, data: Dataset | None = None) -> Task:
    """Return the task of the networks of ``space``, as its ``data`` say: those of ``images_of``, if they are loaded."""
    data = data or images_of(space, 0).data
    channels, height, width = data.shape
    bits = max(1, data.pixel_levels.bit_length()) if space.data.normalize == "unit" else 8
    return Task(channels, (height, width), data.classes, bits)


def device_of(train: TrainConfig) -> torch.device:
    """Return the device to train on: a GPU where there is one and the space does not ask for the CPU."""
    return torch.device("cuda" if train.accelerator != "cpu" and torch.cuda.is_available() else "cpu")


class SharedTraining:
    """Trains the shared network of ``space`` in ``folder``: epochs are seeded, so that a run goes on as it began."""

    def __init__(self, space: Space, task: Task, folder: Path) -> None:
        if space.train.threads:
            torch.set_num_threads(space.train.threads)
        self.space, self.task, self.folder = space, task, folder
        self.device = device_of(space.train)
        self.images = {size: images_of(space, size) for size in (space.size or (0,))}
        torch.manual_seed(space.train.seed)
        self.shared = SharedWeights(space, task).to(self.device).train()
        self.optimizer = optimizer_of(self.shared, space.train)
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.epoch = 0
        self._load()

    @property
    def path(self) -> Path:
        """The file of the checkpoint."""
        return self.folder / SHARED_FILE

    def run(self, tell: Tell = lambda *_: None) -> SharedWeights:
        """Train what is left of the epochs; returns the weights."""
        for epoch in range(self.epoch, self.space.accuracy.epochs):
            loss = self._epoch(epoch)
            self.epoch = epoch + 1
            self._save()
            tell(self.epoch, self.space.accuracy.epochs, loss)
        return self.shared.eval()

    def _epoch(self, epoch: int) -> float:
        rng, losses = np.random.default_rng((self.space.train.seed, epoch)), []
        sizes = list(self.images)
        batches = self.images[sizes[-1]].batches(self.space.train, epoch, self.space.data.augment)
        steps = len(batches)
        for step, (samples, labels) in enumerate(batches):
            factor = rate_factor(self.space.train, (epoch + step / steps) / self.space.accuracy.epochs)
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * factor
            losses.append(self._step(samples, labels.to(self.device), rng))
        return float(np.mean(losses))

    def _step(self, samples: Tensor, labels: Tensor, rng: np.random.Generator) -> float:
        """Take a step by the sandwich rule (Yu and Huang).

        The largest network learns the labels, the smallest and random ones learn its answers.
        """
        points = [largest(self.space), smallest(self.space)]
        points += [drawn(self.space, rng) for _ in range(self.space.accuracy.between)]
        self.optimizer.zero_grad()
        answers: Tensor | None = None
        first = 0.0
        for point in points:
            network = network_at(self.space, point)
            x = self._at(samples, network.size)
            logits = self.shared.network(network, tuple(x.shape[1:]), self.task.classes)(x)
            if answers is None:
                loss = nn.functional.cross_entropy(logits, labels, label_smoothing=self.space.train.label_smoothing)
                answers, first = logits.detach().softmax(1), loss.item()
            else:
                loss = nn.functional.cross_entropy(logits, answers)
            if not torch.isfinite(loss):
                raise UserError(
                    f"the loss of the shared network is {loss.item()} in epoch {self.epoch + 1}",
                    hint="lower train.lr, and search into another folder or with --overwrite",
                )
            loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return first

    def _at(self, samples: Tensor, size: int) -> Tensor:
        """Return the network's input for samples of the largest resolution, at ``size``."""
        images = self.images[size]
        if size and samples.shape[-1] != size:
            small = nn.functional.interpolate(samples.float(), (size, size), mode="bilinear", antialias=True)
            samples = small.round().to(samples.dtype)
        return images.values(samples, self.device)

    def _save(self) -> None:
        state = {"epoch": self.epoch, "shared": self.shared.state_dict(), "optimizer": self.optimizer.state_dict()}
        files.write_bytes(self.path, state_bytes(state))

    def _load(self) -> None:
        if not self.path.is_file():
            return
        try:
            state = read_whole(self.path, self.device)
            self.shared.load_state_dict(state["shared"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.epoch = int(state["epoch"])
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self.path} is damaged", hint="remove it: the shared network is trained again") from error


@dataclass(frozen=True)
class Tester:
    """Tests networks on shared weights; sent to other processes, where it reads weights and images once."""

    space: Space
    task: Task
    folder: Path

    def __call__(self, network: Network) -> float:
        """Share of the held-back training images that ``network`` classifies rightly."""
        return self._work.top1(network)

    @property
    def _work(self) -> _Work:
        weights = self.folder / SHARED_FILE
        version = weights.stat().st_mtime_ns if weights.is_file() else 0  # another search may have taken its place
        key = (str(self.folder), self.space.model_dump_json(), version)
        if key not in _works:
            training = SharedTraining(self.space, self.task, self.folder)
            _works[key] = _Work(self.space, self.task, training.shared, training.images, training.device)
        return _works[key]


_works: dict[tuple[str, str, int], _Work] = {}


@dataclass(frozen=True)
class _Work:
    space: Space
    task: Task
    shared: SharedWeights
    images: dict[int, Images]
    device: torch.device

    def top1(self, network: Network) -> float:
        images, train = self.images[network.size], self.space.train
        model = self.shared.alone(network, self.space, images.data.shape, self.task.classes).to(self.device)
        tune = self.space.accuracy.tune
        if tune:
            self._tune(model, images, tune)
        batches = images.batches(train, 0, False)
        some = range(math.ceil(_STATISTICS_IMAGES / train.batch_size))
        update_bn((images.values(x, self.device) for _, (x, _) in zip(some, batches, strict=False)), model)
        model.eval()
        right = 0
        with torch.no_grad():
            for x, labels in images.test(self.device):
                right += int((model(x).argmax(1) == labels).sum())
        return right / len(images.tested)

    def _tune(self, model: nn.Module, images: Images, epochs: int) -> None:
        """Train a network alone from its shared weights, at a tenth of the rate."""
        train = self.space.train.model_copy(update={"lr": self.space.train.lr / 10, "schedule": "cosine"})
        optimizer, steps = optimizer_of(model, train), 0
        rates = [group["lr"] for group in optimizer.param_groups]
        model.train()
        for epoch in range(epochs):
            batches = images.batches(train, epoch, self.space.data.augment)
            for x, labels in batches:
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * rate_factor(train, steps / (epochs * len(batches)))
                loss = nn.functional.cross_entropy(model(images.values(x, self.device)), labels.to(self.device))
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                steps += 1
