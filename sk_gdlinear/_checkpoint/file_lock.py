"""A lock between processes: a file that the operating system locks, and that contains the name of its holder."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from weakref import WeakSet

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# The beginning of every lock file. Files that begin otherwise are never written to or removed.
MARK = b"sk_gdlinear lock: "

# Locking is tried several times, since the holder may be about to end, or may not have written its name yet.
ATTEMPTS = 5
PAUSE_SECONDS = 0.05

# On Windows others cannot read a locked byte, so the byte that is locked lies beyond the text.
LOCKED_BYTE = 1 << 20

# Error numbers for a lock that is held, and for file systems without locks.
HELD = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
WITHOUT_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}

# Lock files that are open in this process. The references are weak: a file without others is closed and unlocked.
_held: WeakSet[IO[bytes]] = WeakSet()


@contextmanager
def locked(path: Path, what: str) -> Iterator[bool]:
    """Hold the lock on a file for as long as the context lasts.

    The operating system drops the lock when its holder ends, also if it is killed; the file that it leaves behind locks
    nobody out.  Otherwise the file is removed at the end.

    Parameters
    ----------
    path : Path
        The lock file.
    what : str
        What is locked, for messages.

    Yields
    ------
    has_lock : bool
        False, after a warning, on a file system without locks.

    Raises
    ------
    BlockingIOError
        If another process, or another call in this one, holds the lock; the message names the holder.
    OSError
        If the lock file cannot be opened, or if something else is at its path.
    """
    file = None
    try:
        file = _acquire(path, what)
        yield file is not None
    finally:
        if file is not None:
            _release(path, file)


def _acquire(path, what):
    """Return the locked file, or None on a file system without locks."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        file = _open(path, what)
        try:
            if _try_to_lock(file) and _is_at(path, file):
                _say_who(file)
                _held.add(file)
                return file
            holder = file.read(1000)[len(MARK) :].decode("utf-8", "replace").strip()
            file.close()
        except BaseException as error:
            file.close()
            if not isinstance(error, OSError) or error.errno not in WITHOUT_LOCKS:
                raise
            path.unlink(missing_ok=True)
            warnings.warn(
                f"{what} is on a file system without locks: nothing keeps a second process from writing it. Start "
                "one at a time, or put it on a local disk.",
                RuntimeWarning,
                stacklevel=7,
            )
            return None
    raise BlockingIOError(
        f"{what} is in use by {holder or 'another process'}. Wait until that ends, end it, or name another file."
    )


def _open(path, what):
    """Open the lock file, or create it; raise if something else is at its path."""
    try:
        file = open(path, "r+b", buffering=0, opener=_opener)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{what} cannot be locked: its lock file cannot be opened ({error.strerror}). If no other process uses it, "
            "remove the lock file, or name another file",
            os.fspath(path),
        ) from error
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not MARK.startswith(file.read(len(MARK))):
        file.close()
        raise OSError(
            f"{what} cannot be locked: {os.fspath(path)!r} exists and is no lock file of sk_gdlinear. Move it, or "
            "name another file."
        )
    return file


def _opener(path, flags):
    return os.open(path, flags | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)


def _try_to_lock(file: Any) -> bool:
    """Lock an open file without waiting; return whether that succeeded."""
    try:
        if sys.platform == "win32":
            file.seek(LOCKED_BYTE)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD:
            return False
        raise
    finally:
        file.seek(0)
    return True


def _is_at(path, file):
    """Whether the open file is still the one at ``path``: its last holder may have removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.lstat(path))
    except FileNotFoundError:
        return False


def _say_who(file):
    file.truncate(0)
    file.write(MARK + f"process {os.getpid()} on host {platform.node()}\n".encode())


def _release(path, file):
    """Remove the lock file and drop the lock, unless this process was forked from its holder."""
    if file not in _held:
        return
    try:
        with suppress(OSError):  # Windows cannot remove an open file: it is removed below
            if _is_at(path, file):
                path.unlink()
    finally:
        _held.discard(file)
        file.close()
    if sys.platform == "win32":
        with suppress(OSError):  # fails if the next holder has opened it
            path.unlink()


def _close_in_child():
    """Close the lock files in a forked process, so that it does not hold the locks of its parent."""
    while _held:
        _held.pop().close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
