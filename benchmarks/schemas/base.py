"""What rows of several files have in common."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict  # typing has one that pydantic can read from Python 3.12 on


class Measured(TypedDict):
    """How a row came about."""

    command: str
    hardware: str
    date: str


class Costs(TypedDict):
    """What an accelerator takes."""

    lut: int
    ff: int
    dsp: int
    bram18: int


class MaybeCosts(TypedDict):
    """What an accelerator takes and gives, where one was planned."""

    lut: NotRequired[int]
    ff: NotRequired[int]
    dsp: NotRequired[int]
    bram18: NotRequired[int]
    fps: NotRequired[float]
