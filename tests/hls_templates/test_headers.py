"""The static headers stand on their own."""

from __future__ import annotations

import subprocess

import pytest

from toolchain.engine.generate import generate
from toolchain.engine.shape import Shape
from toolchain.files import write_files
from toolchain.hls_templates.render import headers
from toolchain.simulate import compiler

ENGINE = Shape(
    lanes=8, in_blocks=2, out_blocks=2, taps=3, act_bits=8, weight_bits=4, stored_bits=4, filter_bits=4, sum_bits=20,
    window_sum_bits=18, mul_bits=16, mul_shift=0, add_bits=24, entry_bits=64, shift=16, merge_bits=4,
    merge_add_bits=12, merge_shift=2, kernel=3, filters=True, pools=True,
)  # fmt: skip


@pytest.mark.needs_gxx
@pytest.mark.parametrize("header", sorted({**headers(), **headers("fpgaflow/engine")}))
def test_header_compiles_alone(header, tmp_path):
    """The engine's with the fields of its table, which are generated."""
    write_files({**headers(), **generate(ENGINE, 1)}, tmp_path)
    source = tmp_path / "alone.cpp"
    source.write_text(f'#include "{header.removeprefix("include/")}"\n')
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-Wno-unused-label", "-fsyntax-only"]
    include = [f"-I{tmp_path / 'include'}", f"-I{tmp_path / 'src'}", "-isystem", str(compiler.ap_types())]
    done = subprocess.run(["g++", *flags, *include, str(source)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_pragmas_are_spelled_as_vitis_hls_knows_them():
    known = {"INLINE", "PIPELINE", "UNROLL", "ARRAY_PARTITION", "DEPENDENCE", "BIND_OP", "EXPRESSION_BALANCE"}
    for path, text in {**headers(), **headers("fpgaflow/engine")}.items():
        pragmas = {line.split()[2] for line in text.splitlines() if line.startswith("#pragma HLS")}
        assert pragmas <= known, path


DELAYS = """
#include "fpgaflow/delay.hpp"
#include <cstdio>
template <int N, int Depth, int Lines>
void run() {
    fpgaflow::Delay<ap_uint<8>, N, Depth, Lines> delay;
    unsigned long sum = 0;
    for (int i = 0; i < 3 * Depth; i++) {
        for (int line = 0; line < Lines; line++) {
            fpgaflow::Lanes<ap_uint<8>, N> word;
            for (int l = 0; l < N; l++) {
                if (i >= Depth) {
                    sum = sum * 31 + unsigned(delay.oldest(line).v[l]);
                }
                word.v[l] = i * 7 + line * 3 + l;
            }
            delay.push(word, line);
        }
    }
    std::printf("%lu ", sum);
}
int main() {
    run<1, 1, 1>();
    run<2, 5, 3>();
    run<1, 4097, 1>();
    run<64, 16, 6>();
    run<1025, 2, 4>();
}
"""


@pytest.mark.needs_gxx
def test_delay_lines_of_the_hardware_are_those_of_the_simulation(tmp_path):
    """Those of more than one array too."""
    write_files(headers(), tmp_path)
    (tmp_path / "delays.cpp").write_text(DELAYS)
    said = []
    for flags in ([], ["-DFPGAFLOW_HARDWARE"]):
        command = ["g++", "-std=c++14", "-O1", "-Wno-unknown-pragmas", *flags, f"-I{tmp_path / 'include'}"]
        command += ["-isystem", str(compiler.ap_types()), str(tmp_path / "delays.cpp"), "-o", str(tmp_path / "delays")]
        subprocess.run(command, check=True)
        said.append(subprocess.run([tmp_path / "delays"], capture_output=True, text=True, check=True).stdout)
    assert said[0] == said[1] and len(set(said[0].split())) == 5
