"""Rules that a construct breaks by itself: the walk notes each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from toolchain.hls_lint.findings import Project, Rule

Found = Iterator[tuple[str, str, str]]


def _noted(name: str) -> Callable[[Project], Found]:
    def find(project: Project) -> Found:
        for odd in project.facts.odd:
            if odd.rule == name:
                yield odd.unit, str(odd.where), odd.what

    return find


SENTENCES = {
    "dynamic": "No memory of a size of run time, function pointers, virtual functions, exceptions or types of std.",
    "limits": "A stream's word has at most 4,096 bits, an integer 1,024.",
    "pragma": "Every pragma is one that the tool knows, of a variable that is known and a dimension that it has.",
    "stream": "Streams are only read and written: what else they offer tells one process of another's timing.",
    "part-select": "No bits at a position known at run time only, of a word that iterations share.",
    "split-word": "What a stream carries as one piece is not split.",
    "bound-product": "BIND_OP binds no product whose sum the cost model has in the same slice.",
    "chain-order": "EXPRESSION_BALANCE is off where sums pass from slice to slice.",
}

RULES = tuple(Rule(name, sentence, _noted(name)) for name, sentence in SENTENCES.items())
