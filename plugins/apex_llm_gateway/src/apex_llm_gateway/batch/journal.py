"""What is written of a batch: two files that only grow, so that a run can be killed at any byte and gone on with.

A record is written in one piece when its line is finished, and is then safe from the end of the process; from the end of the
machine as soon as `sync` returned. What a killed run left of a last record is cut off by the next one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import attrs

from apex_llm_core.converters import decode, encode
from apex_llm_gateway.batch.lines import Line, Unreadable

_BLOCK = 1 << 16
#: How every record begins.
_BEGIN = b'{"id":"batch_req_'


class JournalError(Exception):
    """The files of a batch cannot be gone on with; the message names the file and what to do."""


@attrs.define(kw_only=True, eq=False)
class Finished:
    """What earlier runs finished."""

    #: The id of the record by `custom_id`, for lines that were answered, and for those that were asked and failed.
    answered: dict[str, str] = attrs.field(factory=dict)
    refused: dict[str, str] = attrs.field(factory=dict)
    #: Number and id of lines that cannot be asked.
    unasked: set[tuple[int, str]] = attrs.field(factory=set)

    def covers(self, line: Line | Unreadable) -> bool:
        """Return whether *line* has its record.

        Raises:
            JournalError: another line of the same `custom_id` has it.
        """
        if isinstance(line, Unreadable):
            return (line.number, line.id) in self.unasked
        known = self.answered.get(line.custom_id)
        what, advice = "was answered", "choose another output file, or --overwrite"
        if known is None:
            known = self.refused.get(line.custom_id)
            what, advice = "failed", "--retry-errors asks it as it is now"
        if known is not None and known != line.id:
            raise JournalError(
                f"line {line.number}: custom_id {line.custom_id!r} {what} already, but the line was another one then; {advice}"
            )
        return known is not None

    def failed(self, line: Line | Unreadable) -> bool:
        """Return whether the record of *line*, which `covers` found, is among the errors."""
        return isinstance(line, Unreadable) or line.custom_id not in self.answered


class Journal:
    """The output file and the file of errors of one run; a context manager.

    Nobody else writes them while it is open.

    Args:
        output: gets a record for each line that was answered.
        errors: gets one for each that failed.
        overwrite: begin anew, whatever earlier runs wrote.
        retry_errors: forget the errors of earlier runs, so that those lines are asked again.
    """

    def __init__(self, output: Path, errors: Path, *, overwrite: bool = False, retry_errors: bool = False) -> None:
        self.finished = Finished()
        self._output_path = output
        self._errors_path = errors
        self._overwrite = overwrite
        self._retry_errors = retry_errors
        self._output = self._errors = -1

    def open(self) -> None:
        """Open both files and read what earlier runs finished; blocking.

        Raises:
            JournalError: another run has them, or they hold something else.
            OSError: they cannot be written.
        """
        try:
            self._output = _opened(self._output_path)
            self._errors = _opened(self._errors_path)
            # Nothing is cut off before both are known to be ours.
            _begin(self._output, self._output_path, anew=self._overwrite)
            _begin(self._errors, self._errors_path, anew=self._overwrite or self._retry_errors)
            self._note()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Open it, as `open` does."""
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answered(self, line: Line, status: int, request_id: str, body: bytes) -> None:
        """Write down the answer to *line*, good or bad; *body* is JSON."""
        response = b'{"status_code":%d,"request_id":%b,"body":%b}' % (status, encode(request_id), body)
        target = self._output if status < 400 else self._errors
        _append(
            target,
            b'{"id":%b,"custom_id":%b,"response":%b,"error":null}\n'
            % (encode(line.id), encode(line.custom_id), response),
        )

    def unreadable(self, line: Unreadable) -> None:
        """Write down a line that cannot be asked."""
        record = {
            "id": line.id,
            "custom_id": line.custom_id,
            "response": None,
            "error": {"code": line.code, "message": line.message, "line": line.number},
        }
        _append(self._errors, encode(record) + b"\n")

    def sync(self) -> None:
        """Return when all that was written would survive the end of the machine; blocking."""
        for file in (self._output, self._errors):
            if file >= 0:
                os.fsync(file)

    def close(self) -> None:
        """Release both files."""
        for file in (self._output, self._errors):
            if file >= 0:
                os.close(file)
        self._output = self._errors = -1

    def _note(self) -> None:
        finished = self.finished
        for record in _records(self._output, self._output_path, good=True):
            finished.answered[record["custom_id"]] = record["id"]
        for record in _records(self._errors, self._errors_path, good=False):
            error = record["error"]
            if error is None:
                finished.refused[record["custom_id"]] = record["id"]
            else:
                finished.unasked.add((error["line"], record["id"]))


def _opened(path: Path) -> int:
    """Open and lock the file at *path*, new or not; its name is then safe from the end of the machine, too."""
    # Windows would change line ends; others have no such flag.
    binary = getattr(os, "O_BINARY", 0)
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | binary, 0o644)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise JournalError(f"{path}: this is no file that can be gone on with; choose a regular one")
        _lock(file, path)
        # Not every system opens folders, or syncs them.
        with suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except BaseException:
        os.close(file)
        raise
    return file


def _begin(file: int, path: Path, *, anew: bool) -> None:
    if anew:
        os.ftruncate(file, 0)
    else:
        _cut(file, path)


def _append(file: int, data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError:
        # Half a record must not become the beginning of the next one.
        os.ftruncate(file, os.fstat(file).st_size - (len(data) - len(view)))
        raise


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: nobody warns of two runs on one file there.
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise JournalError(f"{path}: another run is writing it") from error


def _cut(file: int, path: Path) -> None:
    """Cut off the beginning of a record that a killed run left behind the last line end."""
    size = end = os.fstat(file).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        found = _read(file, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        begun = _read(file, len(_BEGIN), end)
        if not _BEGIN.startswith(begun):
            raise _foreign(path, "the last line")
        os.ftruncate(file, end)


def _read(file: int, size: int, at: int) -> bytes:
    os.lseek(file, at, os.SEEK_SET)
    return os.read(file, size)


def _foreign(path: Path, what: str) -> JournalError:
    return JournalError(f"{path}: {what} is no record of a batch; choose another output file, or --overwrite")


def _records(file: int, path: Path, *, good: bool) -> Iterator[dict[str, Any]]:
    """Read the records of lines that were answered, or of those that failed; others are not ours."""
    with os.fdopen(os.dup(file), "rb") as reader:
        reader.seek(0)
        for number, raw in enumerate(reader, 1):
            try:
                record = decode(raw)
                known = isinstance(record["id"], str) and _is_good(record) is good
            except (ValueError, KeyError, TypeError, RecursionError):
                known = False
            if not known:
                raise _foreign(path, f"line {number}")
            yield record


def _is_good(record: dict[str, Any]) -> bool | None:
    """Whether *record* is of a line that was answered; None when it is no record."""
    error = record["error"]
    if error is not None:
        return False if isinstance(error["line"], int) else None
    status = record["response"]["status_code"]
    return status < 400 if isinstance(record["custom_id"], str) and isinstance(status, int) else None


__all__ = ["Finished", "Journal", "JournalError"]
