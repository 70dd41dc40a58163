"""A fault of every kind in an accelerator that keeps all rules: it is found, in its line, and nothing else is."""

from __future__ import annotations

import pytest

from tests.hls_lint.clean import FILES, TOP, changed, line_of
from tests.hls_lint.plants import LOOP, PLANTS
from toolchain.errors import FlowError, UserError
from toolchain.hls_lint.lint import RULES, lint
from toolchain.hls_lint.pragmas import read_pragmas

pytestmark = pytest.mark.needs_gxx


SAME = "the test bench is compiled without -DFPGAFLOW_HARDWARE"
CLOCK = "the clock's uncertainty is the tool's default of 27 %"
SCRIPTS = (
    ("project", "run.sh", None, "the file is missing"),
    ("project", "run_hls.tcl", ("cosim_design\n", ""), "there is no cosim_design"),
    ("clock", "run_hls.tcl", ("set_clock_uncertainty 0.4\n", ""), CLOCK),
    ("clock", "hls_config.cfg", ("clock_uncertainty=10%\n", ""), CLOCK),
    ("same-source", "run_hls.tcl", ("-DFPGAFLOW_HARDWARE", ""), SAME),
)  # fmt: skip


def test_an_accelerator_that_keeps_every_rule_has_no_finding():
    assert lint(FILES).findings == ()


@pytest.mark.parametrize("plant", PLANTS, ids=[f"{p.rule}-{i}" for i, p in enumerate(PLANTS)])
def test_a_planted_fault_is_found_and_nothing_else(plant):
    files = changed(*plant.edits)
    expected = (plant.rule, plant.unit, f"{TOP}:{line_of(files, plant.line)}", plant.what)
    assert [tuple(finding) for finding in lint(files).findings] == [expected]


@pytest.mark.parametrize(("rule", "path", "edit", "what"), SCRIPTS)
def test_a_fault_of_a_script_is_found_and_nothing_else(rule, path, edit, what):
    files = changed(edit, path=path) if edit else {name: text for name, text in FILES.items() if name != path}
    assert [tuple(finding) for finding in lint(files).findings] == [(rule, "project", path, what)]


def test_pragmas_of_what_is_known_are_no_finding():
    """Members, tables outside, references, pointers, an inner scope, all dimensions, a pragma of two lines."""
    files = changed(
        (
            "void load(",
            """\
template <int N>
class Held {
public:
    int of[2][N];
    Held() {
#pragma HLS ARRAY_PARTITION variable=of complete dim=2
#pragma HLS ARRAY_PARTITION variable = of complete dim = 0
    }
};
template <int N>
int first(const int (&x)[N], const int y[2][N], const int* z) {
#pragma HLS ARRAY_PARTITION variable=x \\
    complete dim=1
#pragma HLS ARRAY_PARTITION variable=y complete dim=2
#pragma HLS ARRAY_PARTITION variable=z complete dim=1
#pragma HLS BIND_STORAGE variable=table type=rom_1p impl=lutram
#pragma HLS ARRAY_PARTITION variable=table complete
    if (N > 5) {
        int never[N][N];
#pragma HLS ARRAY_PARTITION variable=never complete dim=2
    }
    return x[0] + y[0][0] + z[0];
}
void load(""",
        ),
        (
            "    ap_uint<4> at = 0;\n",
            "    ap_uint<4> at = 0;\n    Held<3> held;\n#pragma HLS ARRAY_PARTITION variable=held.of complete dim=1\n",
        ),
        ("        at = at + 1;\n", "        at = at + first<3>(held.of[0], held.of, held.of[1]);\n"),
    )
    assert lint(files).findings == ()


def test_pragmas_are_read_where_the_tool_reads_them():
    """As an operator too, whose line may hold another; in no comment, but in a line with a string like one."""
    text = """\
#pragma HLS PIPELINE II=1 // and no more
/* #pragma HLS DATAFLOW
#pragma HLS DATAFLOW
*/ // _Pragma("HLS DATAFLOW")
_Pragma("HLS UNROLL factor = 2") _Pragma("HLS INLINE off") /* _Pragma("HLS DATAFLOW") */
const char* text = "/*"; char quote = '"'; int million = 1'000'000; //"
#pragma HLS STREAM variable=s /* words */ depth=4
"""
    found = [(p.name, p.options, sorted(p.flags), p.line) for p in read_pragmas(text)]
    assert found == [
        ("PIPELINE", (("ii", "1"),), [], 1),
        ("UNROLL", (("factor", "2"),), [], 5),
        ("INLINE", (), ["off"], 5),
        ("STREAM", (("variable", "s"), ("depth", "4")), [], 7),
    ]


def test_pragmas_that_the_preprocessor_leaves_out_count_for_nothing():
    """Neither as a fault nor as what a loop asks for."""
    wrong = "#pragma HLS ARRAY_PARTITION variable=gone complete\n"
    left_out = f"#if 0\n{wrong}#endif\n#ifdef FPGAFLOW_HARDWARE\n#else\n{wrong}#endif\n"
    assert lint(changed(("    ap_uint<4> at = 0;\n", f"{left_out}    ap_uint<4> at = 0;\n"))).findings == ()

    loop = "    for (int n = 0; n < 2 * frames; n++) {\n"
    pragma = "#pragma HLS PIPELINE II=1 style=flp\n"
    gone, left_out = (lint(changed((loop + pragma, loop + text))) for text in ("", f"#if 0\n{pragma}#endif\n"))
    assert [(f.rule, f.what) for f in left_out.findings] == [(f.rule, f.what) for f in gone.findings] != []


def test_every_rule_has_a_planted_fault():
    assert {plant.rule for plant in PLANTS} | {rule for rule, *_ in SCRIPTS} == {rule.name for rule in RULES}


def test_memories_that_one_loop_loads_and_stores_are_listed_with_their_distance():
    line = line_of(FILES, LOOP)
    assert [tuple(row) for row in lint(FILES).distances] == [("unit", "kept", f"{TOP}:{line}", 16)]


def test_a_function_that_the_compiler_computes_may_call_itself():
    files = changed(
        ("void load(", "constexpr int sum(int n) { return n == 0 ? 0 : n + sum(n - 1); }\nvoid load("),
        ("        at = at + 1;\n", "        constexpr int step = sum(3);\n        at = at + step;\n"),
    )
    assert lint(files).findings == ()


def test_sources_that_are_no_cpp_are_named_with_their_line():
    files = changed(("        at = at + 1;\n", "        at = at + missing;\n"))
    line = line_of(files, "at = at + missing")
    with pytest.raises(FlowError, match=rf"^clang does not read the project: src/top.cpp:{line}: .*'missing'"):
        lint(files)


def test_a_project_without_a_top_function_is_refused():
    with pytest.raises(
        UserError, match=r"^no top function \[src/top.hpp\]; lint a project that fpgaflow export wrote$"
    ):
        lint({**FILES, "src/top.hpp": ""})


def test_headers_that_were_precompiled_and_have_changed_since_are_read_again(monkeypatch, tmp_path):
    stale = tmp_path / "stale.pch"
    stale.write_bytes(b"no tree")
    monkeypatch.setattr("toolchain.hls_lint.parse._precompiled", lambda: stale)
    assert lint(FILES).findings == ()
