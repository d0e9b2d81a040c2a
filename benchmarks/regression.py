"""Is this tree slower than another?  Short cases, on two states of the repository, in fresh processes that take turns.

``python benchmarks/regression.py --base main`` compares the working tree with a commit, ``--head REF`` two commits;
about 3 minutes.  Both are copied to temporary folders and their kernels compiled.  The figure of a process is the
shortest processor time of a case, the ratio that of the medians over processes.  A case that takes ``--warn`` times as
long is named; from ``--fail`` times on, the exit code is 1, if the interval leaves no doubt (see
``regression_verdict.py``).  The same holds for the geometric mean of all cases.

``--instructions`` counts instructions by valgrind instead, once: no noise, but an instruction is no measure of waiting
for memory.  ``regression_cases.py`` has the cases.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import regression_counts
from regression_cases import CASES, QUICK
from regression_trees import make_trees
from regression_verdict import judge, worst
from report import heading, table, write_json

SCRIPT = Path(__file__).with_name("regression_cases.py")


def environment(tree):
    """Environment of a process that imports the package from `tree`."""
    return os.environ | {"PYTHONPATH": str(tree), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def run_cases(tree, names, prefix=(), extra=()):
    """Figures of the cases in a fresh process."""
    command = [*prefix, sys.executable, str(SCRIPT), "--only", *names, *extra]
    done = subprocess.run(command, env=environment(tree), cwd=tree, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"The cases of {tree.name} ended with exit code {done.returncode}.")
    found = json.loads(done.stdout.splitlines()[-1])
    if Path(tree).resolve() not in Path(found["package"]).resolve().parents or not found["compiled"]:
        raise SystemExit(f"{found['package']} was imported, and not the compiled package of {tree}.")
    return found["figures"]


def times(trees, names, n_rounds):
    """Seconds of every case in every round, of both trees: base and head take turns, and in who is the first."""
    figures = [{name: [] for name in names} for _ in trees]
    for round_ in range(n_rounds):
        print(f"round {round_ + 1} of {n_rounds}", file=sys.stderr, flush=True)
        for which in (0, 1) if round_ % 2 == 0 else (1, 0):
            for name, figure in run_cases(trees[which], names).items():
                figures[which][name].append(figure)
    return figures


def instructions(trees, names, folder):
    """Instructions of every case, of both trees."""
    library, figures = regression_counts.make_library(folder), []
    for tree in trees:
        print(f"counting on {tree.name}", file=sys.stderr, flush=True)
        errors = run_cases(tree, names, regression_counts.command(folder), ["--counter", str(library)])
        counts = regression_counts.read(folder)
        figures.append({name: [counts.get(name, errors[name])] for name in names})
    return figures


def errors(figures):
    """The first error of every case that has one."""
    found = {name: [one for one in of_case if not isinstance(one, int | float)] for name, of_case in figures.items()}
    return {name: of_case[0] for name, of_case in found.items() if of_case}


def compare(base, head, warn, fail):
    """Rows of the table, and the worst level."""
    missing, broken = errors(base), errors(head)
    names = [name for name in base if name not in missing and name not in broken]
    base, head = ({name: figures[name] for name in names} for figures in (base, head))
    verdicts = {name: judge(base[name], head[name], warn, fail) for name in names}
    if names:
        verdicts["geometric mean"] = judge(list(base.values()), list(head.values()), warn, fail)
    rows = [
        {"case": name, "head ÷ base": f"{verdict.ratio:.3f}", "interval": f"{verdict.low:.3f}–{verdict.high:.3f}",
         "level": verdict.level}
        for name, verdict in verdicts.items()
    ]  # fmt: skip
    levels = [verdict.level for verdict in verdicts.values()]
    for name, error in (missing | broken).items():
        level = "not judged" if name in missing else "fail"  # what base lacks is new
        rows.append({"case": name, "head ÷ base": None, "interval": error[:100], "level": level})
        levels += ["fail"] * (level == "fail")
    return rows, worst(levels)


def parse_args():
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REF", help="the commit to compare with")
    parser.add_argument("--head", metavar="REF", help="the commit to judge (default: the working tree)")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--quick", action="store_true", help="three cases, three rounds")
    parser.add_argument("--rounds", type=int, help="processes of each tree (default 11, quick 3)")
    parser.add_argument("--warn", type=float, default=1.10, help="ratio to warn from (default 1.10)")
    parser.add_argument("--fail", type=float, default=1.25, help="ratio to fail from (default 1.25)")
    parser.add_argument("--instructions", action="store_true", help="count instructions by valgrind, in place of time")
    parser.add_argument("--json", metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    if not 1.0 < args.warn <= args.fail:
        parser.error(f"--warn {args.warn:g} --fail {args.fail:g}: 1 < warn <= fail is needed")
    return args


def main():
    """Compare, print, return the exit code."""
    args = parse_args()
    if args.instructions and (reason := regression_counts.why_not()):
        print(f"No instructions are counted: {reason}.")
        return 0
    names = args.only or list(QUICK if args.quick else CASES)
    with tempfile.TemporaryDirectory() as folder:
        trees = make_trees(args.base, args.head, Path(folder))
        if args.instructions:
            base, head = instructions(trees, names, Path(folder))
        else:
            base, head = times(trees, names, args.rounds or (3 if args.quick else 11))
    rows, level = compare(base, head, args.warn, args.fail)
    what = "instructions" if args.instructions else "time"
    print(heading(f"{args.head or 'The working tree'} beside {args.base}, {what}"))
    print(table(rows))
    print(f"{level}: warnings from {args.warn:g}, failure from {args.fail:g}")
    if args.json:
        write_json(args.json, base=[base], head=[head], verdicts=rows)
    return int(level == "fail")


if __name__ == "__main__":
    sys.exit(main())
