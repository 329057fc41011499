"""The file of the queue of endings: appended, with fsync, and read again at the next start.

Each line is a JSON object: `{"add": NUMBER, "method": NAME, "request": BASE64, "touches": [...]}`
or `{"end": NUMBER}`. A last line that is not whole was never acknowledged.
"""

import base64
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .touches import Touches
from .wire import METHODS

Entry = tuple[str, bytes, Touches]
"""Method, request and touched facts of an ending."""
_REWRITTEN_ABOVE_BYTES = 1 << 20


class QueueFile:
    """An open file of endings, locked against other processes."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._open, whole_bytes = self._read()
            os.ftruncate(self._file, whole_bytes)
            os.lseek(self._file, 0, os.SEEK_END)
            self._sync_folder()
        except BlockingIOError as error:
            os.close(self._file)
            raise RuntimeError(f"{self._path} is in use by another process") from error
        except BaseException:
            os.close(self._file)
            raise

    def _sync_folder(self) -> None:
        folder = os.open(self._path.absolute().parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _read(self) -> tuple[dict[int, Entry], int]:
        content = self._path.read_bytes()
        whole_bytes = content.rfind(b"\n") + 1
        found: dict[int, Entry] = {}
        for number, line in enumerate(content[:whole_bytes].splitlines(), 1):
            try:
                record = json.loads(line)
                if "end" in record:
                    found.pop(record["end"], None)
                    continue
                if record["method"] not in METHODS:
                    raise ValueError(f"unknown method {record['method']}")
                request = base64.b64decode(record["request"], validate=True)
                touches = Touches.from_lists(record["touches"])
                found[record["add"]] = (record["method"], request, touches)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{self._path}:{number} is damaged: {error}") from error
        return found, whole_bytes

    def __iter__(self) -> Iterator[tuple[int, Entry]]:
        """Number and content of each ending that has not been done, in order."""
        return iter(sorted(self._open.items()))

    def add(self, number: int, entry: Entry) -> None:
        """Appends an ending; it is on disk when this returns."""
        self._append(_record(number, entry))
        self._open[number] = entry

    def end(self, number: int) -> None:
        """Appends the end of an ending. An empty or large file is begun anew."""
        self._open.pop(number, None)
        if not self._open:
            os.ftruncate(self._file, 0)
            os.lseek(self._file, 0, os.SEEK_SET)
            os.fsync(self._file)
            return
        self._append({"end": number})
        if os.lseek(self._file, 0, os.SEEK_CUR) > _REWRITTEN_ABOVE_BYTES + 1024 * len(self._open):
            self._rewrite()

    def _append(self, record: dict[str, Any]) -> None:
        end = os.lseek(self._file, 0, os.SEEK_CUR)
        try:
            _write(self._file, json.dumps(record).encode() + b"\n")
            os.fsync(self._file)
        except OSError:
            # A part of a line would make the next one unreadable.
            os.ftruncate(self._file, end)
            os.lseek(self._file, end, os.SEEK_SET)
            raise

    def _rewrite(self) -> None:
        """Writes a new file of the open endings, and puts it in place of the old one."""
        beside = self._path.with_name(self._path.name + ".new")
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        new = os.open(beside, flags, 0o600)
        try:
            fcntl.flock(new, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for number, entry in self._open.items():
                _write(new, json.dumps(_record(number, entry)).encode() + b"\n")
            os.fsync(new)
            os.replace(beside, self._path)
        except BaseException:
            os.close(new)
            raise
        os.close(self._file)
        self._file = new
        self._sync_folder()

    def close(self) -> None:
        """Closes the file; what is open stays in it."""
        os.close(self._file)


def _record(number: int, entry: Entry) -> dict[str, Any]:
    method, request, touches = entry
    return {"add": number, "method": method, "request": base64.b64encode(request).decode(),
            "touches": touches.as_lists()}


def _write(file: int, content: bytes) -> None:
    while content:
        content = content[os.write(file, content):]
