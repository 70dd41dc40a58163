"""Converters between streams of other widths."""

from __future__ import annotations

from math import gcd, lcm

from toolchain.units.limits import MAX_STREAM_BITS


def converter_steps(have: int, wanted: int, bits: int) -> list[int]:
    """Lanes behind each converter that leads from ``have`` to ``wanted`` lanes of ``bits`` bits.

    A converter has an integer ratio; other pairs of widths take two of them through their least common multiple, or
    through their greatest common divisor where that word would be wider than a stream can be.
    """
    if have == wanted:
        return []
    if have % wanted == 0 or wanted % have == 0:
        return [wanted]
    wide = lcm(have, wanted)
    return [wide if wide * bits <= MAX_STREAM_BITS else gcd(have, wanted), wanted]
