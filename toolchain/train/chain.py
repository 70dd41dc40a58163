"""The stages of a run file, each with its settings in place of the run's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from toolchain.config.pruning import PruningStage
from toolchain.config.run import RunConfig, StageConfig
from toolchain.train.methods import quant_method, stage_methods
from toolchain.train.methods.base import Method

_ONLY_STAGE = "train"  # name of the stage of a run file that lists none


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Args:
        name: its name in the run file.
        index: its place, from 0.
        config: the run file with the stage's own settings in place of the run's.
        own: what the run file says about it; None for a run without stages.
        first_epoch: epochs of the stages before.
        pristine: neither this stage nor one before it has a method that changes the network.
    """

    name: str
    index: int
    config: RunConfig
    own: StageConfig | None
    first_epoch: int
    pristine: bool

    def methods(self) -> list[Method]:
        """The quantizer's method and then the stage's own, new."""
        return [quant_method(self.config.quant), *(stage_methods(self.own) if self.own else [])]

    @property
    def quantized(self) -> bool:
        """Whether the quantizers are on when the stage ends."""
        train = self.config.train
        return not train.float and train.pretrain_epochs < train.epochs


def stages(config: RunConfig) -> list[Stage]:
    """The stages of a run in order."""
    if not config.stage:
        return [Stage(_ONLY_STAGE, 0, config, None, 0, True)]
    found: list[Stage] = []
    epochs, pristine = 0, True
    for index, own in enumerate(config.stage):
        train = {key: getattr(own, key) for key in ("lr", "optimizer", "momentum", "weight_decay", "schedule")}
        train |= {"epochs": own.epochs, "pretrain_epochs": 0 if own.quantized else own.epochs}
        quant = {"weight_bits": own.weight_bits, "act_bits": own.act_bits}
        settled = config.model_copy(
            update={"train": _updated(config.train, train), "quant": _updated(config.quant, quant)}
        )
        pristine = pristine and not stage_methods(own)
        found.append(Stage(own.name, index, settled, own, epochs, pristine))
        epochs += own.epochs
    return found


def untuned(config: RunConfig) -> list[str]:
    """A line for every stage that ends by removing something, when no stage behind it trains the weights that stay."""
    chain, lines = stages(config), []
    for index, stage in enumerate(chain):
        removing = [method for method in stage_methods(stage.own) if method.removes_at_end] if stage.own else []
        trained = any(later.own is not None and not later.own.freeze_weights for later in chain[index + 1 :])
        if removing and not trained:
            name = next(table for table in PruningStage.model_fields if getattr(stage.own, table) is not None)
            lines.append(
                f"stage '{stage.name}' removes a part of the network when it ends ({name}), and nothing trains the "
                "rest afterwards: add a [[stage]] behind it"
            )
    return lines


def _updated(section: Any, values: dict[str, Any]) -> Any:
    return section.model_copy(update={key: value for key, value in values.items() if value is not None})
