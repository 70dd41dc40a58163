"""What is damaged in the cache is compiled again, as after a power cut: cut short, empty or of zeros."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from toolchain.simulate import cache, compiler

SOURCE = 'extern "C" __attribute__((visibility("default"))) int next(int x) { return x + 1; }\n'
HEADER = "fake of 24 bytes in whole"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("FPGAFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.needs_gxx
def test_a_damaged_library_is_compiled_again(folder: Path) -> None:
    source = folder / "next.cpp"
    source.write_text(SOURCE)
    library = compiler.source_library(source)
    whole = library.read_bytes()
    for damaged in (b"", b"text", whole[:60], whole[:-1], whole[: len(whole) // 2], bytes(len(whole))):
        library.write_bytes(damaged)
        assert not cache.held(library)
    assert compiler.source_library(source) == library and cache.held(library)
    assert ctypes.CDLL(str(library)).next(41) == 42
    assert not cache.held(folder / "missing.so")


@pytest.mark.needs_gxx
def test_damaged_headers_are_written_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []

    def compile_header(command: list[str], _: Path) -> None:
        compiled.append(command[-1])
        Path(command[-1]).write_text(HEADER)

    monkeypatch.setattr(compiler, "run_compiler", compile_header)
    sim = {"prefix.hpp": "#include <cstdint>\n", "harness.hpp": "int f();\n"}
    place = compiler.precompiled(sim, ())
    header = place / "prefix.hpp.gch"
    assert not header.exists()
    for damaged in (None, HEADER, HEADER[:4]):  # from the second use on there is one
        if damaged is not None:
            header.write_text(damaged)
        (place / "harness.hpp").write_text("")
        assert compiler.precompiled(sim, ()) == place
        assert {path: (place / path).read_text() for path in sim} == sim and header.read_text() == HEADER
    assert len(compiled) == 2
