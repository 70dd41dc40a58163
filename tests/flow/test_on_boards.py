"""One network on every board."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.graphs import conv_net
from tests.onnx_models import conv_bn_relu
from toolchain.boards import list_boards, load_board, named_boards
from toolchain.errors import NoRoom, UserError
from toolchain.flow.on_boards import export_on_boards, on_boards
from toolchain.flow.options import Check, Search
from toolchain.flow.progress import silent
from toolchain.ir.store import save
from toolchain.report.data import read_report


def test_every_board_gets_its_own_proven_plan_or_the_reason(tmp_path: Path) -> None:
    """The same device gives the same plan, a larger one is no slower; at a rate that none reaches each says why."""
    network = save(conv_net(size=16, channels=16), tmp_path, source_digest="0")
    names = ["ultra96v2", "aup-zu3-8gb", "zcu104"]
    small, same, large = on_boards(lambda _: network, Search(time_limit=20.0, architecture="streaming"), names, silent)

    assert [small.status, same.status, large.status] == ["optimal"] * 3
    assert small.fps is not None and large.fps is not None and small.fps == same.fps <= large.fps
    assert small.cost is not None and small.cost.fits(small.board.budget)
    assert [found.clock_mhz for found in (small, same, large)] == [250.0] * 3
    assert [found.architecture for found in (small, same, large)] == ["streaming"] * 3

    out_of_reach = Search(target_fps=1e9, clock_mhz=100.0, architecture="streaming")
    for found in on_boards(lambda _: network, out_of_reach, names, silent):
        assert found.fps is None and found.cost is None and found.status and found.clock_mhz == 100.0


def test_an_unknown_board_is_refused(tmp_path: Path) -> None:
    network = save(conv_net(), tmp_path, source_digest="0")
    with pytest.raises(UserError, match=r"^unknown board 'kv26'; did you mean 'kv260'\?$"):
        on_boards(lambda _: network, Search(), ["kv26"], silent)


def test_boards_of_one_device_share_its_numbers() -> None:
    """Ultra96-V2 and AUP-ZU3 extend the zu3eg: no number of the device stands twice."""
    devices = {name: load_board(name).device for name in list_boards()}
    assert devices["ultra96v2"] == devices["aup-zu3-4gb"] == devices["aup-zu3-8gb"] == devices["zu3eg"]


def _own(folder: Path, **numbers: int) -> str:
    """A zu3eg with so much of the device."""
    folder.mkdir(parents=True)
    device = "".join(f'{kind} = {{ value = {count}, source = "ours" }}\n' for kind, count in numbers.items())
    (folder / "board.toml").write_text(f'extends = "zu3eg"\n[device]\n{device}')
    return str(folder)


@pytest.mark.needs_gxx
def test_an_export_for_several_boards_is_a_verified_build_each_and_the_reason_where_none_fits(tmp_path: Path) -> None:
    """The rows tell what the builds' own reports tell."""
    model, tiny = conv_bn_relu(tmp_path / "net.onnx"), _own(tmp_path / "tiny", lut=12000)
    search, check = Search(architecture="streaming"), Check(count=4, qonnx_images=4)
    found = export_on_boards(model, tmp_path / "out", search, check, ["zu3eg", tiny, "kv260"], silent)

    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["kv260", "zu3eg"]
    for entry, name in zip(found[::2], ("zu3eg", "kv260"), strict=True):
        told = read_report(tmp_path / "out" / name)
        assert (told.board, told.verification.csim_mismatches) == (name, 0)
        assert entry.fps == pytest.approx(told.estimate.fps, rel=1e-12)  # two orders of a quotient
        assert entry.cost is not None and entry.cost.dsp == told.resources.dsp.used
    assert found[1].fps is None and "short" in found[1].status

    with pytest.raises(NoRoom, match=r"^no board has room; tiny: .*; use fewer bits$"):
        export_on_boards(model, tmp_path / "none", search, check, [tiny], silent)
    build = tmp_path / "out" / "kv260"
    with pytest.raises(UserError) as error:
        export_on_boards(model, build, search, check, ["zu3eg"], silent)
    assert str(error.value) == f"{build} is a build, and builds for several boards stand in it; give another --out"


def test_boards_are_named_with_commas_or_all_of_them(tmp_path: Path) -> None:
    mine, other = _own(tmp_path / "mine"), _own(tmp_path / "a" / "mine")
    assert named_boards("all") == list_boards()
    assert named_boards(f"kv260,{mine}") == ["kv260", mine]
    assert named_boards(f"all, {mine}") == [*list_boards(), mine]
    for text, first, second in ((f"{mine},{other}", mine, other), ("all,kv260", "kv260", "kv260")):
        with pytest.raises(UserError) as error:
            named_boards(text)
        name = Path(first).name
        assert str(error.value) == f"two boards are called '{name}': {first} and {second}; name each board once"
