"""What holds for all tests: hypothesis draws the same examples in every run, torch the same numbers in every test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

if "PYTEST_XDIST_WORKER" in os.environ:  # a worker a core: more threads would wait for each other, some of them busily
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are loaded


@pytest.fixture(scope="session", autouse=True)
def _quickly_compiled() -> Iterator[None]:
    """Small networks run few frames: most of the time goes into compiling. Subprocesses take the product's options."""
    from toolchain.engine import csim  # loads numpy
    from toolchain.simulate import compiler

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler, "QUICK_FLAGS", ("-O0",))
        patch.setattr(csim, "OPTIONS", (*csim.OPTIONS, "-O1"))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """What torch draws does not depend on the tests that ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def _torchlib_read_once() -> None:
    """The exporter of torch reads the sources of its five hundred functions at every export, half of its time."""
    if registration := sys.modules.get("torch.onnx._internal.exporter._registration"):
        apis = registration.onnxscript_apis
        if not hasattr(apis.get_torchlib_ops, "cache_info"):
            apis.get_torchlib_ops = cache(apis.get_torchlib_ops)
