"""Writes report.json and report.html."""

from __future__ import annotations

from pathlib import Path

from toolchain.files import write_text
from toolchain.report.data import Report, to_json
from toolchain.report.html import to_html


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write report.json and report.html below ``folder`` by rename; returns their paths."""
    texts = {folder / "report.json": to_json(report), folder / "report.html": to_html(report)}
    for path, text in texts.items():
        write_text(path, text)
    data, page = texts
    return data, page
