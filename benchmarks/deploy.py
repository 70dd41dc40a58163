"""The driver's rate of packing codes into words of memory, on one core, beside other ways to do it.

numpy's own bits: unpackbits, the low bits of each code, packbits. FINN's: ``finnpy_to_packed_bytearray`` of the wheel
finn-plus, called as its driver calls it, on frames whose innermost axis is one stream word, and the copy to the buffer;
at 8 bits it hands its input on. Every answer is compared first. The wheel is fetched with pip to a folder that
vanishes. Rates are of processor time, as others use the machine too; numpy's and FINN's are of a sixteenth of the
frames, which stays in the cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks.common import Row, print_rows
from benchmarks.schemas import DEPLOY
from toolchain.deploy.driver import Packing

FINN = ("finn-plus==1.6.1", "bitstring==5.0.0", "bitarray==3.12.3")
SIZE = 28 * 28 * 3
RUNS = 5
BITS = (2, 4, 6, 8)
COLUMNS = {
    "bits": "bits",
    "lanes": "lanes",
    "gigacodes": "GB/s of codes",
    "numpy_gigacodes": "numpy's bits",
    "finn_gigacodes": "FINN",
    "over_numpy": "times numpy",
    "over_finn": "times FINN",
}


def finn_packing(folder: Path) -> ModuleType:
    """FINN's module of packing functions, from its wheel alone."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *FINN]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for wheel in folder.glob("*.whl"):
        subprocess.run([sys.executable, "-m", "zipfile", "-e", str(wheel), str(folder / "site")], check=True)
    sys.path.insert(0, str(folder / "site"))
    spec = importlib.util.spec_from_file_location("data_packing", folder / "site" / "finn/util/data_packing.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rate(codes: int, call: Callable[[], object]) -> float:
    """10^9 codes a second of processor time, in the fastest of several runs."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return codes / best / 1e9


def by_numpy(codes: np.ndarray, packing: Packing) -> np.ndarray:
    """The words, uint8 (frames, bytes), by numpy's unpackbits and packbits."""
    rows = np.zeros((len(codes), packing.words * packing.codes_a_word), np.uint8)
    rows[:, : packing.size] = codes
    bits = np.unpackbits(rows[..., None], axis=-1, count=packing.bits, bitorder="little")
    words = np.zeros((len(codes), packing.words, 128), np.uint8)
    words[..., : packing.codes_a_word * packing.bits] = bits.reshape(len(codes), packing.words, -1)
    return np.packbits(words, axis=-1, bitorder="little").reshape(len(codes), -1)


def measured(bits: int, lanes: int, frames: int, finn: ModuleType | None) -> Row:
    """Rates for codes of ``bits`` bits, ``lanes`` in a stream word."""
    packing = Packing(SIZE, bits, False, lanes)
    codes = np.random.default_rng(0).integers(0, 1 << bits, (frames, SIZE), dtype=np.uint8)
    words = np.zeros((frames, 2 * packing.words), np.uint64)
    packing.pack(codes, words)
    few = codes[: max(1, frames // 16)]
    np.testing.assert_array_equal(words.view(np.uint8)[: len(few)], by_numpy(few, packing))
    found: Row = {"bits": bits, "lanes": lanes, "frames": frames, "codes_a_frame": SIZE}
    own = rate(codes.size, lambda: packing.pack(codes, words))
    numpy_rate = rate(few.size, lambda: by_numpy(few, packing))
    found |= {"gigacodes": own, "numpy_gigacodes": numpy_rate, "over_numpy": own / numpy_rate}
    if finn is not None:
        kind = finn.DataType[f"UINT{bits}"]
        folded = few.reshape(len(few), SIZE // lanes, lanes)
        answer = finn.finnpy_to_packed_bytearray(folded, kind, reverse_endian=True, reverse_inner=True)
        np.testing.assert_array_equal(answer, _stream_words(folded, bits))
        buffer = np.empty_like(answer)

        def call() -> None:
            np.copyto(buffer, finn.finnpy_to_packed_bytearray(folded, kind, reverse_endian=True, reverse_inner=True))

        finn_rate = rate(few.size, call)
        found |= {"finn_gigacodes": finn_rate, "over_finn": own / finn_rate}
    return found


def _stream_words(folded: np.ndarray, bits: int) -> np.ndarray:
    """Return the words as FINN packs them: every stream word in whole bytes, little end first."""
    each = np.unpackbits(folded[..., None], axis=-1, count=bits, bitorder="little").reshape(*folded.shape[:-1], -1)
    return np.packbits(each, axis=-1, bitorder="little")


def main() -> None:
    """Print the rates and write results/deploy.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=6000, help="frames to pack")
    parser.add_argument("--no-finn", action="store_true", help="do not fetch FINN's wheel")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="finn-") as folder:
        finn = None if options.no_finn else finn_packing(Path(folder))
        rows = [measured(bits, lanes, options.frames, finn) for bits in BITS for lanes in (1, 3, 16)]
    DEPLOY.replace(rows)
    print_rows("Packing codes for the accelerator, one core", rows, COLUMNS)


if __name__ == "__main__":
    main()
