"""The first two files of a project: a run file for `fpgaflow train` and a workflow that exports and verifies."""

from __future__ import annotations

import json
import platform
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from toolchain.boards import DEFAULT_BOARD, load_board
from toolchain.config.run import MODELS, parse_config
from toolchain.errors import UserError, unknown_name
from toolchain.files import create_files
from toolchain.flow.packages import Packages, installable

RUN_FILE = "run.toml"
CI_FILE = ".github/workflows/fpgaflow.yml"


@dataclass(frozen=True)
class Training:
    """``epochs`` of which ``pretrain`` are in float, the batch, the learning rate, and threads where few are better."""

    epochs: int
    pretrain: int
    batch: int
    rate: str
    threads: int = 0


@dataclass(frozen=True)
class Source:
    """A kind of data: what stands behind its name, the networks that take it (the usual one first), how it is trained.

    ``settings`` are further keys of ``[data]`` with a value and a remark each.
    """

    note: str
    models: tuple[str, ...]
    training: Training
    settings: tuple[tuple[str, object, str], ...] = ()


_PICTURES = tuple(model for model in MODELS if model != "cnn1d")
_FEATURES = ("tfc", "lenet300")
_GREY = Training(epochs=20, pretrain=8, batch=256, rate="3e-3")
_OWN = Training(epochs=20, pretrain=6, batch=64, rate="3e-3")
_STANDARD = ("normalize", "standard", "less the mean and over the deviation; the host code does the same")


def _first(model: str, models: tuple[str, ...] = _PICTURES) -> tuple[str, ...]:
    return (model, *(other for other in models if other != model))


_SMALL = tuple(model for model in _PICTURES if not model.startswith("lenet5"))  # for 8 x 8 pixels
SOURCES = {
    "digits": Source("scikit-learn's 8 x 8 digits", _first("cnn", _SMALL), Training(20, 4, 32, "3e-3", threads=1)),
    "mnist": Source("28 x 28 digits, downloaded once", _first("lenet5"), _GREY),
    "fashion-mnist": Source("28 x 28 pictures of clothes, downloaded once", _first("lenet5"), _GREY),
    "cifar10": Source(
        "32 x 32 colour pictures, downloaded once",
        _first("resnet8"),
        Training(30, 10, 256, "4e-3"),
        (("augment", True, "crops and flips"),),
    ),
    "folder:PATH": Source(
        "PATH/train/CLASS/*.png and PATH/test/CLASS/*.png",
        _first("cnn"),
        _OWN,
        (("augment", False, '"crop", "flip", or true for both'),),
    ),
    "npy:PREFIX": Source("PREFIX_train_x.npy, _train_y, _test_x, _test_y", _first("tfc", MODELS), _OWN, (_STANDARD,)),
    "csv:PREFIX": Source(
        "PREFIX_train.csv and PREFIX_test.csv",
        _FEATURES,
        _OWN,
        (("label", "label", "the column of the classes; the others are features"), _STANDARD),
    ),
    "parquet:PREFIX": Source(
        "PREFIX_train.parquet and PREFIX_test.parquet",
        _FEATURES,
        _OWN,
        (("label", "label", "the column of the classes; the others are features"), _STANDARD),
    ),
}
"""Data sets, and kinds of files, by what is written in a run file."""


@dataclass(frozen=True)
class Wishes:
    """The wishes that a project is started with; ``target_fps`` None asks for the most frames a second.

    Args:
        data: a key of ``SOURCES``, with a path in place of PATH or PREFIX.
        model: a network of the package, ``FILE.py:NAME`` or ``package.module:NAME``.
        weights, acts: bits, 1 to 8.
        board: a name of ``fpgaflow boards``, or a folder with a board.toml.
    """

    data: str = "digits"
    model: str = "cnn"
    weights: int = 4
    acts: int = 4
    board: str = DEFAULT_BOARD
    target_fps: float | None = None

    @property
    def name(self) -> str:
        """The name of the run and of the build: data, network and bits."""
        data, model = re.split(r"[/:\\]", self.data.rstrip("/"))[-1], self.model.rpartition(":")[2]
        words = re.sub(r"[^a-z0-9]+", "-", f"{data} {model}".lower()).strip("-")
        return f"{words}-w{self.weights}a{self.acts}".lstrip("-")

    @property
    def export(self) -> str:
        """The command that makes the accelerator."""
        rate = [] if self.target_fps is None else ["--target-fps", f"{self.target_fps:.10g}"]
        return shlex.join(["fpgaflow", "export", f"runs/{self.name}", "--board", self.board, *rate])


def source_of(data: str) -> Source:
    """The kind of ``data``.

    Raises:
        UserError: no such data set, or a kind of files without the path.
    """
    _demand_plain(data, "data")
    kind, colon, rest = data.partition(":")
    for name, source in SOURCES.items():
        if name == data or (colon and rest and name.startswith(f"{kind}:")):
            if rest in ("PATH", "PREFIX"):
                break
            return source
    if any(name.startswith(f"{kind}:") for name in SOURCES):
        raise UserError(f"data '{data}' names no files", hint=f"for example {kind}:data/mine")
    raise unknown_name("data set", data, SOURCES)


def check_model(model: str, data: str) -> str:
    """``model`` itself.

    Raises:
        UserError: no such network, or one that does not take ``data``.
    """
    _demand_plain(model, "model")
    fitting = source_of(data).models
    if ":" in model or model in fitting:
        return model
    if model in MODELS:
        raise UserError(f"model '{model}' does not take the samples of {data}", hint=f"{', '.join(fitting)} do")
    wrong = unknown_name("model", model, fitting)
    raise UserError(wrong.what, hint=f"{wrong.hint} (a network of your own: FILE.py:NAME)")


def check_board(board: str) -> str:
    """``board`` itself; UserError where there is none."""
    _demand_plain(board, "board")
    load_board(board)
    return board


def _demand_plain(text: str, what: str) -> None:
    """The files are read by TOML, YAML, a shell and GitHub, whose ``${{ }}`` no quotes stop."""
    if not text.isprintable() or "${{" in text:
        raise UserError(f"{what} {text!r} has characters that no file of a workflow can hold")


def demand_new(folder: Path) -> None:
    """Raise UserError where ``folder`` has one of the files that `start` writes."""
    for name in (RUN_FILE, CI_FILE):
        if (folder / name).exists() or (folder / name).is_symlink():
            raise UserError(f"{folder / name} is there already", hint="move it away, or name another folder")


def start(folder: Path, wishes: Wishes) -> None:
    """Write the run file and the workflow for ``wishes`` into ``folder``, or neither.

    Raises:
        UserError: a wish cannot be had, or one of the files is there.
    """
    files = starting_files(wishes, folder)
    demand_new(folder)
    try:
        create_files(files, folder)
    except (FileExistsError, NotADirectoryError) as error:
        where = Path(error.filename2 or error.filename or folder)
        raise UserError(f"{where} is there already", hint="move it away, or name another folder") from error
    except FileNotFoundError as error:
        raise UserError(f"nothing can be made at {error.filename}", hint="name another folder") from error


def starting_files(wishes: Wishes, base: Path = Path()) -> dict[str, str]:
    """Text of the files by path; a network ``FILE.py:NAME`` is looked for from ``base``.

    Raises:
        UserError: a wish cannot be had.
    """
    source, own = source_of(wishes.data), ":" in wishes.model
    check_model(wishes.model, wishes.data)
    check_board(wishes.board)
    network = "called with num_classes and shape where it takes them" if own else ", ".join(source.models)
    environment = _environment()
    texts = {
        path: environment.get_template(template).render(
            name=wishes.name,
            export=wishes.export,
            data=wishes.data,
            data_note=source.note,
            data_settings=source.settings,
            model=wishes.model,
            model_note=network,
            own=own,
            weights=wishes.weights,
            acts=wishes.acts,
            train=source.training,
            python=".".join(platform.python_version_tuple()[:2]),
            requirement=installable(),
            torch=shlex.quote(str(Packages.known().required["torch"])),
        )
        for path, template in ((RUN_FILE, "run.toml.j2"), (CI_FILE, "ci.yml.j2"))
    }
    parse_config(tomllib.loads(texts[RUN_FILE]), where=RUN_FILE, base=base)
    return texts


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("toolchain.flow", "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    quoted = lambda value: json.dumps(value, ensure_ascii=False)  # noqa: E731  valid TOML and YAML
    environment.filters.update(toml=quoted, yaml=quoted)
    return environment
