"""The commands lower, explore, generate, simulate and report in every order, with two networks and two plans.

What a command does depends on the files alone, so each of them runs once in every state that other orders reach.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from tests.onnx_models import Net
from toolchain.cli import main
from toolchain.files import digest_bytes, write_text
from toolchain.plan import Plan, plan_text, read_plan

COMMANDS = {
    "lower a": ["lower", "a.onnx", "--out", "b"],
    "lower b": ["lower", "b.onnx", "--out", "b"],
    "explore a": ["explore", "b", "--plan", "a.json"],
    "explore b": ["explore", "b", "--plan", "b.json"],
    "generate": ["generate", "b"],
    "simulate": ["simulate", "b", "--images", "x.npy", "--qonnx-images", "0", "--threads", "1"],
    "report": ["report", "b"],
}
DEPTH = 5

Files = dict[str, bytes]


@dataclass(frozen=True)
class State:
    """What a build folder holds: digests of its files, without the times that a simulation took."""

    files: tuple[tuple[str, str], ...]
    simulated: str = ""
    """Network, plan and hls/ that the last exact simulation ran on, by the test's own account."""


@dataclass(frozen=True)
class Outcome:
    """A command's exit code, its line of error, and the state it left."""

    code: int
    line: str
    state: State


class House:
    """A folder in which commands run on states, each once."""

    def __init__(self, root: Path, call: Callable[[list[str]], tuple[int, str]]) -> None:
        self.folder = root / "b"
        self.call = call
        self.contents: dict[State, Files] = {State(()): {}}
        self.present: Files = {}
        self.run = cache(self._run)

    def _run(self, state: State, command: str) -> Outcome:
        self._lay_out(self.contents[state])
        code, errors = self.call(COMMANDS[command])
        lines = [line for line in errors.splitlines() if line.startswith("fpgaflow: ")]
        self.present = {str(p.relative_to(self.folder)): p.read_bytes() for p in self.folder.rglob("*") if p.is_file()}
        files = self.present
        known = State(tuple(sorted((name, _key(name, content)) for name, content in files.items())), state.simulated)
        if command == "simulate" and code == 0:
            known = State(known.files, _facts(known))
        self.contents.setdefault(known, files)
        assert code in (0, 2), (command, code, errors)
        assert len(lines) == (code == 2), (command, errors)
        return Outcome(code, "".join(lines), known)

    def _lay_out(self, files: Files) -> None:
        """Make the folder hold ``files``."""
        for name in self.present.keys() - files.keys():
            (self.folder / name).unlink()
        for name, content in files.items():
            if self.present.get(name) != content:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                (self.folder / name).write_bytes(content)
        if not files:
            shutil.rmtree(self.folder, ignore_errors=True)


def _key(name: str, content: bytes) -> str:
    """What later commands can see of a file: nothing of a report but that it is there."""
    if name.startswith("report."):
        return ""
    if name == "simulation.json":
        content = json.dumps(json.loads(content) | {"csim_seconds": 0, "digest": ""}).encode()
    return digest_bytes(content)


def _facts(state: State) -> str:
    parts = [f"{name} {key}" for name, key in state.files if name.startswith(("graph.", "weights.", "plan.", "hls/"))]
    return "\n".join(parts)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> House:
    """Two networks of one shape and two plans for them, by hand so that no search takes time."""
    monkeypatch.chdir(tmp_path)

    def call(arguments: list[str]) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["fpgaflow", *arguments])
        capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, capsys.readouterr().err

    for name, seed in (("a", 1), ("b", 2)):
        net = Net((1, 4), seed=seed)
        net.save(tmp_path / f"{name}.onnx", net.quant(net.linear(net.quant("x", 4, 0.1), 4, 2), 4, 0.3))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(0, 0.3, (4, 4)).astype(np.float32))
    call(["explore", "a.onnx", "--out", "first"])
    fastest = read_plan(tmp_path / "first" / "plan.json").model_copy(update={"solver": None, "depths": None})
    write_text(tmp_path / "a.json", plan_text(fastest))
    write_text(tmp_path / "b.json", plan_text(_slower(fastest)))
    shutil.rmtree(tmp_path / "first")
    return House(tmp_path, call)


def _slower(plan: Plan) -> Plan:
    """The same units one element a cycle."""
    nodes = {
        n: lanes.model_copy(update={"lanes_in": 1, "lanes_out": 1, "constant": False})
        for n, lanes in plan.nodes.items()
    }
    return plan.model_copy(update={"nodes": nodes, "input_lanes": 1, "output_lanes": 1})


def walk(house: House, start: State, commands: list[str]) -> tuple[set[State], int]:
    """All orders of up to ``DEPTH`` ``commands`` from ``start``: the states reached, and how many reports were made."""
    reached, seen, reports = {start}, {start}, 0
    for _ in range(DEPTH):
        outcomes = {(state, command): house.run(state, command) for state in reached for command in commands}
        for (state, command), found in outcomes.items():
            if found.code == 2:
                assert found.state == state, (command, found.line)
            elif command == "report":
                assert found.state.simulated == _facts(found.state), "a report of something that was not simulated"
                reports += 1
        reached = {found.state for found in outcomes.values()} - seen
        seen |= reached
    return seen, reports


def follow_hints(house: House, state: State) -> None:
    """From ``state`` do what the refusals name, until there is a report."""
    for _ in range(DEPTH):
        command, found = "report", house.run(state, "report")
        if found.code == 0:
            return
        while found.code:
            (wanted,) = re.findall(r"run 'fpgaflow (\w+)'", found.line)
            assert wanted != command, found.line
            command = wanted
            found = house.run(state, wanted if wanted in COMMANDS else f"{wanted} a")
        state = found.state
    raise AssertionError("no report")


@pytest.mark.needs_gxx
@pytest.mark.slow
def test_no_order_of_commands_crashes_or_reports_what_was_not_simulated(house: House) -> None:
    """From nothing and from a finished build.

    A refusal is one line, changes nothing and names the command that helps; a report is of what hls/ holds.
    """
    nothing = State(())
    seen, reports = walk(house, nothing, list(COMMANDS))
    assert reports == 4  # of two networks with two plans each

    finished = nothing
    for command in ("lower a", "explore a", "generate", "simulate", "report"):
        finished = house.run(finished, command).state
    others, again = walk(house, finished, [command for command in COMMANDS if command != "lower a"])
    assert again > 4

    for state in seen | others:
        follow_hints(house, state)
