"""The program around its commands: options anywhere, missing data before heavy imports, what an interrupt says."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flow.test_export import one_line, run  # noqa: F401  a fixture
from tests.onnx_models import conv_bn_relu
from tests.report.examples import example_report
from toolchain import boards
from toolchain.report.data import to_json


@pytest.mark.parametrize("arguments", [["boards", "--verbose"], ["--verbose", "boards"], ["boards", "--debug"]])
def test_options_of_every_command_may_stand_behind_it(arguments: list[str], run) -> None:  # noqa: F811
    code, output, _ = run(*arguments)
    assert code == 0 and "zu3eg" in output


def test_missing_data_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[data]\nname = "npy:nowhere"\n')
    code = (
        "import sys\nfrom toolchain.cli import main\nsys.argv = ['fpgaflow', 'train', 'r.toml']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    print(stop.code, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "2 False\n"
    assert one_line(done.stderr) == "cannot read the array: No such file or directory [nowhere_train_x.npy]"


def test_of_processes_that_train_together_the_first_alone_tells_the_results(run, monkeypatch, tmp_path) -> None:  # noqa: F811
    """It writes them when the others may have ended."""
    monkeypatch.setattr("toolchain.flow.training.train", lambda *_, **__: tmp_path / "unwritten")
    monkeypatch.setattr("toolchain.train.stages.is_first_process", lambda: False)
    code, output, error = run("train", "digits")
    assert (code, output, error) == (0, "", "")


def test_an_interrupt_says_how_to_go_on(run, monkeypatch) -> None:  # noqa: F811
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt("go on with: x --resume")

    monkeypatch.setattr(boards, "list_boards", stopped)
    code, _, error = run("boards")
    assert (code, one_line(error)) == (130, "interrupted; go on with: x --resume")


@pytest.mark.parametrize(
    "stopped",
    [
        "sys.modules['typer'] = Stop()",
        "import toolchain.cli; sys.modules['toolchain.cli.app']._program = Stop().stop",
        "import toolchain.cli; sys.modules['typer._adapters'] = Stop()",
    ],
)
def test_an_interrupt_before_the_command_begins_is_a_line(stopped: str) -> None:
    """While it is imported, while its options are made, or while typer reads them."""
    code = (
        "import sys\nclass Stop:\n    def stop(self, *_): raise KeyboardInterrupt\n    __getattr__ = stop\n"
        f"sys.argv = ['fpgaflow', 'boards']\n{stopped}\nfrom toolchain.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "fpgaflow: interrupted\n")


def test_a_command_that_is_asked_to_end_is_interrupted() -> None:
    code = (
        "import os, signal, sys\nfrom toolchain import boards\nfrom toolchain.cli import main\n"
        "boards.list_boards = lambda: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.argv = ['fpgaflow', 'boards']\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "fpgaflow: interrupted\n")


def test_the_export_of_a_float_run_names_quantize(run, tmp_path: Path) -> None:  # noqa: F811
    for name, quoted in (("runs/f", "runs/f"), ("my runs/f", "'my runs/f'")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "metrics.json").write_text(json.dumps({}))
        code, _, error = run("export", name)
        assert (code, one_line(error)) == (2, f"{name} is a float run; first: fpgaflow quantize {quoted}")


def test_a_path_that_the_system_does_not_take_is_told_in_a_line(run, tmp_path: Path) -> None:  # noqa: F811
    net, long = conv_bn_relu(tmp_path / "net.onnx"), "a" * 300
    (tmp_path / "file").touch()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(to_json(example_report(2)))
    for arguments, said in (
        (["compare", "a", "b", "--html", "file/x.html"], "File exists: file"),
        (["compare", "a", "b", "--html", "file/x/y.html"], "Not a directory: file/x"),
        (["export", str(net), "--out", long], f"File name too long: {tmp_path}/.{long}.lock"),
        (["train", "digits", "--out", long], f"File name too long: {long}"),
    ):
        code, _, error = run(*arguments)
        assert (code, one_line(error)) == (2, said)


def test_a_shell_that_closed_the_output_gets_the_exit_code(tmp_path: Path) -> None:
    code = "from toolchain.cli import main; main()"
    for command, wanted in (("boards >&-", 0), ("boards --board nowhere 2>&-", 2)):
        done = subprocess.run(
            ["sh", "-c", f'exec "$0" -c "$1" {command}', sys.executable, code], capture_output=True, cwd=tmp_path
        )
        assert (done.returncode, done.stderr) == (wanted, b"")


def test_a_command_in_a_folder_that_is_gone_is_told(run, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    code, _, error = run("boards")
    monkeypatch.chdir(tmp_path)
    assert (code, one_line(error)) == (2, "the folder that the command runs in is gone; go to another one")


@pytest.mark.parametrize(("number", "code"), [(errno.EPERM, 2), (errno.EISDIR, 2), (errno.ELOOP, 2), (errno.EIO, None)])
def test_an_error_of_the_system_that_is_none_of_a_path_is_not_hidden(
    number: int,
    code: int | None,
    run,  # noqa: F811
    monkeypatch,
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(number, "why", "where")

    monkeypatch.setattr(boards, "list_boards", failing)
    if code is None:
        with pytest.raises(OSError, match="why"):
            run("boards")
    else:
        assert run("boards")[::2] == (code, "fpgaflow: why: where\n")


def test_a_clock_beyond_what_is_known_is_doubted(run, caplog, tmp_path: Path) -> None:  # noqa: F811
    conv_bn_relu(tmp_path / "net.onnx")
    assert run("explore", "net.onnx", "--clock", "250")[0] == 0 and not caplog.records
    assert run("explore", "net.onnx", "--clock", "600")[0] == 0
    assert "600 MHz is not known to be reached on zu3eg: 250 MHz is, reached in HLS" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["boards", "--target-fps", "100"],
         "--target-fps 100.0 without a network; name a build, a QONNX file or a training run"),
        (["boards", "--rows", "mine.json"],
         "--rows mine.json without a network; name a build, a QONNX file or a training run"),
        (["deploy", "build", "--try", "--images", "x.npy"],
         "--images x.npy with --try; deploy writes the samples that --try takes"),
        (["deploy", "build", "--try", "--overwrite"],
         "--overwrite with --try; deploy writes the samples that --try takes"),
    ],
)  # fmt: skip
def test_an_option_that_the_command_would_not_read_is_refused(arguments: list[str], message: str, run) -> None:  # noqa: F811
    code, _, error = run(*arguments)
    assert (code, one_line(error)) == (2, message)


def test_boards_refuses_another_input_type_for_a_build(run, tmp_path: Path) -> None:  # noqa: F811
    """Its network has one; an ONNX file can be given another."""
    model = conv_bn_relu(tmp_path / "m.onnx")
    assert run("lower", str(model), "--out", "mine", "--pixel-scale", "1/255")[0] == 0
    code, _, error = run("boards", "mine", "--board", "zu3eg", "--input", "int8:0.5")
    assert (code, one_line(error)) == (
        2, "mine is a build, whose input has its type; give the QONNX file with another"
    )  # fmt: skip


def test_a_width_of_no_columns_is_none(run, monkeypatch) -> None:  # noqa: F811
    """Tables of empty lines came, with exit code 0."""
    for columns in ("0", "00", ""):
        monkeypatch.setenv("COLUMNS", columns)
        code, output, _ = run("boards")
        assert code == 0 and "zu3eg" in output
