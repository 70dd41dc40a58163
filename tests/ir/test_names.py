"""Names that differ."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from toolchain.ir.names import CPP_WORDS, Names, identifier


def test_the_first_of_a_name_keeps_it_and_the_next_count() -> None:
    names = Names(["x"])
    assert [names.fresh(name) for name in ("y", "y", "y", "x")] == ["y", "y_0", "y_1", "x_0"]
    assert [Names(["y"], first=2).fresh("y"), Names(["Y"], any_case=True).fresh("y")] == ["y_2", "y_0"]


def test_a_number_that_is_taken_is_passed_over() -> None:
    names = Names(["y", "y_0", "y_1"])
    assert names.fresh("y") == "y_2"


@given(st.lists(st.sampled_from(["x", "x_0", "x_0_0", "X", "x_1"]), max_size=12), st.booleans())
def test_all_fresh_names_differ(wanted: list[str], any_case: bool) -> None:
    names = Names(any_case=any_case)
    found = [names.fresh(name) for name in wanted]
    assert len({name.lower() if any_case else name for name in found}) == len(wanted)


@given(st.text(max_size=8))
def test_an_identifier_is_one_in_cpp(text: str) -> None:
    found = identifier(text, longest=5)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", found)
    assert found not in CPP_WORDS
    assert "__" not in found
