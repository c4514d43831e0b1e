"""A journal: JSON lines that are only ever appended, each with a checksum over itself and all lines before it.

A line is handed to the operating system before its content is acted upon, so it outlives a killed process. A line that
was torn, lost, repeated or changed breaks the chain of checksums there: what comes after counts as never written.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

SYNC_SECONDS = 5.0
"""How much work a power cut may cost: lines go to the disk itself this often, and at the end."""


class Journal:
    """One file. It is first read to its end, then written on.

    Args:
        path: where; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sum = 0
        self._end = 0
        self._file: BinaryIO | None = None
        self._synced = time.monotonic()

    def read(self) -> Iterator[Any]:
        """The records, in the order of writing, up to the first line that is not whole."""
        try:
            file = open(self.path, "rb")  # noqa: SIM115 - closed by the with below
        except FileNotFoundError:
            return
        with file:
            for line in file:
                body, _, check = line.rpartition(b"\t")
                if not line.endswith(b"\n") or _checksum(body, self._sum) != check[:-1]:
                    return
                self._sum = int(check, 16)
                self._end += len(line)
                yield json.loads(body)

    def append(self, record: Any) -> None:
        """Write a record after those that :meth:`read` has given, in the place of whatever stands there."""
        if self._file is None:
            self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 - closed by close
            self._file.truncate(self._end)
        body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
        check = _checksum(body, self._sum)
        line = memoryview(body + b"\t" + check + b"\n")
        while line:  # a raw file may take a part of it
            line = line[self._file.write(line) :]
        self._sum = int(check, 16)
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()

    def close(self) -> None:
        """Bring everything to the disk. A closed journal takes no more."""
        if self._file is not None:
            self._sync()
            self._file.close()
            self._file = None

    def _sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _checksum(body: bytes, before: int) -> bytes:
    return b"%08x" % crc32(body, before)
