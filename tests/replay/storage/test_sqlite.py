"""SQLite recordings with a journal beside them, cut off, or damaged."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rosbags.rosbag2 import StoragePlugin
from support.bag_files import IMAGE_TOPIC, LABEL_TOPIC, painted_messages, stamp_ns, write_messages

from lwseg_ros.errors import BagError
from lwseg_ros.replay.bag import Bag
from lwseg_ros.replay.storage import base

NUM_FRAMES, NUM_IN_DATABASE = 14, 9


@pytest.fixture
def database(tmp_path: Path) -> Path:
    write_messages(tmp_path / "bag", painted_messages(NUM_FRAMES), StoragePlugin.SQLITE3)
    return tmp_path / "bag" / "bag.db3"


def image_stamps(path: Path) -> tuple[list[int], list[str]]:
    with Bag(path) as bag:
        messages = list(bag.messages(bag.image_topic(exclude=LABEL_TOPIC)))
        assert all(bag.image(message).shape == (48, 64, 3) for message in messages)
        return [message.stamp_ns for message in messages], bag.warnings


def leave_in_wal(database: Path) -> Path:
    """Move the last messages out of the database into its write-ahead log, as a recorder that was killed leaves them."""
    connection = sqlite3.connect(database)
    late = connection.execute("SELECT * FROM messages WHERE timestamp >= ?", (stamp_ns(NUM_IN_DATABASE),)).fetchall()
    connection.execute("DELETE FROM messages WHERE timestamp >= ?", (stamp_ns(NUM_IN_DATABASE),))
    connection.commit()
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executemany("INSERT INTO messages VALUES (?, ?, ?, ?)", late)
    connection.commit()
    crashed = database.parent.with_name("crashed")
    crashed.mkdir()
    for file in (database, database.with_name("bag.db3-wal")):
        shutil.copy(file, crashed)
    connection.close()
    return crashed


def test_the_newest_messages_lie_in_the_write_ahead_log(database: Path) -> None:
    crashed = leave_in_wal(database)
    wal = crashed / "bag.db3-wal"
    before = wal.read_bytes()
    for path in (crashed, crashed / "bag.db3"):
        found, warnings = image_stamps(path)
        assert found == [stamp_ns(index) for index in range(NUM_FRAMES)]
        assert not [warning for warning in warnings if "metadata" not in warning]
    assert wal.read_bytes() == before
    # without it, nothing but metadata.yaml tells what is missing
    shutil.copy(database.with_name("metadata.yaml"), crashed)
    assert image_stamps(crashed)[1] == []
    wal.unlink()
    found, warnings = image_stamps(crashed)
    assert len(found) == NUM_IN_DATABASE
    assert warnings == ["metadata.yaml counts 42 messages, the files hold 27"]


@pytest.fixture
def nobody() -> Iterator[Path]:
    """Be a user whom a folder's permissions bind, which they do not root; yields a folder that this user may enter."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        user = os.geteuid()
        yield Path(folder)
        os.seteuid(user)


def test_a_folder_that_cannot_be_written_to(database: Path, nobody: Path) -> None:
    write_ahead, whole = nobody / "write_ahead", nobody / "whole"
    crashed = leave_in_wal(database)
    shutil.copytree(crashed, write_ahead)
    shutil.copytree(
        database.parent, whole
    )  # its header says that a write-ahead log is used, but there is none any more
    for folder in (write_ahead, whole):
        folder.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    found, warnings = image_stamps(write_ahead / "bag.db3")
    assert len(found) == NUM_FRAMES
    assert len(warnings) == 1
    assert "bag.db3 was copied to be read with its bag.db3-wal" in warnings[0]
    assert image_stamps(whole) == (found, [])


def test_a_transaction_that_was_cut_off_is_undone(database: Path) -> None:
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA cache_size = 1")  # so that half of it is in the database already
    connection.execute("DELETE FROM messages WHERE timestamp >= ?", (stamp_ns(3),))
    connection.execute("SELECT count(*) FROM messages").fetchone()
    crashed = database.parent.with_name("crashed")
    crashed.mkdir()
    for file in database.parent.glob("bag.db3*"):
        shutil.copy(file, crashed)
    connection.rollback()
    connection.close()
    assert (crashed / "bag.db3-journal").stat().st_size
    found, warnings = image_stamps(crashed / "bag.db3")
    assert found == [stamp_ns(index) for index in range(NUM_FRAMES)]
    assert "bag.db3 was copied to be read with its bag.db3-journal" in warnings[0]


def test_nothing_is_copied_into_a_folder_without_room(
    database: Path, nobody: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashed = shutil.copytree(leave_in_wal(database), nobody / "bag")
    num_bytes = sum(file.stat().st_size for file in crashed.iterdir())
    crashed.chmod(0o555)
    if os.geteuid() == 0:
        os.seteuid(65534)
    monkeypatch.setattr(base, "MIN_FREE_BYTES", shutil.disk_usage(nobody).total)
    said = rf"a copy of bag\.db3 has no room in .*: {num_bytes} bytes more would leave less than .*set TMPDIR"
    with pytest.raises(BagError, match=said), Bag(crashed / "bag.db3"):
        pass


def test_a_database_that_was_cut_off_is_refused_with_the_hint(database: Path) -> None:
    whole = database.read_bytes()
    for share in (0.1, 0.5, 0.95):
        database.write_bytes(whole[: int(share * len(whole))])
        with (
            pytest.raises(BagError, match=r"bag\.db3 was cut off: \d+ of \d+ bytes .*\.recover.*reindex"),
            Bag(database),
        ):
            pass


def test_a_damaged_database_is_refused_without_it(database: Path) -> None:
    data = bytearray(database.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 16] = b"\xff" * 16
    database.write_bytes(data)
    with pytest.raises(BagError, match=r"bag cannot be opened: bag\.db3 is damaged") as refused, Bag(database.parent):
        pass
    assert "recover" not in str(refused.value)
    database.write_bytes(b"")
    with pytest.raises(BagError, match=r"bag\.db3 is empty"), Bag(database):
        pass


def test_another_database_is_no_recording(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "bag.db3")
    connection.execute("CREATE TABLE songs (name TEXT)")
    # a view may take for ever to count
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id FROM n"
    for name in ("topics", "messages"):
        connection.execute(f"CREATE VIEW {name} AS {endless}")
    connection.commit()
    connection.close()
    with pytest.raises(BagError, match="is no recording: it lacks the tables"), Bag(tmp_path / "bag.db3"):
        pass


def test_rows_that_are_no_messages_are_counted(database: Path) -> None:
    connection = sqlite3.connect(database)
    (image,) = connection.execute("SELECT id FROM topics WHERE name = ?", (IMAGE_TOPIC,)).fetchone()
    connection.execute("INSERT INTO messages VALUES (900, ?, 5, 'text')", (image,))
    connection.execute("INSERT INTO messages VALUES (901, 77, 5, x'00010000')")
    connection.commit()
    connection.close()
    found, warnings = image_stamps(database)
    assert len(found) == NUM_FRAMES
    assert warnings == ["bag.db3 is damaged; 2 messages in it are left out"]
