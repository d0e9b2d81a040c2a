"""The tables of ``page.py``: from the figures of a script to markdown.

`TABLES` has, for every name that a page has in a comment, the run whose figures it takes and the function that makes
the table of them.
"""

import numpy as np

import peers_tables
from report import table

OTHER_CALLS = {"many_cores": "cores.py --threads 1 2 8"}  # by the run, where it is not called as its script

NOT_VERSIONS = ("commit", "date", "cpu", "cores", "memory", "BLAS threads", "minutes")
ROUNDING = 1e-15  # a gap that is no larger is one of rounding errors
BARE = {"random": "random", "as in the file": "as in the file", "by the target": "sorted by price"}  # in the README


def number(value):
    """Three digits, or none where there are more than three before the point."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def gap_text(gap):
    """One digit of a gap."""
    return "0" if abs(gap) <= ROUNDING else f"{gap:.0e}".replace("e-0", "e-").replace("e+0", "e")


def picked(rows, *columns):
    """The same rows with some of their columns."""
    return [{name: row.get(name) for name in columns} for row in rows]


def markdown(rows):
    """The table, without the line break at its end, or a sentence."""
    return table(rows).rstrip("\n") if rows else "Not measured."


def least_squares(figures):
    """The part of peers' results without a penalty."""
    return peers_tables.by_contestants(figures["results"])[0]


def lassos(figures):
    """The part of peers' results with an "l1" penalty."""
    return peers_tables.by_contestants(figures["results"])[-1]


def peers_times(figures):
    """Milliseconds to a gap of 0.001."""
    return markdown(peers_tables.time_rows(least_squares(figures)))


def peers_memory(figures):
    """Megabytes beside the data."""
    return markdown(peers_tables.by_peer(least_squares(figures), peers_tables.memory_cell))


def default_fit(result):
    """Median milliseconds of the default fit, and its gap."""
    return f"{peers_tables.milliseconds_text(np.median(result['fit seconds']))} (gap {gap_text(result['fit gap'])})"


def peers_l1(figures):
    """Milliseconds and gap of default fits, and memory."""
    part = lassos(figures)
    rows = peers_tables.by_peer(part, default_fit)
    extra = peers_tables.by_peer(part, peers_tables.memory_cell)
    return markdown([row | {f"{name}, MB": more[name] for name in part} for row, more in zip(rows, extra, strict=True)])


def tables_of_r(figures):
    """Fits, warnings and gaps above ``tol``, by penalty."""
    return markdown(
        picked(
            figures["Tables of R"],
            "columns",
            "penalty",
            "fits",
            "warned",
            "gap > tol",
            "to promise > tol",
            "largest gap",
            "peer warned",
            "peer gap > tol",
            "time ÷ peer, median",
        )
    )


def groups(rows, *keys):
    """Rows that agree in some columns, by their values there."""
    found = {}
    for row in rows:
        found.setdefault(tuple(row[key] for key in keys), []).append(row)
    return found


def cell(row):
    """Milliseconds and gap of one fit, and whether it warned."""
    text = f"{number(row['ms'])} ms, gap {gap_text(row['gap'])}"
    return text + (", warned" if row["warned"] else "")


def side_by_side(rows, wanted=None):
    """One line for every problem: ours, and all peers."""
    lines = []
    for (data, shape, penalty), of_problem in groups(rows, "data", "rows × columns", "penalty").items():
        if wanted is None or (data, penalty) in wanted:
            ours, *peers = of_problem
            lines.append(
                {
                    "data": f"{data}, {shape}",
                    "penalty": penalty,
                    "ours": cell(ours),
                    "peers": "; ".join(f"{row['estimator']} {cell(row)}" for row in peers),
                }
            )
    return lines


def collinear(figures):
    """The data sets of collinear columns."""
    return markdown(side_by_side(figures["Rows of the design"]))


def low_rank(figures):
    """Everyone to the same gap."""
    (rows,) = (rows for title, rows in figures.items() if title.startswith("l1 to a gap"))
    return markdown(picked(rows, "data", "rows × columns", "penalty", "estimator", "ms", "reached"))


def robust(figures):
    """Huber's loss and quantiles."""
    rows = figures["Huber's loss and quantiles"]
    lines = picked(rows, "data", "rows × columns", "loss", "estimator", "ms", "gap", "warned")
    return markdown([line | {"gap": gap_text(line["gap"])} for line in lines])


def small_fits(figures):
    """Milliseconds of small fits."""
    return markdown(side_by_side(figures["Small fits"]))


def collinear_in_short(figures):
    """The rows of the README."""
    wanted = {("diamonds, cubic", "none"), ("diamonds, products", "none")}
    design = side_by_side(figures["Rows of the design"], wanted)
    (low,) = (rows for title, rows in figures.items() if title.startswith("l1 to a gap"))
    design += side_by_side(low, {("low-rank, tall", "l1 0.01")})
    whole = figures["Tables of R"][-1]
    design.append(
        {
            "data": "tables of R, raw and standardized",
            "penalty": whole["penalty"],
            "ours": f"{whole['fits']:,} fits: {whole['warned']} warned, {whole['gap > tol']} gaps above `tol`",
            "peers": f"scikit-learn: {whole['peer warned']} warned, {whole['peer gap > tol']} gaps above `tol`",
        }
    )
    return markdown(design)


def stream_line(row):
    """Order, chunk, and gap and time of everyone."""
    peers = [key.removesuffix(" gap") for key in row if key.endswith(" gap")]
    line = {
        "order": row["order"],
        "chunk": row["chunk"],
        "ours": f"{gap_text(row['gap'])} ({number(row['µs per call'])})",
    }
    return line | {name: f"{gap_text(row[f'{name} gap'])} ({number(row[f'{name} µs'])})" for name in peers}


def first_data(rows):
    """The rows of the first data set."""
    return [row for row in rows if row["data"] == rows[0]["data"]]


def streams(figures):
    """Gap and µs a call, of the first data set."""
    return markdown([stream_line(row) for row in first_data(figures["streams"])])


def streams_in_short(figures):
    """The rows of the README."""
    rows = [row for row in first_data(figures["streams"]) if row["chunk"] == 100 and row["order"] in BARE]
    return markdown(
        [{k: v for k, v in stream_line(row | {"order": BARE[row["order"]]}).items() if k != "chunk"} for row in rows]
    )


def one_row(figures):
    """µs of calls with one row."""
    rows = [row for row in figures["one_row"] if row["setting"] == "as usual"]
    calls = groups(rows, "model")
    return markdown(
        [{"model": name} | {f"{row['call']}, µs": row["µs"] for row in of} for (name,), of in calls.items()]
    )


def many_calls(figures):
    """µs and bytes as a stream of single rows goes on."""
    return markdown(figures["many_calls"])


def tuning(figures):
    """Time over that of the peer: a line for every search, a column for every data set."""
    rows = [row for section in ("l1 and elasticnet", "l2", "grid") for row in figures[section]]
    lines = []
    for (peer, penalty), of_search in groups(rows, "peer", "penalty").items():
        lines.append({"ours ÷ peer": f"{peer}, {penalty}"} | {row["data"]: row["ours ÷ peer"] for row in of_search})
    return markdown(lines)


def epochs(figures):
    """Milliseconds per epoch."""
    return markdown(
        picked(figures["epochs"], "rows × columns", "batch", "SGDRegressor ms", "epoch ms", "ratio", "ratio min–max")
    )


def accuracy(figures):
    """Distance from exact least squares, and time."""
    return markdown(
        picked(
            figures["default"],
            "data",
            "rows × columns",
            "R² exact",
            "R²",
            "excess",
            "excess, 1 epoch",
            "epochs",
            "fit ms",
            "LinearRegression ms",
        )
    )


def all_of(key):
    """Maker of the table of one part, with all its columns."""

    def make(figures):
        return markdown(figures[key])

    return make


def sparse_accuracy(figures):
    """How soon ours is as good as SGDRegressor's whole fit."""
    return markdown(
        picked(
            figures["accuracy"],
            "rows × columns",
            "SGDRegressor ms",
            "its epochs",
            "its R²",
            "ms to that R²",
            "epochs",
            "times sooner",
        )
    )


def cores(figures):
    """Milliseconds by the number of threads."""
    lines = []
    for (data, estimator), rows in groups(figures["cores"], "data", "estimator").items():
        of_threads = {f"{row['threads']} threads, ms": row["ms"] for row in rows}
        lines.append({"data": data, "estimator": estimator} | of_threads)
    return markdown(lines)


def gpu(figures):
    """Seconds and the share of the variance left to gain, of every shape."""
    shapes = {title: rows for title, rows in figures.items() if title != "environment"}
    models = dict.fromkeys(row["model"] for rows in shapes.values() for row in rows)
    lines = {name: {"model": f"`{name}`"} for name in models}
    for title, rows in shapes.items():
        found = {row["model"]: row for row in rows}
        for name, line in lines.items():
            row = found.get(name)
            line[f"{title}, s"] = row and row["seconds"]
            line[f"left, {title}"] = row and gap_text(row["excess"])
            line[f"GB beside X, {title}"] = row and row["GB beside X"]
    return markdown(list(lines.values()))


def dask_speed(figures):
    """Seconds beside one core."""
    return markdown(
        picked(figures["speed"], "estimator", "seconds", "epochs", "below exact R²", "times one core's speed")
    )


def runs_table(results):
    """When, where and from which commit every run is, and the versions."""
    environments = {OTHER_CALLS.get(name, f"{name}.py"): figures["environment"] for name, figures in results.items()}
    rows = [
        {
            "script": f"`{script}`",
            "minutes": max(1, round(found["minutes"])) if "minutes" in found else None,
            "commit": found["commit"],
            "date": found["date"],
            "machine": f"{found['cpu']}, {found['cores']} cores, {found['memory']}",
            "BLAS threads": found["BLAS threads"],
        }
        for script, found in environments.items()
    ]
    by_versions = {}
    for script, found in environments.items():
        versions = ", ".join(f"{key} {value}" for key, value in found.items() if key not in NOT_VERSIONS)
        by_versions.setdefault(versions, []).append(f"`{script}`")
    whose = ["all"] if len(by_versions) == 1 else map(", ".join, by_versions.values())
    lines = [f"Versions of {who}: {versions}." for who, versions in zip(whose, by_versions, strict=True)]
    return "\n\n".join([markdown(rows), *lines])


TABLES = {
    "peers times": ("peers", peers_times),
    "peers memory": ("peers", peers_memory),
    "peers l1": ("peers", peers_l1),
    "tables of R": ("conditioning", tables_of_r),
    "collinear": ("conditioning", collinear),
    "low rank": ("conditioning", low_rank),
    "robust": ("conditioning", robust),
    "small fits": ("conditioning", small_fits),
    "collinear in short": ("conditioning", collinear_in_short),
    "streams": ("streaming", streams),
    "streams in short": ("streaming", streams_in_short),
    "one row": ("streaming", one_row),
    "many calls": ("streaming", many_calls),
    "hashed streams": ("streaming", all_of("hashed")),
    "tuning": ("tuning", tuning),
    "epochs": ("epoch_speed", epochs),
    "memory of dtypes": ("epoch_speed", all_of("memory")),
    "accuracy": ("accuracy", accuracy),
    "sparse epochs": ("sparse_rows", epochs),
    "sparse accuracy": ("sparse_rows", sparse_accuracy),
    "hashed rows": ("sparse_rows", all_of("hashed")),
    "memory of kinds": ("memory", all_of("kinds")),
    "cores": ("cores", cores),
    "many cores": ("many_cores", cores),
    "gpu": ("gpu", gpu),
    "dask rounds": ("dask_scaling", all_of("partitionings")),
    "dask parameters": ("dask_scaling", all_of("features")),
    "dask speed": ("dask_scaling", dask_speed),
}
