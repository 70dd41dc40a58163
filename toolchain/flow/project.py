"""A folder of generated files: written whole with a manifest, read back by it, and told apart from a person's work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from toolchain.errors import UserError
from toolchain.files import digest_bytes, digest_file, replace_folder, write_files
from toolchain.flow.records import ManifestRecord, read_record, write_record

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Project:
    """The ``files`` of hls/ by path as they are now, and the digest of the ``design`` that they were made of.

    ``changed`` are the paths of those that are not as they were generated.
    """

    design: str
    files: Mapping[str, bytes]
    changed: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """sha256 over all files."""
        return digest_bytes(
            "".join(f"{path}\0{digest_bytes(self.files[path])}\n" for path in sorted(self.files)).encode()
        )


def write_project(files: Mapping[str, str | bytes], target: Path, design: str) -> Project:
    """Let ``files`` with their manifest take the place of the folder ``target``."""
    contents = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    with replace_folder(target) as folder:
        write_files(contents, folder)
        seal(folder, design)
    return Project(design, contents)


def seal(folder: Path, design: str) -> None:
    """Write the manifest of all that ``folder`` holds."""
    found = {str(path.relative_to(folder)): digest_file(path) for path in sorted(_files(folder))}
    write_record(ManifestRecord(design=design, files=found), folder / MANIFEST)


def read_project(folder: Path, made_by: str) -> Project:
    """The project in ``folder``; files that its manifest does not name are left out.

    Raises:
        UserError: there is none, or a file of it is gone; names the command ``made_by`` that helps.
    """
    record = read_record(ManifestRecord, folder / MANIFEST, f"run '{made_by}' first")
    outside = [path for path in record.files if Path(path).is_absolute() or ".." in Path(path).parts]
    if outside:
        raise UserError(f"the path {outside[0]!r} leads out of the folder", where=str(folder / MANIFEST))
    try:
        files = {path: (folder / path).read_bytes() for path in record.files}
    except FileNotFoundError as error:
        raise UserError("no such file", where=str(error.filename), hint=f"run '{made_by}' again") from error
    changed = tuple(path for path, content in files.items() if digest_bytes(content) != record.files[path])
    return Project(record.design, files, changed)


def change_notes(project: Project, folder: str = "hls/", run: str = "the C simulation") -> list[str]:
    """What is to be told of a ``project`` in ``folder`` that a person has changed, since ``run`` is not all of it."""
    if not project.changed:
        return []
    more = len(project.changed) - 1
    what = f"{project.changed[0]}{f' and {more} more' if more else ''} in {folder}"
    return [f"changed since generated: {what}; proven is only what {run} runs of them"]


def manifest(folder: Path) -> ManifestRecord | None:
    """The manifest of ``folder``; None where it has none, or a damaged one."""
    try:
        return read_record(ManifestRecord, folder / MANIFEST)
    except UserError:
        return None


def foreign(folder: Path) -> Iterator[Path]:
    """Files below ``folder`` that its `manifest` does not name or that were changed; all of them where it has none."""
    record = manifest(folder)
    known = {} if record is None else record.files
    for path in sorted(_files(folder)):
        name = str(path.relative_to(folder))
        if name == MANIFEST and record is not None:
            continue
        if name not in known or path.is_symlink() or known[name] != digest_file(path):
            yield path


def demand_own(found: Iterator[Path], what: str) -> None:
    """Raise UserError where ``found`` has a file, which would be lost when ``what`` is written again."""
    first = next(found, None)
    if first is not None:
        raise UserError(
            f"{what} would be replaced, and this tool did not write {first}", hint="move it away or give --overwrite"
        )


def _files(folder: Path) -> Iterator[Path]:
    """Everything below ``folder`` that is no folder; links are not followed."""
    for root, folders, names in os.walk(folder):
        at = Path(root)
        yield from (at / name for name in names)
        yield from (at / name for name in folders if (at / name).is_symlink())
