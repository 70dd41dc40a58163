"""A small accelerator that keeps every rule, for tests that break one."""

from __future__ import annotations

TOP = "src/top.cpp"

_SOURCE = """\
#include "top.hpp"

#include <hls_stream.h>

#include <cstdint>

struct Word {
    ap_uint<4> v[2];
};
typedef hls::stream<Word> words;
static const ap_int<4> table[4] = {1, 2, 3, 4};

ap_int<20> cascaded(ap_int<10> a, ap_int<10> b, ap_int<20> sum) {
#pragma HLS EXPRESSION_BALANCE off
    return sum + a * b;
}

void load(const ap_uint<128>* in, words& out, int frames) {
load:
    for (int n = 0; n < frames; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(0);
        const ap_uint<128> beat = in[n];
        Word word;
        for (int l = 0; l < 2; l++) {
#pragma HLS UNROLL
            word.v[l] = beat >> (4 * l);
        }
        out.write(word);
    }
}

void unit(words& in, words& out, int frames) {
    ap_uint<4> kept[16];
    ap_int<20> sums[4];
#pragma HLS ARRAY_PARTITION variable=sums complete dim=1
    ap_uint<4> at = 0;
unit:
    for (int n = 0; n < 2 * frames; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(1);
        Word word = in.read();
        FPGAFLOW_LOADED(1, "kept", at, 16);
        word.v[1] = kept[at];
        FPGAFLOW_STORED(1, "kept", at, 16);
        kept[at] = word.v[0];
        at = at + 1;
        sums[0] = cascaded(table[0], word.v[0], sums[0]);
        word.v[0] = sums[0] / 4;
        out.write(word);
    }
}

void store(words& in, ap_uint<128>* out, int frames) {
store:
    for (int n = 0; n < frames; n++) {
#pragma HLS PIPELINE II=1 style=flp
        FPGAFLOW_CYCLE(2);
        const Word word = in.read();
        out[n] = (word.v[1], word.v[0]);
    }
}

void run(const ap_uint<128>* in, ap_uint<128>* out, int frames) {
#pragma HLS DATAFLOW
    words first("first");
    words second("second");
    load(in, first, frames);
    unit(first, second, frames);
    store(second, out, frames);
}

void net(const ap_uint<128>* in, ap_uint<128>* out, int frames) {
#pragma HLS INTERFACE m_axi port=in bundle=gmem0
#pragma HLS INTERFACE m_axi port=out bundle=gmem0
    run(in, out, frames);
}
"""

FILES = {
    "src/top.hpp": "#include <ap_int.h>\nvoid net(const ap_uint<128>* in, ap_uint<128>* out, int frames);\n",
    TOP: _SOURCE,
    "run_hls.tcl": "set_clock_uncertainty 0.4\nadd_files -cflags -DFPGAFLOW_HARDWARE\n"
    "csim_design\ncsynth_design\ncosim_design\nexport_design\n",
    "hls_config.cfg": "clock_uncertainty=10%\nsyn.cflags=-DFPGAFLOW_HARDWARE\n",
    "run.sh": "",
    "README.txt": "",
    "tb/testbench.cpp": "",
}
"""The project by path; it starts at the function ``net``."""


def changed(*edits: tuple[str, str], path: str = TOP) -> dict[str, str]:
    """The project with pieces of a file replaced, each of which is there once."""
    text = FILES[path]
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return {**FILES, path: text}


def line_of(files: dict[str, str], text: str) -> int:
    """The line of the source that begins with ``text``, white space apart."""
    (found,) = [i for i, line in enumerate(files[TOP].splitlines(), 1) if line.strip().startswith(text)]
    return found
