"""Rules of calls and loops."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.hls_lint.facts import Facts, Loop
from toolchain.hls_lint.findings import Project, Rule

Found = Iterator[tuple[str, str, str]]


def _recursion(project: Project) -> Found:
    """A circle of calls is told once, at the call of the function of it that was reached first."""
    facts, told = project.facts, set[str]()
    for callee in facts.names:
        circle = {caller for caller, calls in facts.calls.items() if callee in calls} & _reached(facts, callee)
        if circle and callee not in told:
            told |= _reached(facts, callee)
            caller = min(circle, key=lambda name: (name != callee, name))
            through = "" if caller == callee else f" through '{facts.names[caller]}'"
            where = str(facts.calls[caller][callee])
            yield facts.units.get(callee, facts.top), where, f"'{facts.names[callee]}' calls itself{through}"


def _reached(facts: Facts, start: str) -> set[str]:
    """Functions that a call of ``start`` can run, itself included."""
    found, open_ = {start}, [start]
    while open_:
        for callee in facts.calls.get(open_.pop(), {}):
            if callee not in found:
                found.add(callee)
                open_.append(callee)
    return found


def _region_calls(project: Project) -> Found:
    for name, sites in project.facts.sites.items():
        if len(sites) > 1:
            yield project.facts.top, str(min(sites)), f"'{name}' is called in {len(sites)} places"


def _pipelined(project: Project) -> Iterator[Loop]:
    return (loop for loop in project.facts.loops if loop.pipelined)


def _label(project: Project) -> Found:
    for loop in _pipelined(project):
        if not loop.label:
            yield loop.unit, str(loop.where), "a pipelined loop has no label"


def _cycles(project: Project) -> Found:
    for loop in _pipelined(project):
        pragma = loop.pragma("PIPELINE")
        if pragma is not None and not pragma.get("ii"):
            yield loop.unit, str(loop.where), "the pipelined loop has no II"
        if pragma is not None and pragma.get("style") != "flp":
            yield loop.unit, str(loop.where), "the pipelined loop keeps words while none come: it has not style=flp"
        if not loop.counted:
            yield loop.unit, str(loop.where), "the C simulation does not count the loop's cycles"
    for loop in project.facts.loops:
        if not loop.unrolled and not loop.pipelined and not _holds(project, loop):
            yield loop.unit, str(loop.where), "the loop is neither pipelined nor unrolled"


def _holds(project: Project, outer: Loop) -> bool:
    return any(outer in loop.around() for loop in _pipelined(project))


def _trips(project: Project) -> Found:
    for loop in project.facts.loops:
        if loop.pipelined and loop.trips is not None and loop.trips <= 1:
            yield loop.unit, str(loop.where), f"the pipelined loop has {loop.trips} iteration"
        if loop.unrolled and not loop.pipelined and not loop.static:
            yield loop.unit, str(loop.where), "the unrolled loop has no constant number of iterations"


def _nest(project: Project) -> Found:
    for loop in _pipelined(project):
        outer = loop.parent
        if loop.alone and outer is not None and loop.pragma("LOOP_FLATTEN") is None:
            yield (
                loop.unit,
                str(loop.where),
                f"the pipelined loop is all that the loop of line {outer.where.line} holds",
            )


def _idle(project: Project) -> Found:
    for access in project.facts.streams:
        loops = [access.loop, *access.loop.around()] if access.loop is not None else []
        if loops and all(loop.static and not loop.guarded for loop in loops):
            verb = "read" if access.kind == "load" else "written"
            yield access.unit, str(loops[0].where), f"stream '{access.place}' is {verb} when there is no frame"


RULES = (
    Rule("recursion", "No function that the top function reaches calls itself.", _recursion),
    Rule("region-calls", "A DATAFLOW region is called in one place, or HLS builds it once a place.", _region_calls),
    Rule("loop-label", "Every pipelined loop has a label, by which reports and directives name it.", _label),
    Rule("loop-cycles", "Every loop is unrolled or pipelined with an II, and the cycle model counts it.", _cycles),
    Rule("loop-trips", "A pipelined loop has several iterations, an unrolled one a constant number.", _trips),
    Rule("loop-nest", "A pipelined loop needs no flattening, which multiplies its bounds.", _nest),
    Rule("idle", "No stream is read or written where there is no frame.", _idle),
)
