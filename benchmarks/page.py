"""The page in docs/: what was measured goes between markers, the words around it stay."""

from __future__ import annotations

import re

from benchmarks.environment import environment
from benchmarks.plots import write_plot
from benchmarks.report import Report
from benchmarks.servers import ROOT

PAGE = ROOT / 'docs' / 'benchmarks.md'
PLOTS = ROOT / 'docs' / 'benchmarks'


def write_report(report: Report, command: str) -> None:
    """Put a report into the page, its plots beside it, and what it ran on at the top.

    Raises:
        ValueError: If the page has no place for it.
    """
    parts = [f'`{command}`', str(report)]
    for number, plot in enumerate(report.plots):
        name = f'{report.name}{number + 1 if number else ""}.svg'
        write_plot(plot, PLOTS / name)
        parts.append(f'![{plot.title}](benchmarks/{name})')
    text = PAGE.read_text()
    text = _between(text, report.name, '\n\n'.join(parts))
    text = _between(text, 'environment', environment())
    PAGE.write_text(text)


def _between(text: str, name: str, content: str) -> str:
    begin, end = f'<!-- {name}: begin -->', f'<!-- {name}: end -->'
    pattern = re.compile(f'{re.escape(begin)}.*?{re.escape(end)}', re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f'{PAGE.name} has no {begin} … {end}')
    return pattern.sub(lambda _: f'{begin}\n{content}\n{end}', text)
