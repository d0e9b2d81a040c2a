"""Instructions that a case takes, counted by valgrind's callgrind: for ``regression.py --instructions``.

Callgrind counts between two requests that the process makes itself, through a library of two functions, so that
imports and the preparation of data are left out.
"""

import re
import shutil
import subprocess
from pathlib import Path

LIBRARY = """
#include <valgrind/callgrind.h>
void start_counting(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void stop_counting(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""
OPTIONS = ("--tool=callgrind", "--instr-atstart=no", "--quiet")


def why_not():
    """Why instructions cannot be counted here, as text; None if they can."""
    if shutil.which("valgrind") is None:
        return "valgrind is not installed"
    if shutil.which("cc") is None:
        return "there is no C compiler named cc"
    test = subprocess.run(["cc", "-E", "-"], input="#include <valgrind/callgrind.h>\n", text=True, capture_output=True)
    return "the header valgrind/callgrind.h is not installed" if test.returncode else None


def make_library(folder):
    """Compile the library; return its path."""
    source, library = folder / "counter.c", folder / "counter.so"
    source.write_text(LIBRARY)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


def command(folder):
    """What to put before the command of a process."""
    return ["valgrind", *OPTIONS, f"--callgrind-out-file={folder}/counts"]


def read(folder):
    """Counts by the names that were given to ``stop_counting``."""
    counts = {}
    for path in Path(folder).glob("counts*"):
        text = path.read_text()
        name = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
        total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
        if name and total:
            counts[name[1]] = int(total[1])
        path.unlink()
    return counts
