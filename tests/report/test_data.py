"""report.json: the keys scripts rely on, the way back, and files that are no report."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.report.examples import example_report
from toolchain.errors import UserError
from toolchain.report.data import from_json, read_report, to_json

CONTRACT: dict[str, set[str]] = {
    "model": {"file", "sha256", "macs", "params"},
    "estimate": {"fps", "latency_ms", "cycles_per_frame", "bytes_per_frame"},
    "bound": {"fps", "limited_by"},
    "resources": {"lut", "ff", "dsp", "bram18", "uram"},
    "solver": {"name", "status", "gap", "seconds"},
    "verification": {"images", "qonnx_top1_agreement", "qonnx_code_mismatches", "csim_mismatches", "csim_seconds"},
    "accuracy": {"top1", "images"},
}
NODE_KEYS = {"name", "op", "cycles", "lut", "ff", "dsp", "bram18", "parallelism", "origin"}


def _table(**changes: Any) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(to_json(example_report(5)))
    return table | changes


def test_every_key_of_the_contract_is_written() -> None:
    table = _table()
    assert {"board", "architecture", "clock_mhz", "nodes", *CONTRACT} <= set(table)
    assert all(keys <= set(table[part]) for part, keys in CONTRACT.items())
    assert all(set(usage) == {"used", "budget", "available"} for usage in table["resources"].values())
    assert all(set(node) >= NODE_KEYS for node in table["nodes"])
    assert set(table["resources"]) == CONTRACT["resources"]


def test_the_report_survives_its_json() -> None:
    report = example_report()
    assert from_json(to_json(report)) == report


def test_equal_reports_have_equal_text() -> None:
    assert to_json(example_report()) == to_json(from_json(to_json(example_report())))


def test_accuracy_may_be_unknown() -> None:
    report = from_json(json.dumps(_table(accuracy=None)))
    assert report.accuracy is None
    assert json.loads(to_json(report))["accuracy"] is None


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "not valid JSON"),
        ("[1, 2]", "no JSON object"),
        ("{}", "'name' is missing"),
        (json.dumps(_table(boards="zu3eg")), "did you mean 'board'"),
        (json.dumps(_table(clock_mhz="fast")), "bad value for 'clock_mhz'"),
        (json.dumps(_table(clock_mhz=math.inf)), "bad value for 'clock_mhz'"),
        (json.dumps(_table(architecture="systolic")), "bad value for 'architecture'"),
    ],
)
def test_what_is_no_report_is_the_users_error(text: str, fact: str) -> None:
    with pytest.raises(UserError, match=fact) as caught:
        from_json(text, where="build/x/report.json")
    assert caught.value.exit_code == 2
    assert caught.value.where == "build/x/report.json"


def test_a_wrong_value_of_a_node_is_found_by_its_place() -> None:
    table = _table()
    table["nodes"][3]["lut"] = -1
    with pytest.raises(UserError, match=r"'nodes\.3\.lut'"):
        from_json(json.dumps(table))


def test_missing_and_binary_files_are_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read the report"):
        read_report(tmp_path)
    (tmp_path / "report.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not a text file"):
        read_report(tmp_path / "report.json")
