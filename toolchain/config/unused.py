"""Keys of a run file that nothing in its run reads."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce

from toolchain.config.pruning import FOLDED, PruningStage
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
        found += [f"stage.{at}.{name}" for name in _idle_pruning(stage)]
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
        "no train.start_from": (train.start_from is None, ("train.whiten",)),
        "a run without [[stage]]": (not config.stage, ("train.epochs",)),
        'quant.method = "qil"': (quant.method == "qil", ("quant.qil",)),
        'quant.method = "fqconv"': (quant.method == "fqconv", ("quant.fqconv",)),
        "a stage with remove_batch_norm": (
            quant.method != "fqconv" or any(stage.remove_batch_norm for stage in config.stage),
            ("quant.fqconv.offset",),
        ),
        'quant.method = "symog" or "sgm"': (quant.method in ("symog", "sgm"), ("quant.symog",)),
        'quant.method = "niti"': (quant.method == "niti", ("niti",)),
        _NITI: (not integer, tuple(f"train.{key}" for key in descent) + tuple(f"quant.{key}" for key in places)),
        'data.normalize = "standard" and no data.input': (real, ("quant.input_bits",)),
        "npy: data": ("npy" in kinds, ("data.layout",)),
        "csv: and parquet: data": (bool(kinds & {"csv", "parquet"}), ("data.label",)),
    }
    return {partner: keys for partner, (there, keys) in rules.items() if not there}


def _idle_pruning(stage: PruningStage) -> Iterator[str]:
    """The keys of a stage's table that are not as by default and that nothing reads, each with what it goes with."""

    def has(table: str, key: str, *values: str) -> bool:
        return getattr(getattr(stage, table), key, None) in values

    filters = 'granularity = "filter"'
    folded = any(getattr(stage.qcqp, kind, None) is not None for kind in FOLDED)
    shared = has("transport", "granularity", "filter") and has("transport", "scope", "layer")
    timed = has("qcqp", "solver", "highs", "cpsat") or has("qcqp", "granularity", "position")
    rules: list[tuple[str, str, bool, tuple[str, ...]]] = [
        ("magnitude", filters, has("magnitude", "granularity", "filter"), ("least",)),
        ("transport", filters, has("transport", "granularity", "filter"), ("least", "strength")),
        ("transport", 'scope = "global" or "network"', not shared, ("strength",)),
        ("qcqp", 'granularity = "position"', has("qcqp", "granularity", "position"), ("gamma",)),
        ("qcqp", f"a budget of {', '.join(FOLDED)}", folded, ("lanes", "turns", "products_per_dsp")),
        ("qcqp", 'solver = "highs" or "cpsat"', timed, ("seconds",)),
        ("nrmf", 'ranks = "energy"', has("nrmf", "ranks", "energy"), ("energy",)),
    ]
    for name, partner, there, keys in rules:
        table = getattr(stage, name)
        if table is None or there:
            continue
        for key in keys:
            if getattr(table, key) != type(table).model_fields[key].get_default(call_default_factory=True):
                yield f"{name}.{key} (goes with {partner})"


def _value(config: RunConfig, key: str) -> object:
    return reduce(getattr, key.split("."), config)  # type: ignore[arg-type] # a table at every step but the last
