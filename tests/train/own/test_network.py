"""Networks of one's own: found, called, looked at, and refused with what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from toolchain.config.run import RunConfig, load_config, parse_config
from toolchain.errors import UserError
from toolchain.flow import training
from toolchain.train.models import build
from toolchain.train.own.network import bits_in_use, brings_quantizers, not_prunable, view_of
from toolchain.train.own.record import demand_unchanged
from toolchain.train.own.source import find_own, record
from toolchain.train.shrink import structure_of

FILE = """
import brevitas.nn as qnn
import torch
from brevitas.quant import Uint8ActPerTensorFloat
from torch import nn

class Net(nn.Module):
    def __init__(self, num_classes, shape, width=4):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(shape[0], width, 3), nn.Linear(width, num_classes)
    def forward(self, x):
        return self.fc(torch.relu(self.conv(x)).mean((2, 3)))

class Quantized(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv = qnn.QuantConv2d(1, 4, 3, weight_bit_width=3)
        self.act = qnn.QuantReLU(act_quant=Uint8ActPerTensorFloat, bit_width=5)
        self.fc = qnn.QuantLinear(4, classes, bias=True, weight_bit_width=3)
    def forward(self, x):
        return self.fc(torch.flatten(self.act(self.conv(x)).mean((2, 3)), 1))

class Reused(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Linear(4, classes)
    def forward(self, x):
        x = self.conv(x)
        return self.fc((self.act(x) + x).mean((2, 3)))

def mlp(classes, hidden=8, features=30):
    return nn.Sequential(nn.Linear(features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, classes))

def signal(classes):
    return nn.Sequential(nn.Conv1d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, classes))

def three():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))

def broken(classes):
    return nn.Linear(1, undefined)

def nothing():
    return None

constant = 3

def frozen(classes, layers=1):
    net = mlp(classes, features=64)
    net[0].requires_grad_(False)
    return net if layers == 1 else net.requires_grad_(False)

class Turned(Quantized):
    def forward(self, x):
        return super().forward(x.transpose(2, 3))

class Summed(Quantized):
    def forward(self, x):
        return self.fc(self.act(self.conv(x)).cumsum(2).mean((2, 3)))

class Branched(Quantized):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

def shared(classes):
    net = Quantized(classes)
    net.fc.weight_quant.add_tracked_module(net.conv)
    return net

def padded(classes, first=(), behind=(), signed=False):
    kinds = {"pad": nn.ZeroPad2d(1), "pool": nn.MaxPool2d(2), "codes": qnn.QuantIdentity(bit_width=4)}
    kinds["conv"] = qnn.QuantConv2d(4, 4, 3, weight_bit_width=4)
    act = qnn.QuantIdentity if signed else qnn.QuantReLU
    front = [*map(kinds.get, first), qnn.QuantIdentity(), qnn.QuantConv2d(1, 4, 3), act(bit_width=4), nn.ZeroPad2d(1)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), qnn.QuantLinear(4, classes, True, weight_bit_width=4)]
    return nn.Sequential(*front, *map(kinds.get, behind), *head)
"""


@pytest.fixture(name="file")
def _file(tmp_path: Path) -> Path:
    path = tmp_path / "mynets.py"
    path.write_text(FILE)
    return path


def _config(name: str, options: dict[str, Any] | None = None, **sections: Any) -> RunConfig:
    return parse_config({"name": "t", "model": {"name": name, "options": options or {}}, **sections}, where="test")


def test_a_class_of_a_file_gets_the_datas_classes_and_shape_and_the_options(file: Path) -> None:
    network = build(_config(f"{file}:Net", {"width": 6}), (3, 8, 8), 7)
    assert network(torch.rand(2, 3, 8, 8)).shape == (2, 7) and network.get_submodule("conv").out_channels == 6
    assert network.training and network.get_submodule("conv").weight_quant.is_quant_enabled  # type: ignore[union-attr]


def test_a_file_is_relative_to_the_run_file_and_may_import_its_neighbours(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neighbour.py").write_text(
        "from torch import nn\n\ndef make(classes):\n    return nn.Linear(64, classes)\n"
    )
    file.write_text("from neighbour import make as build\n")
    (tmp_path / "run.toml").write_text('[model]\nname = "mynets.py:build"\n')
    monkeypatch.chdir("/")
    config = load_config(tmp_path / "run.toml")
    assert config.model.name == f"{file}:build" and config.model.label == "mynets.py:build"
    assert build(config, (1, 8, 8), 10)(torch.rand(2, 1, 8, 8)).shape == (2, 10)


def test_a_module_is_found_in_the_working_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    file.rename(file.with_name("nets_of_the_working_directory.py"))
    assert find_own("nets_of_the_working_directory:Net").file.name == "nets_of_the_working_directory.py"


@pytest.mark.parametrize(
    ("name", "shape", "first"),
    [
        ("mlp", (1, 1, 30), "view"),
        ("mlp", (30,), "0"),
        ("signal", (1, 1, 64), "view"),
        ("signal", (1, 64), "0"),
        ("Net", (1, 8, 8), "conv"),
    ],
)
def test_signals_and_features_get_a_layer_in_front_that_leaves_out_axes(
    name: str, shape: tuple[int, ...], first: str, file: Path
) -> None:
    network = build(_config(f"{file}:{name}"), shape, 4)  # type: ignore[arg-type]
    first_call = list(network.graph.nodes)[1]  # type: ignore[arg-type,union-attr]
    assert first_call.target == first
    assert network(torch.rand(2, *shape)).shape == (2, 4)
    assert structure_of(network, shape).free  # type: ignore[arg-type]


def test_a_float_run_has_the_names_and_weights_of_the_quantized_one(file: Path) -> None:
    states = []
    for plain in (True, False):
        torch.manual_seed(0)
        states.append(build(_config(f"{file}:Net", train={"float": plain}), (1, 8, 8), 4).state_dict())
    assert set(states[0]) <= set(states[1]) and all(torch.equal(states[1][name], states[0][name]) for name in states[0])


@pytest.mark.parametrize("method", ["lsq", "qil", "fqconv", "symog", "brevitas"])
def test_what_the_user_has_frozen_stays_frozen_behind_quantizers(file: Path, method: str) -> None:
    model = build(_config(f"{file}:frozen", quant={"method": method}), (64,), 10)
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = {name for name in learning if "quant" not in name}
    weight = "3.parametrizations.weight.original" if method == "qil" else "3.weight"
    assert {weight, "3.bias", "1.weight", "1.bias"} == layers


def test_a_network_of_which_nothing_learns_is_refused_in_float(file: Path) -> None:
    all_frozen = {"layers": 2}
    build(_config(f"{file}:frozen", all_frozen), (64,), 10)
    for section in ({"float": True}, {"pretrain_epochs": 1}):
        with pytest.raises(
            UserError, match=r"^all parameters of .*:frozen are frozen .*, and nothing learns in float;"
        ):
            build(_config(f"{file}:frozen", all_frozen, train=section), (64,), 10)


def test_a_network_of_brevitas_layers_keeps_its_quantizers_and_its_channels_can_be_followed(file: Path) -> None:
    config = _config(f"{file}:Quantized")
    network = build(config, (1, 8, 8), 10)
    assert brings_quantizers(config, (1, 8, 8), 10) and bits_in_use(network) == (3, 5)
    assert [group.name for group in structure_of(network, (1, 8, 8)).free] == ["conv"]


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What is said; torch traces at a lower level."""
    return [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_a_network_of_brevitas_layers_that_cannot_be_followed_or_built_is_said_once(
    file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(f"{file}:Turned", train={"accelerator": "cpu"})
    assert not_prunable(build(_config(f"{file}:Quantized"), (1, 8, 8), 10)) == ""

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "run_stages", stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "run")
    what = "the network can be trained, not pruned: its channels cannot be followed [forward of Turned, transpose]"
    assert _warnings(caplog) == [what]

    config = _config(f"{file}:Summed", train={"accelerator": "cpu"})
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "summed")
    what = "the network can be trained, not built: the operation CumSum is not supported [CumSum]"
    assert _warnings(caplog)[2:] == [what]


def test_a_network_that_no_file_can_hold_is_refused_before_anything_is_written(file: Path, tmp_path: Path) -> None:
    config = _config(f"{file}:Branched", train={"accelerator": "cpu"})
    with pytest.raises(UserError, match="cannot be written as ONNX: Could not guard .*; give its forward operations"):
        training.train(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_quantizers_of_ones_own_that_no_file_holds_are_refused_before_they_train(file: Path) -> None:
    with pytest.raises(
        UserError, match=r"a weight quantizer shared by several layers .* \['fc.weight_quant'\]; give ea"
    ):
        build(_config(f"{file}:shared"), (1, 8, 8), 10)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"float": True}}, "which have their own quantizers: train.float = true; make it of torch.nn layers"),
        ({"quant": {"weight_bits": 2}}, "quant.weight_bits is not theirs; leave [quant] and the stages' bits out"),
        ({"quant": {"layers": {"conv": {"weight_bits": 2}}}}, "quant.layers is not theirs"),
    ],
)
def test_settings_that_do_not_reach_quantizers_of_ones_own_are_refused(
    sections: dict[str, Any], message: str, file: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        build(_config(f"{file}:Quantized", **sections), (1, 8, 8), 10)


_NO_READER = "it pads what no convolution and no pool reads [layer '3']; pad only in front of a convolution or a pool"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"behind": ["conv"]}, ""),
        ({"behind": ["pool"]}, ""),
        ({"first": ["pad"]}, ""),  # the host pads
        ({"behind": ["codes", "conv"]}, _NO_READER),
        (
            {"behind": ["pool"], "signed": True},
            "it pads the input of a maximum with zeros, behind no ReLU [layer '3']; ",
        ),
    ],
)
def test_zeros_that_no_unit_pads_are_refused_between_quantizers_of_ones_own(
    options: dict[str, Any], refusal: str, file: Path
) -> None:
    config = _config(f"{file}:padded", options)
    if not refusal:
        assert build(config, (1, 8, 8), 10)(torch.rand(2, 1, 8, 8)).shape == (2, 10)
        return
    with pytest.raises(UserError, match=re.escape(refusal)):
        build(config, (1, 8, 8), 10)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Nut", {}, "unknown network 'Nut'; did you mean 'Net'?"),
        ("constant", {}, "'constant' of FILE is an int; name a class or a function"),
        ("Net", {"widht": 3}, "unknown option, an argument of FILE:Net, 'widht'; did you mean 'width'?"),
        ("three", {}, "FILE:three has 3 outputs for 10 classes; let it take the argument classes"),
        ("broken", {}, "FILE:broken raised NameError: name 'undefined' is not defined [mynets.py, line 41]; --debug"),
        ("nothing", {}, "FILE:nothing gives a NoneType, no network; return a torch.nn.Module"),
        ("mlp", {}, "as a classifier: it raises RuntimeError in or behind layer '0': mat1 and mat2 shapes"),
        ("Reused", {}, "the traced network computes something else than the network does [forward of Reused]; set inp"),
    ],
)  # fmt: skip
def test_what_is_no_network_is_refused_with_the_place(
    name: str, options: dict[str, Any], message: str, file: Path
) -> None:
    with pytest.raises(UserError) as caught:
        build(_config(f"{file}:{name}", options), (1, 8, 8), 10)
    assert message.replace("FILE", str(file)) in str(caught.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "no.py:Net"}, "no such file: "),
        ({"name": "package.module:"}, "write FILE.py:NAME or package.module:NAME"),
        ({"name": "lenet"}, "did you mean 'lenet5'? (a network of your own: FILE.py:NAME)"),
        ({"name": "cnn", "options": {"a": 1}}, "model.options belong to networks of one's own"),
        ({"name": "a:b", "width": 0.5}, "model.width belongs to the networks of the package [test]; set model.options"),
    ],
)  # fmt: skip
def test_a_model_table_that_makes_no_sense_is_refused(model: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parse_config({"name": "t", "model": model}, where="test")


def test_integer_only_training_takes_the_networks_of_the_package(file: Path) -> None:
    with pytest.raises(UserError, match='quant.method = "niti" trains the networks of the package'):
        _config(f"{file}:Net", quant={"method": "niti", "weight_bits": 8, "act_bits": 8})


@pytest.mark.parametrize(
    ("name", "message"),
    [("no_such_package.nets:Net", "no module 'no_such_package'"), ("json:dumped", "unknown network 'dumped'")],
)
def test_a_module_that_is_not_there_is_said(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_own(name)


def test_a_file_that_fails_when_it_is_imported_is_named_with_the_line(file: Path) -> None:
    file.write_text("import torch\nraise ValueError('no')\n")
    with pytest.raises(UserError, match=r"mynets.py raised ValueError when it was imported: no \[mynets.py, line 2\]"):
        find_own(f"{file}:Net")


def test_a_file_that_has_changed_or_gone_is_noticed(file: Path, tmp_path: Path) -> None:
    record(find_own(f"{file}:Net"), {"width": 3}).write(tmp_path)
    demand_unchanged(tmp_path)
    os.utime(file)
    demand_unchanged(tmp_path)
    file.write_text(FILE + "\n")
    with pytest.raises(
        UserError, match="mynets.py, which makes the network of .*, has changed since; put the file back"
    ):
        demand_unchanged(tmp_path)
    assert find_own(f"{file}:Net").sha256 != "", "the new version is imported anew"
    file.unlink()
    with pytest.raises(UserError, match="is gone"):
        demand_unchanged(tmp_path)


def test_a_network_of_signals_that_is_no_classifier_is_told_its_output() -> None:
    """Not why it takes no pictures, which is tried first; without classes its output may be anything."""
    model = nn.Conv1d(1, 4, 5)
    with pytest.raises(UserError, match=r"as a classifier: it gives a tensor of the shape \(2, 4, 60\); it is called"):
        view_of(model, (1, 1, 64), 4, "net")
    assert view_of(model, (1, 1, 64), None, "net") == (1, 64)
    assert view_of(nn.Linear(64, 4), (1, 1, 64), None, "net") == (64,)
