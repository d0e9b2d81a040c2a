"""The tables of ``peers.py``: one line per peer, one column per data set."""

import numpy as np

from peer_models import EXACT, OURS, RIDGE, SCALED_SGD
from report import spread, table

WITHIN = 1e-3  # gap that counts as having arrived
ENOUGH = 1e-5  # a gap at which nobody needs more
AGAINST = (SCALED_SGD, EXACT, RIDGE)


def arrival(result, gap=WITHIN):
    """Seconds of every run until the gap was at most `gap`; None if it never was."""
    within = np.flatnonzero(np.asarray(result["gap"]) <= gap)
    return np.asarray(result["seconds"])[:, within[0]] if len(within) else None


def ratio(peer, times):
    """The peer's time to arrive over `times`, run by run; for one that never did, that of all its training."""
    reached = arrival(peer)
    ratios = (np.asarray(peer["seconds"])[:, -1] if reached is None else reached) / times
    text = f"{np.median(ratios):.3g} ({spread(ratios)})"
    return text if reached is not None else f"never; all its training {text}"


def milliseconds_text(seconds):
    """Milliseconds to three digits."""
    return f"{1e3 * seconds:.3g}" if seconds < 1 else f"{1e3 * seconds:,.0f}"


def memory_cell(result):
    """Megabytes; less than 1 is below what the allocator lets one see."""
    megabytes = result["extra bytes"] / 1e6
    return f"{megabytes:,.0f}" if megabytes >= 1 else "< 1"


def time_cell(result):
    """Median milliseconds to arrive, and the epochs it took."""
    times = arrival(result)
    if times is None:
        return "never"
    epochs = result["epochs"][int(np.flatnonzero(np.asarray(result["gap"]) <= WITHIN)[0])]
    text = milliseconds_text(np.median(times))
    return text if epochs is None else f"{text} ({epochs})"


def fit_cell(result):
    """Median milliseconds of the default fit, and its gap."""
    if not result["fit seconds"]:
        return None
    return f"{milliseconds_text(np.median(result['fit seconds']))} (gap {result['fit gap']:.1e})"


def by_peer(results, cell):
    """Rows of a table: the peers, with `cell` of each one's result in a column per data set."""
    peers = next(iter(results.values()))
    return [{"": peer} | {name: cell(results[name][peer]) for name in results} for peer in peers]


def time_rows(results):
    """Rows of the times to arrive, and below ours that of its whole default fit, which stops by itself."""
    rows = by_peer(results, time_cell)
    if rows[0][""] == OURS:
        fits = {name: milliseconds_text(np.median(peers[OURS]["fit seconds"])) for name, peers in results.items()}
        rows.insert(1, {"": f"{OURS}, whole default fit"} | fits)
    return rows


def ratio_rows(results):
    """Rows: data set and clock of ours, with the ratio of each peer of `AGAINST`."""
    rows = []
    for name, peers in results.items():
        if OURS not in peers:
            continue
        ours = peers[OURS]
        clocks = {"shortest fit that comes within": arrival(ours), "default fit": np.asarray(ours["fit seconds"])}
        for label, times in clocks.items():
            if times is not None:
                ratios = {peer: ratio(peers[peer], times) for peer in AGAINST if peer in peers}
                rows.append({"data": name, "ours is the": label} | ratios)
    return rows


def by_contestants(results):
    """Parts of the results in which the same peers take part."""
    parts = {}
    for name, peers in results.items():
        parts.setdefault(tuple(peers), {})[name] = peers
    return list(parts.values())


def print_tables(results, seconds):
    """Print all tables as markdown."""
    for part in by_contestants(results):
        print_part(part, seconds)


def print_part(results, seconds):
    """Print the tables of data sets with the same peers."""
    parts = {
        f"Milliseconds to a gap of {WITHIN:g} (epochs); never: not in {seconds:g} s": time_rows(results),
        "Milliseconds of a default fit": [
            row for row in by_peer(results, fit_cell) if any(cell for name, cell in row.items() if name)
        ],
        "Gap at the end": by_peer(results, lambda result: f"{result['gap'][-1]:.1e}"),
        "Learning rate, the best of a few": [
            row
            for row in by_peer(results, lambda result: result["rate"])
            if any(isinstance(rate, float) for rate in row.values())
        ],
        "Peak extra memory, MB": by_peer(results, memory_cell),
    }
    if rows_against := [row for row in ratio_rows(results) if len(row) > 2]:
        parts["Times as long as ours to come within (median, min–max)"] = rows_against
    for title, rows in parts.items():
        if rows:
            print(f"## {title}\n\n{table(rows)}", flush=True)
