"""The driver's packing is that of ``host.hpp``, for every width of codes."""

from __future__ import annotations

import ctypes
import itertools
import subprocess

import numpy as np
import pytest

from toolchain.deploy.driver import BLOCK_CODES, Packing
from toolchain.hls_templates.render import headers

GRID = [
    (bits, signed, lanes, size * lanes)
    for bits, signed, lanes, size in itertools.product(
        (*range(1, 17), 18, 31, 64), (False, True), (1, 2, 3, 8), (1, 7, 43)
    )
    if lanes * bits <= 128 and not (signed and bits == 1)
]
FRAMES = 3
SOURCE = """#include "host.hpp"
template <int B, bool S, int Lanes, int Size, int Words>
struct L {
    static constexpr int bits = B, lanes = Lanes, size = Size, words = Words;
    static constexpr bool is_signed = S;
};
template <class T> void go(bool back, std::int64_t* codes, std::uint64_t* words) {
    back ? fpgaflow::unpack_frame<T>(words, codes) : fpgaflow::pack_frame<T>(codes, words);
}
extern "C" void run(int which, bool back, std::int64_t* codes, std::uint64_t* words) {
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """``host.hpp``, compiled for every layout of the grid."""
    folder = tmp_path_factory.mktemp("host")
    words = [Packing(size, bits, signed, lanes).words for bits, signed, lanes, size in GRID]
    cases = "".join(
        f"case {i}: go<L<{bits}, {str(signed).lower()}, {lanes}, {size}, {count}>>(back, codes, words); break;\n"
        for i, ((bits, signed, lanes, size), count) in enumerate(zip(GRID, words, strict=True))
    )
    (folder / "host.hpp").write_text(headers()["include/fpgaflow/host.hpp"])
    (folder / "main.cpp").write_text(f"{SOURCE}switch (which) {{\n{cases}}}\n}}\n")
    command = ["g++", "-std=c++14", "-O0", "-shared", "-fPIC", "-w", "main.cpp", "-o", "host.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "host.so"))


def _ends(bits: int, signed: bool) -> tuple[int, int]:
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, min((1 << bits) - 1, (1 << 63) - 1))


@pytest.mark.needs_gxx
def test_words_are_those_of_the_host_header_and_codes_come_back(host: ctypes.CDLL) -> None:
    """Every width, signed and not, several lanes, frames that end inside a word; both ends of the range are there."""
    rng = np.random.default_rng(0)
    for which, (bits, signed, lanes, size) in enumerate(GRID):
        packing = Packing(size, bits, signed, lanes)
        low, high = _ends(bits, signed)
        codes = rng.integers(low, high, (FRAMES, size), endpoint=True)
        codes[:, 0], codes[:, -1] = low, high
        expected = np.zeros((FRAMES, 2 * packing.words), np.uint64)
        for frame in range(FRAMES):
            host.run(which, False, *(ctypes.c_void_p(a[frame].ctypes.data) for a in (codes, expected)))
        for kind in (np.int64, packing.code):  # what an encoder makes, and the narrowest
            words = np.full_like(expected, 77)
            packing.pack(codes.astype(kind), words)
            np.testing.assert_array_equal(words, expected, err_msg=f"{bits} {signed} {lanes} {size} {kind}")
        found = np.zeros_like(codes)
        for frame in range(FRAMES):
            host.run(which, True, *(ctypes.c_void_p(a[frame].ctypes.data) for a in (found, expected)))
        np.testing.assert_array_equal(found, codes)
        np.testing.assert_array_equal(packing.unpack(expected), codes, err_msg=f"{bits} {signed} {lanes} {size}")


@pytest.mark.parametrize("bits", [1, 3, 4, 6, 12])
def test_blocks_do_not_show(bits: int) -> None:
    """More codes than are packed at a time give the words of frames packed one by one."""
    size = 1000
    packing = Packing(size, bits, False, 1)
    codes = np.random.default_rng(1).integers(0, 1 << bits, (2 * BLOCK_CODES // size + 3, size)).astype(packing.code)
    together = np.zeros((len(codes), 2 * packing.words), np.uint64)
    packing.pack(codes, together)
    alone = np.zeros_like(together)
    for frame in range(len(codes)):
        packing.pack(codes[frame : frame + 1], alone[frame : frame + 1])
    np.testing.assert_array_equal(together, alone)
