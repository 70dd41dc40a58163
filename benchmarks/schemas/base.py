"""The columns that rows of several files have in common."""

from __future__ import annotations

from typing import NotRequired

from typing_extensions import TypedDict  # typing has one that pydantic can read from Python 3.12 on


class Measured(TypedDict):
    """The origin of a row: its command, its machine and its date."""

    command: str
    hardware: str
    date: str


class Costs(TypedDict):
    """The resources of an accelerator."""

    lut: int
    ff: int
    dsp: int
    bram18: int


class MaybeCosts(TypedDict):
    """The resources and the rate of an accelerator, where one was planned."""

    lut: NotRequired[int]
    ff: NotRequired[int]
    dsp: NotRequired[int]
    bram18: NotRequired[int]
    fps: NotRequired[float]
