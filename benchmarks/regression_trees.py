"""Trees that ``regression.py`` compares: copies of two states of the repository, with compiled kernels."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KERNELS = Path("sk_gdlinear/_kernels")
BUILD = [sys.executable, "-c", "from setuptools import setup; setup()", "build_ext", "--inplace"]


def git(*arguments, **options):
    """What git prints, as bytes."""
    return subprocess.run(["git", "-C", str(ROOT), *arguments], check=True, stdout=subprocess.PIPE, **options).stdout


def copy_of_commit(ref, folder):
    """Copy a commit's files."""
    folder.mkdir()
    archive = git("archive", ref)
    subprocess.run(["tar", "--extract", "--directory", str(folder)], input=archive, check=True)


def copy_of_working_tree(folder):
    """Copy the tracked files and the new ones, as they are now, but nothing that git ignores."""
    names = git("ls-files", "--cached", "--others", "--exclude-standard", "-z").decode().split("\0")
    for name in filter(None, names):
        if (ROOT / name).is_file():  # one that was removed is still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)


def sources(folder):
    """All that the compiled kernels depend on, by name."""
    files = [folder / "pyproject.toml", *sorted((folder / KERNELS).glob("*"))]
    return {path.name: path.read_bytes() for path in files if path.suffix in {".toml", ".pyx", ".pxd", ".pxi", ".h"}}


def build(folder, like=None):
    """Compile the kernels of a tree, or copy those of one that has the same sources."""
    if like is not None and sources(folder) == sources(like):
        for module in [*(like / KERNELS).glob("*.so"), *(like / KERNELS).glob("*.pyd")]:
            shutil.copy2(module, folder / KERNELS)
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(BUILD, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{done.stdout[-2000:]}{done.stderr[-2000:]}\nThe kernels of {folder.name} do not compile.")


def make_trees(base, head, parent):
    """Folders of both trees; `head` is None for the working tree."""
    folders = parent / "base", parent / "head"
    copy_of_commit(base, folders[0])
    if head is None:
        copy_of_working_tree(folders[1])
    else:
        copy_of_commit(head, folders[1])
    build(folders[0])
    build(folders[1], like=folders[0])
    return folders
