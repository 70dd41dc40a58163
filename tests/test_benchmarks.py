"""Benchmarks are modules of one package with one way to start."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.__main__ import HERE, main, names
from benchmarks.claims import config_of, float_epochs, pruned, quantized
from benchmarks.evidence import Figure, Tested, column
from benchmarks.front_figure import FIGURE, front, front_svg, trained
from benchmarks.markdown import filled, named, table, without
from benchmarks.paper_claims import TESTED
from benchmarks.recorder import FOLDER, Results, Row, today
from benchmarks.schemas import FILES
from benchmarks.schemas.base import Measured
from benchmarks.schemas.tool import DeployRow
from benchmarks.shell import with_shell
from benchmarks.tables import TABLES, generated, texts
from benchmarks.values import VALUES
from toolchain.config.run import dump_toml, find_config, load_config


def test_every_benchmark_says_in_a_line_what_it_measures() -> None:
    assert {"cost_model", "engine", "export_time", "models"} <= set(names())
    assert [name for name, text in names().items() if not text.endswith((".", ":"))] == []


@pytest.mark.filterwarnings("ignore:'benchmarks.claims' found in sys.modules")
@pytest.mark.parametrize("option", ["--parent", "--teacher"])
def test_a_folder_without_a_run_is_told_in_a_line(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "claims", "quantize", option, f"{tmp_path / 'gone'}"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert (caught.value.code, capsys.readouterr().err) == (2, f"claims: no run at {tmp_path / 'gone'}\n")


def test_a_benchmark_starts_by_its_name_and_takes_its_own_options() -> None:
    command = [sys.executable, "-m", "benchmarks", "cost_model", "--help"]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)

    assert done.returncode == 0
    assert "--rows" in done.stdout


def test_without_a_name_they_are_listed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks"], cwd=HERE.parent, capture_output=True, text=True, check=False
    )

    assert done.returncode == 1
    assert all(f"\n  {name} " in done.stderr for name in names())


def test_every_results_file_has_rows_of_its_schema() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(results.path.name for results in FILES)
    for results in FILES:
        assert results.rows()


class TestedRow(Measured):
    """A row that a claim is tested by."""

    method: str
    epochs: int
    seed: int
    top1: float
    parent: str


SOME = Results("deploy", (DeployRow,), ("bits", "lanes"))
MEASURED = {"command": "python -m benchmarks deploy", "hardware": "a CPU", "date": "2026-01-01"}
RATES = {"frames": 1, "codes_a_frame": 8, "gigacodes": 1.0, "numpy_gigacodes": 0.5, "over_numpy": 2.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"speed": 1.0}, "speed\n  Extra inputs are not permitted"),
        ({"frames": None}, "frames\n  Input should be a valid integer"),
        ({"over_numpy": "2"}, "over_numpy\n  Input should be a valid number"),
        ({"bits": 2}, "deploy.json has 2 rows of (2, 1)"),
    ],
)
def test_rows_that_do_not_fit_are_refused(change: Row, message: str) -> None:
    rows = [RATES | MEASURED | {"bits": bits, "lanes": 1} for bits in (2, 4)]
    assert SOME.checked(rows) == rows
    with pytest.raises(ValueError, match=re.escape(message)):
        SOME.checked([rows[0], rows[1] | change])


def test_a_row_is_recorded_in_place_of_the_one_of_its_key(tmp_path: Path) -> None:
    """Others stay, in their order; a row tells how it was measured, in its own words where it has any."""
    results = replace(SOME, folder=tmp_path)
    results.record(*(RATES | {"bits": bits, "lanes": 1} for bits in (2, 4)))
    results.record(RATES | {"bits": 2, "lanes": 1, "gigacodes": 3.0, "command": "by hand"})
    first, second = results.rows()

    assert (first["bits"], first["gigacodes"], first["command"]) == (2, 3.0, "by hand")
    assert (second["bits"], second["gigacodes"], second["date"]) == (4, 1.0, today())
    assert second["hardware"] and second["command"].startswith("python -m benchmarks ")

    results.replace([RATES | {"bits": 8, "lanes": 1}], lambda row: row["bits"] == 2)
    assert [row["bits"] for row in results.rows()] == [4, 8]


def test_the_figures_of_the_texts_are_those_of_the_results_files() -> None:
    """``python -m benchmarks tables`` changes nothing, makes each table for one place, and no value for none."""
    parts, shown = generated(), []
    for path in texts():
        text = path.read_text(encoding="utf-8")
        assert filled(text, parts) == text, f"run 'python -m benchmarks tables': {path.name} has other figures"
        shown += named(text)
    assert sorted(name for name in shown if name in TABLES) == sorted(TABLES)
    assert {name for name in shown if name not in TABLES} == set(VALUES)
    assert not TABLES.keys() & VALUES.keys()


def test_the_front_of_the_trained_networks_is_what_none_of_them_beats_and_is_drawn_anew() -> None:
    points = trained()
    best = front(points)
    for point in points:
        better = [p for p in points if p.fps >= point.fps and p.top1 >= point.top1 and p[:2] != point[:2]]
        assert (point in best) == (not better)
    assert [point.top1 for point in best] == sorted(point.top1 for point in best)
    assert FIGURE.read_text(encoding="utf-8") == front_svg(), "run 'python -m benchmarks tables'"


def test_only_what_stands_between_the_comments_is_written() -> None:
    text = "a\n<!-- table t -->\n| old |\n<!-- end -->\n| b |, <!-- value v -->1<!-- end --> of 3\n"
    new = table(("x", "y"), [(1, None), ("2 %", 0.5)])

    assert new == "| x | y |\n|---|---|\n| 1 |  |\n| 2 % | 0.5 |\n"
    written = f"a\n<!-- table t -->\n{new}<!-- end -->\n| b |, <!-- value v -->2<!-- end --> of 3\n"
    assert filled(text, {"t": new, "v": "2"}) == written
    assert named(text) == ["t", "v"] and without(text) == "a\n\n| b |,  of 3\n"
    with pytest.raises(ValueError, match=r"^nothing is called 't'; known: v$"):
        filled(text, {"v": new})


def test_luts_are_told_with_the_shell_of_the_board() -> None:
    assert with_shell({"lut": 7188, "ff": 1, "dsp": 40, "bram18": 22, "fps": 1.0}) == {
        "lut": 17188, "ff": 15001, "dsp": 40, "bram18": 22, "fps": 1.0,
    }  # fmt: skip


def test_every_claim_is_a_run_file_of_its_own_from_the_same_parent(tmp_path: Path) -> None:
    """With one optimizer, and stages whose bits fall; gradual and direct are as long before the last stage as in it."""
    parent = load_config(find_config("float-resnet8"))
    claims = [*quantized(0, 10, tmp_path), *pruned(0, (10, 10, 10), [0.3])]
    configs = [config_of(claim, parent, tmp_path) for claim in claims]
    assert len({config.name for config in configs}) == len(configs)
    assert {(config.train.optimizer, config.model.name, config.data.augment) for config in configs} == {
        ("sgd", "resnet8", "alternating")
    }
    lengths = {claim.method: (claim.epochs, claim.stages[-1]["epochs"]) for claim in claims if "qil," in claim.method}
    assert lengths["qil, gradual"] == lengths["qil, direct"] == (16, 10)


def test_a_teacher_is_named_in_the_methods_it_teaches_and_epochs_behind_a_float_add_up(tmp_path: Path) -> None:
    """A float run that started from another one has the epochs of both behind it."""
    for name, settings in {"first": [], "second": [f'train.start_from="{tmp_path / "first"}"']}.items():
        (tmp_path / name).mkdir()
        config = load_config(find_config("float-resnet8"), [*settings, "train.epochs=7"])
        (tmp_path / name / "run.toml").write_text(dump_toml(config))
    assert [float_epochs(tmp_path / name) for name in ("first", "second")] == [7, 14]
    claims = list(quantized(0, 10, tmp_path / "second", tmp_path / "first"))
    teachers = {claim.method: config_of(claim, config, tmp_path / "second").train.teacher for claim in claims}
    assert teachers["lsq"] is None
    assert teachers["lsq, taught by resnet8"] == str(tmp_path / "first")


def test_all_eleven_papers_are_there_and_a_claim_that_is_not_met_says_why() -> None:
    assert len({one.paper for one in TESTED}) == 11
    assert [one.claim for one in TESTED if one.met is False and not one.cause] == []
    assert all(one.cells()[2] for one in TESTED if one.met is not None)


def test_a_verdict_follows_from_the_longest_schedule_from_one_float_network_that_all_figures_have(
    tmp_path: Path,
) -> None:
    """Of two as long the one with more seeds."""
    some = Results("some", (TestedRow,), ("method", "epochs", "seed", "parent"), tmp_path)
    runs = [("a", 2, 0, 0.5, "f"), ("a", 2, 1, 0.7, "f"), ("a", 9, 0, 0.9, "f"), ("b", 2, 0, 0.59, "f")]
    runs += [("b", 2, 1, 0.59, "f"), ("a", 2, 0, 0.1, "other"), ("b", 2, 0, 0.2, "other"), ("b", 9, 0, 0.95, "other")]
    names = ("method", "epochs", "seed", "top1", "parent")
    some.replace([MEASURED | dict(zip(names, run, strict=True)) for run in runs])
    a, b, c = (Figure(some, {"method": method}, column("top1")) for method in "abc")
    claim = Tested("A", "more than b", "{a:.2f}, b {b:.2f}", lambda v: v.a > v.b, {"a": a, "b": b}, "a cause")
    *cells, command = claim.cells()[2:]
    assert cells == ["0.60, b 0.59 (2 epochs, two seeds)", "yes", "a cause"]
    assert command == "`python -m benchmarks deploy`"
    assert not replace(claim, figures={"a": b, "b": a}).met
    assert replace(claim, figures={"a": a, "b": c}).cells()[2:5] == ("", "not run", "")
