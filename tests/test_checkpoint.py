"""The checkpoint of fit_batches: it holds no code, is always whole, is one job's alone, and is written safely."""

import contextlib
import hashlib
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import sk_gdlinear
from sk_gdlinear import GDLinearRegressor, _chunk_loop, streaming

posix = pytest.mark.skipif(os.name != "posix", reason="symbolic links and pipes as POSIX has them")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.checkpoint"


@pytest.fixture
def chunks(rng):
    X = rng.normal(size=(4, 30, 3)) + 5.0
    return list(zip(X, X @ [1.0, -2.0, 3.0] + rng.normal(size=(4, 30)), strict=True))


@pytest.fixture
def written(path, chunks):
    """The bytes of a checkpoint after one epoch, which lies at the path."""
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path)
    return path.read_bytes()


@pytest.fixture
def always_save(monkeypatch):
    monkeypatch.setattr(_chunk_loop, "CHECKPOINT_SHARE", np.inf)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


def no_chunks():
    raise AssertionError("a chunk was asked for")


def is_refused(path, content, match="not a whole checkpoint"):
    """Check that content at the path is refused before any chunk is read, and is still there."""
    path.write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        GDLinearRegressor(random_state=0).fit_batches(no_chunks, epochs=2, checkpoint=path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content
    assert names(path.parent) == [path.name]


# --- what is not a whole checkpoint ----------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path(os.environ["TOUCHED"]),)


def test_code_at_the_path_is_not_run(path, tmp_path_factory, monkeypatch):
    touched = tmp_path_factory.mktemp("elsewhere") / "touched"
    monkeypatch.setenv("TOUCHED", str(touched))
    array = np.array([Bomb()], dtype=object)
    for content in (pickle.dumps(Bomb()), pickle.dumps({"epoch": Bomb()}), array.dumps()):
        is_refused(path, content)
    assert not touched.exists()


@pytest.mark.parametrize("content", [b"", b"\n", b"no checkpoint", b"PAR1", b"PK\x03\x04", b"x" * 100_000])
def test_another_file_is_refused_and_kept(path, content):
    is_refused(path, content)


def test_every_flipped_bit_is_found(path, written, rng):
    head = range(8 * (written.index(b"{") + 20))
    elsewhere = rng.choice(8 * len(written), 200, replace=False)
    for bit in [*head, *elsewhere.tolist()]:
        flipped = bytearray(written)
        flipped[bit // 8] ^= 1 << bit % 8
        is_refused(path, bytes(flipped))


def test_every_cut_and_every_addition_is_found(path, written, rng):
    for length in [*range(100), *rng.choice(len(written), 100).tolist(), len(written) - 1]:
        is_refused(path, written[:length])
    for more in (b"\0", b"\n", written):
        is_refused(path, written + more)


def test_a_huge_file_of_another_kind_is_not_read(path, tmp_path):
    with open(path, "wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        GDLinearRegressor().fit_batches(no_chunks, epochs=1, checkpoint=path)


@posix
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_is_refused(path, make):
    make(path)
    with pytest.raises(ValueError, match="not a regular file"):
        GDLinearRegressor().fit_batches(no_chunks, epochs=1, checkpoint=path)


def forged(written, change):
    """Return a checkpoint whose JSON is changed by a function of its top level, with a checksum that is right."""
    first, _, line, arrays = written.split(b"\n", 3)
    tree = json.loads(line)
    change({key: entry for entry in tree["dict"] for key in entry[:1]}, tree)
    data = json.dumps(tree, separators=(",", ":")).encode() + b"\n" + arrays
    return b"\n".join([first, hashlib.sha256(first + b"\n" + data).hexdigest().encode(), data])


def change_array(*place):
    def change(entries, tree):
        fitted = {entry[0]: entry for entry in entries["fitted"][1]["dict"]}
        fitted["coef_"][1] = {"array": list(place)}

    return change


def change_fitted(name, value):
    def change(entries, tree):
        entries["fitted"][1]["dict"].append([name, value])

    return change


def change_entry(name, value):
    def change(entries, tree):
        entries[name][1] = value

    return change


def change_record(name, value):
    def change(entries, tree):
        record = {entry[0]: entry for entry in entries["record"][1]["dict"]}
        record[name][1] = value

    return change


def test_a_forgery_that_changes_nothing_is_the_same(written):
    assert forged(written, lambda *_: None) == written


@pytest.mark.parametrize(
    "change",
    [
        change_array("<f8", [1 << 40], "C", 0),
        change_array("<f8", [3], "C", -8),
        change_array("<f8", [-3], "C", 0),
        change_array("<f8", [1 << 40, 1 << 40], "C", 0),
        change_array("<U1000000", [3], "C", 0),
        change_array("|O", [3], "C", 0),
        change_array("f8,O", [3], "C", 0),
        change_array("<f8", 3, "C", 0),
        change_array("<f8", [3], "K", 0),
        change_fitted("partial_fit", 1),
        change_fitted("__class__", "x"),
        change_fitted("x_", {"generator": ["MT19937", 1]}),
        change_fitted("x_", {"generator": ["seed", 1]}),
        change_fitted("x_", {"generator": ["PCG64", {"dict": [["bit_generator", "PCG64"]]}]}),
        change_fitted("x_", {"objects": [[1 << 40], []]}),
        change_fitted("x_", {"code": "print()"}),
        change_fitted("x_", {}),
        change_fitted("x_", {"dict": [[[], 1]]}),
        change_fitted("x_", {"int": "zero"}),
        change_fitted(3, 1),
        change_entry("epoch", -1),
        change_entry("epoch", 1.0),
        change_entry("position", True),
        change_entry("epoch", 5),  # of another number of epochs than the record
        change_entry("record", {"dict": []}),
        change_record("objective", [1]),
        change_record("selection", {"floats": ["<f8", [0], "C", 0]}),
        change_record("targets", {"dict": [["mean", 1]]}),
        change_record("parameters", {"tuple": [1.0, 2.0]}),
        change_record("agreed", -1),
        change_record("best_epoch", 2),
        change_record("best", {"dict": [["coef_", 1.0], ["fit", 1]]}),
        change_record("best", {"dict": [["n_iter_", 1]]}),
        change_record("stop_reason", "interrupted"),
        change_entry("parameters", {"dict": [["alpha", 1]]}),
        change_entry("fitted", {"dict": []}),
        change_entry("fitted", {"dict": [["_saved_as", 3]]}),
        lambda entries, tree: tree.update({"dict": tree["dict"][1:]}),
        lambda entries, tree: tree.update({"tuple": tree.pop("dict")}),
    ],
)
def test_forged_content_is_refused_and_takes_no_memory(path, written, change):
    is_refused(path, forged(written, change))


def test_content_that_is_no_json_is_refused(path, written):
    first = written.split(b"\n", 1)[0] + b"\n"
    for data in (b"", b"{", b"NaN", b"[" * 100_000, b"9" * 5000, b"\xff", b"[1]\n"):
        is_refused(path, first + hashlib.sha256(first + data).hexdigest().encode() + b"\n" + data)


# --- whose it is -----------------------------------------------------------------------------------------------------


def test_it_says_by_which_release_it_was_written(written):
    assert written.startswith(b"sk_gdlinear checkpoint, format 2\n")
    assert f'"release","{sk_gdlinear.__version__}"'.encode() in written


def test_another_format_is_refused(path, written):
    is_refused(
        path, written.replace(b"format 2\n", b"format 1\n", 1), match="format 2, the one that this release reads"
    )


def test_a_state_of_another_format_is_refused(path, chunks, monkeypatch):
    from sk_gdlinear._fit import state

    monkeypatch.setattr(state, "FORMAT", 99)
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path)
    monkeypatch.undo()
    is_refused(path, path.read_bytes(), match="saved in format 99")


class Other(GDLinearRegressor):
    pass


def test_another_estimator_is_refused(path, written):
    with pytest.raises(ValueError, match=r"another estimator, sk_gdlinear.GDLinearRegressor, and this is .*\.Other"):
        Other(random_state=0).fit_batches(no_chunks, epochs=2, checkpoint=path)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (dict(alpha=0.5), "alpha=0.0001, now 0.5"),
        (dict(alpha=np.array([1.0, 2.0, 3.0])), r"alpha=0.0001, now array\(list\(1.0, 2.0, 3.0\), float64"),
        (dict(random_state=1), "random_state=0, now 1"),
        (dict(random_state=None), "random_state=0, now None"),
        (dict(loss="huber", penalty="l2"), "loss='squared_error', now 'huber'; penalty=None, now 'l2'"),
        (dict(epsilon=1), "epsilon=1.35, now 1"),
    ],
)
def test_other_parameters_are_named(path, written, params, message):
    with pytest.raises(
        ValueError, match=f"belongs to other parameters: {message}.*Set them as they were, or name another"
    ):
        GDLinearRegressor(**(dict(random_state=0) | params)).fit_batches(no_chunks, epochs=2, checkpoint=path)
    assert path.read_bytes() == written


def test_arrays_of_the_same_values_are_the_same_parameters(path, chunks):
    for epochs in (1, 2):
        model = GDLinearRegressor(random_state=0, penalty="l2", alpha=np.array([0.1, 0.2, np.nan])[:2].repeat([2, 1]))
        model.fit_batches(chunks, epochs=epochs, checkpoint=path)
    assert len(model.loss_curve_) == 2


class Parallel(GDLinearRegressor):
    def __init__(self, *, random_state=None, verbose=0, n_jobs=None):
        super().__init__(random_state=random_state, verbose=verbose)
        self.n_jobs = n_jobs


def test_how_much_is_told_and_how_many_threads_do_not_matter(path, chunks, capsys):
    Parallel(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path)
    model = Parallel(random_state=0, verbose=1, n_jobs=2).fit_batches(chunks, epochs=2, checkpoint=path)
    assert_array_equal(model.coef_, Parallel(random_state=0).fit_batches(chunks, epochs=2).coef_)


def test_all_types_come_back_as_they_were(path, chunks):
    pandas = pytest.importorskip("pandas")
    frames = [(pandas.DataFrame(X.astype("f4"), columns=["a", "b", "ü"]), np.c_[y, -y]) for X, y in chunks]
    model = GDLinearRegressor(random_state=0).fit_batches(frames, epochs=1, checkpoint=path)
    again = GDLinearRegressor(random_state=0).fit_batches(frames, epochs=1, checkpoint=path)

    def told(value):
        if isinstance(value, dict):
            return {name: told(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return type(value), [told(item) for item in value]
        if isinstance(value, np.random.Generator):
            return type(value), value.bit_generator.state
        if isinstance(value, np.ndarray):
            return value.dtype, value.flags.f_contiguous, value.tolist()
        return type(value), repr(value)

    assert told(vars(again)) == told(vars(model))


def test_a_value_that_is_not_plain_is_named(path, chunks):
    class WithSet(GDLinearRegressor):
        def partial_fit(self, X, y, sample_weight=None):
            super().partial_fit(X, y, sample_weight)
            self._state["extra"] = {"inner": (1, {2})}
            return self

    with pytest.raises(TypeError, match=r"\['_state'\]\['extra'\]\['inner'\]\[1\] is a set, which is no plain value"):
        WithSet().fit_batches(chunks, epochs=1, checkpoint=path)
    assert names(path.parent) == []


# --- how it is written -----------------------------------------------------------------------------------------------


def fail(*args, **kwargs):
    raise OSError("disk full")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_file_before_and_no_other(path, written, chunks, monkeypatch, always_save, call):
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="disk full"):
        GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=2, checkpoint=path)
    assert path.read_bytes() == written
    assert names(path.parent) == [path.name]


@posix
def test_a_full_disk_leaves_the_file_before_and_no_other(path, written, chunks, always_save):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def filling():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(written) // 2, before[1]))
        yield from chunks

    try:
        with pytest.raises(OSError):
            GDLinearRegressor(random_state=0).fit_batches(filling, epochs=2, checkpoint=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == written
    assert names(path.parent) == [path.name]


def test_a_relative_path_stays_where_it_was(tmp_path, chunks, monkeypatch, always_save):
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / "here")

    def moving():
        os.chdir(tmp_path / "there")
        return chunks

    GDLinearRegressor(random_state=0).fit_batches(moving, epochs=2, checkpoint="run.checkpoint")
    assert (names(tmp_path / "here"), names(tmp_path / "there")) == (["run.checkpoint"], [])


@posix
@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_at_the_path_is_not_followed(path, written, tmp_path_factory, exists):
    target = tmp_path_factory.mktemp("elsewhere") / "target"
    if exists:
        target.write_bytes(written)
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(ValueError, match="symbolic link, which is not followed"):
        GDLinearRegressor(random_state=0).fit_batches(no_chunks, epochs=2, checkpoint=path)
    assert path.is_symlink()
    assert target.exists() == exists


@posix
def test_links_beside_the_path_are_not_followed(path, chunks, tmp_path_factory):
    precious = tmp_path_factory.mktemp("elsewhere") / "precious"
    precious.write_text("precious")
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.symlink_to(precious)
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path)
    assert precious.read_text() == "precious"
    assert names(path.parent) == [path.name, temporary.name]

    lock = path.with_name(f"{path.name}.lock")
    for plant in (lock.symlink_to, lock.hardlink_to):
        plant(precious)
        with pytest.raises(OSError, match="cannot be locked"):
            GDLinearRegressor(random_state=0).fit_batches(no_chunks, epochs=2, checkpoint=path)
        lock.unlink()
    assert precious.read_text() == "precious"


def test_a_file_of_the_lock_s_name_is_kept(path, chunks):
    lock = path.with_name(f"{path.name}.lock")
    lock.write_text("[[package]]")
    with pytest.raises(OSError, match="exists and is no lock file of sk_gdlinear. Move it"):
        GDLinearRegressor().fit_batches(no_chunks, epochs=1, checkpoint=path)
    assert lock.read_text() == "[[package]]"


@posix
def test_the_file_has_the_permissions_that_new_files_have(path, chunks):
    before = os.umask(0o027)
    try:
        GDLinearRegressor().fit_batches(chunks, epochs=1, checkpoint=path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


KILLED = """
    import os, signal, sys
    import numpy as np
    from sk_gdlinear import GDLinearRegressor

    def kill(descriptor):
        os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = kill
    GDLinearRegressor().fit_batches([(np.eye(3), np.ones(3))], epochs=1, checkpoint=sys.argv[1])
"""


@posix
def test_what_a_process_killed_while_writing_leaves_is_removed(path, written, chunks):
    script = "\n".join(line.strip() if not line.startswith("     ") else line[4:] for line in KILLED.splitlines())
    other = path.with_name("run.checkpoint.notes.tmp")
    other.touch()
    fresh = path.with_name("other.checkpoint")
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", script, fresh], capture_output=True, timeout=200)
        assert killed.returncode == -9, killed.stderr
    assert len(names(path.parent)) == 4 and not fresh.exists()  # with a lock, and one temporary file
    GDLinearRegressor().fit_batches(chunks, epochs=1, checkpoint=fresh)
    assert names(path.parent) == [fresh.name, path.name, other.name]


def test_no_file_beside_it_looks_like_data(path, chunks, always_save, monkeypatch):
    """A folder of data files is a place for it: what lies there while it learns is no Parquet file by its name."""
    seen, replace = set(), os.replace

    def looking(*args):
        seen.update(names(path.parent))
        replace(*args)

    monkeypatch.setattr(os, "replace", looking)
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=1, checkpoint=path)
    assert {name.rsplit(".", 1)[1] for name in seen} == {"checkpoint", "lock", "tmp"}
    assert len([name for name in seen if name.endswith(".tmp")]) == 5  # another name each time


# --- Ctrl-C at any point ---------------------------------------------------------------------------------------------


@contextlib.contextmanager
def interrupt_at(line_number):
    """Raise at the so many-th line that runs in the loop and in the checkpoint; yield a list with the lines seen."""
    checkpoint = [str(Path("_checkpoint", name)) for name in ("checkpoint.py", "file_lock.py")]
    files, seen = ("streaming.py", "_chunk_loop.py", "_progress_bar.py", *checkpoint), []

    def trace(frame, event, argument):
        if not frame.f_code.co_filename.endswith(files):
            return None
        if event == "line":
            seen.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}")
            if len(seen) == line_number:
                raise KeyboardInterrupt(seen[-1])
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # an interrupted call cannot close every file itself
@pytest.mark.parametrize("resumed", [False, True])
def test_ctrl_c_at_any_line_leaves_the_old_model_or_the_new_one(tmp_path, chunks, state_of, resumed, always_save):
    """And going on from the checkpoint, if there is one, reaches the bits of an unbroken run."""
    old = GDLinearRegressor(random_state=0).fit(*chunks[0])
    whole = GDLinearRegressor(random_state=0).fit_batches(chunks[:1], epochs=2)
    model = GDLinearRegressor(random_state=0)
    steps = {model.partial_fit(*chunk).coef_.tobytes() for chunk in chunks[:1] * 2} | {old.coef_.tobytes()}
    number, raised = 0, True
    while raised:
        number += 1
        path = tmp_path / str(number) / "run.checkpoint"
        path.parent.mkdir()
        if resumed:
            GDLinearRegressor(random_state=0).fit_batches(chunks[:1], epochs=1, checkpoint=path)
        model = pickle.loads(pickle.dumps(old))
        before = state_of(model)
        try:
            with interrupt_at(number):
                model.fit_batches(chunks[:1], epochs=2, checkpoint=path)
            raised = False
        except KeyboardInterrupt as error:
            place = error.args[0]
        assert model.coef_.tobytes() in steps, place
        if model.coef_.tobytes() == old.coef_.tobytes():
            assert state_of(model) == before, place
        again = GDLinearRegressor(random_state=0).fit_batches(chunks[:1], epochs=2, checkpoint=path)
        assert_array_equal(again.coef_, whole.coef_, err_msg=place)
        assert again.loss_curve_ == whole.loss_curve_, place
    assert number > 80


def test_a_checkpoint_costs_little_of_the_time(path, chunks, monkeypatch):
    """A slow disk is written to rarely."""
    written, save = [], streaming.Checkpoint.save

    def slow(self, *args):
        time.sleep(0.05)
        written.append(args)
        save(self, *args)

    monkeypatch.setattr(streaming.Checkpoint, "save", slow)
    GDLinearRegressor(random_state=0).fit_batches(chunks, epochs=3, checkpoint=path)
    assert len(written) <= 5  # after the first chunk, and at the end of each epoch
