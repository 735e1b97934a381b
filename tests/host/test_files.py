"""Files appear whole or not at all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.effort import is_cheap

from lwseg_ros.host.files import load_yaml, open_regular, parse_yaml, temporary_folder, write_atomically


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    write_atomically(path, b"new", mode=0o600)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(list(tmp_path.iterdir())) == 2


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "text is not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OSError, match="No such file"):
        write_atomically(tmp_path / "missing" / "file", b"")


def test_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    with open_regular(tmp_path / "link") as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket", "device", "link to a fifo"])
def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        os.mkfifo(tmp_path / "fifo")
        path = tmp_path / "fifo"
        if kind == "link to a fifo":
            path = tmp_path / "link"
            path.symlink_to("fifo")
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(path)
    with pytest.raises(OSError, match="not a regular file"):
        load_yaml(path)


def laughs(levels: int) -> str:
    """Each level is twice the one before."""
    lines = ["a0: &a0 [ha, ha]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
    return "\n".join(lines)


EXPLOSIVE = {
    "laughs": (laughs(40), "alias"),
    "itself": ("&a [*a]", "alias"),
    "merged": ("a: &a {x: 1}\nb: {<<: [*a, *a]}", "alias"),
    "deep lists": ("[" * 100_000, "levels"),
    "deep maps": ("{a: " * 100_000, "levels"),
    "deep blocks": ("- " * 100_000 + "a", "levels"),
    "deep indents": ("".join(" " * depth + "-\n" for depth in range(1400)), "levels"),
    "many values": ("[" + "a," * 500_000 + "]", "values"),
    "large": ("#" * ((1 << 20) + 1), "longer than"),
    "clock of a million digits": ("1" + ":1" * 500_000, "without quotes"),
    "the same, quoted": ('!!int "1' + ":1" * 500_000 + '"', "tag"),
}


@pytest.mark.parametrize("name", EXPLOSIVE)
def test_yaml_that_explodes_is_refused(name: str) -> None:
    text, message = EXPLOSIVE[name]

    def refuse() -> None:
        with pytest.raises(yaml.YAMLError, match=message):
            parse_yaml(text)

    assert is_cheap(refuse)


@pytest.mark.parametrize(
    "text",
    ["[", "a: b: c", "2024-99-99", "1" * 5000, '!!int ""', "!!bool x", "!!python/object/apply:os.system [ls]", "a: \0",
     "? [a]\n: b", "--- 1\n--- 2", "!!timestamp x", "0o9: [", "- 9999-99-99T99:99:99Z"],
)  # fmt: skip
def test_what_is_no_yaml_raises_only_yaml_errors(text: str) -> None:
    with pytest.raises(yaml.YAMLError):
        parse_yaml(text)


def test_yaml_is_read(tmp_path: Path) -> None:
    text = "\ufeffa: [1, 2.5, true, null, {b: 'c d'}]\ne: |\n  two\n  lines\n"
    (tmp_path / "plain.yaml").write_text(text, encoding="utf-8")
    assert load_yaml(tmp_path / "plain.yaml") == {"a": [1, 2.5, True, None, {"b": "c d"}], "e": "two\nlines\n"}
    assert parse_yaml("") is None
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe4")
    with pytest.raises(yaml.YAMLError, match="not UTF-8"):
        load_yaml(tmp_path / "latin.yaml")


def test_bags_of_a_thousand_files_have_metadata_that_is_read() -> None:
    entry = "  - {path: drive_%d.mcap, starting_time: {nanoseconds_since_epoch: 5}, duration: {nanoseconds: 1}, message_count: 5}\n"
    text = "files:\n" + "".join(entry % number for number in range(1000))
    assert len(parse_yaml(text)["files"]) == 1000


def test_a_temporary_folder_is_gone_after_its_block_also_after_an_error(tmp_path: Path) -> None:
    def fail_within() -> None:
        with temporary_folder("some_", tmp_path) as folder:
            assert folder.parent == tmp_path
            (folder / "below").mkdir()
            (folder / "below" / "file").touch()
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail_within()
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_is_gone_when_its_process_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from lwseg_ros.host.files import temporary_folder\n"
        "with temporary_folder('some_', Path(sys.argv[1])) as folder:\n"
        "    (folder / 'file').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -signal.SIGKILL
    while list(tmp_path.iterdir()):
        time.sleep(0.01)
