"""A board without hardware: a module `pynq` whose registers start a function, with memory that no cache keeps coherent.

Imports numpy alone, so that it also runs beside the driver in an environment that has nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

START, DONE, IDLE = 1, 2, 4
PAGE = 1 << 12
FIRST_ADDRESS = 0x1_0000_0000  # above 32 bits: both halves of an address count
PLL_MHZ = 1500.0

Memory = Callable[[int, int], np.ndarray]
"""The device's own bytes from an address on, of that length: what is written there, reaches the buffer's memory."""


class BoardFault(Exception):
    """The driver did what would crash or corrupt a board."""


class Buffer(np.ndarray):
    """A buffer as the processor sees it: `flush` writes it to the device's memory, `invalidate` reads it again."""

    memory: np.ndarray
    device_address: int
    _start: int

    def __array_finalize__(self, whole: Any) -> None:
        """A view of a buffer is a buffer too, at its own address."""
        if isinstance(whole, Buffer) and hasattr(whole, "memory"):
            self.memory = whole.memory
            self._start = whole._start
            self.device_address = whole.device_address + self.ctypes.data - whole.ctypes.data

    def _span(self) -> np.ndarray:
        first = self.device_address - self._start
        return self.memory[first : first + self.nbytes]

    def flush(self) -> None:
        """Write the processor's bytes to memory."""
        self._span()[:] = np.ascontiguousarray(self).view(np.uint8).reshape(-1)

    def invalidate(self) -> None:
        """Read the memory's bytes."""
        np.asarray(self).reshape(-1).view(np.uint8)[:] = self._span()

    def freebuffer(self) -> None:
        """Do nothing: the memory goes with the board."""


@dataclass
class Board:
    """A board whose bitstream is `run(registers, memory)`, called once a start; `registers` by name.

    `offsets` are those of the hardware, `base` its address. `broken` names a fault: "hangs" never sets done,
    "deaf" loses every flush, "small" gives smaller buffers, "full" none.
    """

    run: Callable[[Mapping[str, int], Memory], None]
    offsets: Mapping[str, int]
    base: int
    broken: str = ""
    polls: int = 2
    starts: int = 0
    programmed: str = ""
    clock_mhz: float = 100.0
    values: dict[int, int] = field(default_factory=dict)
    buffers: list[Buffer] = field(default_factory=list)
    _left: int = -1  # polls until done; below zero: idle
    _done: bool = False

    def allocate(self, shape: tuple[int, ...], dtype: Any, **_: Any) -> Buffer:
        """A buffer, whose memory holds noise."""
        if not self.programmed:
            raise RuntimeError("no bitstream is loaded, so no device has memory")
        if self.broken == "full":
            raise MemoryError("allocation failed")
        count = int(np.prod(shape)) // (2 if self.broken == "small" else 1)
        buffer = np.full(count, 0xA5, dtype=dtype).view(Buffer)
        last = self.buffers[-1] if self.buffers else None
        end = FIRST_ADDRESS if last is None else last._start + last.nbytes
        buffer.device_address = buffer._start = -(-end // PAGE) * PAGE + PAGE
        buffer.memory = np.full(buffer.nbytes, 0x5A, np.uint8)
        if self.broken == "deaf":
            buffer.flush = lambda: None  # type: ignore[method-assign]
        self.buffers.append(buffer)
        return buffer

    def memory(self, address: int, size: int) -> np.ndarray:
        """Bytes of the device's memory; a BoardFault outside every buffer."""
        for buffer in self.buffers:
            first = address - buffer._start
            if first >= 0 and first + size <= buffer.nbytes:
                return buffer.memory[first : first + size]
        raise BoardFault(f"the accelerator reaches {size} bytes at 0x{address:x}, outside every buffer")

    def read(self, offset: int) -> int:
        """A register; reading CTRL clears done."""
        if offset != self.offsets["CTRL"]:
            return self.values.get(offset, 0)
        if self._left == 0 and self.broken != "hangs":
            names = {name: self.values.get(at, 0) for name, at in self.offsets.items()}
            wide = {name: value | self.values.get(self.offsets[name] + 4, 0) << 32 for name, value in names.items()}
            self.run(wide, self.memory)
            self._left, self._done = -1, True
        elif self._left > 0:
            self._left -= 1
        found = (START if self._left >= 0 else IDLE) | (DONE if self._done else 0)
        self._done = False
        return found

    def write(self, offset: int, value: int) -> None:
        """Set a register; a start lasts `polls` reads of CTRL, and what it reads is read at its end."""
        if not 0 <= value < 1 << 32:
            raise BoardFault(f"0x{value:x} in a register of 32 bits")
        if offset != self.offsets["CTRL"]:
            if self._left >= 0:
                raise BoardFault(f"register 0x{offset:x} is written while the accelerator runs")
            self.values[offset] = value
        elif value & START:
            self.starts += 1
            self._left = self.polls


def pynq_module(board: Board) -> tuple[ModuleType, ModuleType]:
    """The modules `pynq` and `pynq.ps` of `board`."""

    class Overlay:
        def __init__(self, path: str) -> None:
            if not Path(path).is_file():
                raise OSError(f"Bitstream file {path} does not exist.")
            board.programmed = path

    class MMIO:
        def __init__(self, base_addr: int, length: int = 4) -> None:
            self.base, self.length = base_addr, length

        def _at(self, offset: int) -> int:
            if self.base != board.base or not 0 <= offset < self.length or offset % 4:
                raise BoardFault(f"nothing answers at 0x{self.base + offset:x}")
            return offset

        def read(self, offset: int = 0) -> int:
            return board.read(self._at(offset))

        def write(self, offset: int, data: int) -> None:
            board.write(self._at(offset), data)

    class Clocks:
        @property
        def fclk0_mhz(self) -> float:
            return board.clock_mhz

        @fclk0_mhz.setter
        def fclk0_mhz(self, mhz: float) -> None:
            board.clock_mhz = PLL_MHZ / -(-PLL_MHZ // mhz)

    pynq, ps = ModuleType("pynq"), ModuleType("pynq.ps")
    vars(ps).update(Clocks=Clocks())
    vars(pynq).update(Overlay=Overlay, MMIO=MMIO, allocate=board.allocate, ps=ps, __version__="mock")
    return pynq, ps


@contextmanager
def installed(board: Board) -> Iterator[None]:
    """Within the block `import pynq` finds `board`."""
    pynq, ps = pynq_module(board)
    before = {name: sys.modules.get(name) for name in ("pynq", "pynq.ps")}
    sys.modules.update({"pynq": pynq, "pynq.ps": ps})
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def bitstream(design: str) -> bytes:
    """A file with the header of a bitstream of `design`."""
    fields = ((b"a", f"{design}_wrapper;UserID=0XFFFFFFFF;Version=2024.1"), (b"b", "xczu3eg-sbva484-1-i"))
    parts = [key + len(text + "\0").to_bytes(2, "big") + text.encode() + b"\0" for key, text in fields]
    return bytes.fromhex("00090ff00ff00ff00ff0000001") + b"".join(parts) + b"e" + bytes(4)


def hardware_handoff(facts: Mapping[str, Any], *, registers: Mapping[str, int] | None = None) -> str:
    """The .hwh file that Vivado writes of the block design of `facts`, as far as drivers read it.

    A pointer of 64 bits is two registers, NAME_1 and NAME_2.
    """
    offsets = dict(facts["registers"] if registers is None else registers)
    wide = {name: offsets.pop(name) for name in facts["ports"] if name in offsets}
    for name, at in wide.items():
        offsets.update({f"{name}_1": at, f"{name}_2": at + 4})
    fields = "".join(
        f'<REGISTER NAME="{name}"><PROPERTY NAME="DESCRIPTION" VALUE=""/>'
        f'<PROPERTY NAME="ADDRESS_OFFSET" VALUE="{at}"/><PROPERTY NAME="SIZE" VALUE="32"/></REGISTER>\n'
        for name, at in sorted(offsets.items(), key=lambda item: item[1])
    )
    top, cell, base = facts["top"], facts["instance"], facts["base"]
    return f"""\ufeff<?xml version="1.0" encoding="UTF-8" standalone="no" ?>
<EDKSYSTEM EDWVERSION="1.2" VIVADOVERSION="2024.1">
<SYSTEMINFO ARCH="zynquplus" DEVICE="xczu3eg" NAME="{facts["design"]}" PACKAGE="sbva484" SPEEDGRADE="-1"/>
<MODULES>
<MODULE FULLNAME="/{cell}" INSTANCE="{cell}" MODTYPE="{top}" VLNV="xilinx.com:hls:{top}:1.0">
<ADDRESSBLOCKS><ADDRESSBLOCK INTERFACE="s_axi_control" NAME="Reg" RANGE="65536" USAGE="register">
<REGISTERS>
{fields}</REGISTERS>
</ADDRESSBLOCK></ADDRESSBLOCKS>
</MODULE>
<MODULE FULLNAME="/ps" INSTANCE="ps" MODTYPE="zynq_ultra_ps_e" VLNV="xilinx.com:ip:zynq_ultra_ps_e:3.5">
<MEMORYMAP><MEMRANGE ADDRESSBLOCK="Reg" BASENAME="C_BASEADDR" BASEVALUE="0x{base:08X}" HIGHNAME="C_HIGHADDR"
 HIGHVALUE="0x{base + 0xFFFF:08X}" INSTANCE="{cell}" MASTERBUSINTERFACE="M_AXI_HPM0_FPD" MEMTYPE="REGISTER"
 SLAVEBUSINTERFACE="s_axi_control"/></MEMORYMAP>
</MODULE>
</MODULES>
</EDKSYSTEM>
"""
