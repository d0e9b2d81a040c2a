"""The types of the public interface accept what the estimators accept, and refuse the rest."""

import ast
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sk_gdlinear import GDLinearRegressor
from sk_gdlinear._compat import StrOptions

ROOT = Path(__file__).parent.parent
PARAMETERS = inspect.signature(GDLinearRegressor).parameters

# The commands that check tests/typing_user.py, a script with right calls and with wrong ones, which are marked. The one
# for mypy also reads the package, whose own errors are not the subject here.
CHECKERS = {
    "mypy": ["--python-executable", sys.executable, "tests/typing_user.py"],
    "pyright": ["--pythonpath", sys.executable],
}


def literals(annotation):
    """The values that ``Literal[...]`` in an annotation names."""
    for node in ast.walk(ast.parse(annotation)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            values = ast.literal_eval(node.slice)
            yield from values if isinstance(values, tuple) else [values]


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_type_of_a_parameter_names_the_strings_that_it_takes(name):
    constraints = GDLinearRegressor._parameter_constraints[name]
    allowed = {value for options in constraints if isinstance(options, StrOptions) for value in options.options}
    assert set(literals(PARAMETERS[name].annotation)) == allowed


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_right_calls_pass_and_wrong_ones_are_refused(checker):
    if shutil.which(checker) is None:
        pytest.skip(f"{checker} is not installed: pip install --group dev")
    if not (ROOT / "sk_gdlinear").is_dir():
        pytest.skip("these are the tests of an installed package, without its sources")
    run = subprocess.run([checker, *CHECKERS[checker]], cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = [line for line in run.stdout.splitlines() if "typing_user.py" in line and "error" in line]
    assert run.returncode in (0, 1), run.stdout + run.stderr  # others say that it did not come to check
    assert found == [], run.stdout
