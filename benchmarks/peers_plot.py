"""The figure of ``peers.py``: gap of R² against seconds, a panel per data set.

``python benchmarks/peers_plot.py FILE.json FILE.png`` draws figures that ``peers.py --json`` has stored.
"""

import json
import sys
from pathlib import Path

import numpy as np

from peer_models import OURS
from peers_tables import WITHIN

FLOOR, CEILING = 1e-6, 3.0  # gaps beyond are drawn at the edge

# Okabe and Ito's palette, told apart by the colour-blind; ours has the strongest colour, and no other line is as thick.
STYLES = {
    OURS: ("#D55E00", "o"),
    "SGDRegressor, raw": ("#999999", "v"),
    "StandardScaler + SGDRegressor": ("#0072B2", "^"),
    "LinearRegression": ("#000000", "s"),
    "Ridge": ("#009E73", "D"),
    "Ridge, lsqr": ("#56B4E9", "X"),
    "PyTorch": ("#CC79A7", "P"),
    "Vowpal Wabbit": ("#B8A800", "<"),
    "river": ("#7A4E9E", ">"),
}


def curve(result):
    """Median seconds and visible gaps."""
    gaps = np.nan_to_num(np.asarray(result["gap"], dtype=float), nan=CEILING)
    return np.median(result["seconds"], axis=0), np.clip(gaps, FLOOR, CEILING)


def title(name, peers):
    """Name, rows and columns of a data set."""
    n, d = next(iter(peers.values()))["shape"]
    return f"{name}, {n:,} × {d:,}"


def power_of_ten(gap, position):
    """Text of a tick of the gap; the lowest stands for all below."""
    return f"{'≤ ' if np.isclose(gap, FLOOR) else ''}$10^{{{round(np.log10(gap))}}}$"


def draw_peer(axes, name, result):
    """One peer's line, or point; the default fit of ours as a star."""
    color, marker = STYLES[name]
    ours = name == OURS
    style = {"linewidth": 3.0, "markersize": 5, "zorder": 4} if ours else {"linewidth": 1.2, "markersize": 4.5}
    seconds, gaps = curve(result)
    if len(seconds) == 1 and result["epochs"][0] is None:
        style |= {"markersize": 8, "zorder": 3}
    elif len(seconds) > 12:
        style["markevery"] = np.unique(np.geomspace(1, len(seconds), 9).astype(int) - 1).tolist()
    line, *_ = axes.plot(seconds, gaps, color=color, marker=marker, label=name, clip_on=False, **style)
    if ours:
        fit = np.median(result["fit seconds"]), np.clip(result["fit gap"], FLOOR, CEILING)
        star, *_ = axes.plot(
            *fit, "*", color=color, markersize=17, markeredgecolor="black", zorder=5, clip_on=False,
            label=f"{OURS}, default fit",
        )  # fmt: skip
        return [line, star]
    return [line]


def draw(results, path):
    """Write the figure of `results` (see ``peers.py``) to `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    n_columns = min(3, len(results))
    n_rows = -(-len(results) // n_columns)
    size = 4.2 * n_columns, 3.3 * n_rows + 1.0
    figure, grid = plt.subplots(
        n_rows, n_columns, figsize=size, squeeze=False, layout="constrained", sharex=True, sharey=True
    )
    handles = {}
    for axes, (name, peers) in zip(grid.flat, results.items(), strict=False):
        axes.axhline(WITHIN, color="0.4", linestyle=(0, (4, 3)), linewidth=1, zorder=1)
        for peer, result in peers.items():
            handles |= {handle.get_label(): handle for handle in draw_peer(axes, peer, result)}
        axes.set(xscale="log", yscale="log", ylim=(FLOOR, CEILING), title=title(name, peers))
        axes.yaxis.set_major_formatter(power_of_ten)
        axes.grid(True, which="major", color="0.9", zorder=0)
        if any(np.max(curve(result)[1]) >= CEILING for result in peers.values()):
            axes.annotate(
                "diverged", (1, 1), (0, -4), "axes fraction", "offset points", ha="right", va="top", color="0.3"
            )
        axes.spines[["top", "right"]].set_visible(False)
    for axes in grid.flat[len(results) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("R² of least squares − R²")
    for axes in grid[-1]:
        axes.set_xlabel("training seconds")
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=min(5, 2 * n_columns), frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["results"], sys.argv[2])
