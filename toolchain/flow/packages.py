"""Versions of the Python packages, beside those that fpgaflow takes and those that it was tested with."""

from __future__ import annotations

import json
import platform
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from toolchain import __version__
from toolchain.errors import UserError
from toolchain.paths import checkout, data_path


@dataclass(frozen=True)
class Packages:
    """Requirements by the normal form of a package's name: those of every user, those of extras; and the Python."""

    required: Mapping[str, Requirement]
    optional: Mapping[str, Requirement]
    python: str

    @staticmethod
    def known() -> Packages:
        """The requirements in pyproject.toml of a checkout, or in the metadata of the installed package.

        Raises:
            UserError: neither is there.
        """
        root = checkout()
        if root is not None:
            project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            extras = [text for texts in project["optional-dependencies"].values() for text in texts]
            return Packages(_named(project["dependencies"]), _named(extras), project["requires-python"])
        try:
            found = metadata.distribution("fpgaflow")
        except metadata.PackageNotFoundError as error:
            raise UserError("fpgaflow is not installed as a package", hint="pip install it") from error
        texts = found.requires or []
        optional = [text for text in texts if "extra ==" in text]
        required = [text for text in texts if text not in optional]
        return Packages(_named(required), _named(optional), found.metadata["Requires-Python"])

    @cached_property
    def tested(self) -> Mapping[str, str]:
        """Versions by name that the tests run with: those of constraints.txt."""
        lines = data_path("constraints.txt").read_text(encoding="utf-8").splitlines()
        pairs = (line.partition("#")[0].partition("==") for line in lines)
        return {canonicalize_name(name.strip()): version.strip() for name, _, version in pairs if version}

    @property
    def python_fits(self) -> bool:
        """Whether this Python is one that fpgaflow takes."""
        return SpecifierSet(self.python).contains(platform.python_version(), prereleases=True)

    def fits(self, name: str) -> bool:
        """Whether the package is installed in a version that fpgaflow takes; any is, where nothing is asked of it."""
        installed, wanted = _installed(name), self._wanted(name)
        return installed is not None and (wanted is None or wanted.specifier.contains(installed, prereleases=True))

    def told(self, name: str) -> str:
        """The installed version in words, empty where there is none: in range, outside it, tested or not."""
        installed, wanted, tested = _installed(name), self._wanted(name), self.tested.get(canonicalize_name(name))
        if installed is None:
            return ""
        if not self.fits(name):
            return f"{installed}, not {wanted.specifier if wanted else ''}"
        if tested is None or installed.partition("+")[0] == tested:
            return installed + ("" if tested is None else ", as tested")
        return f"{installed}; tested with {tested}"

    def remedy(self, *names: str) -> str:
        """The command that installs fitting versions of ``names``, empty for none."""
        texts = [f"'{wanted.name}{wanted.specifier}'" for wanted in map(self._wanted, names) if wanted is not None]
        return f"pip install {' '.join(texts)}" if texts else ""

    def _wanted(self, name: str) -> Requirement | None:
        key = canonicalize_name(name)
        return self.required.get(key) or self.optional.get(key)


def _named(texts: list[str]) -> dict[str, Requirement]:
    requirements = map(Requirement, texts)
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def installable() -> str:
    """What pip installs elsewhere to get this fpgaflow: the commit of the repository it came from, or the release."""
    try:
        told = metadata.distribution("fpgaflow").read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        told = None
    source = json.loads(told) if told else {}
    if "vcs_info" in source:
        return f"fpgaflow @ {source['vcs_info']['vcs']}+{source['url']}@{source['vcs_info']['commit_id']}"
    return f"fpgaflow=={__version__}"
