"""Pages from the package: Python's functions, operations, boards, recipes, decisions, messages."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path

import fpgaflow
from benchmarks.markdown import table
from docgen.text import cell, first, markdown, paragraphs
from toolchain.boards import list_boards, load_board
from toolchain.config.run import find_config, recipes
from toolchain.frontend.qoperator import FORMS
from toolchain.frontend.read import HANDLERS
from toolchain.frontend.unsupported import HINTS
from toolchain.ir.ops import HARDWARE_OPS
from toolchain.resources import KINDS
from toolchain.units.table import UNITS

ROOT = Path(__file__).resolve().parents[1]


def python() -> str:
    """The public names of ``fpgaflow``, functions first."""
    names = [name for name in fpgaflow.__all__ if not name.startswith("__")]
    found = {name: getattr(fpgaflow, name) for name in names}
    functions = [name for name in names if inspect.isfunction(found[name])]
    parts = [f"{paragraphs_of(fpgaflow.__doc__ or '')}"]
    for name in (*functions, *(name for name in names if name not in functions)):
        parts.append(f"## {name}\n\n{_signature(name, found[name])}{paragraphs_of(found[name].__doc__ or '')}")
    return "\n".join(parts)


def _signature(name: str, found: object) -> str:
    if not (inspect.isfunction(found) or is_dataclass(found)):
        return ""
    signature = inspect.signature(found)  # type: ignore[arg-type]
    lines = [f"    {_parameter(parameter)}," for parameter in signature.parameters.values()]
    if any(p.kind is inspect.Parameter.KEYWORD_ONLY for p in signature.parameters.values()):
        kinds = [p.kind for p in signature.parameters.values()]
        lines.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "    *,")
    returns = "" if inspect.isclass(found) else f" -> {signature.return_annotation}"
    text = "\n".join([f"{name}(", *lines, f"){returns}"])
    return f"```python\n{text.replace('os.PathLike[str]', 'PathLike')}\n```\n\n"


def _parameter(parameter: inspect.Parameter) -> str:
    default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


def paragraphs_of(text: str) -> str:
    """A docstring as Markdown: its sections of arguments, results and errors as lists, its examples as code."""
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        head, _, rest = block.partition("\n")
        if head in ("Args:", "Returns:", "Raises:"):
            items = re.split(r"\n(?=    \S)", "\n" + rest)
            entries = (re.sub(r"^([\w, ]+):", r"`\1`:", " ".join(item.split())) for item in items if item.strip())
            lines.append(f"**{ {'Args:': 'Arguments', 'Returns:': 'Result', 'Raises:': 'Errors'}[head] }**\n")
            lines += [f"- {markdown(entry)}" for entry in entries]
            lines.append("")
        elif block.startswith("    "):
            lines.append(f"```python\n{inspect.cleandoc(block)}\n```\n")
        else:
            lines.append(paragraphs(block))
    return "\n".join(lines)


def operations() -> str:
    """The ONNX operations that are read, and how."""
    rows = [(f"`{op}`", cell(first(reader.__doc__))) for op, reader in sorted(HANDLERS.items())]
    return table(("operation", "how it is taken"), rows)


def operator_format() -> str:
    """onnxruntime's operations on codes, and what each is read as."""
    return table(("operation on codes", "read as"), ((f"`{op}`", f"`{form.op}`") for (_, op), form in FORMS.items()))


def refused() -> str:
    """Operations that cannot be built but have something in their place."""
    return table(("operation", "what helps"), ((f"`{op}`", hint) for op, hint in sorted(HINTS.items())))


def units() -> str:
    """The operations of the integer graph, each of which is a unit or wiring."""
    return table(("operation", "definition", "unit"), (
        (f"`{op.__name__}`", cell(first(op.__doc__)), cell(first(type(UNITS[op]).__doc__)) if op in UNITS else "none")
        for op in HARDWARE_OPS
    ))  # fmt: skip


def boards() -> str:
    """Every board, and what an accelerator may use of it."""
    found = [load_board(name) for name in list_boards()]
    head = ("board", "title", "part", "MHz", "GB/s of DDR", *(f"{kind.upper()} to use" for kind in KINDS))
    parts = [table(head, (
        (f"`{b.name}`", b.title, f"`{b.part}`", f"{b.clock.default_mhz:g}",
         f"{(b.memory.sustained_bytes_per_second or b.memory.ddr_bytes_per_second) / 1e9:.1f}",
         *(f"{getattr(b.budget, kind):,}" for kind in KINDS))
        for b in found
    ))]  # fmt: skip
    for board in found:
        rows = ((f"`{key}`", f"{_at(board, key):,}", cell(source)) for key, source in board.sources.items())
        parts.append(f"## {board.name}\n\n{table(('number', 'value', 'source'), rows)}")
    return "\n".join(parts)


def _at(found: object, dotted: str) -> float:
    for key in dotted.split("."):
        found = getattr(found, key)
    assert isinstance(found, int | float)
    return found


def recipe_list() -> str:
    """The run files that ship with the package, by what their first line says."""

    def told(name: str) -> str:
        line = find_config(name).read_text(encoding="utf-8").splitlines()[0]
        return cell(line.removeprefix("# ")) if line.startswith("# ") else ""

    return table(("recipe", "what it is"), ((f"`{name}`", told(name)) for name in recipes()))


def decisions() -> str:
    """Every decision page by its title."""
    lines = []
    for path in sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"


PARTS = {
    "frontend": "Reading ONNX files", "lowering": "Lowering to integers", "dse": "The explorer", "engine": "The engine",
    "config": "Run files and plans", "train": "Training and data", "export": "The export gate",
    "flow": "Builds and stages", "search": "The search", "simulate": "Simulation", "deploy": "Boards and drivers",
    "hls4ml_backend": "hls4ml", "rtl": "SystemVerilog", "cli": "The command line",
}  # fmt: skip


def messages() -> str:
    """Every error that an input can cause, as the code words it: what is wrong, and what helps."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted((ROOT / "toolchain").rglob("*.py")):
        part = PARTS.get(path.relative_to(ROOT / "toolchain").parts[0], "Everything else")
        for what, hint in _raised(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(part, {}).setdefault(what, hint)
    order = [part for part in (*PARTS.values(), "Everything else") if part in found]
    return "\n".join(
        f"### {part}\n\n"
        + table(("message", "what helps"), ((cell(w), cell(h)) for w, h in sorted(found[part].items())))
        for part in order
    )


def _raised(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Texts and hints of the UserErrors and faults of nodes that a file makes; what is computed is an ellipsis."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name not in ("UserError", "fault", "NoRoom", "Blamed", "VerificationError"):
            continue
        texts = node.args[1:] if name == "fault" else node.args
        hints = [word.value for word in node.keywords if word.arg == "hint"] or (texts[1:] if name == "fault" else [])
        what = _template(texts[0]) if texts else ""
        if what.strip("… "):
            yield what, _template(hints[0]) if hints else ""


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return re.sub(r"…+", "…", "".join(_template(part) for part in node.values))
    if isinstance(node, ast.BinOp):
        return _template(node.left) + _template(node.right)
    return "…"
