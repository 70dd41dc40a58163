"""A network of two heads through the command line: build, report, board files, and what takes one output only."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.onnx_models import PIXELS, Net
from toolchain.deploy.package import deploy
from toolchain.deploy.trial import try_driver
from toolchain.errors import UserError
from toolchain.flow.build import Build
from toolchain.flow.options import Check, Hls4mlOptions, Search
from toolchain.flow.stages import explore, export
from toolchain.report.data import Report

pytestmark = pytest.mark.needs_gxx

CHECK = Check(count=4, qonnx_images=4)


def pyramid(path: Path) -> Path:
    """A deep map whose enlarged copy is joined with the map before it; boxes of both, some through a Sigmoid."""
    net = Net((1, 3, 8, 8), seed=4)
    net.metadata = dict(PIXELS)

    def block(x: str, inputs: int, outputs: int, stride: int = 1) -> str:
        x = net.conv(x, net.weight(outputs, inputs, 3, 3), pads=[1] * 4, strides=[stride] * 2)
        return net.quant(net.add("Relu", net.batch_norm(x, outputs)), 4, 0.3, signed=0)

    fine = block("x", 3, 4)
    deep = block(fine, 4, 4, 2)
    up = net.add("Resize", deep, "", net.const([1, 1, 2, 2]), mode="nearest")
    boxes = net.conv(net.add("Concat", up, fine, axis=1), net.weight(3, 8, 1, 1), out="boxes")
    return net.save(path, boxes, net.add("Sigmoid", net.conv(deep, net.weight(5, 4, 1, 1)), out="/deep/boxes:0"))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The exported build's folder and its report."""
    home = tmp_path_factory.mktemp("pyramid")
    return home / "build", export(pyramid(home / "net.onnx"), home / "build", Search(architecture="streaming"), CHECK)


def test_the_report_tells_every_output_by_name_and_no_accuracy(built: tuple[Path, Report]) -> None:
    folder, report = built
    assert [(o.name, o.shape, o.classifier) for o in report.outputs] == [
        ("boxes", (8, 8, 3), False),
        ("deep_boxes_0", (4, 4, 5), False),
    ]
    assert (report.verification.csim_mismatches, report.accuracy) == (0, None)
    assert "no accuracy: none of the outputs 'boxes', 'deep_boxes_0' is known to tell a class" in report.notes
    assert any("Sigmoid" in note and "the host applies it" in note for note in report.notes)
    assert {"output_writer_boxes", "output_writer_deep_boxes_0"} < {node.name for node in report.nodes}
    page = (folder / "report.html").read_text()
    assert "<h2>Outputs</h2>" in page and "<code>deep_boxes_0</code>" in page


def test_the_driver_answers_with_every_output_on_the_mock_board(built: tuple[Path, Report]) -> None:
    folder, report = built
    deploy(Build(folder), CHECK)
    codes = 4 * sum(height * width * channels for height, width, channels in (o.shape for o in report.outputs))
    found = try_driver(Build(folder))
    assert all((trial.codes, trial.wrong_codes) == (codes, 0) for trial in found)
    assert 'found["deep_boxes_0"].shape' in (folder / "deploy" / "README.md").read_text()


def test_a_plan_by_hand_tells_the_lanes_of_every_output_or_one_number(
    built: tuple[Path, Report], tmp_path: Path
) -> None:
    build, plan = Build(built[0]), json.loads((built[0] / "plan.json").read_text())
    del plan["depths"]
    path = tmp_path / "plan.json"
    for lanes in ({"boxes": 3, "deep_boxes_0": 1}, 1):
        path.write_text(json.dumps(plan | {"output_lanes": lanes}))
        found = Build(tmp_path / "x").knowing(model=build.model, network=build.network)
        assert explore(found, Search(plan=path)).design.plan.output_lanes == lanes  # type: ignore[attr-defined]
    path.write_text(json.dumps(plan | {"output_lanes": {"boxes": 3, "other": 1}}))
    with pytest.raises(
        UserError, match=r"^output_lanes are of other outputs \[.*plan.json\]; name boxes, deep_boxes_0$"
    ):
        explore(Build(tmp_path / "y").knowing(model=build.model, network=build.network), Search(plan=path))


def test_an_engine_answers_with_every_output_on_the_mock_board(tmp_path: Path) -> None:
    report = export(pyramid(tmp_path / "net.onnx"), tmp_path / "build", Search(architecture="engine"), CHECK)
    assert [(o.name, o.shape) for o in report.outputs] == [("boxes", (8, 8, 3)), ("deep_boxes_0", (4, 4, 5))]
    assert report.verification.csim_mismatches == 0
    deploy(Build(tmp_path / "build"), CHECK)
    assert all(
        (trial.codes, trial.wrong_codes) == (4 * (192 + 80), 0) for trial in try_driver(Build(tmp_path / "build"))
    )


def test_what_takes_one_output_says_so_before_anything_is_built(tmp_path: Path) -> None:
    message = "the backend hls4ml is compared on one output, the network has 2: 'boxes'"
    with pytest.raises(UserError, match=rf"^{message}"):
        export(pyramid(tmp_path / "net.onnx"), tmp_path / "build", Search(), CHECK, hls4ml=Hls4mlOptions())
    assert not (tmp_path / "build").exists()


def test_a_fifth_output_is_refused_before_any_plan(tmp_path: Path) -> None:
    net = Net((1, 3, 4, 4))
    x = net.quant("x", 4)
    path = net.save(tmp_path / "net.onnx", *(net.conv(x, net.weight(2, 3, 1, 1)) for _ in range(5)))
    with pytest.raises(UserError, match=r"^the network has 5 outputs, .*, and the board 4 ports to memory; join"):
        export(path, tmp_path / "build", Search(), CHECK)
    assert not (tmp_path / "build").exists()
