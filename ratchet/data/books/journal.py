"""An append-only file that a killed process leaves readable: each entry carries its length and CRC32."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from ratchet.data.atomic import fsync_folder

_HEADER = struct.Struct("<II")
_BUFFER_BYTES = 1 << 20


class Journal:
    """Writes entries to a new file. What was written is safe after `flush` followed by `fsync`.

    Raises:
        OSError: the file exists already or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=_BUFFER_BYTES)
        fsync_folder(path.parent)

    def append(self, data: bytes) -> None:
        """Add an entry to the buffer."""
        self._file.write(_HEADER.pack(len(data), zlib.crc32(data)) + data)

    def flush(self) -> None:
        """Hand the buffer to the operating system: it survives the process, not a power cut."""
        self._file.flush()

    def fsync(self) -> None:
        """Wait until what was flushed is on the disk; may run in another thread than `append`."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Flush and close the file; it stays."""
        self._file.close()


def read_journal(path: Path) -> tuple[list[bytes], int]:
    """Return the whole entries of a journal and the number of bytes behind them that belong to none.

    A process that dies while writing leaves part of an entry at the end; nothing behind such a place is trusted.
    """
    data = path.read_bytes()
    entries, position = [], 0
    while position + _HEADER.size <= len(data):
        length, checksum = _HEADER.unpack_from(data, position)
        entry = data[position + _HEADER.size : position + _HEADER.size + length]
        if len(entry) != length or zlib.crc32(entry) != checksum:
            break
        entries.append(entry)
        position += _HEADER.size + length
    return entries, len(data) - position
