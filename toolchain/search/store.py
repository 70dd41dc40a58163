"""The store of a search: an Optuna journal, the only record of what was tried. It may be killed at any moment."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend

from toolchain.errors import UserError
from toolchain.search.space import Space

STORE_FILE = "search.journal"
Direction = Literal["minimize", "maximize"]


class _Journal(BaseJournalBackend):
    """Lines of JSON in a file that one process at a time writes (see ``toolchain.locks``).

    Optuna's own waits for the disk at every value of every trial: a hundred times the time of an evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.file = path.open("a+b", buffering=0)
        self.logs = _whole_lines(path)

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        yield from self.logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        data, before = text.encode(), os.fstat(self.file.fileno()).st_size
        try:
            while data:  # a disk that fills takes a part and says nothing
                data = data[self.file.write(data) :]
        except OSError:
            self.file.truncate(before)  # the next entry is not to go on in the middle of a line
            raise
        self.logs += json.loads(f"[{','.join(text.splitlines())}]")


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """The axes of ``space`` as a study takes them."""
    return {name: CategoricalDistribution(values) for name, values in space.axes.items()}


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    """The journal's entries; a line that was being written when its process died is cut off.

    Raises:
        UserError: another line is no entry.
    """
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
    logs: list[dict[str, Any]] = []
    for number, line in enumerate(content[:whole].splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict):
            raise UserError(
                f"the store {path} is damaged in line {number}",
                hint="search into another folder, or cut it off there: what is above is kept",
            )
        logs.append(entry)
    return logs


class Store:
    """The studies of one search.

    Raises:
        UserError: the file is damaged, or of another search.
    """

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / STORE_FILE
        try:
            self.storage = JournalStorage(_Journal(path))
            self.proofs = self.study("proofs", ("minimize",))
            self._demand_same(facts, path)
        except (KeyError, TypeError, AttributeError, AssertionError) as error:
            raise UserError(f"the store {path} is no store of a search", hint="search into another folder") from error

    def study(
        self, name: str, directions: Sequence[Direction], sampler: optuna.samplers.BaseSampler | None = None
    ) -> optuna.Study:
        """The study of this name, made where there is none. Trials that ran when a process died are told as failed."""
        study = optuna.create_study(
            study_name=name, storage=self.storage, directions=directions, sampler=sampler, load_if_exists=True
        )
        for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return study

    def get(self, key: str) -> Any:
        """Return the value that was kept under ``key``; None where there is none."""
        return self.proofs.user_attrs.get(key)

    def keep(self, key: str, value: Any) -> None:
        """Keep a value that JSON takes."""
        self.proofs.set_user_attr(key, value)

    def _demand_same(self, facts: dict[str, Any], path: Path) -> None:
        known = self.get("facts")
        if known is None:
            self.keep("facts", facts)
            return
        for key, value in json.loads(json.dumps(facts)).items():
            if key in known and known[key] != value:  # a store of an earlier version knows fewer facts
                raise UserError(
                    f"the store {path} belongs to another search: its {key} is another",
                    hint="search into another folder with --out, or with --overwrite",
                )
