"""The pages that a newcomer follows, run as they stand: files are written, commands and Python run in their order."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from tests.flow.test_export import run  # noqa: F401  a fixture

DOCS = Path(__file__).resolve().parents[1] / "docs"
BLOCK = re.compile(r'^```(sh|python|toml)(?: title="([\w.]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def _follow(page: str, run, folder: Path) -> None:  # noqa: F811
    """Write what has a title, run the Python that is no module to import, and every command of ``page``.

    Each piece of Python is a program of its own, as the file is that a reader makes of it.
    """
    for kind, title, text in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if title:
            (folder / title).write_text(text, encoding="utf-8")
        if kind == "python" and title != "net.py":
            exec(compile(text, title, "exec"), {"__name__": "__main__"})
        for line in text.splitlines() if kind == "sh" else ():
            _, *arguments = shlex.split(line)
            code, _, error = run(*arguments)
            assert code == 0, f"{line}: {error}"


def _report(folder: Path) -> dict[str, dict[str, float]]:
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert report["verification"]["csim_mismatches"] == 0 and report["verification"]["images"] >= 200
    return report


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.needs_gxx
def test_digits_in_two_minutes(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    _follow("tutorials/digits.md", run, tmp_path)
    printed = capsys.readouterr().out
    assert re.search(r"^\d\d\.\d% in float, \d\d\.\d% with 4 bits$", printed, re.MULTILINE)
    assert re.search(r"^[\d,]+ fps, [\d,]+ LUT with the shell$", printed, re.MULTILINE)
    assert _report(tmp_path / "build" / "digits")["estimate"]["fps"] >= 10_000


@pytest.mark.needs_gxx
def test_prune_quantize_export(run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    _follow("tutorials/prune.md", run, tmp_path)
    assert re.search(r"^quantized +[89]\d\.\d%\n[\d,]+ MACs are left, W4A4$", capsys.readouterr().out, re.MULTILINE)
    assert _report(tmp_path / "build" / "small")["accuracy"]["top1"] > 0.85


@pytest.mark.needs_gxx
def test_a_file_from_onnxruntime(run, tmp_path: Path) -> None:  # noqa: F811
    _follow("tutorials/onnxruntime.md", run, tmp_path)
    assert _report(tmp_path / "build" / "int8")["accuracy"]["top1"] > 0.85


@pytest.mark.needs_gxx
def test_a_network_of_ones_own(run, tmp_path: Path) -> None:  # noqa: F811
    _follow("own-network.md", run, tmp_path)
    assert _report(tmp_path / "build" / "mine")["accuracy"]["top1"] > 0.6
    assert (tmp_path / "build" / "mine" / "deploy" / "README.md").is_file()
