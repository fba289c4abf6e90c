"""What a benchmark hands over: tables, and the bars of a plot."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under a heading; columns but the first are aligned right."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def __str__(self) -> str:
        """The table in Markdown, its columns aligned for a terminal too."""
        lines = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rule = ['-' * widths[0], *('-' * (width - 1) + ':' for width in widths[1:])]
        return '\n'.join(
            [f'**{self.title}**', '', self._line(self.header, widths), f'| {" | ".join(rule)} |']
            + [self._line(row, widths) for row in self.rows]
        )

    @staticmethod
    def _line(cells: list[str], widths: list[int]) -> str:
        first, *others = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f'| {" | ".join([first, *others])} |'


@dataclass(frozen=True, slots=True)
class Series:
    """Numbers of one colour in a plot, one for each label (bars) or each x (lines)."""

    title: str
    values: list[float]


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture: bars over labels, or lines over numbers.

    Args:
        title: What it shows.
        unit: What its values are.
        labels: What the bars stand for; for lines the places on the x axis.
        series: The values.
        target: Where the target line is, if there is one.
        x_title: What the x axis of lines means; empty for bars.
    """

    title: str
    unit: str
    labels: list[str] | list[int]
    series: list[Series]
    target: float | None = None
    x_title: str = ''


@dataclass(frozen=True, slots=True)
class Report:
    """All of one benchmark."""

    name: str
    tables: list[Table]
    plots: list[Plot] = field(default_factory=list)

    def __str__(self) -> str:
        return '\n\n'.join(map(str, self.tables))
