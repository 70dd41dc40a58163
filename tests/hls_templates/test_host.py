"""The host's encoder of real numbers: every rounding mode, clamps and signs, as the IR has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from toolchain.hls_templates.host import ROUNDING
from toolchain.hls_templates.literals import float_literal
from toolchain.hls_templates.render import headers
from toolchain.ir.encode import HostRule
from toolchain.ir.rounding import Rounding

pytestmark = pytest.mark.needs_gxx
SCALE, ZERO, LOW, HIGH = np.float32(0.3), np.float32(-2), -7, 8


def test_every_rounding_mode_is_the_irs(tmp_path: Path) -> None:
    """Codes of halves, of their float32 neighbours, of large numbers and of random ones, by the static header."""
    halves = (np.arange(-20, 21) / 2 - ZERO).astype(np.float32) * SCALE
    around = [np.nextafter(halves, np.float32(end)) for end in (-9, 9)]
    extremes = np.float32([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38])
    x = np.concatenate([halves, *around, extremes, np.random.default_rng(0).normal(0, 2, 500).astype(np.float32)])
    modes = [*ROUNDING, "sign"]
    rules = "".join(
        f"struct R{i} {{ static constexpr long long low = {LOW}, high = {HIGH};\n"
        f"static constexpr bool bipolar = {str(mode == 'sign').lower()}, signs_as_bits = false;\n"
        f"typedef fpgaflow::{ROUNDING.get(mode, 'RoundUp')} Round; }};\n"
        for i, mode in enumerate(modes)
    )
    calls = "".join(
        f'for (float v : x) std::printf("%lld ", (long long)fpgaflow::encode_real<R{i}>(v, scale, zero));\n'
        for i in range(len(modes))
    )
    constants = "".join(
        f"const float {name} = {float_literal(float(v))};\n" for name, v in (("scale", SCALE), ("zero", ZERO))
    )
    numbers = ",".join(float_literal(float(v)) for v in x)
    (tmp_path / "main.cpp").write_text(
        f'#include <cstdio>\n#include "host.hpp"\n{rules}const float x[] = {{{numbers}}};\n{constants}'
        f"int main() {{\n{calls}}}\n"
    )
    (tmp_path / "host.hpp").write_text(headers()["include/fpgaflow/host.hpp"])
    flags = ["-std=c++14", "-O2", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, "main.cpp", "-o", "main"], cwd=tmp_path, check=True)
    printed = subprocess.run(["./main"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout.split()
    found = np.array(printed, dtype=np.int64).reshape(len(modes), len(x))

    assert len(set(map(tuple, found[:-1]))) == len(set(ROUNDING.values()))  # the numbers tell all modes apart
    for mode, codes in zip(modes, found, strict=True):
        scale, zero = np.array([SCALE]), np.array([ZERO])
        rule = HostRule(scale, zero, LOW, HIGH, Rounding.CEIL if mode == "sign" else mode, mode == "sign")
        np.testing.assert_array_equal(codes, rule.codes(x), err_msg=mode)
