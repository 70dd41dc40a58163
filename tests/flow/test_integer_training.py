"""Integer-only runs: what they learn, repeat and leave behind, and that the exported file is the frozen network."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from toolchain.config.run import NitiConfig, RunConfig, dump_toml, find_config, load_config, parse_config
from toolchain.errors import UserError, VerificationError
from toolchain.export.niti import export_frozen
from toolchain.flow.training import train
from toolchain.frontend.execute import execute_reference
from toolchain.frontend.onnx_file import load_onnx
from toolchain.frontend.read import read_qonnx
from toolchain.ir.ops.requantizers import MulShift, Threshold
from toolchain.ir.types import Encoding, InputType
from toolchain.lowering.pipeline import to_integer
from toolchain.train.batches import Batches
from toolchain.train.data import Dataset, input_map, load, load_for
from toolchain.train.niti.checks import IntegerOnly
from toolchain.train.niti.freeze import Shifts, freeze, frozen_exponents, run_frozen
from toolchain.train.niti.inputs import input_format, to_block
from toolchain.train.niti.layers import VARIANTS, Conv
from toolchain.train.niti.loss import error
from toolchain.train.niti.matmul import ACCUMULATOR_LIMIT
from toolchain.train.niti.network import Network, build_integer, integer_layer
from toolchain.train.niti.numbers import Block
from toolchain.train.runs import load_run, saved_model


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _config(model: str = "cnn", width: float = 0.5, **sections: Any) -> RunConfig:
    table: dict[str, Any] = {
        "model": {"name": model, "width": width, "plain": True},
        "quant": {"method": "niti", "weight_bits": 8, "act_bits": 8},
        "train": {"epochs": 3, "batch_size": 64, "accelerator": "cpu"},
        "niti": {"mu": [2, 1], "milestones": [2], "calibration_images": 256},
    }
    merged = {key: table.get(key, {}) | sections.get(key, {}) for key in {**table, **sections}}
    return parse_config({"name": "t"} | merged, where="test")


def _loaded(out: Path) -> tuple[Network, Shifts, RunConfig]:
    """The network of a run's model.pt, its frozen shifts and its config."""
    saved = saved_model(out)
    config = RunConfig.model_validate(json.loads(saved["config"]))
    data = load_for(config.data)
    network = build_integer(config, data.shape, data.classes)
    network.load_state_dict(saved["state_dict"])
    return network, saved["shifts"], config


def _separable() -> Dataset:
    """Two classes of 8x8 images: the brighter half is the left or the right one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 512)
    images = rng.integers(0, 8, (512, 1, 8, 8), dtype=np.uint8)
    for i, label in enumerate(labels):
        images[i, 0, :, 4 * label : 4 * label + 4] += 8
    return Dataset("toy", images, labels, images, labels, 2, 16)


class _Kill(Callback):
    """Ends a run without warning in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch and args[2] == 3:
            raise RuntimeError("killed")


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return dict(torch.load(out / "model.pt", weights_only=True)["state_dict"])


@pytest.mark.parametrize("variant", ["2020", "2021"])
@pytest.mark.parametrize("model", ["cnn", "tfc"])
def test_separable_classes_are_told_apart_completely_and_no_operation_leaves_the_integers(
    variant: str, model: str
) -> None:
    data = _separable()
    config = _config(model, niti={"variant": variant})
    network = build_integer(config, data.shape, data.classes)
    inputs = input_format(data, "unit", variant)
    table = torch.from_numpy(inputs.table(data.pixel_levels))
    images, labels = torch.from_numpy(data.train_x), torch.from_numpy(data.train_y)
    generator = torch.Generator().manual_seed(0)
    with IntegerOnly() as seen:
        for epoch in range(8):
            for pixels, truth in Batches(images, labels, 64):
                logits = network(to_block(pixels, table, inputs.exponent))
                network.backward(error(logits, truth, generator))
                for _, layer in network.weighted():
                    layer.update(0 if epoch < 6 else -1, None)
        found = network(to_block(images, table, inputs.exponent)).mantissa.argmax(1)
    assert torch.equal(found, labels)
    assert seen.operations > 1000


def test_the_assertion_mode_names_the_operation_that_leaves_the_integers_or_their_range() -> None:
    x, lowest = torch.tensor([3], dtype=torch.int8), torch.tensor([-128], dtype=torch.int8)
    with pytest.raises(AssertionError, match=r"aten._to_copy.default works on torch.float32"), IntegerOnly():
        x.float()
    with pytest.raises(AssertionError, match=r"aten.neg.default: torch.int8 holds -128..-128"), IntegerOnly():
        torch.neg(lowest)
    with pytest.raises(AssertionError, match=r"aten.*: torch.int32 holds"), IntegerOnly():
        torch.tensor([1 << 30], dtype=torch.int32).mul(2)


def test_sums_of_every_layer_fit_int32_with_room_for_rounding() -> None:
    """The bound follows from the sizes alone; the widest published networks are far below it."""
    for model, shape in (("lenet5-caffe", (1, 28, 28)), ("vgg-small", (3, 32, 32)), ("lenet300", (1, 28, 28))):
        for _, layer in build_integer(_config(model, 1.0), shape, 10).weighted():
            depth = max(
                layer.weight.shape[1], layer.weight.shape[0] * (layer.kernel**2 if isinstance(layer, Conv) else 1)
            )
            assert depth * 127**2 <= ACCUMULATOR_LIMIT < 2**30


def test_a_killed_and_resumed_run_ends_with_the_same_bits_and_a_rerun_repeats_them(tmp_path: Path) -> None:
    config = _config(
        data={"augment": True},
        train={"epochs": 2},
        niti={"fraction_bits": 8, "check": True, "mu": [9, 8], "milestones": [1]},
    )
    train(config, tmp_path / "whole")
    for epoch in (0, 1):
        with pytest.raises(RuntimeError, match="killed"):
            train(config, tmp_path / "parts", resume=True, callbacks=[_Kill(epoch)])
    train(config, tmp_path / "parts", resume=True)
    train(config, tmp_path / "again")
    whole = _weights(tmp_path / "whole")
    for other in ("parts", "again"):
        weights = _weights(tmp_path / other)
        assert weights.keys() == whole.keys() and all(torch.equal(weights[name], whole[name]) for name in whole)
        assert (tmp_path / other / "model.onnx").read_bytes() == (tmp_path / "whole" / "model.onnx").read_bytes()
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("whole", "parts")]
    assert metrics[0] | {"seconds": 0} == metrics[1] | {"seconds": 0}
    assert all(value.dtype in (torch.int8, torch.int16) for value in whole.values())


def test_a_residual_network_learns_the_digits_in_integers_alone_and_is_exported(tmp_path: Path) -> None:
    config = _config("resnet8", 0.25, train={"epochs": 2, "batch_size": 32})
    metrics = json.loads((train(config, tmp_path / "run") / "metrics.json").read_text())
    assert metrics["top1"] > 0.5 and metrics["qonnx_top1"] == pytest.approx(metrics["frozen_top1"], abs=1e-6)
    network, shifts, _ = _loaded(tmp_path / "run")
    assert {"stage1_1", "stage2_1.shortcut", "stage3_1.conv2", "pool"} <= shifts.keys()
    assert len(network.weighted()) == 1 + 3 * 2 + 2 + 1


def test_a_run_learns_the_digits_and_leaves_the_folder_of_other_runs(tmp_path: Path) -> None:
    config = _config(width=1.0, train={"epochs": 5, "batch_size": 32})
    out = train(config, tmp_path / "run")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["top1"] > 0.7 and abs(metrics["frozen_top1"] - metrics["top1"]) < 0.03
    assert abs(metrics["qonnx_top1"] - metrics["frozen_top1"]) < 1e-6  # 360 test images, all of them
    float_run = train(config.model_copy(update={"train": config.train.model_copy(update={"float": True, "epochs": 1})}),
                      tmp_path / "float")  # fmt: skip
    assert set(metrics) == {*json.loads((float_run / "metrics.json").read_text()), "frozen_top1"}
    assert (metrics["params"], metrics["macs"]) == (144 + 4608 + 1280, 64 * 144 + 16 * 4608 + 1280)
    assert load_config(out / "run.toml") == config
    assert list(out.glob("logs/part_0/metrics.csv")) and (out / "checkpoints" / "train" / "epoch-4.ckpt").is_file()
    with pytest.raises(UserError, match=r"run holds an integer network"):
        load_run(out)
    network, shifts, saved = _loaded(out)
    assert saved == config and all(torch.equal(value, _weights(out)[k]) for k, value in network.state_dict().items())
    data = load("digits")
    inputs = input_format(data, "unit", "2021")
    x = to_block(torch.from_numpy(data.test_x), torch.from_numpy(inputs.table(16)), inputs.exponent)
    found = run_frozen(network, shifts, x).mantissa.argmax(1).numpy()
    assert round(float((found == data.test_y).mean()), 6) == metrics["frozen_top1"]


def test_the_accuracy_of_a_run_is_that_on_the_test_images_and_epochs_are_judged_by_the_ones_held_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Every second epoch is, and the last. The tests' labels are wrong, which tells the two sets apart."""
    data = _separable()
    data = replace(data, test_x=data.test_x[:96], test_y=1 - data.test_y[:96], held=(data.test_x, data.test_y))
    config = _config(train={"epochs": 5, "batch_size": 64, "evaluate_every": 2, "accelerator": "cpu"})
    with caplog.at_level("INFO", logger="toolchain.train.module"):
        train(config, tmp_path / "run", data=data)

    judged = [line.getMessage() for line in caplog.records if line.name == "toolchain.train.module"]
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert judged[1:] == ["epoch 4 of 5: top-1 1.0000", "epoch 5 of 5: top-1 1.0000"] and len(judged) == 3
    assert (metrics["top1"], metrics["stages"][0]["top1"], metrics["test_images"]) == (0.0, 0.0, 96)


def test_exponents_are_frozen_on_images_of_every_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the data are sorted by class, as folders of pictures are."""
    data, seen = _separable(), list[torch.Tensor]()
    order = np.argsort(data.train_y, kind="stable")
    data = replace(data, train_x=data.train_x[order], train_y=data.train_y[order])

    def freeze_and_note(network: Network, batches: Any) -> Shifts:
        blocks = list(batches)
        seen.extend(block.mantissa for block in blocks)
        return freeze(network, blocks)

    monkeypatch.setattr("toolchain.flow.integer_training.freeze", freeze_and_note)
    train(_config(niti={"calibration_images": 8}, train={"epochs": 3, "batch_size": 64}), tmp_path / "run", data=data)

    (pixels,) = seen
    right_is_brighter = pixels[:, :, 4:].int().sum((1, 2, 3)) > pixels[:, :, :4].int().sum((1, 2, 3))
    assert int(right_is_brighter.sum()) == 4


@pytest.mark.parametrize(
    ("model", "variant", "normalize", "bias"),
    [("cnn", "2020", "unit", False), ("cnn", "2021", "unit", True), ("cnn", "2020", "standard", True),
     ("cnn", "2021", "standard", False), ("resnet8", "2020", "unit", False), ("resnet8", "2021", "standard", True)],
)  # fmt: skip
def test_the_exported_file_computes_the_frozen_networks_sums_in_every_executor(
    model: str, variant: str, normalize: str, bias: bool, tmp_path: Path
) -> None:
    """The gate compares the lowered file; here the float32 sums of QONNX, exact at these sizes, are equal too."""
    data = load("digits")
    config = _config(model, niti={"variant": variant, "bias": bias}, data={"normalize": normalize})
    network = build_integer(config, data.shape, data.classes)
    for _, layer in network.weighted():
        if layer.bias is not None:
            layer.bias.random_(-127, 128, generator=torch.Generator().manual_seed(len(layer.bias)))
    inputs = input_format(data, normalize, variant)
    table = torch.from_numpy(inputs.table(16))
    images = torch.from_numpy(data.test_x[:20])
    x = to_block(images, table, inputs.exponent)
    shifts = freeze(network, [x])
    path = tmp_path / "model.onnx"
    metadata = {"fpgaflow.input": json.dumps({"pixel": {
        key: [str(v) for v in getattr(inputs.pixels, key)] for key in ("scale", "offset")}})}  # fmt: skip
    report = export_frozen(network, shifts, inputs, table, images, path, metadata)
    assert report.mismatches == 0 and report.top1 == 1.0
    values = execute_reference(path, inputs.pixels.apply(data.test_x[:20]))[load_onnx(path).output]
    sums, last = run_frozen(network, shifts, x), network.weighted()[-1][0]
    assert sums.exponent == frozen_exponents(network, shifts, inputs.exponent)[last] - shifts[last]
    assert np.array_equal(values, sums.mantissa.numpy() * 2.0**sums.exponent)
    modes = {a.s for node in onnx.load(path).graph.node for a in node.attribute if a.name == "rounding_mode"}
    assert modes == {b"HALF_UP"}


def test_requantizers_of_the_exported_network_are_shifts(tmp_path: Path) -> None:
    data = load("digits")
    network = build_integer(_config(width=1.0), data.shape, data.classes)
    inputs = input_format(data, "unit", "2021")
    table = torch.from_numpy(inputs.table(16))
    images = torch.from_numpy(data.test_x[:8])
    shifts = freeze(network, [to_block(images, table, inputs.exponent)])
    export_frozen(network, shifts, inputs, table, images, tmp_path / "m.onnx", {})
    file = read_qonnx(tmp_path / "m.onnx")
    pixels = Encoding(InputType(0, 255, inputs.pixels.scale, inputs.pixels.offset))
    nodes = to_integer(file.graph, pixels).nodes
    requantizers = [node for node in nodes if isinstance(node, MulShift | Threshold)]
    assert len(requantizers) == 2
    for node in requantizers:
        assert isinstance(node, MulShift) and all(int(m).bit_count() == 1 for m in node.mul)


def test_a_file_that_deviates_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load("digits")
    network = build_integer(_config(), data.shape, data.classes)
    inputs = input_format(data, "unit", "2021")
    table = torch.from_numpy(inputs.table(16))
    images = torch.from_numpy(data.test_x[:8])
    shifts = freeze(network, [to_block(images, table, inputs.exponent)])
    right = run_frozen
    monkeypatch.setattr(
        "toolchain.export.niti.run_frozen", lambda *args: replace(right(*args), mantissa=right(*args).mantissa + 1)
    )
    with pytest.raises(VerificationError, match=r"integer network differs from the trained one on 8 images"):
        export_frozen(network, shifts, inputs, table, images, tmp_path / "m.onnx", {})
    assert not list(tmp_path.iterdir())


def test_pixels_become_mantissas_by_exact_arithmetic() -> None:
    data = Dataset("d", np.array([[[[0, 51]]], [[[102, 255]]]], np.uint8), np.zeros(2, np.int64),
                   np.zeros((1, 1, 1, 2), np.uint8), np.zeros(1, np.int64), 2, 255)  # fmt: skip
    unit = input_format(data, "unit", "2021")
    assert unit.exponent == -7  # the largest value is 1
    assert unit.table(255)[0, [0, 1, 51, 253, 254, 255]].tolist() == [0, 1, 26, 127, 127, 127]  # 25.6, 126.996
    stretched = input_format(data, "unit", "2020")
    assert stretched.table(255)[0, [0, 1, 128, 255]].tolist() == [0, 0, 64, 127]  # 127 p / 255
    standard = input_format(data, "standard", "2021")
    pixels = input_map(data, "standard")
    value = float(255 * pixels.scale[0] + pixels.offset[0])
    assert 2.0 ** (standard.exponent + 6) < value <= 2.0 ** (standard.exponent + 7)
    block = to_block(torch.tensor([[[[0, 255]], [[255, 51]]]], dtype=torch.uint8),
                     torch.from_numpy(np.concatenate([unit.table(255), stretched.table(255)])), -7)  # fmt: skip
    assert block.mantissa.tolist() == [[[[0, 127], [127, 25]]]] and isinstance(block, Block)


def test_settings_that_integer_training_cannot_follow_are_refused(tmp_path: Path) -> None:
    path = find_config("niti-mnist")
    for override, message in (
        ("quant.act_bits=4", 'quant.act_bits = 4 does not fit quant.method = "niti" [*]; set quant.act_bits = 8'),
        ("model.plain=false", 'model.plain = false does not fit quant.method = "niti" [*]; set model.plain = true'),
        ("train.whiten=true", 'train.whiten = true does not fit quant.method = "niti" [*]; set train.whiten = false'),
        ("train.teacher=runs/a", 'train.teacher = "runs/a" does not fit quant.method = "niti" [*]; leave it out'),
        ("train.start_from=runs/a", 'train.start_from = "runs/a" does not fit quant.method = "niti" [*]; leave it out'),
        ("niti.milestones=[5]", "niti.mu = [1, 0, -1, -2] and niti.milestones = [5] do not fit [*]; give one mu more "
                                "than milestones, which rise"),
    ):  # fmt: skip
        with pytest.raises(UserError) as caught:
            load_config(path, [override])
        assert str(caught.value) == message.replace("*", f"{path} with --set {override}")
    assert "milestones = [5, 12, 17]" in dump_toml(load_config(path))


def test_a_float_step_in_a_checked_run_stops_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(niti={"check": True}, train={"epochs": 1})
    monkeypatch.setattr("toolchain.train.niti.trainer.error", lambda logits, *_: (logits.mantissa / 4).to(torch.int8))
    with pytest.raises(AssertionError, match=r"works on torch.float32"):
        train(config, tmp_path / "run")


def test_a_layer_without_an_integer_form_is_named() -> None:
    layer = torch.nn.Conv2d(4, 4, 3, groups=2, bias=False)
    with pytest.raises(UserError, match=r"no layer for 'conv9' of model 'x' \(Conv2d\)"):
        integer_layer("x", "conv9", layer, variant=VARIANTS["2021"], generator=torch.Generator(), niti=NitiConfig())
