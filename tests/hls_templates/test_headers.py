"""The static headers stand on their own."""

from __future__ import annotations

import subprocess

import pytest

from toolchain.hls_templates.render import headers
from toolchain.simulate import compiler


@pytest.mark.needs_gxx
@pytest.mark.parametrize("header", sorted(headers()))
def test_header_compiles_alone(header, tmp_path):
    compiler.write_project(headers(), tmp_path)
    source = tmp_path / "alone.cpp"
    source.write_text(f'#include "{header.removeprefix("include/")}"\n')
    flags = ["-std=c++14", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-fsyntax-only"]
    include = [f"-I{tmp_path / 'include'}", "-isystem", str(compiler.ap_types())]
    done = subprocess.run(["g++", *flags, *include, str(source)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_pragmas_are_spelled_as_vitis_hls_knows_them():
    known = {"INLINE", "PIPELINE", "UNROLL", "ARRAY_PARTITION", "DEPENDENCE", "BIND_OP"}
    for path, text in headers().items():
        pragmas = {line.split()[2] for line in text.splitlines() if line.startswith("#pragma HLS")}
        assert pragmas <= known, path
