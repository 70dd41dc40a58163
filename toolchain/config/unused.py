"""Keys of a run file that nothing in its run reads."""

from __future__ import annotations

from functools import reduce

from toolchain.config.run import RunConfig

_SGD = 'optimizer = "sgd"'
_NITI = "methods other than niti"


def without_effect(config: RunConfig) -> str | None:
    """One line with the keys that are not as by default and have no effect, each with what it goes with; None for none.

    Keys at their defaults are not named: a resolved run file holds all of them.
    """
    usual = RunConfig(name=config.name)
    found = [
        f"{key} (goes with {partner})"
        for partner, keys in _idle(config).items()
        for key in keys
        if _value(config, key) != _value(usual, key)
    ]
    for at, stage in enumerate(config.stage):
        if stage.momentum is not None and (stage.optimizer or config.train.optimizer) != "sgd":
            found.append(f"stage.{at}.momentum (goes with {_SGD})")
        bits = () if stage.quantized else ("weight_bits", "act_bits")
        found += [f"stage.{at}.{key} (goes with quantized = true)" for key in bits if getattr(stage, key) is not None]
    return f"without effect in this run: {', '.join(found)}" if found else None


def _idle(config: RunConfig) -> dict[str, tuple[str, ...]]:
    """The keys that nothing reads, by what they go with and is not there."""
    train, quant, data = config.train, config.quant, config.data
    kinds = {name.partition(":")[0] for name in (data.name, *(stage.data or "" for stage in config.stage))}
    integer = quant.method == "niti" and not train.float
    optimizers = {stage.optimizer or train.optimizer for stage in config.stage} or {train.optimizer}
    schedules = {stage.schedule or train.schedule for stage in config.stage} or {train.schedule}
    real = data.normalize == "standard" and data.input is None
    places = ("scale", "weight_granularity", "first_weight_bits", "last_weight_bits", "residual_bits", "layers")
    descent = ("lr", "optimizer", "weight_decay", "schedule", "label_smoothing")
    rules: dict[str, tuple[bool, tuple[str, ...]]] = {
        _SGD: ("sgd" in optimizers, ("train.momentum", "train.nesterov")),
        'schedule = "one-cycle"': ("one-cycle" in schedules, ("train.warm_up",)),
        "train.teacher": (train.teacher is not None, ("train.teacher_weight", "train.temperature")),
        "a run without [[stage]]": (not config.stage, ("train.epochs",)),
        'quant.method = "qil"': (quant.method == "qil", ("quant.qil",)),
        'quant.method = "fqconv"': (quant.method == "fqconv", ("quant.fqconv",)),
        'quant.method = "symog" or "sgm"': (quant.method in ("symog", "sgm"), ("quant.symog",)),
        'quant.method = "niti"': (quant.method == "niti", ("niti",)),
        _NITI: (not integer, tuple(f"train.{key}" for key in descent) + tuple(f"quant.{key}" for key in places)),
        'data.normalize = "standard" and no data.input': (real, ("quant.input_bits",)),
        "npy: data": ("npy" in kinds, ("data.layout",)),
        "csv: and parquet: data": (bool(kinds & {"csv", "parquet"}), ("data.label",)),
    }
    return {partner: keys for partner, (there, keys) in rules.items() if not there}


def _value(config: RunConfig, key: str) -> object:
    return reduce(getattr, key.split("."), config)  # type: ignore[arg-type] # a table at every step but the last
