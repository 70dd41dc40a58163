"""Rules of DATAFLOW regions: what their processes may share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from toolchain.hls_lint.facts import Place, Region
from toolchain.hls_lint.findings import Project, Rule

Found = Iterator[tuple[str, str, str]]


def _stream_ends(project: Project) -> Found:
    for region in project.facts.regions:
        for stream, where in region.streams.items():
            uses = region.uses.get(stream, {})
            writers = [p for p, kinds in uses.items() if "store" in kinds]
            readers = [p for p, kinds in uses.items() if "load" in kinds]
            for word, found in (("written", writers), ("read", readers)):
                if len(found) != 1:
                    names = ", ".join(_name(region, p) for p in found) or "none"
                    yield region.function, str(where), f"stream '{stream}' is {word} by {names}"
            if len(writers) == len(readers) == 1 and writers[0] >= readers[0]:
                yield region.function, str(where), f"stream '{stream}' is read no later than it is written"


def _shared(project: Project) -> Found:
    for region in project.facts.regions:
        for place, uses in region.uses.items():
            memory = place in project.facts.arrays and not project.facts.registers(place)
            changed = any("store" in kinds for kinds in uses.values())
            apart = place in region.streams or place in project.facts.bundles or _constant(project, place)
            if (changed or memory) and not apart:
                yield from _crowded(region, f"'{place}'", uses)
        yield from _bundles(project, region)


def _crowded(region: Region, what: str, uses: Mapping[int, set[str]]) -> Found:
    """Find what more than one process reads, or more than one writes."""
    for verb, kind in (("read", "load"), ("written", "store")):
        found = sorted(process for process, kinds in uses.items() if kind in kinds)
        if len(found) > 1:
            names = ", ".join(_name(region, process) for process in found)
            yield region.function, str(region.where), f"{what} is {verb} by {names}"


def _constant(project: Project, place: Place) -> bool:
    """Return whether an array is a table of constants, of which every process gets its own."""
    array = project.facts.arrays.get(place)
    return array is not None and array.constant


def _bundles(project: Project, region: Region) -> Found:
    """A bundle has one channel that reads and one that writes."""
    by_bundle: dict[str, dict[int, set[str]]] = {}
    for place, bundle in project.facts.bundles.items():
        for process, kinds in region.uses.get(place, {}).items():
            by_bundle.setdefault(bundle, {}).setdefault(process, set()).update(kinds)
    for bundle, uses in by_bundle.items():
        yield from _crowded(region, f"bundle '{bundle}'", uses)


def _form(project: Project) -> Found:
    for region in project.facts.regions:
        for where in region.control:
            yield region.function, str(where), "a DATAFLOW region holds more than declarations and calls"


def _name(region: Region, process: int) -> str:
    """A process, with its number where another has the same name."""
    if process < 0:
        return "the region itself"
    name = region.processes[process]
    same = [i for i, other in enumerate(region.processes) if other == name]
    return name if len(same) == 1 else f"{name} ({same.index(process) + 1})"


RULES = (
    Rule("stream-ends", "Every stream has one process that writes it and a later one that reads it.", _stream_ends),
    Rule(
        "shared",
        "An array, a bundle and what a process changes has one process that reads it and one that writes it.",
        _shared,
    ),
    Rule("region-form", "A DATAFLOW region holds declarations and calls only.", _form),
)
