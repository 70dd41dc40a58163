"""Training runs: what they reach, what they leave behind, and how they go on after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from toolchain import files
from toolchain.config.run import RunConfig, find_config, load_config, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.flow.runs import run_folder
from toolchain.flow.training import train
from toolchain.frontend.agreement import compare
from toolchain.frontend.read import read_qonnx
from toolchain.ir.encode import encode, host_values
from toolchain.ir.input_types import input_text
from toolchain.ir.ops.model import Quantize
from toolchain.locks import locked
from toolchain.lowering.pipeline import to_integer
from toolchain.train.data import input_map
from toolchain.train.module import Classifier
from toolchain.train.runs import load_run, saved_metrics


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _config(**train_section: Any) -> RunConfig:
    section = {"epochs": 4, "pretrain_epochs": 2, "batch_size": 64, "lr": 5e-3, "accelerator": "cpu", **train_section}
    table = {"name": "t", "model": {"name": "cnn", "width": 0.5}, "data": {"augment": False}, "train": section}
    return parse_config(table, where="test")


class _Kill(Callback):
    """Ends a run without warning at the start of an epoch, or in its middle."""

    def __init__(self, epoch: int, batch: int) -> None:
        self.epoch, self.batch = epoch, batch

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch and args[2] == self.batch:
            raise RuntimeError("killed")


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / "model.pt", weights_only=True)["state_dict"])


@pytest.fixture()
def without_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves out the export, which other tests check, to save time."""
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)


def test_a_folder_in_which_another_process_trains_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "run", "train"), pytest.raises(UserError, match="run is in use by 'train', process "):
        train(_config(), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_keys_without_effect_are_told_when_the_run_starts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_stages", stop)
    with pytest.raises(KeyboardInterrupt):
        train(_config(nesterov=True), tmp_path / "run")
    assert caplog.messages == ['without effect in this run: train.nesterov (goes with optimizer = "sgd")']


@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize(("optimizer", "evaluate_every"), [("adam", 1), ("sgd", 4)])
def test_a_killed_and_resumed_run_ends_with_the_same_bits(optimizer: str, evaluate_every: int, tmp_path: Path) -> None:
    """Killed in the float phase, at the switch to quantized training, and in the middle of an epoch after it; every
    epoch that ended is kept, evaluated or not."""
    config = _config(optimizer=optimizer, evaluate_every=evaluate_every)
    config = config.model_copy(update={"data": config.data.model_copy(update={"augment": True})})
    whole = _weights(train(config, tmp_path / "whole"))
    for epoch, batch in ((1, 0), (2, 0), (3, 7)):
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts", resume=True, callbacks=[_Kill(epoch, batch)])
        assert list((tmp_path / "parts/checkpoints").glob(f"*/epoch-{epoch - 1}.ckpt"))
    resumed = _weights(train(config, tmp_path / "parts", resume=True))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    metrics = [json.loads((tmp_path / run / "metrics.json").read_text()) for run in ("whole", "parts")]
    assert metrics[0] | {"seconds": 0} == metrics[1] | {"seconds": 0}


def test_what_dropout_draws_follows_from_the_seed_and_the_epoch(tmp_path: Path, without_export: None) -> None:
    """So that a run which was killed between two epochs ends with the bits of an uninterrupted one."""
    net = tmp_path / "net.py"
    layers = "nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(144, classes)"
    net.write_text(f"from torch import nn\n\ndef build(classes):\n    return nn.Sequential({layers})\n")
    section = {"epochs": 2, "batch_size": 256, "accelerator": "cpu", "threads": 1, "seed": 2**32 - 1}
    stages = [{"name": "a", "epochs": 2}, {"name": "b", "epochs": 1}]
    table = {"name": "t", "model": {"name": f"{net}:build"}, "train": section, "stage": stages}
    config = parse_config(table, where="test")
    whole = _weights(train(config, tmp_path / "whole"))
    with pytest.raises(RuntimeError, match="killed"):
        train(config, tmp_path / "parts", callbacks=[_Kill(1, 0)])
    resumed = _weights(train(config, tmp_path / "parts", resume=True))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    with pytest.raises(UserError, match=r"^bad value for 'train.seed': Input should be less than 4294967296"):
        parse_config({**table, "train": {**section, "seed": 2**32}}, where="test")


def test_the_digits_recipe_passes_90_percent_in_a_few_epochs_and_leaves_the_whole_run(tmp_path: Path) -> None:
    overrides = ["train.epochs=6", "train.pretrain_epochs=2", "train.threads=1", "train.accelerator=cpu"]
    config = load_config(find_config("digits"), overrides)
    out = train(config, tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert set(metrics) == {
        "data", "model", "methods", "float_top1", "top1", "qonnx_top1", "params", "macs", "weight_bits", "act_bits",
        "weight_sparsity", "epochs", "seconds", "stages", "warnings", "test_images", "qonnx_images", "sha256",
    }  # fmt: skip
    assert metrics["top1"] > 0.9 and metrics["float_top1"] > 0.9
    assert abs(metrics["qonnx_top1"] - metrics["top1"]) <= 1 / 360  # one image whose code falls on a tie
    assert load_config(out / "run.toml") == config
    stored = {entry.key: entry.value for entry in onnx.load(out / "model.onnx").metadata_props}
    assert json.loads(stored["fpgaflow.input"]) == {"pixel": {"scale": ["1/16"], "offset": ["0"]}}
    assert json.loads(stored["fpgaflow.classes"]) == list("0123456789")
    assert list(out.glob("logs/part_0/metrics.csv")) and list(out.glob("logs/part_0/events*"))
    assert not list(out.glob(".*"))
    model, _, data = load_run(out)
    with torch.no_grad():
        top1 = (model(torch.from_numpy(data.test_x) / 16).argmax(1).numpy() == data.test_y).mean()
    assert abs(top1 - metrics["top1"]) <= 1 / 360


def test_a_run_with_an_input_type_trains_on_its_values_and_the_file_says_so(tmp_path: Path) -> None:
    """Pixels become signed codes of 1/8; network, file, host and integer network have the same values and codes."""
    config = _config(epochs=2, pretrain_epochs=1)
    given = config.data.model_copy(update={"normalize": "standard", "input": "int5:1/8:-2"})
    out = train(config.model_copy(update={"data": given}), tmp_path / "run")
    model, loaded, data = load_run(out)
    pixels = input_map(data, loaded.data.normalize, loaded.data.input)
    file = read_qonnx(out / "model.onnx")
    assert file.encoding is not None
    integer = to_integer(file.graph, file.encoding)
    images = np.ascontiguousarray(data.test_x[:64].transpose(0, 2, 3, 1))
    codes, values = encode(integer, images), pixels.apply(data.test_x[:64])

    assert len(np.unique(codes)) > 16 and integer.input.qint.signed and integer.input.qint.bits == 5
    np.testing.assert_array_equal(values, (codes.transpose(0, 3, 1, 2) + 2) / np.float32(8))
    np.testing.assert_array_equal(values, host_values(integer, images).transpose(0, 3, 1, 2))
    module = Classifier(model, data, loaded)
    np.testing.assert_array_equal(module._values(torch.from_numpy(data.test_x[:64])).numpy(), values)
    assert compare(file, integer, images).top1 >= 63 / 64
    assert not any(isinstance(node, Quantize) and node.inputs == (file.graph.input.name,) for node in file.graph.nodes)
    assert input_text(file.encoding).endswith(", rounded by the host to int5:1/8:-2")


def test_a_float_run_writes_metrics_and_no_onnx_file(tmp_path: Path) -> None:
    out = train(_config(float=True, epochs=1), tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["float_top1"] == metrics["top1"] and metrics["qonnx_top1"] is None and metrics["weight_bits"] == 32
    assert metrics["methods"] == [] and not (out / "model.onnx").exists()


class _Precision(Callback):
    """Notes the type of the logits in training and in its evaluations."""

    def __init__(self) -> None:
        self.seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        model = cast(nn.Module, module.model)
        self.hook = model.register_forward_hook(lambda layer, _, logits: self.seen[layer.training].add(logits.dtype))

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.hook.remove()


@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize("method", ["lsq", "brevitas", "qil", "fqconv", "symog", "sgm"])
def test_bfloat16_training_learns_and_keeps_weights_and_evaluation_in_float32(method: str, tmp_path: Path) -> None:
    config = _config(precision="bfloat16")
    config = config.model_copy(update={"quant": config.quant.model_copy(update={"method": method})})
    precision = _Precision()
    out = train(config, tmp_path / "run", callbacks=[precision])
    assert precision.seen == {True: {torch.bfloat16}, False: {torch.float32}}
    assert {value.dtype for value in _weights(out).values() if value.is_floating_point()} == {torch.float32}
    assert json.loads((out / "metrics.json").read_text())["top1"] > 0.8


@pytest.mark.usefixtures("without_export")
def test_a_loss_that_is_not_finite_stops_with_the_step_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
            if trainer.global_step == 30:
                next(module.parameters()).data.fill_(float("nan"))

    message = r"the loss is nan at step 30 \(epoch 1\), not finite first in layer 'conv1'; the last checkpoint is kept"
    with pytest.raises(UserError, match=message):
        train(_config(), tmp_path / "run", callbacks=[Poison()])
    (checkpoint,) = (tmp_path / "run" / "checkpoints" / "train").iterdir()
    state = torch.load(checkpoint, weights_only=False)["state_dict"]
    assert checkpoint.name == "epoch-0.ckpt" and all(value.isfinite().all() for value in state.values())


@pytest.mark.usefixtures("without_export")
def test_a_used_folder_is_refused_unless_told(tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(_config(epochs=1, float=True), out)
    with pytest.raises(UserError, match=r"the run folder .*/run is not empty; use --resume, --overwrite or another"):
        train(_config(epochs=1, float=True), out)
    with pytest.raises(UserError, match=r"train.lr is 0.1, and the run in .* has 0.005; resume with 0.005, or train"):
        train(_config(epochs=1, float=True, lr=0.1), out, resume=True)
    before = _weights(out)
    (out / "model.pt").unlink()
    run_file = out / "run.toml"
    run_file.write_text("".join(line for line in run_file.open() if not line.startswith("optimizer")))  # the default
    train(_config(epochs=1, float=True), out, resume=True)  # finished: what is missing is written again
    assert all(torch.equal(before[name], value) for name, value in _weights(out).items())
    (out / "checkpoints" / "stale").touch()
    train(_config(epochs=1, float=True), out, overwrite=True)
    assert not (out / "checkpoints" / "stale").exists()


@pytest.mark.usefixtures("without_export")
def test_a_run_replaces_another_run_alone_and_leaves_the_folder_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder may be a link, or where the command runs."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "thesis.tex").write_text("years of work")
    (tmp_path / "link").symlink_to(project)
    monkeypatch.chdir(project)
    for out in (Path(), tmp_path / "link"):
        with pytest.raises(UserError, match=r"^\S+ would be removed, and no run wrote \S*thesis\.tex; move it"):
            train(_config(epochs=1, float=True), out, overwrite=True)
    assert [path.name for path in project.iterdir()] == ["thesis.tex"]
    (project / "thesis.tex").rename(project / ".run.toml.swp")  # an editor's
    with pytest.raises(UserError, match=r"would be removed, and no run wrote \S*\.run\.toml\.swp; move it"):
        train(_config(epochs=1, float=True), Path(), overwrite=True)
    (project / ".run.toml.swp").unlink()
    for out in (Path(), tmp_path / "link", Path()):
        (project / "checkpoints" / "stale").mkdir(parents=True)
        (project / "modes-last.svg").touch()
        train(_config(epochs=1, float=True), out, overwrite=True)
        assert (project / "metrics.json").is_file() and not (project / "modes-last.svg").exists()


@pytest.mark.usefixtures("without_export")
@pytest.mark.parametrize(
    "text", ['# mine\nname = "t"\n', 'name = "t"\n\n[train]\nepochs = 1\nfloat = true\n', "[train"]
)
def test_a_run_file_of_the_users_own_is_not_replaced(tmp_path: Path, text: str) -> None:
    """It may stand where the run is to be: a resume leaves it as it is, and nothing else begins."""
    run_file = tmp_path / "run.toml"
    run_file.write_text(text)
    message = r"run.toml would be replaced, and no run wrote it as it is; move it away, or give another --out"
    with pytest.raises(UserError, match=message):
        train(_config(epochs=1, float=True), tmp_path, overwrite=True)
    assert run_file.read_text() == text and len([*tmp_path.iterdir()]) == 1


@pytest.mark.usefixtures("without_export")
def test_a_resume_leaves_a_run_file_that_says_the_same(tmp_path: Path) -> None:
    out = train(_config(epochs=1, float=True), tmp_path / "run")
    text = "# mine\n" + (out / "run.toml").read_text()
    (out / "run.toml").write_text(text)
    (out / "metrics.json").unlink()
    train(_config(epochs=1, float=True), out, resume=True)
    with pytest.raises(UserError, match=r"run.toml would be replaced"):
        train(_config(epochs=2, float=True), out, resume=True)
    assert (out / "run.toml").read_text() == text


@pytest.mark.parametrize("name", ["checkpoints/train/epoch-0.ckpt", "model.onnx"])
def test_a_folder_without_a_run_file_is_not_resumed(tmp_path: Path, name: str) -> None:
    """Nothing tells what run its checkpoints are of, which an --overwrite that was killed leaves; or it has others."""
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("of another run")
    with pytest.raises(UserError, match=r"run holds no run.toml, which tells what run it is of; use --overwrite or an"):
        train(_config(epochs=1, float=True), tmp_path / "run", resume=True)
    assert [found for found in tmp_path.rglob("*") if found.is_file()] == [path]


@pytest.mark.usefixtures("without_export")
def test_a_finished_run_goes_on_with_more_epochs_and_not_with_fewer(tmp_path: Path) -> None:
    """The first epochs are not run again; without a falling rate the end is that of a run of as many epochs at once."""
    settings = {"pretrain_epochs": 0, "schedule": "constant"}
    whole = _weights(train(_config(epochs=3, **settings), tmp_path / "whole"))
    out = train(_config(epochs=1, **settings), tmp_path / "parts")
    began: list[int] = []

    class Epochs(Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, *_: Any) -> None:
            began.append(trainer.current_epoch)

    longer = _weights(train(_config(epochs=3, **settings), out, resume=True, callbacks=[Epochs()]))
    assert began == [1, 2]
    assert all(torch.equal(whole[name], longer[name]) for name in whole)
    with pytest.raises(UserError, match=r"train.epochs is 2, and the run in .* has 3; resume with 3 or more"):
        train(_config(epochs=2, **settings), out, resume=True)


@pytest.mark.usefixtures("without_export")
def test_a_finished_run_that_is_resumed_keeps_its_files(tmp_path: Path) -> None:
    """Unless one is missing: then it is what it was."""

    def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
        found = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.toml")
        return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}

    config = _config(epochs=1, pretrain_epochs=0)
    out = train(config, tmp_path / "run")
    (out / "model.onnx").touch()  # the export is left out here
    before = contents(out)
    train(config, out, resume=True)
    assert contents(out) == before

    metrics = json.loads((out / "metrics.json").read_text())
    (out / "metrics.json").unlink()
    train(config, out, resume=True)
    again = json.loads((out / "metrics.json").read_text())
    assert again | {"sha256": metrics["sha256"]} == metrics  # the empty file was not there before


@pytest.mark.parametrize(("method", "last"), [("lsq", "model.pt"), ("niti", "model.onnx")])
def test_a_longer_resume_that_is_killed_leaves_no_metrics_of_fewer_epochs(
    method: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a file of more epochs is there, the metrics of the files before are not."""

    def run(epochs: int) -> RunConfig:
        if method == "lsq":
            return _config(epochs=epochs, pretrain_epochs=0, float=True)
        integers = {"method": "niti", "weight_bits": 8, "act_bits": 8}
        model = {"name": "cnn", "width": 0.25, "plain": True}
        table = {"name": "t", "model": model, "quant": integers, "train": {"batch_size": 128, "epochs": epochs}}
        return parse_config(table, where="test")

    out = train(run(1), tmp_path / "run")
    write = files.write_bytes

    def killed(path: Path, data: bytes) -> None:
        write(path, data)
        if path.name == last:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(files, "write_bytes", killed)
        train(run(2), out, resume=True)
    with pytest.raises(UserError, match=r"^no .*metrics.json; the run has not finished; resume it$"):
        saved_metrics(out)


def _table(prefix: Path, columns: str, classes: str, shift: int = 0) -> RunConfig:
    """A run of float layers on a table of one row a class."""
    rows = "".join(f"{i + shift},{i},{name}\n" for i, name in enumerate(classes))
    for part in ("train", "test"):
        prefix.with_name(f"{prefix.name}_{part}.csv").write_text(f"{columns},label\n{rows}")
    train_section = {"epochs": 1, "batch_size": 2, "float": True, "accelerator": "cpu"}
    data = {"name": f"csv:{prefix}", "normalize": "standard"}
    model = {"name": "tfc", "width": 0.25}
    return parse_config({"name": "t", "data": data, "model": model, "train": train_section}, where="test")


@pytest.mark.parametrize(
    ("change", "message", "alike"),
    [
        ({"classes": "xyz"}, "data set '{name}' has changed: samples of (2,) in 2 classes before, samples of (2,) in 3 "
         "classes now [{out}]; put the files back as they were, or train anew with --overwrite", False),
        ({"columns": "b,a"},
         "the run's columns are others, or in another order: it has 'a' where '{name}' has 'b' [{out}]", False),
        ({"classes": "xz"},
         "the run's classes are others, or in another order: it has 'y' where '{name}' has 'z' [{out}]", False),
        ({"shift": 1}, "the samples of data set '{name}' have changed since the run began [{out}]; put the files back "
         "as they were, or train anew with --overwrite", True),
    ],
)  # fmt: skip
def test_a_run_does_not_go_on_with_other_data(
    change: dict[str, Any], message: str, alike: bool, tmp_path: Path
) -> None:
    """Other samples of the same kind may calibrate its network."""
    usual = {"columns": "a,b", "classes": "xy"}
    out = train(_table(tmp_path / "d", **usual), tmp_path / "run")
    told = message.format(name=f"csv:{tmp_path / 'd'}", out=out)
    config = _table(tmp_path / "d", **(usual | change))
    longer = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 2})})
    before = (out / "run.toml").read_bytes()
    with pytest.raises(UserError) as caught:
        train(longer, out, resume=True)
    assert str(caught.value) == told and (out / "run.toml").read_bytes() == before
    if alike:
        load_run(out)
        return
    with pytest.raises(UserError) as caught:
        load_run(out)
    assert str(caught.value) == told


def test_what_this_computer_lacks_is_told_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.threads = 100000 on \d+ processors; 0 keeps PyTorch's choice"):
        train(_config(threads=100_000), tmp_path / "run")
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r'train.accelerator = "cuda": this computer has none; "auto" takes'):
            train(_config(accelerator="cuda"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file is a file; give a folder with --out"):
        train(_config(), tmp_path / "file")


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            raise KeyboardInterrupt

    out = tmp_path / "my run"
    command = f"fpgaflow train '{out}/run.toml' --out '{out}' --resume"
    with pytest.raises(KeyboardInterrupt, match=f"^go on with: {command}$"):
        train(_config(), out, callbacks=[Stop()])
    assert load_config(out / "run.toml") == _config()


def test_a_run_that_is_resumed_by_its_run_file_goes_on_in_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "elsewhere" / "run.toml"
    assert run_folder(file, "mine", resume=True) == Path("runs/mine")  # one of the user's own
    (file.parent / "checkpoints").mkdir(parents=True)
    assert run_folder(file, "mine", resume=True) == file.parent
    for path, resume in ((file, False), (file.with_name("mine.toml"), True)):
        assert run_folder(path, "mine", resume=resume) == Path("runs/mine")


def test_augmentation_of_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(0, 1, (64, 6)).astype(np.float32)
    for part in ("train", "test"):
        np.save(tmp_path / f"d_{part}_x.npy", rows)
        np.save(tmp_path / f"d_{part}_y.npy", np.arange(64) % 2)
    config = _config()
    data = {"name": f"npy:{tmp_path / 'd'}", "normalize": "standard", "augment": True}
    with pytest.raises(UserError, match=r"data.augment moves pictures, and the samples are \(6,\)"):
        train(config.model_copy(update={"data": config.data.model_copy(update=data)}), tmp_path / "run")
