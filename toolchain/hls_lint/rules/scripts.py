"""Rules of a project's scripts, which the tool runs."""

from __future__ import annotations

from collections.abc import Iterator

from toolchain.hls_lint.findings import Project, Rule

Found = Iterator[tuple[str, str, str]]

TCL, CONFIG = "run_hls.tcl", "hls_config.cfg"
FILES = (TCL, CONFIG, "run.sh", "README.txt", "tb/testbench.cpp")
STEPS = ("csim_design", "csynth_design", "cosim_design", "export_design")
HARDWARE = "-DFPGAFLOW_HARDWARE"


def _files(project: Project) -> Found:
    for path in FILES:
        if path not in project.files:
            yield "project", path, "the file is missing"
    for step in STEPS:
        if step not in project.files.get(TCL, ""):
            yield "project", TCL, f"there is no {step}"


def _clock(project: Project) -> Found:
    for path, words in ((TCL, "set_clock_uncertainty"), (CONFIG, "clock_uncertainty=")):
        if path in project.files and words not in project.files[path]:
            yield "project", path, "the clock's uncertainty is the tool's default of 27 %"


def _same(project: Project) -> Found:
    for path in (TCL, CONFIG):
        if path in project.files and HARDWARE not in project.files[path]:
            yield "project", path, f"the test bench is compiled without {HARDWARE}"


RULES = (
    Rule("project", "A project has a test bench, both scripts, and every step from simulation to export.", _files),
    Rule("clock", "The clock's uncertainty is stated.", _clock),
    Rule("same-source", "The test bench compiles what is synthesized.", _same),
)
