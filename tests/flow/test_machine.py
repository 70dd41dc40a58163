"""`fpgaflow doctor`: what is there is found, what is missing has its remedy, only what is required ends it."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.flow.test_export import run  # noqa: F401  a fixture
from toolchain.flow import machine
from toolchain.flow.machine import Finding, examine, verdict
from toolchain.flow.packages import Packages
from toolchain.simulate.compiler import compiler
from toolchain.train import places

_VERSION = metadata.version


@pytest.fixture(autouse=True)
def _compiler_anew():
    compiler.cache_clear()
    yield
    compiler.cache_clear()


def _versions(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Let packages be installed in other ``versions``, None for not at all."""

    def told(name: str) -> str:
        version = versions.get(name, "")
        if version is None:
            raise metadata.PackageNotFoundError(name)
        return version or _VERSION(name)

    monkeypatch.setattr(metadata, "version", told)


def _of(findings: list[Finding], thing: str) -> Finding:
    (found,) = [finding for finding in findings if finding.thing == thing]
    return found


@pytest.mark.needs_gxx
def test_doctor_finds_what_this_machine_has_and_exits_0(run) -> None:  # noqa: F811
    code, output, error = run("doctor")
    assert (code, error) == (0, "")
    assert output.endswith("everything that is required is there\n")
    assert _VERSION("torch") in output


def test_every_package_that_is_required_is_looked_for() -> None:
    packages = Packages.known()
    assert set(machine._SHOWN) <= set(packages.required)
    for name, (extra, _) in machine._EXTRAS.items():
        assert name in packages.optional, f"no extra {extra} installs {name}"
    others = len(packages.required) - len(machine._SHOWN)
    assert f"{others} other packages" in [finding.thing for finding in examine()]


def test_a_missing_package_is_named_with_the_command_that_installs_it(run, monkeypatch) -> None:  # noqa: F811
    _versions(monkeypatch, onnx=None, pulp=None)
    code, output, _ = run("doctor")
    others = f"{len(Packages.known().required) - len(machine._SHOWN)} other packages"
    assert code == 2 and output.endswith(f"required and not there: onnx, {others}\n")
    found = examine()
    assert (_of(found, "onnx").found, _of(found, "onnx").remedy) == ("", "pip install 'onnx<1.21,>=1.19'")
    assert (_of(found, others).found, _of(found, others).remedy) == ("pulp: missing", "pip install 'pulp<4,>=3.3'")


def test_a_version_out_of_range_is_no_version(monkeypatch) -> None:
    _versions(monkeypatch, onnx="1.23.0", torch="2.7.0+cu126")
    found = examine()
    assert _of(found, "onnx") == Finding(
        "onnx", "1.23.0, not <1.21,>=1.19", "reading and writing models", "pip install 'onnx<1.21,>=1.19'", False, True
    )
    tested = Packages.known().tested["torch"]
    assert _of(found, "torch").good and _of(found, "torch").found == f"2.7.0+cu126; tested with {tested}"


@pytest.mark.parametrize("cxx", ["/nowhere/g++", "/bin/false", "/bin/true"])
def test_no_compiler_or_one_that_makes_nothing_is_fatal(cxx: str, run, monkeypatch) -> None:  # noqa: F811
    monkeypatch.setenv("CXX", cxx)
    code, output, _ = run("doctor")
    assert code == 2 and output.endswith("required and not there: C++ compiler\n")
    told = _of(examine(), "C++ compiler")
    assert told.remedy == "apt install g++, or set CXX"
    assert told.found == f"the C simulation needs g++, and CXX is '{cxx}', which is no C++ compiler"


def test_data_are_found_in_the_folder_of_the_variable_and_a_wrong_one_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(places.DATA_VARIABLE, str(tmp_path / "data"))
    wrong = _of(examine(), places.DATA_VARIABLE)
    assert not wrong.good and not wrong.fatal and wrong.found == f"{tmp_path / 'data'}: no such folder"
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    for part in places.PARTS:
        for name in places.IDX_NAMES[part]:
            assert not _of(examine(), "mnist").good
            (tmp_path / "data" / "mnist" / f"{name}.gz").touch()
    assert _of(examine(), "mnist").found == str(tmp_path / "data" / "mnist")
    assert _of(examine(), places.DATA_VARIABLE).found == f"{tmp_path / 'data'}: mnist"


def test_optional_things_are_never_fatal() -> None:
    missing = [Finding("ray", "", "", good=False), Finding("g++", "", "", good=False, required=True)]
    assert verdict(missing) == "required and not there: g++"


def test_doctor_imports_no_package_that_it_looks_for() -> None:
    code = (
        "import sys\nfrom toolchain.cli import main\nsys.argv = ['fpgaflow', 'doctor']\n"
        "try:\n    main()\nexcept SystemExit:\n    print({'torch', 'numpy', 'onnx', 'hls4ml'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
