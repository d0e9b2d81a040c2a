"""What is written in several files for PyPI, conda-forge, GitHub and readers is the same everywhere."""

import re
import tomllib
from pathlib import Path

import pytest

import sk_gdlinear

ROOT = Path(__file__).parent.parent
if not (ROOT / "CITATION.cff").exists():
    pytest.skip("these files are in the repository only", allow_module_level=True)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
FOLDERS = (".ci", ".github", "benchmarks", "docs", "examples", "sk_gdlinear", "tests")
SUFFIXES = {".cff", ".h", ".html", ".md", ".pxi", ".py", ".pyx", ".rst", ".toml", ".yaml", ".yml"}
BUILT = {"_build", "generated"}


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def load(name):
    """The contents of a file in YAML."""
    return pytest.importorskip("yaml", reason="the file is in YAML").safe_load(read(name))


def text_files():
    """All sources and pages, with their paths relative to the repository."""
    files = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    for path in sorted(files):
        name = path.relative_to(ROOT)
        if path.suffix in SUFFIXES and not BUILT.intersection(name.parts):
            yield name.as_posix()


def test_every_mention_of_the_repository_has_the_address_in_pyproject():
    address = PROJECT["urls"]["Repository"]
    mentions = {
        name: set(re.findall(r"https?://github\.com/[\w.-]+/sk_gdlinear\b", read(name))) for name in text_files()
    }
    assert len([name for name, found in mentions.items() if found]) >= 4
    assert {name: found for name, found in mentions.items() if found - {address}} == {}


def test_the_version_is_the_same_everywhere():
    assert load("CITATION.cff")["version"] == sk_gdlinear.__version__
    assert load(".ci/recipe/recipe.yaml")["context"]["version"] == sk_gdlinear.__version__
    assert re.search(r"^## \[?([0-9.]+)", read("CHANGELOG.md"), re.MULTILINE)[1] == sk_gdlinear.__version__


def test_the_changelog_dates_the_release():
    assert re.search(
        rf"^## {re.escape(sk_gdlinear.__version__)} - 20\d\d-\d\d-\d\d$", read("CHANGELOG.md"), re.MULTILINE
    )


def test_the_licence_and_the_authors_are_the_same_everywhere():
    assert load("CITATION.cff")["license"] == load(".ci/recipe/recipe.yaml")["about"]["license"] == PROJECT["license"]
    assert load("CITATION.cff")["authors"] == PROJECT["authors"]


def test_the_conda_recipe_needs_what_the_package_needs():
    recipe = load(".ci/recipe/recipe.yaml")
    requirements = recipe["requirements"]
    assert sorted(requirements["run"]) == sorted(["python", *spaced(PROJECT["dependencies"])])
    assert sorted(requirements["host"]) == sorted(["python", "pip", *spaced(PYPROJECT["build-system"]["requires"])])
    assert f">={recipe['context']['python_min']}" == PROJECT["requires-python"]
    assert recipe["about"]["summary"] == PROJECT["description"]


def spaced(requirements):
    """Requirements as conda writes them: a space before the version."""
    return [requirement.replace(">=", " >=") for requirement in requirements]


def classified_versions():
    """The versions of Python among the classifiers, as in "3.11"."""
    found = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", name) for name in PROJECT["classifiers"])
    return [match[1] for match in found if match]


def test_the_versions_of_python_run_from_the_lowest_allowed_without_a_gap():
    minors = [int(version.removeprefix("3.")) for version in classified_versions()]
    assert minors == list(range(minors[0], minors[-1] + 1))
    assert PROJECT["requires-python"] == f">={classified_versions()[0]}"


def test_wheels_are_built_for_the_versions_of_python_that_the_package_names():
    builds = PYPROJECT["tool"]["cibuildwheel"]["build"].split()
    assert builds == [f"cp{version.replace('.', '')}-*" for version in classified_versions()]


def test_the_oldest_and_the_newest_python_are_tested_on_three_systems():
    jobs = load(".github/workflows/tests.yml")["jobs"]
    systems = ["ubuntu-latest", "macos-latest", "windows-latest"]
    versions = classified_versions()
    assert jobs["newest"]["strategy"]["matrix"] == {"os": systems, "python": [versions[0], versions[-1]]}
    assert jobs["oldest"]["strategy"]["matrix"] == {"os": systems}
    setup = next(step["with"] for step in jobs["oldest"]["steps"] if "python-version" in step.get("with", {}))
    assert setup["python-version"] == versions[0]


def test_only_the_job_that_publishes_may_identify_itself_to_pypi():
    for path in (ROOT / ".github" / "workflows").iterdir():
        workflow = load(path.relative_to(ROOT))
        assert workflow["permissions"] == {"contents": "read"}, path.name
        granted = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
        assert granted == ({"publish": {"id-token": "write"}} if path.name == "wheels.yml" else {})


def test_nothing_is_published_before_all_wheels_and_the_sources_are_built():
    jobs = load(".github/workflows/wheels.yml")["jobs"]
    assert set(jobs["publish"]["needs"]) == set(jobs) - {"publish"}
    assert "github.ref_type == 'tag'" in jobs["publish"]["if"]


def test_hooks_before_a_commit_run_pinned_linters():
    pinned = {re.split(r"[=\[]", name)[0] for name in PYPROJECT["dependency-groups"]["dev"] if "==" in name}
    hooks = [hook for repository in load(".pre-commit-config.yaml")["repos"] for hook in repository["hooks"]]
    assert len(hooks) >= 4
    assert {hook["entry"].split()[0] for hook in hooks} <= pinned
    assert {hook["language"] for hook in hooks} == {"system"}


def test_every_package_and_every_kernel_is_built():
    folders = [path.parent.relative_to(ROOT) for path in (ROOT / "sk_gdlinear").rglob("__init__.py")]
    if not folders:
        pytest.skip("these are the tests of an installed package, without its sources")
    assert {".".join(folder.parts) for folder in folders} == set(PYPROJECT["tool"]["setuptools"]["packages"])
    kernels = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sk_gdlinear").rglob("*.pyx")}
    modules = PYPROJECT["tool"]["setuptools"]["ext-modules"]
    assert {source for module in modules for source in module["sources"]} == kernels
    assert {module["name"].replace(".", "/") + ".pyx" for module in modules} == kernels


def test_read_the_docs_installs_an_extra_that_there_is():
    install = load(".readthedocs.yaml")["python"]["install"][0]
    assert set(install["extra_requirements"]) <= set(PROJECT["optional-dependencies"])
    assert (ROOT / load(".readthedocs.yaml")["sphinx"]["configuration"]).exists()
