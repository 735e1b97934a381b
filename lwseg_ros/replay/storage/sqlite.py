"""SQLite, the storage of rosbag2 up to Humble, with what its journal holds beside the database."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Collection
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

from lwseg_ros.errors import BagError
from lwseg_ros.host.files import temporary_folder
from lwseg_ros.replay.cdr import HEADER_BYTES, header_stamp_ns
from lwseg_ros.replay.storage.base import MAX_BYTES, Entry, Stream, Streams, check_room
from lwseg_ros.replay.storage.compression import unpack_message

MAGIC = b"SQLite format 3\0"
DATABASE_HEADER_BYTES = 100
# Beside the database: what was written last and did not get into it yet, or how to undo what did.
JOURNALS = ("-wal", "-journal")


class SqliteStorage:
    """An open database of rosbag2, a `Storage`."""

    def __init__(self, path: Path, msgtypes: Collection[str]) -> None:
        """Read the whole database once; raises BagError."""
        self._path = path
        self._streams = Streams(msgtypes)
        self.warnings: list[str] = []
        with ExitStack() as stack:
            try:
                self._connection = self._connect(stack)
                self._scan()
            except sqlite3.Error as error:
                raise BagError(f"{path.name} is damaged ({error})") from error
            self._stack = stack.pop_all()
        self.streams = self._streams.all()

    def read(self, place: tuple[int, ...]) -> bytes:
        """Read a message; raises sqlite3.Error."""
        (data,) = self._connection.execute("SELECT data FROM messages WHERE rowid = ?", place).fetchone()
        return bytes(data)

    def close(self) -> None:
        """Close the database."""
        self._stack.close()

    def _connect(self, stack: ExitStack) -> sqlite3.Connection:
        journals = [Path(f"{self._path}{suffix}") for suffix in JOURNALS]
        journals = [journal for journal in journals if journal.is_file() and journal.stat().st_size]
        if not journals:
            _check_length(self._path)
            # without locks, so that a folder that cannot be written to is no hindrance
            return _open(self._path, "immutable=1", stack)
        try:
            return _open(self._path, "mode=ro", stack)
        except sqlite3.OperationalError as error:  # SQLite has to write beside the database, or into it
            folder = stack.enter_context(temporary_folder("lwseg_bag_"))
            files = (self._path, *journals)
            check_room(folder, sum(file.stat().st_size for file in files), f"a copy of {self._path.name}")
            for file in files:
                shutil.copyfile(file, folder / file.name)
            self.warnings.append(
                f"{self._path.name} was copied to be read with its {', '.join(file.name for file in journals)}, "
                f"which is not possible where it is ({error})"
            )
            return _open(folder / self._path.name, "mode=rw", stack)

    def _scan(self) -> None:
        execute = self._connection.execute
        tables = "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name IN ('topics', 'messages')"
        if execute(tables).fetchone() != (2,):
            raise BagError(f"{self._path.name} is no recording: it lacks the tables `topics` and `messages`")
        streams: dict[int, Stream] = {
            number: self._streams.stream(str(topic), str(msgtype), str(encoding))
            for number, topic, msgtype, encoding in execute("SELECT id, name, type, serialization_format FROM topics")
        }
        num_left_out = 0
        for number, count in execute("SELECT topic_id, count(*) FROM messages GROUP BY topic_id"):
            stream = streams.get(number)
            if stream is None:
                num_left_out += count
            elif not self._streams.wants(stream):
                stream.count += count
        wanted = [number for number, stream in streams.items() if self._streams.wants(stream)]
        # SQLite knows a blob's length without reading it
        head = "CASE WHEN typeof(data) = 'blob' AND length(data) <= ? THEN substr(data, 1, ?) END"
        rows = execute(
            f"SELECT rowid, topic_id, CAST(timestamp AS INTEGER), {head} FROM messages "
            f"WHERE topic_id IN ({', '.join('?' * len(wanted))}) ORDER BY rowid",
            (MAX_BYTES, HEADER_BYTES, *wanted),
        )
        for row, number, log_ns, head in rows:
            try:
                if head is None or log_ns is None:
                    raise BagError("a row that is no message")
                stamp_ns = header_stamp_ns(unpack_message(head, partial(self.read, (row,))))
            except BagError:
                num_left_out += 1
                continue
            streams[number].entries.append(Entry(log_ns, stamp_ns, (row,)))
            streams[number].count += 1
        if num_left_out:
            self.warnings.append(f"{self._path.name} is damaged; {num_left_out} messages in it are left out")


def _open(path: Path, options: str, stack: ExitStack) -> sqlite3.Connection:
    """Open a database and read something of it, which is when SQLite looks at the journals; raises sqlite3.Error."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True)
    stack.enter_context(closing(connection))
    connection.text_factory = lambda text: text.decode(errors="replace")
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return connection


def _check_length(path: Path) -> None:
    """Raise BagError where the file is shorter than its header says."""
    with path.open("rb") as file:
        header = file.read(DATABASE_HEADER_BYTES).ljust(DATABASE_HEADER_BYTES, b"\0")
    (page_size,) = struct.unpack_from(">H", header, 16)
    changes, num_pages = struct.unpack_from(">II", header, 24)
    (valid_for,) = struct.unpack_from(">I", header, 92)  # older writers leave the number of pages behind
    num_bytes = num_pages * (65536 if page_size == 1 else page_size)
    if changes == valid_for and path.stat().st_size < num_bytes:
        raise BagError(
            f"{path.name} was cut off: {path.stat().st_size} of {num_bytes} bytes are there; "
            f"`sqlite3 {path.name} .recover` and `ros2 bag reindex` may save what is left"
        )
