"""Runs that begin with, or learn from, another network; and stages in which only the quantizers learn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from toolchain.config.run import DataConfig, ModelConfig, RunConfig, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.flow.training import train
from toolchain.train.data import Dataset, Reading, input_map, load, load_for
from toolchain.train.distill import Teacher, check_teacher
from toolchain.train.runs import load_run
from toolchain.train.stages import foresee

FIRST = {"name": "first", "epochs": 1}


@pytest.fixture(autouse=True)
def _no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """The export is tested elsewhere."""
    torch.set_num_threads(1)
    monkeypatch.setattr(training, "_export", lambda *_: 0.0)


def _config(*stages: dict[str, Any], data: str, method: str = "qil", width: float = 0.5, **section: Any) -> RunConfig:
    table = {
        "name": "t",
        "data": {"name": data},
        "model": {"name": "cnn", "width": width},
        "quant": {"method": method, "weight_bits": 3, "act_bits": 3},
        "train": {"epochs": 1, "batch_size": 64, "lr": 5e-3, "accelerator": "cpu", "threads": 1, **section},
        "stage": list(stages),
    }
    return parse_config(table, where="test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, noise of their shape and two small colour images as files, and a float run of the digits."""
    folder, digits = tmp_path_factory.mktemp("runs"), load("digits")
    random = np.random.default_rng(0)
    for part, x, y in (("train", digits.train_x, digits.train_y), ("test", digits.test_x, digits.test_y)):
        np.save(folder / f"digits_{part}_x.npy", 15 * x)
        np.save(folder / f"digits_{part}_y.npy", y)
        np.save(folder / f"dark_{part}_x.npy", 4 * x)
        np.save(folder / f"dark_{part}_y.npy", y)
        np.save(folder / f"noise_{part}_x.npy", random.integers(0, 256, (256, 1, 8, 8)).astype(np.uint8))
        np.save(folder / f"noise_{part}_y.npy", np.zeros(256, np.int64))
        np.save(folder / f"colour_{part}_x.npy", np.zeros((64, 3, 12, 12), np.uint8))
        np.save(folder / f"colour_{part}_y.npy", np.arange(64) % 5)
    train(_config(data=f"npy:{folder / 'digits'}", float=True, epochs=3), folder / "float")
    return folder


def _saved(out: Path, stage: str) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / "checkpoints" / stage / "finished.pt", weights_only=True)["state_dict"])


def test_only_the_quantizers_learn_from_the_teacher_on_images_of_another_data_set(folder: Path, tmp_path: Path) -> None:
    """The run starts where the float run ended; a frozen stage changes intervals, no weights and no batch norms'."""
    start = str(folder / "float")
    only = {"name": "only", "epochs": 2, "freeze_weights": True, "data": f"npy:{folder / 'noise'}"}
    out = train(
        _config(FIRST, only, data=f"npy:{folder / 'digits'}", start_from=start, teacher=start), tmp_path / "run"
    )
    before, after = _saved(out, "first"), _saved(out, "only")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.endswith("tensor_quant.width") for name in changed)
    assert all("tensor_quant" in name or "running" in name or "batches" in name for name in changed)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["float_top1"] == json.loads((folder / "float" / "metrics.json").read_text())["top1"]
    assert metrics["stages"][0]["top1"] > 0.8


def test_a_stage_on_other_images_reads_them_as_the_run_does(folder: Path, tmp_path: Path) -> None:
    """Less the mean and over the deviation of the run's images: the accuracy is that of the network which is saved."""
    name = f"npy:{folder / 'digits'}"
    dark = {"name": "dark", "epochs": 1, "data": f"npy:{folder / 'dark'}"}
    standard = {"data": DataConfig(name=name, normalize="standard")}
    train(_config(data=name, float=True).model_copy(update=standard), tmp_path / "teacher")
    config = _config(FIRST, dark, data=name, teacher=str(tmp_path / "teacher")).model_copy(update=standard)
    model, _, data = load_run(train(config, tmp_path / "run"))
    x = torch.from_numpy(input_map(data, "standard").apply(data.test_x))
    with torch.no_grad():
        right = (model(x).argmax(1).numpy() == data.test_y).mean()
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["top1"] == pytest.approx(right, abs=1e-6)


def test_images_of_several_stages_are_loaded_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def load(config: DataConfig, features: tuple[str, ...]) -> Dataset:
        loaded.append(config.name)
        return load_for(config, features)

    monkeypatch.setattr("toolchain.train.stages.load_for", load)
    other = f"npy:{folder / 'noise'}"
    stages = [{"name": name, "epochs": 1, "data": other} for name in ("one", "two")]
    train(_config(*stages, data=f"npy:{folder / 'digits'}", teacher=str(folder / "float")), tmp_path / "run")
    assert loaded == [other]


@pytest.mark.parametrize(("name", "images"), [("noise", 256), ("digits", 1150)])
def test_a_stage_on_other_images_takes_all_of_them_and_none_that_the_run_holds_back(
    name: str, images: int, folder: Path
) -> None:
    data = f"npy:{folder / 'digits'}"
    config = _config({**FIRST, "data": f"npy:{folder / name}"}, data=data, teacher=str(folder / "float"))
    config = config.model_copy(update={"data": DataConfig(name=data, validation=0.2)})
    held = load_for(config.data)
    others = foresee(config, held, folder, None)[f"npy:{folder / name}"]
    assert (len(held.train_x), len(others.train_x)) == (1150, images)


def test_a_stage_on_another_table_reads_its_columns_in_the_order_of_the_run(tmp_path: Path) -> None:
    for name, columns in (("one", ["a", "b", "label"]), ("other", ["b", "label", "a"])):
        for part in ("train", "test"):
            rows = [{"a": f"{n}", "b": f"{n + 100}", "label": f"{n % 2}"} for n in range(8)]
            lines = [columns, *([row[column] for column in columns] for row in rows)]
            (tmp_path / f"{name}_{part}.csv").write_text("\n".join(map(",".join, lines)))
    one, other = (f"csv:{tmp_path / name}" for name in ("one", "other"))
    config = _config({**FIRST, "data": other}, data=one, teacher="any", width=1.0)
    update = {"data": DataConfig(name=one, input="int8:1"), "model": ModelConfig(name="tfc")}
    config = config.model_copy(update=update)
    data = load_for(config.data)
    assert np.array_equal(foresee(config, data, tmp_path, None)[other].train_x, data.train_x)


def test_a_stage_on_images_of_another_shape_is_refused(folder: Path, tmp_path: Path) -> None:
    config = _config(
        {**FIRST, "data": f"npy:{folder / 'colour'}"}, data=f"npy:{folder / 'digits'}", teacher=str(folder / "float")
    )
    with pytest.raises(UserError, match=r"stage 'first' trains on .*, images of \(3, 12, 12\) with 255 levels; 'npy:"):
        train(config, tmp_path / "run")


def test_a_teacher_of_its_own_logits_teaches_nothing_and_the_labels_take_the_rest() -> None:
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 4), torch.randn(8, 6), torch.randint(0, 4, (8,))
    logits = model(x).detach().requires_grad_()
    cross_entropy = nn.functional.cross_entropy(logits, y)
    assert Teacher(model, 0.3, 4.0).loss(logits, x, y).item() == pytest.approx(0.7 * cross_entropy.item(), rel=1e-5)
    Teacher(model, 0.3, 4.0).loss(logits, x, None).backward()
    assert logits.grad is not None and logits.grad.abs().max() < 1e-6


def test_the_distillation_loss_is_the_divergence_of_softened_outputs() -> None:
    torch.manual_seed(0)
    model, x, logits = nn.Linear(6, 4), torch.randn(8, 6), torch.randn(8, 4)
    p, q = (model(x) / 3).softmax(1), (logits / 3).softmax(1)
    expected = 9 * (p * (p / q).log()).sum(1).mean().item()
    assert Teacher(model, 1.0, 3.0).loss(logits, x, None).item() == pytest.approx(expected, rel=1e-5)


def test_a_teacher_of_another_shape_is_refused_before_anything_is_written(folder: Path, tmp_path: Path) -> None:
    config = _config(FIRST, data=f"npy:{folder / 'colour'}", teacher=str(folder / "float"))
    with pytest.raises(UserError) as caught:
        train(config, tmp_path / "run")
    assert str(caught.value).startswith("the teacher takes images of (1, 8, 8) and knows 10 classes, 'npy:")
    assert "has (3, 12, 12) and 5 [train.teacher " in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"names": ("a", "b")},
            "classes are others, or in another order: it has 'b' where 'tables' has 'a' [train.teach",
        ),
        (
            {"reading": Reading(features=("x", "y"))},
            "columns are others, or in another order: it has 'y' where 'tables'",
        ),
    ],
)
def test_a_teacher_of_other_classes_or_columns_is_refused(change: dict[str, Any], message: str) -> None:
    x, y = np.zeros((4, 2), np.float32), np.arange(4) % 2
    taught = Dataset("tables", x, y, x, y, 2, 0, ("b", "a"), Reading(features=("y", "x")))
    config = _config(data="digits")
    check_teacher(config, taught, config, taught)
    with pytest.raises(UserError) as caught:
        check_teacher(config, replace(taught, **change), config, taught)
    assert str(caught.value).startswith(f"the teacher's {message}")


def test_a_start_from_another_network_is_refused(folder: Path, tmp_path: Path) -> None:
    data = f"npy:{folder / 'digits'}"
    for name, stages in (("wider", [FIRST]), ("one", [])):
        with pytest.raises(
            UserError, match=r"train.start_from is another network: it has a '.*' that this one cannot take"
        ):
            train(_config(*stages, data=data, width=1.0, start_from=str(folder / "float")), tmp_path / name)
        assert not (tmp_path / name).exists()
    other = _config(FIRST, data=data, start_from=str(folder / "float"))
    other = other.model_copy(update={"data": DataConfig(name=data, normalize="standard")})
    with pytest.raises(UserError, match=r"^train.start_from .* has data.normalize = unit, this run standard; the inp"):
        train(other, tmp_path / "scaled")
    with pytest.raises(UserError, match=r"^no run at gone$"):
        train(_config(FIRST, data=data, start_from="gone"), tmp_path / "run")
    (tmp_path / "begun").mkdir()
    with pytest.raises(UserError, match=r"no trained model at .*/begun/model.pt; the run has not finished"):
        train(_config(FIRST, data=data, start_from=str(tmp_path / "begun")), tmp_path / "run")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ("b,a", "it has 'a' where 'csv:{folder}/mine' has 'b'"),
        ("a,b,c", "it has nothing where 'csv:{folder}/mine' has 'c'"),
    ],
)
def test_a_start_from_a_table_of_other_columns_is_refused(columns: str, message: str, tmp_path: Path) -> None:
    for name, features in (("theirs", "a,b"), ("mine", columns)):
        row = ",".join(["0.5"] * len(features.split(",")))
        for part in ("train", "test"):
            (tmp_path / f"{name}_{part}.csv").write_text(f"{features},label\n" + f"{row},0\n{row},1\n" * 4)

    def config(name: str, **section: Any) -> RunConfig:
        table = {"name": f"csv:{tmp_path / name}", "normalize": "standard"}
        plain = _config(data="digits", **section)
        return plain.model_copy(update={"data": DataConfig(**table), "model": ModelConfig(name="tfc", width=0.25)})

    start = train(config("theirs", float=True), tmp_path / "start")
    assert train(config("theirs", start_from=str(start)), tmp_path / "same").is_dir()
    with pytest.raises(UserError) as caught:
        train(config("mine", start_from=str(start)), tmp_path / "run")
    what = "the start's columns are others, or in another order: "
    assert str(caught.value) == f"{what}{message.format(folder=tmp_path)} [train.start_from {start}]"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("metrics.json", None, "no {folder}/metrics.json; the run has not finished; resume it"),
        ("metrics.json", b"{", "{folder}/metrics.json is damaged; remove it, and resume the run"),
        ("metrics.json", b"{}", "no run wrote {folder}/metrics.json; remove it, and resume the run"),
        ("model.pt", b"PK", "no run wrote {folder}/model.pt, or it is damaged; give the folder of a run"),
        ("model.pt", b"hello", "no run wrote {folder}/model.pt, or it is damaged; give the folder of a run"),
        (
            "checkpoints/data.json",
            b'{"shape"',
            "{folder}/checkpoints/data.json is damaged; remove it if the data are as they were, or train anew with "
            "--overwrite",
        ),
    ],
)
def test_a_start_from_a_run_that_was_killed_or_damaged_is_refused(
    file: str, content: bytes | None, message: str, folder: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    shutil.copytree(folder / "float", start)
    if content is None:
        (start / file).unlink()
    else:
        (start / file).write_bytes(content)
    with pytest.raises(UserError) as caught:
        train(_config(FIRST, data=f"npy:{folder / 'digits'}", start_from=str(start)), tmp_path / "run")
    assert str(caught.value) == message.format(folder=start)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["start_from", "teacher"])
def test_a_run_does_not_go_on_with_another_network_than_it_began_with(key: str, folder: Path, tmp_path: Path) -> None:
    class Stop(Callback):
        def on_train_start(self, *_: object) -> None:
            raise RuntimeError("stopped")

    other = tmp_path / "other"
    shutil.copytree(folder / "float", other)
    config = _config(FIRST, data=f"npy:{folder / 'digits'}", **{key: str(other)})
    for resume in (False, True):
        with pytest.raises(RuntimeError, match="stopped"):
            train(config, tmp_path / "run", resume=resume, callbacks=[Stop()])
    saved = torch.load(other / "model.pt", weights_only=True)
    saved["state_dict"]["fc.weight"][0, 0] += 1
    torch.save(saved, other / "model.pt")
    with pytest.raises(UserError, match=rf"^the network of train.{key} has changed since the run began \[.*run\]; put"):
        train(config, tmp_path / "run", resume=True, callbacks=[Stop()])


@pytest.mark.parametrize("key", ["start_from", "teacher"])
def test_a_state_dict_is_no_run(key: str, tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2)}, tmp_path / "model.pt")
    with pytest.raises(UserError, match=r"^no run wrote .*/model.pt; give the folder of a run$"):
        train(_config(FIRST, data="digits", **{key: str(tmp_path)}), tmp_path / "run")


@pytest.mark.parametrize("method", ["lsq", "qil"])
def test_a_start_keeps_its_zeros(folder: Path, tmp_path: Path, method: str) -> None:
    """Those of two methods, with a transformer of the weights in front of them and without."""
    digits = f"npy:{folder / 'digits'}"
    weights = {"granularity": "weight", "params": 0.6}
    pruned = [FIRST | {"magnitude": weights}, {"name": "second", "epochs": 1, "magnitude": weights | {"params": 0.3}}]
    start, _, _ = load_run(train(_config(*pruned, data=digits, float=True), tmp_path / "start"))
    config = _config(data=digits, method=method, start_from=str(tmp_path / "start"))
    model, _, _ = load_run(train(config, tmp_path / "run"))
    for name in ("conv1", "conv2", "fc"):
        zero = start.get_submodule(name).weight == 0
        assert zero.any() and model.get_submodule(name).weight[zero].eq(0).all()


def test_frozen_weights_need_a_method_whose_quantizers_learn(tmp_path: Path) -> None:
    config = _config({**FIRST, "freeze_weights": True}, data="digits", method="brevitas")
    with pytest.raises(
        UserError, match="stage 'first' freezes the weights, and nothing else learns with quant.method = "
    ):
        train(config, tmp_path / "run")


@pytest.mark.parametrize(
    ("later", "method", "message"),
    [
        (
            {"weight_bits": 1},
            "brevitas",
            "quant.method = 'brevitas' needs 2 weight bits or more [stage 'later', layer conv1]",
        ),
        (
            {"freeze_weights": True},
            "brevitas",
            "stage 'later' freezes the weights, and nothing else learns with quant.method = 'brevitas'",
        ),
        (
            {"data": "npy:{folder}/colour"},
            "qil",
            "stage 'later' trains on 'npy:{folder}/colour', images of (3, 12, 12) with 255 levels; "
            "'npy:{folder}/digits' has (1, 8, 8) with 255",
        ),
        ({"data": "mnits"}, "qil", "unknown data set 'mnits'; did you mean 'mnist'?"),
        (
            {"remove_batch_norm": True},
            "fqconv",
            "it does not stand right behind a layer of its own [stage 'later', batch norm '2']; "
            "such a batch norm cannot be folded into weights",
        ),
    ],
)
def test_what_a_later_stage_cannot_do_is_said_before_the_first_one_trains(
    later: dict[str, Any], method: str, message: str, folder: Path, tmp_path: Path
) -> None:
    data = f"npy:{folder / 'digits'}"
    later = {key: value.format(folder=folder) if key == "data" else value for key, value in later.items()}
    stages = [FIRST, {"name": "later", "epochs": 1, **later}]
    config = _config(*stages, data=data, method=method, teacher=str(folder / "float"))
    if "remove_batch_norm" in later:
        layers = "nn.Conv2d(1, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, classes)"
        (tmp_path / "net.py").write_text(f"from torch import nn\ndef net(classes): return nn.Sequential({layers})\n")
        config = config.model_copy(update={"model": ModelConfig(name=f"{tmp_path / 'net.py'}:net")})
    with pytest.raises(UserError) as caught:
        train(config, tmp_path / "run")
    assert str(caught.value) == message.format(folder=folder)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("stages", "method", "message"),
    [
        (
            [{**FIRST, "quantized": False, "freeze_weights": True}, {"name": "last", "epochs": 1}],
            "qil",
            "stage 'first' freezes the weights while the quantizers are off: nothing is left to learn [test]",
        ),
        (
            [{**FIRST, "weight_bits": 4}, {"name": "second", "epochs": 1, "weight_bits": 6}],
            "qil",
            "stage 'second' rises from 4 to 6 weight_bits: bits may only fall [test]",
        ),
        (
            [FIRST, {"name": "float", "epochs": 1, "quantized": False}, {"name": "last", "epochs": 1}],
            "qil",
            "stage 'float' rises from 3 to float: bits may only fall [test]",
        ),
        (
            [FIRST, {"name": "bare", "epochs": 1, "remove_batch_norm": True}],
            "lsq",
            "stage 'bare' removes batch norms, which only quantized stages of fqconv do [test]",
        ),
        (
            [{"name": "bare", "epochs": 1, "remove_batch_norm": True}],
            "fqconv",
            "stage 'bare' has no trained batch norms to remove [test]",
        ),
        (
            [FIRST, {"name": "still", "epochs": 1, "freeze_weights": True, "dst": {}}],
            "lsq",
            "stage 'still' freezes the weights, and dst goes by what is learned with them [test]; give it a stage of "
            "its own",
        ),
        *(
            (
                [FIRST, *rest],
                "fqconv",
                f"stage '{rest[-1]['name']}' prunes with hfp by the batch norms that stage 'bare' removes [test]; "
                "prune before, or with magnitude, transport or qcqp",
            )
            for rest in (
                [{"name": "bare", "epochs": 1, "remove_batch_norm": True, "hfp": {"macs": 0.5}}],
                [{"name": "bare", "epochs": 1, "remove_batch_norm": True}, FIRST | {"name": "b", "hfp": {"macs": 0.5}}],
            )
        ),
        (
            [{**FIRST, "data": "mnist"}],
            "qil",
            "stage 'first' trains on 'mnist', whose labels mean nothing to this network [test]; "
            "give a train.teacher to learn from",
        ),
        (
            [{**FIRST, "act_bits": 9}],
            "qil",
            "bad value for 'stage.0.act_bits': should be 1 to 8, or 32 for float activations, got 9 [test]",
        ),
    ],
)
def test_stages_that_make_no_sense_are_refused(stages: list[dict[str, Any]], method: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        _config(*stages, data="digits", method=method)
    assert str(caught.value) == message
