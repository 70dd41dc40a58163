"""The driver, unchanged, on a board whose registers start the C simulation; and what it says of a broken board."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.deploy.placed import Placed, place
from tests.graphs import Builder, conv_net, grouped_net, mlp, residual_net, unet
from toolchain.boards import load_board
from toolchain.deploy import driver as shipped
from toolchain.deploy import mock
from toolchain.deploy.mock import hardware_handoff, installed
from toolchain.dse.explore import explore
from toolchain.ir.encode import answers, encode, predictions, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Decoding
from toolchain.passes.pipeline import to_hardware


def _explored(graph: Graph) -> Graph:
    """``graph`` as the explorer wants it: many lanes, several codes a group."""
    return to_hardware(graph, explore(graph, load_board("zu3eg"), time_limit=10.0))


def _argmax() -> Graph:
    b = Builder((1, 1, 12), 3, signed=True)
    return b.graph(b.argmax(b.matvec(b.input, 10)))


NETWORKS: dict[str, Callable[[], Graph]] = {
    "mlp": mlp,
    "mlp of 5 bits, explored": lambda: _explored(mlp((21, 12, 10), bits=5)),
    "convolutions": conv_net,
    "convolutions of 6 bits, explored": lambda: _explored(conv_net(bits=6)),
    "residual": residual_net,
    "grouped": grouped_net,
    "a map at the end": lambda: _explored(unet()),
    "class on chip": _argmax,
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Placed:
    """A small network on a board; tests that break something take a copy of its files."""
    return place(mlp(), tmp_path_factory.mktemp("small"))


@pytest.mark.needs_gxx
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("batch", [1, 8])
def test_answers_are_the_integer_networks(name: str, batch: int, tmp_path: Path) -> None:
    """Codes and classes of one frame, of a batch with a rest, and of an image without a batch axis."""
    placed = place(NETWORKS[name](), tmp_path)
    graph = placed.graph
    images = random_inputs(graph.encoding, (21, *graph.input.shape), seed=3)  # type: ignore[arg-type]
    expected = evaluate(graph, encode(graph, images))[graph.output]
    with installed(placed.board), placed.network(batch) as network:
        np.testing.assert_array_equal(network.predict_codes(images), expected)
        np.testing.assert_array_equal(network.predict(images), predictions(graph.answer, expected))
        np.testing.assert_array_equal(network.predict_codes(images[0]), expected[:1])
        assert network.predict_codes(images[:0]).shape == (0, *expected.shape[1:])
        assert network.validate() == {"images": 5, "codes": 5 * expected[0].size, "wrong_codes": 0, "top1": None}
    assert placed.board.starts == 2 * -(-21 // batch) + 1 + 2 * -(-5 // batch) - (-(-5 // batch))


@pytest.mark.needs_gxx
def test_a_thousand_frames_are_right_in_every_batch(small: Placed) -> None:
    graph = small.graph
    images = random_inputs(graph.encoding, (1000, *graph.input.shape), seed=4)  # type: ignore[arg-type]
    expected = evaluate(graph, encode(graph, images))[graph.output]
    for batch in (1, 64, 1000, 4096):
        with installed(small.board), small.network(batch) as network:
            np.testing.assert_array_equal(network.predict_codes(images), expected)


@pytest.mark.needs_gxx
def test_the_best_classes_come_with_their_names(tmp_path: Path) -> None:
    b = Builder((1, 1, 12), 3, signed=True)
    placed = place(b.graph(b.matvec(b.input, 4)), tmp_path, classes=["ant", "bee", "cat", "dog"])
    images = random_inputs(placed.graph.encoding, (3, *placed.graph.input.shape))  # type: ignore[arg-type]
    with installed(placed.board), placed.network() as network:
        codes = network.predict_codes(images).reshape(3, -1)
        for row, best in zip(codes, network.top(images, 2), strict=True):
            order = sorted(range(4), key=lambda c: (-row[c], c))[:2]
            assert best == [(("ant", "bee", "cat", "dog")[c], float(row[c])) for c in order]


@pytest.mark.needs_gxx
def test_a_benchmark_counts_what_it_ran(small: Placed) -> None:
    with installed(small.board), small.network(4) as network:
        before = small.board.starts
        found = network.benchmark(20)
    assert (found["batch"], found["frames"], small.board.starts - before) == (4, 20, 5 + 5 + 5)
    assert min(found["fps"], found["latency_ms"], found["end_to_end_fps"]) > 0


def test_the_driver_is_one_file_for_python_3_8() -> None:
    """Its syntax is 3.8's; it imports numpy, pynq where it meets a board, and onnxruntime where it runs a rest."""
    tree = ast.parse(Path(shipped.__file__).read_text(), feature_version=(3, 8))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "pynq"}


RUNNER = """
import ctypes, importlib.util, json, sys
import numpy as np
assert importlib.util.find_spec("toolchain") is None and importlib.util.find_spec("pynq") is None
import mock
facts, library = json.load(open("network.json")), ctypes.CDLL(sys.argv.pop(1))
reader, writer, units = (int(sys.argv.pop(1)) for _ in range(3))

def run(registers, memory):
    frames, message = registers["frames"], ctypes.create_string_buffer(512)
    words = memory(registers["in_r"], 16 * reader * frames)
    answers, counts = np.zeros(16 * writer * frames, np.uint8), np.zeros(units, np.uint64)
    given, counted, outputs = (ctypes.c_void_p(a.ctypes.data) for a in (words, counts, answers))
    written = (ctypes.c_void_p * 1)(outputs)
    assert not library.fpgaflow_run_words(given, written, frames, counted, message, 512), message.value
    memory(registers["out_r"], len(answers))[:] = answers

board = mock.Board(run, facts["registers"], facts["base"], broken=sys.argv.pop(1))
with mock.installed(board):
    import accelerator
    sys.exit(accelerator.main())
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that has numpy and nothing else."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    for package in Path(np.__file__).parents[1].glob("numpy*"):
        (site / package.name).symlink_to(package)
    return home / "bin" / "python"


@pytest.mark.needs_gxx
@pytest.mark.parametrize(
    ("broken", "code", "message"),
    [("", 0, ""), ("deaf", 1, "accelerator.py: N of 20 codes are wrong\n"), ("full", 2, "no buffer of 8192 bytes")],
)
def test_the_program_runs_where_numpy_is_all_there_is(
    broken: str, code: int, message: str, bare: Path, small: Placed, tmp_path: Path
) -> None:
    """`accelerator.py` as a user starts it: board.json and status 0; one line and another status where it fails."""
    for file in [*small.home.iterdir(), Path(mock.__file__)]:
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "runner.py").write_text(RUNNER)
    csim = small.csim
    assert csim is not None
    numbers = [str(n) for n in (*csim.words_a_frame, len(csim.cycles()))]
    command = [str(bare), "runner.py", csim._library._name, *numbers, broken, "--frames", "64"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    wrong = "".join(c for c in done.stderr if not c.isdigit())
    assert "".join(c for c in message if not c.isdigit() and c != "N") in wrong and len(done.stderr.splitlines()) <= 1
    assert (tmp_path / "board.json").is_file() == (code != 2)


def _heads() -> Graph:
    """Classes of four channels, a map of two bits, and the map's sums, each stream of other lanes."""
    b = Builder((4, 4, 3), 4, signed=True, seed=3)
    x = b.threshold(b.conv(b.input, 6), 2)
    return b.graph(b.matvec(b.global_sum(x), 4), "heads", (x, b.matvec(x, 5)))


@pytest.mark.needs_gxx
def test_answers_of_several_outputs_come_by_name(tmp_path: Path) -> None:
    """Codes and values of all, of several batches with a rest; a class where one output is known to tell it."""
    graph, worth = _explored(_heads()), Decoding((Fraction(2),), (Fraction(1),))
    graph = replace(graph, outputs=tuple(replace(output, decoding=worth) for output in graph.outputs))
    placed = place(replace(graph, classes=tuple("abcd")), tmp_path, classes=list("abcd"))
    images = random_inputs(graph.encoding, (21, *graph.given_shape), seed=3)  # type: ignore[arg-type]
    found = evaluate(placed.graph, encode(graph, images))
    codes = {output.name: answers(output, found[output.value]) for output in graph.outputs}
    assert placed.facts["ports"] == ["in_r", "out_out", "out_head0", "out_head1"]
    with installed(placed.board), placed.network(8) as network:
        answered, values = network.predict_codes(images), network.predict(images)
        for name, right in codes.items():
            np.testing.assert_array_equal(answered[name], right)
            np.testing.assert_array_equal(values[name], 2 * right + 1)
        best = [row[0][0] for row in network.top(images, 1)]
        assert best == ["abcd"[i] for i in codes["out"].reshape(21, -1).argmax(axis=1)]
        assert network.validate()["wrong_codes"] == 0


def test_no_class_is_made_up_where_no_output_is_known_to_tell_it(tmp_path: Path) -> None:
    placed = place(_heads(), tmp_path, compiled=False)
    with installed(placed.board), placed.network() as network, pytest.raises(placed.driver.BoardError) as error:
        network.top(np.zeros((1, 4, 4, 3), np.int64))
    assert str(error.value) == "no single output tells a class; see scores() of out, head0, head1"


def test_registers_whose_names_extend_each_other_are_told_apart(tmp_path: Path) -> None:
    """The halves of the address `out_a` are called `out_a_1` and `out_a_2`, as other outputs may be."""
    names = ("in_r", "out_a_1", "out_a", "out_a_2", "frames")
    facts = {"design": "d", "instance": "i", "top": "t", "base": 0xA000_0000, "ports": names[:-1]}
    facts["registers"] = dict.fromkeys(names, 0)
    offsets = {name: 16 + 12 * i for i, name in enumerate(names)}
    path = tmp_path / "d.hwh"
    path.write_text(hardware_handoff(facts, registers=offsets))
    assert shipped.read_hwh(path, facts)["registers"] == offsets


def _error(placed: Placed, **more: float) -> str:
    """What the driver says when it is asked for a class."""
    images = random_inputs(placed.graph.encoding, (3, *placed.graph.input.shape))  # type: ignore[arg-type]
    with installed(placed.board), pytest.raises(placed.driver.BoardError) as error:
        placed.network(**more).predict(images)
    (line,) = str(error.value).splitlines()
    return line.replace(str(placed.home), "HOME")


@pytest.fixture
def idle(tmp_path: Path) -> Placed:
    """A network on a board that answers nothing, to break."""
    return place(mlp(), tmp_path, compiled=False)


DESIGN = "mlp_0123abcd"
"""Of the tests' networks."""


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (".bit", None, f"no bitstream HOME/{DESIGN}.bit; make it with run.sh and copy it beside network.json"),
        (
            ".bit",
            mock.bitstream("base"),
            f"{DESIGN}.bit holds the design 'base_wrapper', network.json '{DESIGN}'; copy all of board/",
        ),
        (".hwh", None, f"no {DESIGN}.hwh beside the bitstream; copy all of board/"),
        (".hwh", b"text", f"{DESIGN}.hwh is no .hwh file: syntax error: line 1, column 0"),
        (".hwh", b'<!DOCTYPE x [<!ENTITY a "b">]><x/>', f"{DESIGN}.hwh declares entities, which no .hwh file does"),
        (
            ".hwh",
            b"<EDKSYSTEM/>",
            f"{DESIGN}.hwh describes the design 'None', network.json '{DESIGN}'; copy all of board/",
        ),
    ],
)
def test_a_wrong_file_is_named(file: str, content: bytes | None, message: str, idle: Placed) -> None:
    path = idle.home / f"{DESIGN}{file}"
    path.unlink() if content is None else path.write_bytes(content)
    assert _error(idle) == message


def test_the_handoff_of_another_network_is_named(idle: Placed) -> None:
    """By its design, and where that is the same, by the cell that it lacks."""
    path = idle.home / f"{DESIGN}.hwh"
    path.write_text(hardware_handoff({**idle.facts, "design": "other_1"}))
    assert _error(idle) == f"{path.name} describes the design 'other_1', network.json '{DESIGN}'; copy all of board/"
    path.write_text(hardware_handoff({**idle.facts, "instance": "dma"}))
    assert _error(idle) == f"{path.name} has no addressable cell 'accelerator'"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("small", "a buffer of 64 bytes where 128 are needed"),
        ("full", "no buffer of 128 bytes (allocation failed); ask for a smaller batch"),
    ],
)
def test_a_buffer_too_small_or_none_is_named(broken: str, message: str, idle: Placed) -> None:
    idle.board.broken = broken
    assert _error(idle) == message


def test_a_time_out_names_the_registers(idle: Placed) -> None:
    """No hang: which frames, and what every register holds."""
    idle.board.broken = "hangs"
    first, second = 0x1_0000_1000, 0x1_0000_3000
    assert _error(idle, timeout=0.05) == (
        "3 frames are not done in time: CTRL=start, GIER=0x0, IP_IER=0x0, IP_ISR=0x0, frames=0x3, "
        f"in_r=0x{first & 0xFFFFFFFF:x}, out_r=0x{second & 0xFFFFFFFF:x}"
    )


def test_a_clock_that_the_design_does_not_meet_is_refused(idle: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock, "PLL_MHZ", 900.0)
    idle.facts["clock_mhz"] = 250.0
    monkeypatch.setattr(idle.board.__class__, "clock_mhz", property(lambda _: 300.0, lambda *_: None))
    assert _error(idle) == "the clock is 300.0 MHz; the design is for 250.0"


@pytest.mark.needs_gxx
def test_a_flush_that_is_missing_shows(small: Placed) -> None:
    """The mock's memory holds nothing that was not flushed: codes are wrong, none are right by chance."""
    small.board.broken = "deaf"
    try:
        with installed(small.board), small.network() as network:
            assert network.validate()["wrong_codes"] > 0
    finally:
        small.board.broken = ""


@pytest.mark.needs_gxx
def test_an_invalidate_that_is_missing_shows(small: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mock.Buffer, "invalidate", lambda self: None)
    with installed(small.board), small.network() as network:
        assert network.validate()["wrong_codes"] > 0


@pytest.mark.needs_gxx
def test_a_buffer_that_is_packed_while_it_is_read_shows(small: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one pair of buffers in place of two, the second batch overwrites the first: two pairs are needed."""
    images = random_inputs(small.graph.encoding, (16, *small.graph.input.shape))  # type: ignore[arg-type]
    with installed(small.board), small.network(4) as network:
        right = network.predict_codes(images)
        monkeypatch.setattr(network, "pairs", [network.pairs[0]] * 2)
        assert (network.predict_codes(images) != right).any()


@pytest.mark.needs_gxx
def test_registers_are_where_the_handoff_says(small: Placed, tmp_path: Path) -> None:
    """Hardware with other offsets, as a mailbox makes them, works by its .hwh; where that has none, the table holds."""
    moved = {name: at + (8 if at >= 0x10 else 0) for name, at in small.facts["registers"].items()}
    path = small.home / f"{small.facts['design']}.hwh"
    own, offsets = path.read_text(encoding="utf-8"), small.board.offsets
    try:
        small.board.offsets = moved
        path.write_text(hardware_handoff(small.facts, registers=moved), encoding="utf-8")
        with installed(small.board), small.network() as network:
            assert network.validate()["wrong_codes"] == 0
        small.board.offsets = offsets
        path.write_text(hardware_handoff(small.facts, registers={}), encoding="utf-8")
        with installed(small.board), small.network() as network:
            assert network.validate()["wrong_codes"] == 0
    finally:
        small.board.offsets = offsets
        path.write_text(own, encoding="utf-8")


def test_buffers_are_allocated_behind_the_bitstream(idle: Placed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device without a bitstream has no memory to give."""
    with installed(idle.board):
        import pynq

        monkeypatch.setattr(pynq, "Overlay", lambda path: None)
        with pytest.raises(idle.driver.BoardError, match=r"no bitstream is loaded"):
            idle.network()
