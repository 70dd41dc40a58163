"""C++ identifiers from model names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.hls_templates.names import identifier, identifiers


@pytest.mark.parametrize(
    "name, expected",
    [
        ("conv1", "conv1"),
        ("/layer1/Conv.0", "layer1_Conv_0"),
        ("3x3", "n_3x3"),
        ("class", "n_class"),
        ("__x", "x"),
        ("größe", "gr_e"),
        ("", "n_"),
    ],
)
def test_identifier(name, expected):
    assert identifier(name) == expected


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
def test_identifiers_are_legal_and_differ_even_without_case(names):
    chosen = identifiers(names)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in chosen.values())
    assert len({name.lower() for name in chosen.values()}) == len(names)
