"""The digits of constants."""

from __future__ import annotations

import numpy as np

from toolchain.ir.types import Array


def signed_digits(weight: Array) -> int:
    """Nonzero digits of the canonical signed-digit form of all ``weight``, a form of digits -1, 0 and 1."""
    values, counts = np.unique(np.abs(weight), return_counts=True)
    # 3 w and w differ where the recoded form of w has a digit
    return sum((w ^ 3 * w).bit_count() * n for w, n in zip(values.tolist(), counts.tolist(), strict=True))


def trailing_zeros(values: Array) -> int:
    """Bits by which all ``values`` can be shifted right without a loss; 0 for zeros alone."""
    together = int(np.bitwise_or.reduce(values, axis=None))
    return (together & -together).bit_length() - 1 if together else 0
