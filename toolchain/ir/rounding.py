"""The rounding modes of quantizers, each in the four forms that the stages need: all of them are the same rule."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Rounding(StrEnum):
    """A QONNX rounding mode. ``Rounding(name)`` takes the operator's synonyms too, and raises ValueError for others."""

    ROUND = "ROUND"
    """To the nearest integer, halves to the even neighbour."""
    FLOOR = "FLOOR"
    CEIL = "CEIL"
    UP = "UP"
    """Away from zero."""
    DOWN = "DOWN"
    """Toward zero."""
    HALF_UP = "HALF_UP"
    """To the nearest integer, halves away from zero."""
    HALF_DOWN = "HALF_DOWN"
    """To the nearest integer, halves toward zero."""

    @classmethod
    def _missing_(cls, value: object) -> Rounding | None:
        return {"HALF_EVEN": cls.ROUND, "ROUND_TO_ZERO": cls.DOWN}.get(str(value))

    def floats(self, x: Array) -> Array:
        """``x`` rounded, in its float type, as the QONNX executor does."""
        match self:
            case Rounding.ROUND:
                return np.rint(x)
            case Rounding.FLOOR:
                return np.floor(x)
            case Rounding.CEIL:
                return np.ceil(x)
            case Rounding.UP:
                return np.sign(x) * np.ceil(np.abs(x))
            case Rounding.DOWN:
                return np.trunc(x)
            case Rounding.HALF_UP:
                return np.sign(x) * np.floor(np.abs(x) + 0.5)
            case Rounding.HALF_DOWN:
                return np.sign(x) * np.ceil(np.abs(x) - 0.5)

    def ratio(self, numerator: int, denominator: int) -> int:
        """``numerator / denominator`` rounded; the denominator is positive."""
        down, rest = divmod(numerator, denominator)
        return down + int(
            self._rises(2 * rest > denominator, 2 * rest == denominator, rest > 0, numerator >= 0, down % 2 == 1)
        )

    def halves(self, halves: Array, whole: Array) -> Array:
        """round(v) from floor(2 * v) and whether 2 * v is that integer."""
        down, upper = halves >> 1, (halves & 1).astype(bool)
        rises = self._rises(upper & ~whole, upper & whole, upper | ~whole, halves >= 0, (down & 1).astype(bool))
        return np.asarray(down + rises)

    def _rises(self, above: Any, tie: Any, rest: Any, positive: Any, odd: Any) -> Any:
        """Return whether v goes to the integer above it: a boolean, or an array of them.

        The arguments are facts of v and of the integer below it: v lies more than half ``above`` it, or half (``tie``),
        or at all (``rest``); v >= 0 (``positive``); that integer is ``odd``.
        """
        match self:
            case Rounding.ROUND:
                return above | (tie & odd)
            case Rounding.FLOOR:
                return rest & False
            case Rounding.CEIL:
                return rest
            case Rounding.UP:
                return rest & positive
            case Rounding.DOWN:
                return rest & (positive ^ True)
            case Rounding.HALF_UP:
                return above | (tie & positive)
            case Rounding.HALF_DOWN:
                return above | (tie & (positive ^ True))

    def steps(self, codes: Array) -> tuple[Array, Array]:
        """Return where round(v) reaches each of ``codes``: at 2 * v >= bound, or > bound where its flag is set.

        Halves go to the even neighbour under ROUND, so the half below an odd code still belongs to the code beneath it.
        """
        half, whole, positive = 2 * codes - 1, 2 * codes, codes > 0
        match self:
            case Rounding.ROUND:
                return half, codes % 2 == 1
            case Rounding.FLOOR:
                return whole, np.zeros_like(positive)
            case Rounding.CEIL:
                return whole - 2, np.ones_like(positive)
            case Rounding.UP:
                return np.where(positive, whole - 2, whole), positive
            case Rounding.DOWN:
                return np.where(positive, whole, whole - 2), ~positive
            case Rounding.HALF_UP:
                return half, ~positive
            case Rounding.HALF_DOWN:
                return half, positive
