"""`fpgaflow init`: what it offers can be trained, its files are taken by TOML, YAML and a shell, nothing is lost."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import yaml

import toolchain
from tests.flow.test_export import one_line, run  # noqa: F401  a fixture
from toolchain.config.run import MODELS, load_config
from toolchain.errors import UserError
from toolchain.flow.packages import installable
from toolchain.flow.starter import CI_FILE, RUN_FILE, SOURCES, Wishes, check_model, start, starting_files

_ROOT = str(Path(toolchain.__file__).resolve().parents[1])
_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "fashion-mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
_OFFERED = [(data, model) for data, source in SOURCES.items() for model in source.models]


def _steps(workflow: str) -> list[str]:
    """The shell commands of a workflow, in their order."""
    (job,) = yaml.safe_load(workflow)["jobs"].values()
    return [line for step in job["steps"] for line in step.get("run", "").splitlines()]


@pytest.mark.parametrize(("data", "model"), _OFFERED)
def test_every_offered_combination_is_a_run_file_that_says_what_was_chosen(data: str, model: str, tmp_path) -> None:
    data = data.replace("PATH", "data/my shapes").replace("PREFIX", "data/mine")
    for weights, acts in ((1, 8), (8, 1)):
        wishes = Wishes(data, model, weights, acts, "kv260", 1234.5)
        start(tmp_path / f"w{weights}", wishes)
        config = load_config(tmp_path / f"w{weights}" / RUN_FILE)
        assert (config.name, config.data.name, config.model.name) == (wishes.name, data, model)
        assert (config.quant.weight_bits, config.quant.act_bits) == (weights, acts)
        steps = _steps((tmp_path / f"w{weights}" / CI_FILE).read_text())
        assert steps[-2:] == [
            "fpgaflow train run.toml",
            f"fpgaflow export runs/{config.name} --board kv260 --target-fps 1234.5",
        ]


@pytest.mark.parametrize("data", _SHAPES)
def test_the_networks_offered_for_a_data_set_are_those_that_take_its_pictures(data: str) -> None:
    from toolchain.config.run import parse_config
    from toolchain.train.models import build

    def takes(model: str) -> bool:
        try:
            build(parse_config({"name": "x", "model": {"name": model}}, where="x"), _SHAPES[data], 10)
        except UserError:
            return False
        return True

    assert set(SOURCES[data].models) == {model for model in MODELS if takes(model)}


@pytest.mark.parametrize("data", SOURCES)
def test_the_stages_that_the_run_file_proposes_are_valid(data: str, tmp_path: Path) -> None:
    name = data.replace("PATH", "x").replace("PREFIX", "x")
    text = starting_files(Wishes(name, SOURCES[data].models[0]))[RUN_FILE]
    above, _, stages = text.partition("# [[stage]]\n")
    stages = "[[stage]]\n" + "".join(line.removeprefix("# ").removeprefix("#") for line in stages.splitlines(True))
    whole = re.sub(r"^pretrain_epochs.*$", "", above, flags=re.MULTILINE) + stages
    whole = re.sub(r"^# (first_|last_|weight_g)", r"\1", whole, flags=re.MULTILINE)
    (tmp_path / "run.toml").write_text(whole)
    config = load_config(tmp_path / "run.toml")
    assert [stage.name for stage in config.stage] == ["float", "prune", "quant"]
    assert (config.quant.first_weight_bits, config.quant.weight_granularity) == (8, "channel")


@pytest.mark.needs_gxx
def test_the_commands_of_the_workflow_train_export_and_verify(run, tmp_path: Path) -> None:  # noqa: F811
    code, output, error = run("init", "--target-fps", "2000", "--weights", "3")
    assert (code, error) == (0, "")
    train, export = (shlex.split(line)[1:] for line in _steps((tmp_path / CI_FILE).read_text())[-2:])
    assert output.endswith(f"Next: fpgaflow train run.toml; then: fpgaflow {' '.join(export)}\n")
    assert run(*train, "--set", "train.epochs=2", "--set", "train.pretrain_epochs=1")[0] == 0
    code, output, _ = run(*export, "--count", "16")
    assert code == 0 and "0 mismatches" in output
    assert (tmp_path / "build" / "digits-cnn-w3a4" / "report.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--data", "digit"], "unknown data set 'digit'; did you mean 'digits'?"),
        (["--data", "folder:"], "data 'folder:' names no files; for example folder:data/mine"),
        (["--data", "npy:PREFIX"], "data 'npy:PREFIX' names no files; for example npy:data/mine"),
        (
            ["--model", "cnn1d"],
            "model 'cnn1d' does not take the samples of digits; cnn, tfc, lenet300, vgg-small, resnet8, resnet20 do",
        ),
        (["--board", "zu3"], "unknown board 'zu3'; did you mean 'zu3eg'?"),
        (["--target-fps", "1e999"], "--target-fps inf; give a number; without it there are as many as fit"),
        (["--data", "folder:a\nb"], "data 'folder:a\\nb' has characters that no file of a workflow can hold"),
        (["--board", "${{ x }}"], "board '${{ x }}' has characters that no file of a workflow can hold"),
    ],
)
def test_a_wish_that_cannot_be_had_is_one_line_and_no_file(arguments, error, run, tmp_path) -> None:  # noqa: F811
    code, _, told = run("init", *arguments)
    assert (code, one_line(told)) == (2, error)
    assert list(tmp_path.iterdir()) == []


def test_a_network_of_ones_own_must_be_there(run, tmp_path: Path) -> None:  # noqa: F811
    code, _, error = run("init", "--model", "net.py:Net", "--data", "npy:data/it's")
    assert code == 2 and one_line(error).startswith(f"no such file: {tmp_path / 'net.py'}")
    (tmp_path / "net.py").write_text("")
    assert run("init", "--model", "net.py:Net", "--data", "npy:data/it's")[0] == 0
    assert load_config(tmp_path / RUN_FILE).name == "it-s-net-w4a4"


@pytest.mark.parametrize("taken", [RUN_FILE, CI_FILE])
def test_nothing_is_overwritten_and_nothing_half_written(taken: str, run, tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / taken).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / taken).write_text("mine")
    code, _, error = run("init")
    assert (code, one_line(error)) == (2, f"{taken} is there already; move it away, or name another folder")
    assert [path.read_text() for path in tmp_path.rglob("*") if path.is_file()] == ["mine"]
    assert run("init", "new")[0] == 0 and (tmp_path / "new" / CI_FILE).is_file()
    assert run("init", taken)[0] == 2


def test_a_folder_that_cannot_be_made_is_one_line(run) -> None:  # noqa: F811
    code, _, error = run("init", "/proc/new")
    assert (code, one_line(error)) == (2, "nothing can be made at /proc/new; name another folder")


def test_text_of_every_kind_reaches_the_files_as_it_is(tmp_path: Path) -> None:
    board = tmp_path / "my $(touch x) 'board' \"b\" # : {}"
    board.mkdir()
    (board / "board.toml").write_text('extends = "zu3eg"\n')
    data = "npy:data/ä 'b' \"c\" # $(d) `e` %{f}"
    files = starting_files(Wishes(data, "tfc", board=str(board)))
    (tmp_path / "run.toml").write_text(files[RUN_FILE])
    assert load_config(tmp_path / "run.toml").data.name == data
    said = subprocess.run(
        ["sh", "-c", "printf '%s\\n' " + _steps(files[CI_FILE])[-1]], capture_output=True, text=True, check=True
    )
    assert said.stdout.splitlines() == ["fpgaflow", "export", "runs/b-c-d-e-f-tfc-w4a4", "--board", str(board)]


def test_in_a_terminal_it_asks_and_asks_again(tmp_path: Path) -> None:
    answers = ["cifr10", "cifar10", "", "9", "2", "3", "kv260", "fast", "500"]
    output, code = _in_a_terminal(tmp_path, [f"{answer}\n" for answer in answers])
    assert code == 0, output
    assert "did you mean 'cifar10'?" in output and "give 1 to 8" in output and "give a number, or: most" in output
    config = load_config(tmp_path / RUN_FILE)
    assert (config.data.name, config.model.name, config.quant.weight_bits) == ("cifar10", "resnet8", 2)
    assert _steps((tmp_path / CI_FILE).read_text())[-1].endswith("--board kv260 --target-fps 500")


def test_an_interrupted_question_writes_nothing(tmp_path: Path) -> None:
    output, code = _in_a_terminal(tmp_path, ["digits\n", INTERRUPT])
    assert code == 130 and "interrupted; nothing is written" in output
    assert list(tmp_path.iterdir()) == []


INTERRUPT = "\x03"


def _in_a_terminal(folder: Path, answers: list[str]) -> tuple[str, int]:
    """Output and exit code of ``fpgaflow init`` in a terminal; each of ``answers`` is typed behind a question."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(folder)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where the tests run in the background
        code = "import sys; from toolchain.cli import main; sys.argv = ['fpgaflow', 'init']; main()"
        environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": _ROOT}
        os.execve(sys.executable, [sys.executable, "-c", code], environment)
    shown, left, typed = "", list(answers), ""
    for _ in range(60):
        if not select.select([terminal], [], [], 5)[0]:
            if typed == INTERRUPT:  # Python loses one that comes between its prompt and its read
                os.write(terminal, typed.encode())
            continue
        try:
            more = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        shown += more.decode()
        if re.search(r"\]: (\x1b\[\S+)*$", shown) and left:
            typed = left.pop(0)
            os.write(terminal, typed.encode())
    else:
        os.kill(child, signal.SIGKILL)
    os.close(terminal)
    return shown, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_what_pip_installs_elsewhere_is_the_commit_or_the_release(monkeypatch) -> None:
    from importlib import metadata

    class Installed:
        def __init__(self, told: str | None) -> None:
            self.told = told

        def read_text(self, _: str) -> str | None:
            return self.told

    git = '{"url": "https://host/f.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    git_form = "fpgaflow @ git+https://host/f.git@abc"
    for told, wanted in (
        (git, git_form),
        ('{"url": "file:///home/me/f", "dir_info": {"editable": true}}', "fpgaflow==0.1.0"),
        (None, "fpgaflow==0.1.0"),
    ):
        monkeypatch.setattr(metadata, "distribution", lambda _, told=told: Installed(told))
        assert installable() == wanted
        # the line above it tells what to write, as long as no index has a release
        assert ("no index has a release yet" in starting_files(Wishes())[CI_FILE]) == (wanted != git_form)


def test_names_of_runs_are_of_letters_digits_and_hyphens() -> None:
    for data, model in product(("digits", "folder:../Ä/my data/", "npy:$(x)"), ("cnn", "a b.py:Net_2")):
        assert re.fullmatch(r"[a-z0-9][a-z0-9-]*-w4a4", replace(Wishes(), data=data, model=model).name)
    assert check_model("pkg.module:Net", "csv:x") == "pkg.module:Net"
