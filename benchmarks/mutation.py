"""Mutation run: change the package in one place at a time, and see whether a test fails.

``python benchmarks/mutation.py --most 40`` draws that many mutants of ``sk_gdlinear/_objective`` and
``sk_gdlinear/_descent`` and prints the survivors and the score. Each mutant is tried in a copy of the tree, which must
have been built (``pip install -e .``): a comparison, an arithmetic operator or a number is replaced by another. Tests
that are quick are run first, and the run of a mutant ends with the first failure.
"""

import argparse
import ast
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("_objective", "_descent")
TESTS = """derivation gradient evaluation step_size descent variance_reduction curvature stopping kernel losses
penalties own_losses own_penalties backend early_stopping streaming plain_descent never_silently_wrong""".split()

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}
COMPARISONS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq}
BOOLEANS = {ast.And: ast.Or, ast.Or: ast.And}


def mutations(node):
    """Yield functions that change a node of a syntax tree in place, each in one way."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        yield lambda: setattr(node, "op", OPERATORS[type(node.op)]())
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        yield lambda: node.ops.__setitem__(0, COMPARISONS[type(node.ops[0])]())
    if isinstance(node, ast.BoolOp):
        yield lambda: setattr(node, "op", BOOLEANS[type(node.op)]())
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        other = {0: 1, 1: 0}.get(node.value, 2 * node.value)
        yield lambda: setattr(node, "value", other)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda: setattr(node, "op", ast.UAdd())


def mutants():
    """Yield the file, the line and the number of every mutation."""
    for part in PARTS:
        for source in sorted((ROOT / "sk_gdlinear" / part).glob("*.py")):
            nodes = list(ast.walk(ast.parse(source.read_text(encoding="utf-8"))))
            for place, node in enumerate(nodes):
                for number, _ in enumerate(mutations(node)):
                    yield source.relative_to(ROOT), node.lineno, place, number


def survives(copy, source, place, number):
    """Whether all tests pass on a mutant, made in a copy of the tree."""
    original = (copy / source).read_text(encoding="utf-8")
    tree = ast.parse(original)
    list(mutations(list(ast.walk(tree))[place]))[number]()
    (copy / source).write_text(ast.unparse(tree), encoding="utf-8")
    tests = [str(copy / "tests" / f"test_{name}.py") for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, timeout=300, check=False)
        return done.returncode == 0
    except subprocess.TimeoutExpired:  # a mutant that never ends is noticed
        return False
    finally:
        (copy / source).write_text(original, encoding="utf-8")


def main():
    """Print the survivors and the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=40, help="mutants to draw (default 40; there are some 1,000)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--quick", action="store_true", help="two mutants")
    args = parser.parse_args()
    drawn = random.Random(args.seed).sample(everything := list(mutants()), 2 if args.quick else args.most)
    print(f"{len(drawn)} of {len(everything)} mutants")
    survivors = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", "docs", "__pycache__", "*.egg-info"))
        for source, line, place, number in drawn:
            if survives(copy, source, place, number):
                survivors += 1
                text = (ROOT / source).read_text(encoding="utf-8").splitlines()[line - 1].strip()
                print(f"survived: {source}:{line}: {text}", flush=True)
    print(f"killed {len(drawn) - survivors} of {len(drawn)}: {(len(drawn) - survivors) / len(drawn):.0%}")


if __name__ == "__main__":
    main()
