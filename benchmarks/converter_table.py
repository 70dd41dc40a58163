"""The table of cases in this project and in the converters of others."""

from __future__ import annotations

from collections import Counter

from benchmarks.markdown import table
from benchmarks.recorder import Row
from benchmarks.schemas import CONVERTERS

TOOLS = ("fpgaflow", "hls4ml", "finn-plus")
VERDICTS = ("exact", "exact, in part", "inexact", "inexact, in part", "refused")


def converters() -> str:
    """A file a line, and a line of counts."""
    files: dict[tuple[str, str], dict[str, Row]] = {}
    for row in CONVERTERS.rows():
        files.setdefault((row["case"], row["file"]), {})[row["tool"]] = row
    lines = [
        (f"`{case}/{file.removesuffix('.onnx')}`", found[TOOLS[0]]["what"], *(_cell(found[tool]) for tool in TOOLS))
        for (case, file), found in sorted(files.items())
    ]
    counts = [Counter(_verdict(found[tool]) for found in files.values()) for tool in TOOLS]
    total = ("; ".join(f"{found[verdict]} {verdict}" for verdict in VERDICTS if found[verdict]) for found in counts)
    return table(("file", "operations", *TOOLS), [*lines, (f"**{len(files)} files**", None, *total)])


def _verdict(row: Row) -> str:
    said = {"yes": "exact", "no": "inexact", "": "refused"}[row["exact"]]
    return f"{said}, in part" if row["taken"] == "in part" else said


def _cell(row: Row) -> str:
    found = str(row["found"]).partition(". Complete list of unmapped nodes")[0].replace("|", "\\|")
    if row["taken"] == "no":
        return f"refused: {found}"
    values, _, rest = found.partition("; ")
    behind = values.partition(", behind ")[2]
    return "; ".join(filter(None, (_verdict(row), values if row["exact"] == "no" else behind, rest)))
