"""A small verified build that the tests of deployments share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.onnx_models import conv_bn_relu
from toolchain.flow.options import Check, Search
from toolchain.flow.stages import export

CHECK = Check(count=8, qonnx_images=8)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build; ``build`` is a copy to work on."""
    folder = tmp_path_factory.mktemp("exported")
    model = conv_bn_relu(folder / "net.onnx")
    export(model, folder / "build", Search(architecture="streaming"), CHECK)
    return folder / "build"


@pytest.fixture
def build(exported: Path, tmp_path: Path) -> Path:
    """A copy of a small verified build."""
    return Path(shutil.copytree(exported, tmp_path / "build"))
