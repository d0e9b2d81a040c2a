"""The figure of ``peers.py``: when each solver comes near the exact answer, a panel per data set.

``python benchmarks/peers_plot.py FILE.json FILE.png`` draws figures that ``peers.py --json`` has stored.

Every solver has a line of its own, which bears its name, so that no colour and no shape has to be told from others.
A dot is at the time of a gap of 0.001, a bar at that of 0.00001; those who never come within 0.001 are said to.  The
dashed line is the whole default fit of ours, which stops by itself: solvers to the left of it are faster.
"""

import json
import sys
from pathlib import Path

import numpy as np

from peer_models import OURS
from peers_tables import ENOUGH, arrival, by_contestants

WIDTH = 3.9  # inches: at 100 pixels each that is a phone's width, and the text has the size of a page's
LINE, TITLE, FOOT = 0.155, 0.30, 0.42  # inches in height of one solver, of a panel's title, and of the axis of times
LABELS = 1.34  # inches in width of the names
N_COLUMNS = 2
COLOR, GREY = "#0B5FA5", "#333333"  # dark blue: not lighter than the grey in print, and ours is bold besides
DEFAULT_FIT = "its default fit"
SHORT = {
    "StandardScaler + SGDRegressor": "SGDRegressor, scaled",
    "LinearRegression, intelex": "LinearRegr., intelex",
    "Lasso, precompute=True": "Lasso, Gram matrix",
}


def lines_of(peers):
    """Name, seconds to the two gaps (None: never), of every line of a panel."""
    lines = []
    for name, result in peers.items():
        reached = [arrival(result), arrival(result, ENOUGH)]
        lines.append((name, [None if times is None else float(np.median(times)) for times in reached]))
        if name == OURS:
            fit = float(np.median(result["fit seconds"])) if result["fit seconds"] else None
            lines.append((DEFAULT_FIT, [fit, fit if result.get("fit gap", np.inf) <= ENOUGH else None]))
    return lines


def seconds_text(seconds, position=None):
    """Text of a tick."""
    return f"{seconds:g} s" if seconds >= 0.1 else f"{1e3 * seconds:g} ms"


def limits(results):
    """Whole decades, or halves of one, around all times."""
    times = [
        seconds for peers in results.values() for _, pair in lines_of(peers) for seconds in pair if seconds is not None
    ]
    return min(times) / 1.6, max(times) * 1.6


def draw_lines(axes, lines):
    """One line for every solver, the first on top."""
    for row, (name, (soon, late)) in enumerate(lines):
        ours = name in (OURS, DEFAULT_FIT)
        color = COLOR if ours else GREY
        if row % 2:
            axes.axhspan(row - 0.5, row + 0.5, color="0.95", linewidth=0, zorder=0)
        if soon is None:
            axes.text(0.98, row, "never", transform=axes.get_yaxis_transform(), ha="right", va="center",
                      color="0.35", style="italic", size=7)  # fmt: skip
            continue
        if late is not None and name != DEFAULT_FIT:
            late = max(soon, late)  # of fits from the start, the one that goes further can be the faster by chance
            axes.plot([soon, late], [row, row], color=color, linewidth=1.2, zorder=3, solid_capstyle="butt")
            axes.plot([late], [row], marker="|", markersize=7.5, markeredgewidth=1.5, color=color, zorder=3)
        if name == DEFAULT_FIT:
            axes.plot([soon], [row], "D", markersize=4.6, color=color, zorder=4)
            axes.axvline(soon, color=color, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        else:
            axes.plot([soon], [row], "o", markersize=4.6, color=color, zorder=4)
    axes.set_ylim(len(lines) - 0.5, -0.5)


def name_lines(axes, lines):
    """Write the names of the solvers at the left."""
    axes.set_yticks(range(len(lines)), [SHORT.get(name, name) for name, _ in lines])
    for label, (name, _) in zip(axes.get_yticklabels(), lines, strict=True):
        if name in (OURS, DEFAULT_FIT):
            label.set(color=COLOR, weight="bold")


def draw_panel(axes, name, peers, extent, is_first, is_last):
    """The panel of one data set."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    lines = lines_of(peers)
    draw_lines(axes, lines)
    axes.set(xscale="log", xlim=extent)
    n, d = next(iter(peers.values()))["shape"]
    axes.set_title(f"{name}\n{n:,} × {d:,}", size=8, pad=3, loc="left", linespacing=1.15)
    axes.xaxis.set_major_locator(LogLocator(numticks=12))
    axes.xaxis.set_major_formatter(FuncFormatter(seconds_text))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(True, axis="x", which="major", color="0.8", linewidth=0.6, zorder=0)
    axes.tick_params(axis="both", which="both", length=0, labelsize=7.5, pad=2, labelbottom=is_last)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    if is_first:
        name_lines(axes, lines)
    else:
        axes.set_yticks([])
    if is_last:
        axes.tick_params(axis="x", labelsize=6.5)


def draw(results, path):
    """Write the figure of `results` (see ``peers.py``) to `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [  # at most so many panels beside each other, all with the same solvers
        dict(items[start : start + N_COLUMNS])
        for part in by_contestants(results)
        for items in [list(part.items())]
        for start in range(0, len(items), N_COLUMNS)
    ]
    heights = [LINE * len(lines_of(next(iter(row.values())))) for row in rows]
    is_last = [i + 1 == len(rows) or list(rows[i].values())[0].keys() != list(rows[i + 1].values())[0].keys()
               for i in range(len(rows))]  # fmt: skip
    total = sum(heights) + len(rows) * TITLE + sum(is_last) * 0.2 + FOOT
    figure = plt.figure(figsize=(WIDTH, total))
    extent, top = limits(results), total
    width = (WIDTH - LABELS - 0.05) / N_COLUMNS
    for row, height, last in zip(rows, heights, is_last, strict=True):
        top -= TITLE + height
        for column, (name, peers) in enumerate(row.items()):
            place = [(LABELS + column * width) / WIDTH, top / total, (width - 0.10) / WIDTH, height / total]
            draw_panel(figure.add_axes(place), name, peers, extent, column == 0, last)
        top -= 0.2 * last
    caption = "time of training, logarithmic\n● gap to the exact optimum 0.001    ┃ 0.00001    ◆ default fit"
    figure.text(0.5, 0.03 / total, caption, ha="center", va="bottom", size=7.5, linespacing=1.4)
    figure.savefig(path, dpi=300)
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["results"], sys.argv[2])
