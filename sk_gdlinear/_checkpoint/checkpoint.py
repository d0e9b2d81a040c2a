"""The checkpoint of ``fit_batches``: a file of plain values, written atomically and bound to one job.

The file is a line that names the format, a line with the SHA-256 of everything else, a line of JSON, and the bytes of
the arrays.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from .._fit.epochs import EpochRecord
from .._fit.state import check_state, fitted_attributes, is_fitted, marked, unmarked
from .file_lock import locked
from .job import class_name, describe_rows, differences, parameters_of
from .plain_values import pack, unpack

# To be raised with any change to the layout of the file. The fitted state has a format number of its own.
FORMAT = 2

MARK = b"sk_gdlinear checkpoint, format "
FIRST_LINE = MARK + b"%d\n" % FORMAT
DIGEST_LENGTH = 64  # hexadecimal digits

# Temporary files are named after the checkpoint, this text and a random part.
TEMPORARY = ".sk_gdlinear-"


class Place(NamedTuple):
    """The content of a checkpoint: the fitted attributes after ``position`` chunks of epoch ``epoch``."""

    epoch: int
    position: int
    fitted: dict[str, Any]
    record: EpochRecord

    def is_final(self, epochs: int) -> bool:
        """Whether nothing is left to do in a call with so many ``epochs``."""
        return self.epoch >= epochs or self.record.stop_reason is not None


class Checkpoint:
    """The checkpoint of one job: an estimator, with the parameters that it has when this object is made.

    Parameters
    ----------
    path : path
        The file. A relative path is resolved now, so later changes of the current directory have no effect.
    model : estimator
        The estimator that is trained.
    validation : Rows or None
        The validation set of the job.
    """

    def __init__(self, path: str | os.PathLike[str], model: Any, validation: Any = None) -> None:
        self.path = Path(os.path.abspath(Path(path)))
        self.estimator = class_name(model)
        self.parameters = parameters_of(model) | {"the validation set": describe_rows(validation)}

    def __str__(self) -> str:
        return f"The checkpoint {os.fspath(self.path)!r}"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out other processes from the checkpoint for as long as the context lasts.

        Raises
        ------
        OSError
            If no files can be created beside the checkpoint, or if another process uses it (``BlockingIOError``).
        """
        self._check_directory()
        with locked(self._beside(".lock"), str(self)) as has_lock:
            if has_lock:
                self._remove_leftovers()
            yield

    def save(self, model: Any, epoch: int, position: int, record: EpochRecord) -> None:
        """Write the fitted attributes of a model, the position in the data, and the record of the epochs.

        The new file replaces the old one in one step, once it is on the disk. So whenever the process is killed, the
        old or the new checkpoint exists as a whole.

        Raises
        ------
        OSError
            If the file cannot be written; the old one still exists.
        TypeError
            If the model holds a value that is not plain.
        """
        from .. import __version__

        content = {
            "release": __version__,
            "estimator": self.estimator,
            "parameters": self.parameters,
            "epoch": epoch,
            "position": position,
            "fitted": marked(fitted_attributes(model)),
            "record": record.packed(),
        }
        data = pack(content, "checkpoint")
        fresh, file = self._make_temporary()
        try:
            with file:
                file.write(b"".join([FIRST_LINE, _digest(data), b"\n", data]))
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise

    def load(self) -> Place | None:
        """Return the content that ``save`` has written, or None if there is no file.

        Raises
        ------
        ValueError
            If the file is not a whole checkpoint of this job.
        OSError
            If the file cannot be read.
        """
        try:
            data = self._read()
            if data is None:
                return None
            content = unpack(data)
            checked = _checked(content)
        except (ValueError, TypeError, LookupError) as error:
            raise ValueError(
                f"{os.fspath(self.path)!r} is not a whole checkpoint of fit_batches: {str(error).rstrip('.')}. Name "
                "another file, or remove this one to start anew."
            ) from error
        self._check_job(content)
        return checked

    def _read(self):
        """Return the file without its first two lines, or None if there is no file."""
        try:
            status = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(status.st_mode):
            raise ValueError("it is a symbolic link, which is not followed; give the path of its target instead")
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is not a regular file")
        with open(self.path, "rb", opener=_without_links) as file:
            first = file.readline(len(FIRST_LINE))
            if not first.startswith(MARK):
                raise ValueError("it does not begin as a checkpoint does")
            if first != FIRST_LINE:
                raise ValueError(f"it does not say that it has format {FORMAT}, the one that this release reads")
            digest, data = file.read(DIGEST_LENGTH + 1), file.read()
        if digest != _digest(data) + b"\n":
            raise ValueError("its checksum is wrong, so it is damaged or was cut short")
        return data

    def _check_job(self, content):
        """Raise if a checkpoint belongs to another estimator, or to other parameters."""
        name, cure = os.fspath(self.path), "or name another file to start anew."
        if content["estimator"] != self.estimator:
            raise ValueError(
                f"The checkpoint {name!r} belongs to another estimator, {content['estimator']}, and this is "
                f"{self.estimator}. Use that one, {cure}"
            )
        if changed := differences(content["parameters"], self.parameters):
            raise ValueError(
                f"The checkpoint {name!r} belongs to other parameters: {'; '.join(changed)}. Set them as they were, "
                f"{cure}"
            )

    def _beside(self, ending):
        return self.path.with_name(self.path.name + ending)

    def _make_temporary(self):
        """Create a file with an unpredictable name, at which nobody can put a link; return its path and the file."""
        fresh = self._beside(f"{TEMPORARY}{secrets.token_hex(8)}.tmp")
        return fresh, open(fresh, "xb", opener=_without_links)

    def _check_directory(self):
        """Raise if no checkpoint can be written at the path."""
        try:
            fresh, file = self._make_temporary()
            file.close()
            fresh.unlink()
        except OSError as error:
            raise OSError(
                f"{self} cannot be written: {os.fspath(self.path.parent)!r} is not a directory in which files can be "
                f"made ({error.strerror}). Make it, or name a file elsewhere."
            ) from error

    def _remove_leftovers(self):
        """Remove the temporary files of killed processes; to be called under the lock, so that none is in use."""
        for name in os.listdir(self.path.parent):
            if name.startswith(self.path.name + TEMPORARY) and name.endswith(".tmp"):
                with suppress(OSError):
                    self.path.with_name(name).unlink()


def _checked(content):
    """Return the content of a file as a ``Place``; raise if ``save`` cannot have written it."""
    kinds = {"release": str, "estimator": str, "parameters": dict, "epoch": int, "position": int}
    kinds |= {"fitted": dict, "record": dict}
    if type(content) is not dict or {name: type(value) for name, value in content.items()} != kinds:
        raise ValueError("it holds other values")
    fitted, parameters = unmarked(content["fitted"]), content["parameters"]
    texts = [*fitted, *parameters, *parameters.values()]
    if not all(type(text) is str for text in texts) or not all(is_fitted(name) for name in fitted):
        raise ValueError("it holds other attributes")
    if "coef_" not in fitted or min(content["epoch"], content["position"]) < 0:
        raise ValueError("it holds no fitted model, or no position in the data")
    check_state(fitted)
    record = EpochRecord.unpacked(content["record"])
    if record.n_epochs != content["epoch"]:
        raise ValueError("its record is one of another number of epochs")
    if record.best is not None:
        if not all(type(name) is str and is_fitted(name) for name in record.best) or "coef_" not in record.best:
            raise ValueError("its best epoch has no fitted model")
        check_state(record.best)
    return Place(content["epoch"], content["position"], fitted, record)


def _digest(data):
    """Return the checksum of a file whose content is ``data``, as hexadecimal digits."""
    return hashlib.sha256(FIRST_LINE + data).hexdigest().encode("ascii")


def _without_links(path, flags):
    """Open a file for ``open``; where the system supports it, fail at symbolic links and do not block on pipes."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
