"""Plots as SVG files that are the same for the same numbers."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.report import Plot

COLOURS = ['#3f6fb5', '#9db9dd', '#c98a3b']
TARGET = '#555555'


def write_plot(plot: Plot, path: Path) -> None:
    """Draw a plot into an SVG file."""
    # Fixed ids and no date: a file that differs shows other numbers. Text stays text.
    with mpl.rc_context({'svg.hashsalt': 'falcon_ws_mw', 'svg.fonttype': 'none', 'font.size': 9}):
        figure = Figure(figsize=(7.0, 3.6 if plot.x_title else 0.9 + 0.34 * len(plot.labels)))
        axes = figure.subplots()
        if plot.x_title:
            _draw_lines(plot, axes)
        else:
            _draw_bars(plot, axes)
        axes.set_title(plot.title, loc='left', fontsize=10)
        axes.spines[['top', 'right']].set_visible(False)
        if len(plot.series) > 1:
            axes.legend(frameon=False, loc='best')
        path.parent.mkdir(exist_ok=True)
        figure.savefig(path, format='svg', bbox_inches='tight', metadata={'Date': None})
    lines = path.read_text().splitlines()
    path.write_text('\n'.join(line.rstrip() for line in lines) + '\n')


def _draw_bars(plot: Plot, axes: mpl.axes.Axes) -> None:
    height = 0.8 / len(plot.series)
    for number, series in enumerate(plot.series):
        at = [
            place + (number - (len(plot.series) - 1) / 2) * height
            for place in range(len(plot.labels))
        ]
        bars = axes.barh(
            at, series.values, height * 0.92, label=series.title, color=COLOURS[number]
        )
        digits = 1 if max(series.values) > 5 else 2
        axes.bar_label(
            bars, [f'{value:.{digits}f}' for value in series.values], padding=3, fontsize=8
        )
    axes.set_yticks(range(len(plot.labels)), [str(label) for label in plot.labels])
    for label in axes.get_yticklabels():
        if label.get_text().startswith('falcon_ws_mw'):
            label.set_fontweight('bold')
    axes.invert_yaxis()
    axes.set_xlabel(plot.unit)
    if plot.target is not None:
        axes.axvline(plot.target, color=TARGET, linestyle=':', linewidth=1)
        axes.annotate(
            'target',
            (plot.target, 0),
            xycoords=('data', 'axes fraction'),
            xytext=(2, 3),
            textcoords='offset points',
            color=TARGET,
            fontsize=7,
        )


def _draw_lines(plot: Plot, axes: mpl.axes.Axes) -> None:
    for number, series in enumerate(plot.series):
        axes.plot(plot.labels, series.values, marker='o', label=series.title, color=COLOURS[number])
    axes.set_xscale('log')
    axes.set_xticks(
        [float(label) for label in plot.labels], [f'{int(label):,}' for label in plot.labels]
    )
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(plot.x_title)
    axes.set_ylabel(plot.unit)
