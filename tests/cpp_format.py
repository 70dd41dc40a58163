"""clang-format over the C++, pragmas as they are: it would put blanks around their equals signs.

python -m tests.cpp_format    # format all files
"""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("toolchain", "sim", "tests")
TOOL = Path(sysconfig.get_path("scripts")) / "clang-format"
PRAGMA = re.compile(r"^[ \t]*#pragma (?:.*\\\n)*.*$", re.MULTILINE)


def sources() -> list[Path]:
    """Every C++ file, those that were generated for comparison too."""
    paths = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    return sorted(path for path in paths if path.suffix in (".hpp", ".h", ".cpp"))


def formatted(path: Path) -> str:
    """The file ``path`` as ``.clang-format`` has it."""
    text = path.read_text(encoding="utf-8")
    command = [TOOL, f"--style=file:{ROOT / '.clang-format'}", f"--assume-filename={path.name}"]
    new = subprocess.run(command, input=text, capture_output=True, text=True, check=True).stdout
    pragmas = iter(PRAGMA.findall(text))
    return PRAGMA.sub(lambda _: next(pragmas), new)


def main() -> None:
    """Format every file."""
    for path in sources():
        new = formatted(path)
        if new != path.read_text(encoding="utf-8"):
            path.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
