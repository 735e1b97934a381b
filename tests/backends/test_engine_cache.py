"""An engine is found by exactly what it was built from and for, whole and private, or built again."""

from __future__ import annotations

import logging
import os
import pwd
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from lwseg_ros.backends.engine_cache import EngineCache, EngineKey, default_folder
from lwseg_ros.errors import BackendError

KEY = EngineKey("ab" * 32, "tensorrt", "10.3.0", "Orin", "8.7", 16, "fp16", 2)
ENGINE = bytes(range(256)) * 40


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache" / "engines")


def test_store_and_load(cache: EngineCache) -> None:
    assert cache.load(KEY) is None
    path = cache.store(KEY, ENGINE)
    assert path == cache.path_of(KEY)
    assert cache.load(KEY) == ENGINE
    assert EngineCache(cache.folder).load(KEY) == ENGINE
    assert [entry.name for entry in cache.folder.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600
    assert cache.folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", [field.name for field in fields(EngineKey)])
def test_any_other_key_finds_nothing(cache: EngineCache, name: str) -> None:
    cache.store(KEY, ENGINE)
    value = getattr(KEY, name)
    other = replace(KEY, **{name: value + 1 if isinstance(value, int) else value + "x"})
    assert cache.load(other) is None
    cache.path_of(KEY).rename(cache.path_of(other))
    assert cache.load(other) is None, "an engine under another key's name was taken"


def test_what_is_removed_is_gone(cache: EngineCache) -> None:
    cache.store(KEY, ENGINE)
    cache.store(replace(KEY, part="kernels"), b"kernels")
    cache.remove(KEY)
    cache.remove(KEY)
    assert cache.load(KEY) is None
    assert cache.load(replace(KEY, part="kernels")) == b"kernels"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:10],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: data[:-100] + b"\x00" * 100,
        lambda data: b"X" + data[1:],
        lambda data: data[:16] + b"\xff" * 8 + data[24:],
        lambda data: data.replace(b'"Orin"', b'"Xavi"'),
        lambda data: data[:24] + b"{" * 50 + data[74:],
    ],
)
def test_damaged_files_are_not_used(cache: EngineCache, damage: Any, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.store(KEY, ENGINE)
    path.write_bytes(damage(path.read_bytes()))
    with caplog.at_level(logging.WARNING):
        assert cache.load(KEY) is None
    assert "damaged or another's; it is built again" in caplog.text
    cache.store(KEY, ENGINE)
    assert cache.load(KEY) == ENGINE


def test_what_others_may_write_is_not_used(cache: EngineCache, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.store(KEY, ENGINE)
    path.chmod(0o622)
    assert cache.load(KEY) is None
    assert "may be written by others" in caplog.text
    path.chmod(0o600)
    assert cache.load(KEY) == ENGINE
    cache.folder.chmod(0o777)
    assert cache.load(KEY) is None
    with pytest.raises(BackendError, match="may be written by, others; `chmod 700` it or choose another"):
        cache.store(KEY, ENGINE)


@pytest.mark.parametrize("kind", ["fifo", "device", "folder", "link to nothing"])
def test_what_is_no_file_is_not_opened(cache: EngineCache, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = cache.store(KEY, ENGINE)
    path.unlink()
    if kind == "fifo":
        os.mkfifo(path, 0o600)
    elif kind == "folder":
        path.mkdir(mode=0o700)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "nothing")
    assert cache.load(KEY) is None
    if kind != "link to nothing":
        assert "not a regular file); it is built again" in caplog.text.replace(f": '{path}'", "")
    if kind != "folder":
        cache.store(KEY, ENGINE)
        assert cache.load(KEY) == ENGINE


@pytest.fixture
def as_root(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Be root, or believe to be, and give files to another user, who is ourselves where we only believe it."""
    truly = os.getuid() == 0
    monkeypatch.setattr(os, "getuid", lambda: 0)

    def give_away(path: Path) -> None:
        if truly:
            os.chown(path, 12345, 12345)

    return give_away


def test_root_uses_the_folder_of_a_user(cache: EngineCache, as_root: Callable[[Path], None]) -> None:
    cache.folder.mkdir(mode=0o755, parents=True)
    as_root(cache.folder)
    path = cache.store(KEY, ENGINE)
    assert cache.load(KEY) == ENGINE
    as_root(path)
    assert cache.load(KEY) == ENGINE
    for mode in (0o775, 0o757):
        cache.folder.chmod(mode)
        assert cache.load(KEY) is None
        with pytest.raises(BackendError, match="may be written by, others"):
            cache.store(KEY, ENGINE)
    cache.folder.chmod(0o755)
    path.chmod(0o620)
    assert cache.load(KEY) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_files_of_a_third_user_are_not_used(cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> None:
    path = cache.store(KEY, ENGINE)
    os.chown(path, 12345, 12345)
    assert cache.load(KEY) is None, "root's folder, a user's file"
    os.chown(cache.folder, 54321, 54321)
    assert cache.load(KEY) is None, "a user's folder, another user's file"
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert cache.load(KEY) is None, "our file in another user's folder"
    with pytest.raises(BackendError, match="belongs to, or may be written by, others"):
        cache.store(KEY, ENGINE)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = EngineCache(tmp_path / "file" / "engines")
    with pytest.raises(BackendError, match=r"cannot be written: .*; choose another"):
        cache.store(KEY, ENGINE)
    assert cache.load(KEY) is None


def test_racing_writers_and_readers_see_whole_engines(cache: EngineCache) -> None:
    engines = [bytes([number]) * 200_000 for number in range(4)]
    seen: list[bytes | None] = []

    def write(engine: bytes) -> None:
        for _ in range(5):
            cache.store(KEY, engine)
            seen.append(cache.load(KEY))

    threads = [threading.Thread(target=write, args=(engine,)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 20
    assert all(engine in engines for engine in seen)
    assert len(list(cache.folder.iterdir())) == 1


def test_a_home_folder_is_found_as_for_models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # no shell expands what follows `engine_cache_dir:=`
    assert EngineCache(Path("~/engines")).folder == tmp_path / "engines"
    with pytest.raises(BackendError, match="engine cache ~nobody-has-this-name/engines cannot be looked for"):
        EngineCache(Path("~nobody-has-this-name/engines"))


def test_default_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_folder() == tmp_path / "xdg" / "lwseg_ros" / "engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache" / "lwseg_ros" / "engines"


@pytest.mark.parametrize("home", [None, ""])
def test_default_folder_without_a_home_is_the_users(monkeypatch: pytest.MonkeyPatch, home: str | None) -> None:
    for name in ("HOME", "XDG_CACHE_HOME"):
        if home is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, home)
    assert default_folder() == Path(pwd.getpwuid(os.getuid()).pw_dir, ".cache", "lwseg_ros", "engines")


def test_default_folder_of_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 987654)
    with pytest.raises(BackendError, match="there is no home folder for the engine cache; set XDG_CACHE_HOME"):
        default_folder()
