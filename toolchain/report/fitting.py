"""Tables that leave columns out where a terminal is too narrow for them; a number is never cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.table import Table
from rich.text import Text

NAME_WIDTH = 8
"""The first column gives way down to this width before another one is left out."""
UNBOUNDED = 10_000


def plain_table(title: str = "") -> Table:
    """An empty table without lines, narrow enough for 80 columns."""
    table = Table(title=title or None, title_justify="left", title_style="bold", header_style="dim")
    table.box, table.padding, table.pad_edge = None, (0, 1, 0, 0), False
    return table


@dataclass
class FittingTable:
    """Names in the first column, texts, then right-aligned numbers from column ``first_number`` on.

    ``spare`` lists the headings that may be left out, the most dispensable first. ``rows`` are cells with a style, None
    for a line; cells are never markup.
    """

    headings: Sequence[str]
    first_number: int
    spare: Sequence[str]
    title: str = ""
    rows: list[tuple[Sequence[Text | str], str | None] | None] = field(default_factory=list)

    def add_row(self, *cells: Text | str, style: str | None = None) -> None:
        """Append a row of one cell a heading."""
        self.rows.append((cells, style))

    def add_section(self) -> None:
        """Append a line between rows."""
        self.rows.append(None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for count in range(len(self.spare) + 1):
            dropped = self.spare[:count]
            table = self._table(dropped)
            wide = replace(options, max_width=UNBOUNDED)
            names = max((len(row[0][0]) for row in self.rows if row is not None), default=0)
            if console.measure(table, options=wide).maximum - max(0, names - NAME_WIDTH) <= options.max_width:
                break
        yield table
        if dropped:
            yield Text(f"Left out, {options.max_width} columns being few: {', '.join(dropped)}.", style="dim")

    def _table(self, dropped: Collection[str]) -> Table:
        table = plain_table(self.title)
        kept = [i for i, heading in enumerate(self.headings) if heading not in dropped]
        for i in kept:
            justify: JustifyMethod = "right" if i >= self.first_number else "left"
            table.add_column(Text(self.headings[i]), justify=justify, no_wrap=i > 0, overflow="ellipsis")
            if i:
                cells = [Text.assemble(row[0][i]) for row in self.rows if row is not None]
                table.columns[-1].min_width = max((cell.cell_len for cell in cells), default=0)
        for row in self.rows:
            if row is None:
                table.add_section()
            else:
                cells = [Text.assemble(row[0][i]) for i in kept]
                cells[0].no_wrap = True
                table.add_row(*cells, style=row[1])
        return table
