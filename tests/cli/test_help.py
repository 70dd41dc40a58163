"""The help of every command: grouped, with an example that the command takes and every default; and a shell's Tab."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import toolchain
from tests.flow.test_export import run  # noqa: F401  a fixture
from toolchain.boards import list_boards
from toolchain.cli.app import COMMANDS, app
from toolchain.config.run import recipes

_EXAMPLES = {command.__name__: example for commands in COMMANDS.values() for command, example in commands.items()}
_FLAGS = ("--version", "--install-completion", "--show-completion")


@pytest.mark.parametrize("name", _EXAMPLES)
def test_the_help_has_an_example_that_the_command_takes_and_every_default(name: str, run, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "200")
    code, output, _ = run(name, "--help")
    words = " ".join(output.replace("│", " ").split())
    assert code == 0 and f"Example: {_EXAMPLES[name]}" in words
    command = typer.main.get_command(app).commands[name]
    called, own, *arguments = shlex.split(_EXAMPLES[name])
    assert (called, own) == ("fpgaflow", name)
    command.make_context(name, arguments)
    for option in command.params:
        if option.param_type_name == "option" and option.name != "help":
            assert option.opts[0] in words and option.help, option.name
            assert option.default in (None, False) or f"[default: {option.default}]" in words, option.name


def test_the_commands_stand_in_panels_and_no_bracket_is_lost(run, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("COLUMNS", "200")
    output = run("--help")[1]
    assert all(f"─ {panel} ─" in output for panel in COMMANDS) and all(flag in output for flag in _FLAGS)
    output = run("export", "--help")[1]
    for panel in ("Accelerator", "Input of the network", "Verification", "hls4ml"):
        assert f"─ {panel} ─" in output
    assert "TYPE[:SCALE[:ZERO]]" in output and "[default: (1000; 64 of random numbers)]" in output


def _completed(shell: str, line: str, folder: Path) -> list[str]:
    """What ``shell`` is told when Tab is pressed behind ``line``."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
        "fish": {"_TYPER_COMPLETE_ARGS": line, "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    code = "import sys\nfrom toolchain.cli import main\nsys.argv = ['fpgaflow']\nmain()"
    root = str(Path(toolchain.__file__).resolve().parents[1])
    environment = os.environ | asked | {"_FPGAFLOW_COMPLETE": f"complete_{shell}", "PYTHONPATH": root}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_options_and_boards(shell: str, tmp_path: Path) -> None:
    told = "\n".join(_completed(shell, "fpgaflow export x.onnx --board z", tmp_path))
    assert all((board in told) == board.startswith("z") for board in list_boards())
    assert "quantize" in "\n".join(_completed(shell, "fpgaflow qua", tmp_path))


def test_bash_completes_options_recipes_and_run_files(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "mine.toml").touch()
    assert _completed("bash", "fpgaflow export --targ", tmp_path) == ["--target-fps"]
    assert set(_completed("bash", "fpgaflow train ", tmp_path)) == {*recipes(), "conf/"}
    assert _completed("bash", "fpgaflow train conf/m", tmp_path) == ["conf/mine.toml"]
