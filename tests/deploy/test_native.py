"""The driver in C++, compiled as it is, on files that are a board: its registers start the C simulation."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.deploy.placed import BEATS, facts_of
from tests.deploy.test_engine import GRAPHS, engine_of
from tests.graphs import Builder, mlp, unet
from tests.hardware import Target, serial
from toolchain.boards import load_board
from toolchain.deploy.driver import Encoder
from toolchain.deploy.measure import BoardFile, read_measurement
from toolchain.deploy.mock import DONE, IDLE, START
from toolchain.deploy.native import kria_files, native_files, native_samples
from toolchain.deploy.trial import Hardware, engine_accelerator, streaming_accelerator
from toolchain.dse.explore import explore
from toolchain.engine.csim import EngineSim
from toolchain.engine.generate import generate as generate_engine
from toolchain.engine.project import project
from toolchain.files import write_files
from toolchain.frontend.several_inputs import Joined
from toolchain.hls_templates.generate import generate
from toolchain.ir.encode import answers, encode, random_inputs
from toolchain.ir.evaluate import evaluate
from toolchain.ir.graph import Graph
from toolchain.ir.types import Decoding
from toolchain.passes.pad_channels import pad_channels
from toolchain.passes.pipeline import to_hardware
from toolchain.simulate.csim import build

pytestmark = pytest.mark.needs_gxx

XRT = Path(__file__).with_name("xrt")
ADDRESS = 0x8_7000_0000  # above 32 bits
IMAGES = 21


@dataclass
class Native:
    """A compiled driver with its files in ``home``, and what its accelerator does."""

    home: Path
    facts: dict[str, Any]
    run: Hardware
    sent: list[int]


def hardware_of(graph: Graph) -> Graph:
    return to_hardware(graph, explore(graph, load_board("zu3eg"), time_limit=10.0))


def two_heads() -> Graph:
    b = Builder((6, 6, 4), 4)
    x = b.threshold(b.matvec(b.window(b.input), 8), 4)
    return b.graph(b.matvec(b.window(x), 6), heads=(x,))


NETWORKS = {
    "mlp of 5 bits": lambda: hardware_of(mlp((21, 12, 10), bits=5)),
    "a map at the end": lambda: hardware_of(unet()),
}


def sources(graph: Graph) -> tuple[dict[str, Any], dict[str, str], Hardware]:
    """network.json, the project, and the hardware of a streaming network."""
    facts, files = facts_of(graph), generate(graph, Target(), 250.0)
    return facts, files, streaming_accelerator(build(graph, files, frames=1000), facts)


def native(graph: Graph, home: Path, made: tuple[dict[str, Any], Any, Hardware], *flags: str) -> Native:
    """The driver of ``graph`` compiled with ``flags`` in ``home``, with samples."""
    facts, files, run = made
    write_files(native_files(facts, graph, files), home)
    assert graph.encoding is not None
    images = random_inputs(graph.encoding, (IMAGES, *graph.given_shape), seed=3)
    found = evaluate(graph, encode(graph, images))
    codes = [answers(output, found[output.value]) for output in graph.outputs]
    (home / "samples.bin").write_bytes(native_samples(images, codes))
    command = ["g++", "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ihost", *flags, "main.cpp"]
    done = subprocess.run([*command, "-o", "accelerator"], cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Native(home, facts, run, [])


@contextmanager
def board(driver: Native, *, size: int = 1 << 22, hangs: bool = False) -> Iterator[None]:
    """Files in ``home`` that are registers and memory; a thread answers what is started there."""
    home, offsets = driver.home, driver.facts["registers"]
    (home / "info").mkdir(exist_ok=True)
    (home / "info" / "size").write_text(f"0x{size:x}\n")
    (home / "info" / "phys_addr").write_text(f"0x{ADDRESS:x}\n")
    (home / "registers").write_bytes(bytes(4096))
    (home / "memory").write_bytes(b"\x5a" * size)
    stop = threading.Event()
    with (home / "registers").open("r+b") as r, (home / "memory").open("r+b") as m:
        registers = np.frombuffer(mmap.mmap(r.fileno(), 4096), np.uint32)
        memory = np.frombuffer(mmap.mmap(m.fileno(), size), np.uint8)
        control = offsets["CTRL"] // 4
        registers[control] = IDLE

        def part(address: int, count: int) -> np.ndarray:
            assert address >= ADDRESS and address + count <= ADDRESS + size
            return memory[address - ADDRESS : address - ADDRESS + count]

        def answer() -> None:
            while not stop.is_set():
                if registers[control] == START and not hangs:
                    wide = {n: int(registers[at // 4]) | int(registers[at // 4 + 1]) << 32 for n, at in offsets.items()}
                    count = driver.facts["count"]["register"]
                    wide[count] = int(registers[offsets[count] // 4])
                    driver.sent.append(wide[count])
                    driver.run(wide, part)
                    registers[control] = DONE | IDLE
                time.sleep(2e-4)

        worker = threading.Thread(target=answer)
        worker.start()
        try:
            yield
        finally:
            stop.set()
            worker.join()


def start(driver: Native, *more: str, xrt: bool = False) -> subprocess.CompletedProcess[str]:
    """The driver run on the board in its folder."""
    paths = ["--registers", "registers", "--memory", "memory", "--info", "info"]
    if xrt:
        (driver.home / "net.xclbin").touch()
        paths = ["--xclbin", "net.xclbin"]
    command = ["./accelerator", *paths, "--turns", "2", *more]
    environment = {**os.environ, "XRT_STUB": str(driver.home)}
    return subprocess.run(
        command, cwd=driver.home, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_answers_over_uio_are_the_integer_networks(name: str, tmp_path: Path) -> None:
    """Batches of one, and of eight with a rest; the registers get 64-bit addresses and the frames of each start."""
    graph = NETWORKS[name]()
    driver = native(graph, tmp_path, sources(graph))
    for batch in (1, 8):
        driver.sent.clear()
        with board(driver):
            done = start(driver, "--batch", str(batch))
        assert (done.returncode, done.stderr) == (0, "")
        found = read_measurement(tmp_path / "board.json")
        assert isinstance(found, BoardFile) and found.design == driver.facts["design"]
        assert found.validation.images == IMAGES and found.validation.wrong_codes == 0
        assert driver.sent[: -(-IMAGES // batch)] == [batch] * (IMAGES // batch) + [IMAGES % batch] * (batch > 1)


@pytest.mark.slow
def test_the_answers_of_an_engine_are_the_integer_networks(tmp_path: Path) -> None:
    name = "two outputs"
    graph, found = GRAPHS[name], engine_of(name)
    facts = facts_of(graph, found)
    run = engine_accelerator(EngineSim(graph, found, generate_engine(found.shape, BEATS)), facts)
    driver = native(graph, tmp_path, (facts, project(graph, found, load_board("zu3eg"), 250.0), run))
    (tmp_path / "memory.bin").write_bytes(found.memory.tobytes())
    with board(driver):
        done = start(driver)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(driver.sent) == {found.passes}


def test_answers_over_xrt_and_of_several_outputs_are_the_integer_networks(tmp_path: Path) -> None:
    """Buffers that only `sync` makes coherent, by a stand-in for the Xilinx Runtime's headers."""
    graph = serial(two_heads())
    driver = native(graph, tmp_path, sources(graph), "-DFPGAFLOW_XRT", f"-I{XRT}")
    with board(driver):
        done = start(driver, "--batch", "8", xrt=True)
        assert (done.returncode, done.stderr) == (0, "")
        done = start(driver, "--device", "3", xrt=True)
        assert (done.returncode, done.stderr) == (2, "accelerator: No such device\n")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Native:
    graph = serial(mlp())
    return native(graph, tmp_path_factory.mktemp("native"), sources(graph))


def test_what_is_wrong_is_said_in_a_line(small: Native) -> None:
    """A start that never ends, too little memory, wrong codes, no device, no samples, no option."""
    with board(small, hangs=True):
        done = start(small, "--timeout", "0.2", "--batch", "4")
    assert done.returncode == 2
    assert done.stderr.startswith("accelerator: 4 frames are not done in time: CTRL=start, in_r=")

    with board(small, size=4096):
        done = start(small)
    assert done.returncode == 2 and "bytes in a memory of 4096; use a smaller --batch" in done.stderr

    samples = small.home / "samples.bin"
    right = samples.read_bytes()
    samples.write_bytes(right[:-8] + (12345).to_bytes(8, "little"))
    with board(small):
        done = start(small)
        assert done.returncode == 1 and f"1 of {IMAGES} codes are wrong" in done.stdout
        samples.write_bytes(right[:-8])
        assert start(small).stderr == "accelerator: samples.bin is cut off\n"
        samples.write_bytes(b"no samples")
        assert start(small).stderr == "accelerator: no samples in samples.bin; copy all of board/\n"
        samples.write_bytes(right)
        assert start(small, "--batch", "0").stderr == "accelerator: a batch of 0 frames\n"
        assert start(small, "--batch", "x").stderr == "accelerator: --batch x is no number\n"
        assert "--turn is no option with a value" in start(small, "--turn", "1").stderr
    told = subprocess.run(
        ["./accelerator", "--help"], cwd=small.home, capture_output=True, text=True, check=True
    ).stdout
    assert told.startswith(f"Checks and measures {small.facts['design']} on this board: [--batch 64]")
    (small.home / "registers").unlink()
    done = start(small)
    assert done.returncode == 2 and "cannot open registers: No such file" in done.stderr


def test_the_answers_of_padded_channels_need_no_stack_of_their_size(tmp_path: Path) -> None:
    """Each code is its channel's number, -1 where a lane carries no channel; the stack holds a third of a frame."""
    b = Builder((64, 64, 3), 4, signed=True)
    x = b.matvec(b.input, 5)
    plain = b.graph(x)
    told = replace(plain, outputs=(replace(plain.answer, decoding=Decoding((Fraction(1),), (Fraction(0),))),))
    graph = serial(pad_channels(told, {x.name: 6}))
    write_files(native_files(facts_of(graph), graph, generate(graph, Target(), 250.0)), tmp_path)
    (tmp_path / "take.cpp").write_text("""
        #include "network.hpp"
        int main() {
            std::vector<std::uint64_t> memory(2 * network::words[1]);
            std::vector<std::int64_t> padded(network::Layout1::size), codes(network::answer_codes[0]);
            for (std::size_t i = 0; i < padded.size(); i++) padded[i] = i % 6 < 5 ? i % 6 : -1;
            fpgaflow::pack_frame<network::Layout1>(padded.data(), memory.data());
            network::take(0, memory.data(), codes.data());
            for (std::size_t i = 0; i < codes.size(); i++) if (codes[i] != std::int64_t(i % 5)) return 1;
        }""")
    for command in (
        ["g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ihost", "take.cpp"],
        ["sh", "-c", "ulimit -s 64 && ./a.out"],
    ):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_builds_it(small: Native) -> None:
    for command in (["cmake", "-S", ".", "-B", "build"], ["cmake", "--build", "build"]):
        done = subprocess.run(command, cwd=small.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (small.home / "build" / "accelerator").is_file()


@pytest.mark.skipif(shutil.which("dtc") is None, reason="needs dtc (apt install device-tree-compiler)")
def test_the_overlay_is_a_device_tree(tmp_path: Path) -> None:
    """Compiled by dtc and read back: the bitstream, the registers, the clock, two ports and the memory of two pairs."""
    facts = facts_of(serial(mlp()))
    files = kria_files(facts, 128)
    write_files(files, tmp_path)
    name = facts["design"]
    dtc = ["dtc", "-@", "-q"]
    subprocess.run([*dtc, "-O", "dtb", "-o", "a.dtbo", f"{name}.dts"], cwd=tmp_path, check=True)
    back = subprocess.run([*dtc, "-I", "dtb", "-O", "dts", "a.dtbo"], cwd=tmp_path, check=True, capture_output=True)
    text = back.stdout.decode()

    assert f'firmware-name = "{name}.bit.bin"' in text
    assert "reg = <0x00 0xa0000000 0x00 0x10000>" in text
    assert "assigned-clock-rates = <0xee6b280>" in text  # 250 MHz
    assert "config-afi = <0x04 0x00 0x05 0x00 0x06 0x00 0x07 0x00>" in text
    assert "size = <0x4000>" in text  # two pairs of two buffers of a page
    assert json.loads(str(files["shell.json"])) == {"shell_type": "XRT_FLAT", "num_slots": "1"}


JOINED = {
    "channels": ({"left": (2, 6, 6), "right": (2, 6, 6)}, 1, "NCHW", (6, 6, 4)),
    "channels last": ({"left": (6, 6, 1), "right": (6, 6, 3)}, 3, "NHWC", (6, 6, 4)),
    "flattened": ({"map": (2, 3, 2), 'the "numbers"?': (5,), "signal": (2, 2)}, None, "NC", (1, 1, 21)),
}


@pytest.mark.parametrize("name", JOINED)
def test_frames_of_several_inputs_come_by_name(name: str, tmp_path: Path) -> None:
    """The codes are those of the driver in Python; a missing name is told."""
    shapes, axis, axes, given = JOINED[name]
    graph = serial(mlp((21, 12, 10), bits=5) if given[0] == 1 else two_heads())
    facts = facts_of(graph, axes=axes, joined=Joined(shapes, axis))
    write_files(native_files(facts, graph, generate(graph, Target(), 250.0)), tmp_path)
    rng, given_type = np.random.default_rng(5), graph.encoding.input
    frames = {key: rng.integers(given_type.low, given_type.high + 1, (1, *shape)) for key, shape in shapes.items()}
    parts = ", ".join(
        f"{{{json.dumps(key)}, std::vector<std::int64_t>{{{', '.join(map(str, frames[key].ravel()))}}}.data()}}"
        for key in shapes
    )
    (tmp_path / "by_name.cpp").write_text(f"""
        #include "network.hpp"
        #include <cstdio>
        int main() {{
            std::vector<std::int64_t> codes(network::input_codes);
            network::encode<std::int64_t>({{{parts}}}, codes.data());
            for (const std::int64_t code : codes) std::printf("%d ", static_cast<int>(code));
            try {{
                network::encode<std::int64_t>({{{{"other", codes.data()}}}}, codes.data());
            }} catch (const std::invalid_argument& error) {{
                std::puts(error.what());
            }}
        }}""")
    command = ["g++", "-std=c++17", "-O0", "-Wall", "-Wextra", "-Werror", "-Iinclude", "-Ihost", "by_name.cpp"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = subprocess.run(["./a.out"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    codes, error = told.split("no frame of the input ")
    encoder = Encoder(facts["input"])
    assert codes.split() == [str(code) for code in encoder.codes(encoder.joined(frames)).ravel()]
    assert error == f"'{next(iter(shapes))}' or one of no input\n"
