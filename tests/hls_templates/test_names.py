"""C++ identifiers from model names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toolchain.hls_templates.names import RESERVED, function_name, identifiers
from toolchain.ir.names import identifier


@pytest.mark.parametrize(
    "name, expected",
    [
        ("conv1", "conv1"),
        ("/layer1/Conv.0", "layer1_Conv_0"),
        ("3x3", "n_3x3"),
        ("class", "n_class"),
        ("__x", "x"),
        ("größe", "gr_e"),
        ("", "n"),
    ],
)
def test_identifier(name, expected):
    assert identifier(name, reserved=RESERVED) == expected


@given(st.lists(st.text(max_size=6), unique=True, max_size=8))
def test_identifiers_are_legal_and_differ_even_without_case(names):
    chosen = identifiers(names)
    assert all(re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) for name in chosen.values())
    assert len({name.lower() for name in chosen.values()}) == len(names)


@pytest.mark.parametrize("name", ["in", "out", "frames", "main"])
def test_the_accelerator_is_not_called_like_what_its_testbench_holds(name):
    assert function_name(name) == f"n_{name}"
