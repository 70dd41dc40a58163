"""How a run goes on: what an interrupted one is told, and which run may go on from what another has left."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from toolchain.config.run import RunConfig
from toolchain.errors import UserError
from toolchain.files import digest_file
from toolchain.train.chain import stages
from toolchain.train.runs import METRICS_FILE, MODEL_FILES, saved_metrics


@contextmanager
def resumable(out: Path) -> Iterator[None]:
    """Add to an interrupt of the block how the run in ``out`` goes on."""
    try:
        yield
    except KeyboardInterrupt:
        command = shlex.join(["fpgaflow", "train", str(out / "run.toml"), "--out", str(out), "--resume"])
        raise KeyboardInterrupt(f"go on with: {command}") from None


def demand_resumable(before: RunConfig, now: RunConfig, out: Path) -> None:
    """Raise UserError unless ``now`` is the run ``before`` in the folder ``out``, or has more epochs in its last stage.

    The learning rate's schedule then runs over the epochs that there are now, from the one it goes on at.
    """
    longer = f"stage.{len(now.stage) - 1}.epochs" if now.stage else "train.epochs"
    for key, old, new in differences(before.model_dump(), now.model_dump()):
        if key == longer and isinstance(old, int) and isinstance(new, int) and new > old:
            continue
        more = " or more" if key == longer else ""
        raise UserError(
            f"{key} is {_text(new)}, and the run in {out} has {_text(old)}",
            hint=f"resume with {_text(old)}{more}, or train into another --out",
        )


def is_finished(config: RunConfig, out: Path) -> bool:
    """Whether ``out`` holds all files of the run ``config`` as it wrote them, trained for all of its epochs."""
    models = MODEL_FILES[1:] if config.train.float else MODEL_FILES
    if not all((out / name).is_file() for name in (*models, METRICS_FILE)):
        return False
    metrics = saved_metrics(out)
    if any(digest_file(out / name) != digest for name, digest in metrics.get("sha256", {}).items()):
        return False
    return bool(metrics["epochs"] == sum(stage.config.train.epochs for stage in stages(config)))


def differences(before: Any, now: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The dotted keys at which two nested records differ, with both values; an entry of a list counts from 0."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in {**before, **now}:
            yield from differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif isinstance(before, tuple | list) and isinstance(now, tuple | list) and len(before) == len(now):
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from differences(old, new, f"{key}.{index}")
    elif before != now:
        yield key, before, now


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"{len(value)} of them"
    return "nothing" if value is None else repr(value)
