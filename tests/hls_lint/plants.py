"""Faults to plant in the accelerator of ``clean.py``, one at least for every rule of the C++."""

from __future__ import annotations

from typing import NamedTuple

Edit = tuple[str, str]


class Plant(NamedTuple):
    """A fault: its rule, how the line that is reported begins, unit and text of the finding, the edits that make it."""

    rule: str
    line: str
    unit: str
    what: str
    edits: tuple[Edit, ...]


def _plant(rule: str, line: str, unit: str, what: str, *edits: Edit) -> Plant:
    return Plant(rule, line, unit, what, edits)


def _in_front(old: str, *new: str) -> Edit:
    """Lines in front of the line that begins with ``old``."""
    return old, "".join(f"{line}\n" for line in new) + old


def _function(*lines: str) -> Edit:
    return _in_front("void load(", *lines)


def _declared(*lines: str) -> Edit:
    """Declarations of ``unit``."""
    return _in_front("    ap_uint<4> kept[16];", *lines)


def _inside(*lines: str) -> Edit:
    """Statements of the pipelined loop of ``unit``."""
    return _in_front("        at = at + 1;", *lines)


def _in_region(*lines: str) -> Edit:
    return _in_front('    words first("first");', *lines)


_GRID = _in_front("void load(", "struct Grid {", "    ap_uint<4> of[2][2];", "};")


def _meant(pragma: str, what: str) -> Plant:
    """A pragma of ``unit`` behind the declarations."""
    line = f"#pragma HLS {pragma}"
    return _plant("pragma", line, "unit", what, _GRID, _in_front("unit:", "    Grid grid;", line))


LOOP = "for (int n = 0; n < 2 * frames"
"""The pipelined loop of ``unit``."""

_PIPELINE = "#pragma HLS PIPELINE II=1 style=flp"
_STORED = 'FPGAFLOW_STORED(1, "kept", at, 16);'
_LOAD = "void load(const ap_uint<128>* in, words& out, int frames) {"
_STORE = "void store(words& in, ap_uint<128>* out, int frames) {"
_BIND = "#pragma HLS BIND_OP variable=bound op=mul impl=dsp"

CONTROL = (
    _plant(
        "recursion",
        "int sum(int n)",
        "unit",
        "'sum' calls itself",
        _function("int sum(int n) { return n == 0 ? 0 : n + sum(n - 1); }"),
        _inside("at = at + sum(3);"),
    ),
    _plant(
        "recursion",
        "template <int N> int even(int n) {",
        "unit",
        "'odd' calls itself through 'even'",
        _function(
            "template <int N> int even(int n);",
            "template <int N> int odd(int n) { return n == 0 ? 0 : even<N>(n - 1); }",
            "template <int N> int even(int n) { return n == 0 ? 1 : odd<N>(n - 1); }",
        ),
        _inside("at = at + odd<3>(n);"),
    ),
    _plant(
        "region-calls",
        "run(in, out, frames - 1);",
        "net",
        "'run' is called in 2 places",
        _in_front("    run(in, out, frames);", "run(in, out, frames - 1);"),
    ),
    _plant("loop-label", LOOP, "unit", "a pipelined loop has no label", ("unit:\n", "")),
    _plant(
        "loop-cycles",
        LOOP,
        "unit",
        "the C simulation does not count the loop's cycles",
        ("        FPGAFLOW_CYCLE(1);\n", ""),
    ),
    _plant(
        "loop-cycles",
        LOOP,
        "unit",
        "the pipelined loop has no II",
        (f"n < 2 * frames; n++) {{\n{_PIPELINE}", "n < 2 * frames; n++) {\n#pragma HLS PIPELINE style=flp"),
    ),
    _plant(
        "loop-cycles",
        LOOP,
        "unit",
        "the pipelined loop keeps words while none come: it has not style=flp",
        (f"n < 2 * frames; n++) {{\n{_PIPELINE}", "n < 2 * frames; n++) {\n#pragma HLS PIPELINE II=1"),
    ),
    _plant(
        "loop-cycles",
        "for (int i = 0; i < 3",
        "unit",
        "the loop is neither pipelined nor unrolled",
        _declared("for (int i = 0; i < 3; i++) {", "}"),
    ),
    _plant(
        "loop-trips",
        "for (int i = 0; i < n",
        "unit",
        "the unrolled loop has no constant number of iterations",
        _inside("for (int i = 0; i < n; i++) {", "#pragma HLS UNROLL", "at++;", "}"),
    ),
    _plant(
        "loop-trips",
        "for (int i = 0; i < 1",
        "unit",
        "the pipelined loop has 1 iteration",
        _declared("one:", "for (int i = 0; i < 1; i++) {", _PIPELINE, "FPGAFLOW_CYCLE(1);", "}"),
    ),
    _plant(
        "loop-nest",
        "for (int i = 0; i < 8",
        "unit",
        "the pipelined loop is all that the loop of line 34 holds",
        _declared(
            "for (int f = 0; f < frames; f++) {",
            "eight:",
            "for (int i = 0; i < 8; i++) {",
            _PIPELINE,
            "FPGAFLOW_CYCLE(1);",
            "}",
            "}",
        ),
    ),
    _plant(
        "idle",
        "for (int i = 0; i < 3",
        "unit",
        "stream 'first' is read when there is no frame",
        _declared("early:", "for (int i = 0; i < 3; i++) {", _PIPELINE, "FPGAFLOW_CYCLE(1);", "in.read();", "}"),
    ),
)

DATAFLOW = (
    _plant(
        "stream-ends",
        'words second("second")',
        "run",
        "stream 'second' is read by unit, store",
        ("    unit(first, second, frames);\n", "    unit(second, second, frames);\n"),
        ("    load(in, first, frames);\n", ""),
        ('    words first("first");\n', ""),
    ),
    _plant(
        "stream-ends",
        'words spare("spare")',
        "run",
        "stream 'spare' is read by none",
        _function("void give(words& out) { out.write(Word()); }"),
        _in_region('words spare("spare");', "give(spare);"),
    ),
    _plant(
        "stream-ends",
        'words second("second")',
        "run",
        "stream 'second' is read no later than it is written",
        ("    store(second, out, frames);\n", ""),
        _in_front("    unit(first, second, frames);", "store(second, out, frames);"),
    ),
    _plant(
        "shared",
        "void run(",
        "run",
        "'counts' is read by unit, store",
        (_LOAD, _LOAD.replace("int frames", "int frames, int (&counts)[4]") + "counts[0] = frames;"),
        (_STORE, _STORE.replace("int frames", "int frames, const int (&counts)[4]") + "frames = counts[0];"),
        ("load(in, first, frames);", "load(in, first, frames, counts);"),
        ("store(second, out, frames);", "store(second, out, frames, counts);"),
        (
            "void unit(words& in, words& out, int frames) {",
            "void unit(words& in, words& out, int frames, int (&counts)[4]) {frames = counts[1];",
        ),
        ("unit(first, second, frames);", "unit(first, second, frames, counts);"),
        _in_region("int counts[4];"),
    ),
    _plant(
        "shared",
        "void run(",
        "run",
        "'frames' is read by load, unit, store",
        (_LOAD, _LOAD.replace("int frames", "int& frames") + "frames++;"),
    ),
    _plant(
        "shared",
        "void run(",
        "run",
        "bundle 'gmem0' is read by load, store",
        (_STORE, _STORE.replace("words& in", "words& in, const ap_uint<128>* more")),
        ("store(second, out", "store(second, in, out"),
        ("        out[n] = (word.v[1], word.v[0]);\n", "        out[n] = (word.v[1], word.v[0]) + more[n];\n"),
    ),
    _plant(
        "region-form",
        "if (frames > 0) {",
        "run",
        "a DATAFLOW region holds more than declarations and calls",
        _in_region("if (frames > 0) {", "}"),
    ),
)

ARITHMETIC = (
    _plant(
        "division",
        "at = at / word.v[0]",
        "unit",
        "a quotient of u4 by a value of run time",
        _inside("at = at / word.v[0];"),
    ),
    _plant(
        "division",
        "at = n % 3",
        "unit",
        "a remainder of s32 by a constant that is no power of two",
        _inside("at = n % 3;"),
    ),
    _plant(
        "product",
        "at = n * frames",
        "unit",
        "a product of s32 x s32 bits that no cost counts",
        _inside("at = n * frames;"),
    ),
    _plant(
        "product",
        "at = ap_uint<18>(n) * ap_uint<18>(frames)",
        "unit",
        "a product of u18 x u18 bits that no cost counts",
        _inside("at = ap_uint<18>(n) * ap_uint<18>(frames);"),
    ),
    _plant(
        "product",
        "return sum + a * b",
        "unit",
        "a product of s19 x s19 bits is more than a slice",
        ("ap_int<20> cascaded(ap_int<10> a, ap_int<10> b,", "ap_int<20> cascaded(ap_int<19> a, ap_int<19> b,"),
        ("cascaded(table[0], word.v[0],", "cascaded(n, frames,"),
    ),
    _plant(
        "bound-product",
        "sums[1] = bound + sums[1]",
        "unit",
        "the product of src/top.cpp:47 is added to",
        _inside("const ap_int<9> bound = word.v[1] * word.v[0];", _BIND, "sums[1] = bound + sums[1];"),
    ),
    _plant(
        "bound-product",
        "const ap_int<20> bound",
        "unit",
        "a factor of 'bound' is a sum",
        _inside("const ap_int<20> bound = (word.v[1] - word.v[0]) * word.v[0];", _BIND, "sums[1] = bound;"),
    ),
    _plant(
        "chain-order",
        "return sum + a * b",
        "unit",
        "a chain's sum may be rebalanced",
        ("#pragma HLS EXPRESSION_BALANCE off\n", ""),
    ),
    _plant(
        "limits",
        "ap_uint<1025> wide",
        "unit",
        "'wide' has 1025 bits, the tool takes 1024",
        _declared("ap_uint<1025> wide = 0;"),
    ),
    _plant(
        "limits",
        "hls::stream<Row> rows;",
        "run",
        "'rows' carries 4100 bits, the tool takes 4096",
        _function(
            "struct Row {",
            "    ap_uint<4> v[1025];",
            "};",
            "void give(hls::stream<Row>& out) { out.write(Row()); }",
            "void take(hls::stream<Row>& in) { in.read(); }",
        ),
        _in_region("hls::stream<Row> rows;", "give(rows);", "take(rows);"),
    ),
)

MEMORY = (
    _plant("distance", LOOP, "unit", "'kept' is loaded and stored, how far apart is not stated", (_STORED, "")),
    _plant(
        "distance",
        "kept[at] = word.v[1] + 1",
        "unit",
        "'kept' is stored from its own word of the iteration before: II is 2",
        (_STORED, _STORED.replace("16", "1")),
        ("        kept[at] = word.v[0];\n", "        kept[at] = word.v[1] + 1;\n"),
    ),
    _plant(
        "distance",
        LOOP,
        "unit",
        "DEPENDENCE of 'kept' asks for 8 iterations, 4 are stated",
        (_STORED, _STORED.replace("16", "4")),
        _in_front("        FPGAFLOW_CYCLE(1);", "#pragma HLS DEPENDENCE variable=kept type=inter false"),
    ),
    _plant(
        "distance",
        LOOP,
        "unit",
        "DEPENDENCE of 'sums', which is not loaded and stored",
        _in_front("        FPGAFLOW_CYCLE(1);", "#pragma HLS DEPENDENCE variable=sums type=inter false"),
    ),
    _plant(
        "inner-array",
        "Word held[2];",
        "unit",
        "'held' is split, the arrays in its elements are not",
        _declared("Word held[2];", "#pragma HLS ARRAY_PARTITION variable=held complete dim=1"),
        _inside("held[1] = held[0];", "held[0] = word;"),
    ),
    _plant(
        "parts",
        "ap_uint<4> many[65][64];",
        "unit",
        "'many' is split into 4,160 parts",
        _declared("ap_uint<4> many[65][64];", "#pragma HLS ARRAY_PARTITION variable=many complete dim=0"),
        _inside("many[1][1] = word.v[0];"),
    ),
    _plant(
        "split-word",
        "void unit(",
        "unit",
        "'last.v' is part of a stream's word, which is one piece",
        _declared("Word last;", "#pragma HLS ARRAY_PARTITION variable=last.v complete dim=1"),
        _inside("last = word;"),
    ),
    _plant(
        "part-select",
        "joined.range(4 * at + 3, 4 * at)",
        "unit",
        "bits of 'joined' at a position known at run time only",
        _declared("ap_uint<64> joined = 0;"),
        _inside("joined.range(4 * at + 3, 4 * at) = word.v[0];"),
    ),
)

CONSTRUCTS = (
    _plant(
        "dynamic",
        "int* heap = new int[4]",
        "unit",
        "memory is allocated with new",
        _declared("int* heap = new int[4];"),
    ),
    _plant(
        "dynamic",
        "ap_uint<4> held[4][frames];",
        "unit",
        "'held' is an array with a size that is known at run time only",
        _declared("ap_uint<4> held[4][frames];"),
    ),
    _plant(
        "dynamic",
        "int (*call)(int)",
        "unit",
        "'call' is a pointer to a function or a pointer",
        _function("int one(int n) { return n; }"),
        _declared("int (*call)(int) = one;"),
    ),
    _plant(
        "dynamic",
        "at = at + seven.of()",
        "unit",
        "the function 'of' is virtual",
        _function("struct Seven {", "    virtual int of() { return 7; }", "};"),
        _declared("Seven seven;"),
        _inside("at = at + seven.of();"),
    ),
    _plant(
        "dynamic",
        "std::vector<int> grown;",
        "unit",
        "'grown' is of a type of the standard library",
        _in_front("#include <cstdint>", "#include <vector>"),
        _declared("std::vector<int> grown;"),
    ),
    _plant(
        "stream",
        "if (!in.empty()) {",
        "unit",
        "'empty' of a stream answers differently in hardware",
        _inside("if (!in.empty()) {", "    at++;", "}"),
    ),
)

PRAGMAS = (
    _meant("ARRAY_PARTITON variable=sums complete", "there is no pragma ARRAY_PARTITON"),
    _meant("ARRAY_PARTITION complete dim=1", "ARRAY_PARTITION names no variable"),
    _meant("ARRAY_PARTITION variable=none complete dim=1", "ARRAY_PARTITION of 'none', which is not known here"),
    _meant("BIND_STORAGE variable=none type=ram_2p", "BIND_STORAGE of 'none', which is not known here"),
    _meant("INTERFACE mode=s_axilite port=none", "INTERFACE of 'none', which is not known here"),
    _meant("BIND_OP variable=beat op=mul impl=dsp", "BIND_OP of 'beat', which is not known here"),
    _meant("BIND_OP variable=word op=mul impl=dsp", "BIND_OP of 'word', which is not known here"),
    _meant("ARRAY_PARTITION variable=at complete", "ARRAY_PARTITION of 'at', which is no array"),
    _meant("ARRAY_PARTITION variable=frames complete", "ARRAY_PARTITION of 'frames', which is no array"),
    _meant("ARRAY_PARTITION variable=sums complete dim=2", "ARRAY_PARTITION of dimension 2 of 'sums', which has 1"),
    _meant("ARRAY_RESHAPE variable=kept complete dim = 3", "ARRAY_RESHAPE of dimension 3 of 'kept', which has 1"),
    _meant(
        "ARRAY_PARTITION variable=sums complete dim=n",
        "ARRAY_PARTITION of dimension 'n' of 'sums', which is no number",
    ),
    _meant(
        "ARRAY_PARTITION variable=grid.of complete dim=3", "ARRAY_PARTITION of dimension 3 of 'grid.of', which has 2"
    ),
    _meant("ARRAY_PARTITION variable=grid.at complete", "ARRAY_PARTITION of 'grid.at', which is not known here"),
    _plant(
        "pragma",
        "#pragma HLS ARRAY_RESHAPE variable=of complete dim=3",
        "unit",
        "ARRAY_RESHAPE of dimension 3 of 'of', which has 2",
        _GRID,
        _declared("Grid grid;"),
        _inside("at = at + first<2>(grid.of);"),
        _function(
            "template <int N>",
            "int first(const ap_uint<4> (&of)[N][N]) {",
            "#pragma HLS ARRAY_RESHAPE variable=of complete dim=3",
            "return of[0][0];",
            "}",
        ),
    ),
)

PLANTS = (*CONTROL, *DATAFLOW, *ARITHMETIC, *MEMORY, *CONSTRUCTS, *PRAGMAS)
