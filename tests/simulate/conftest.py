"""A cache of compiled objects of its own, so that every run of the tests compiles what it tests."""

from __future__ import annotations

import os

import pytest

from toolchain.simulate import compiler


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory):
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # that of the run, which all workers share
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FPGAFLOW_CACHE", str(root / "cache"))
        yield


@pytest.fixture(scope="package", autouse=True)
def _quickly_compiled():
    """They run a few frames: most of their time goes into compiling, a third less of it with -O0. Exports have -O2."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "FLAGS", (*compiler.FLAGS, "-O0"))
        yield
