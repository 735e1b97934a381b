"""Files that are there whole or not at all, folders that go with their process, and files of others.

Those are data: reading one neither waits nor explodes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import yaml

# A recipe has 1 kB, the metadata of a bag of a thousand files 200 kB.
MAX_YAML_BYTES = 1 << 20
MAX_YAML_NODES = 1 << 15
MAX_YAML_DEPTH = 32
MAX_YAML_SCALAR = 1 << 10  # characters without quotes: numbers take time by the square of their length
_READ_BYTES = 1 << 20
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first where PyYAML was built with libyaml


class Loader(_SafeLoader):  # type: ignore[misc]
    """Plain values, and no key twice, of which PyYAML would take the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Construct a mapping; raises yaml.YAMLError for a key that is there twice."""
        values: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(values) < len(node.value):
            keys = [self.construct_object(key) for key, _ in node.value]
            twice = next(key for index, key in enumerate(keys) if key in keys[:index])
            raise yaml.YAMLError(f"{twice!r} is there twice{node.start_mark}")
        return values


def write_atomically(path: Path, data: bytes | memoryview, mode: int | None = None) -> None:
    """Write a file in one step as other processes see it: a temporary file in the same folder, then a rename.

    mode: permissions of the file; None gives what a plainly created file would have. The folder must exist. Raises
    OSError, and then leaves nothing behind.
    """
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_default_mode() if mode is None else mode)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


@contextlib.contextmanager
def temporary_folder(prefix: str, parent: Path | None = None) -> Iterator[Path]:
    """Make a folder that is gone after the `with` block, and also where this process is killed within it.

    A shell waits for the end of its input, which ends with this process however that ends, and removes the folder. It goes on
    until nobody fills the folder any more, since processes that write to it may end a little later. Raises OSError.
    """
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    command = ["/bin/sh", "-c", 'read -r _; until rm -rf "$1"; do sleep 0.1; done', "remove", str(folder)]
    try:
        remover = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True)
    except OSError:
        shutil.rmtree(folder)
        raise
    try:
        yield folder
    finally:
        remover.communicate()


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to read it; raises OSError, for a folder, FIFO, socket or device too, of which opening some would wait."""
    _check_regular(path.stat(), path)  # opening a device may already set it off
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(descriptor, "rb")
    try:
        _check_regular(os.fstat(descriptor), path)  # it may have changed since
    except OSError:
        file.close()
        raise
    return file


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 lower-case hex digits; raises OSError."""
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while data := file.read(_READ_BYTES):
            digest.update(data)
    return digest.hexdigest()


def load_yaml(path: Path) -> Any:
    """Read a YAML file, UTF-8, see `parse_yaml`; raises OSError or yaml.YAMLError, and nothing else."""
    with open_regular(path) as file:
        data = file.read(MAX_YAML_BYTES + 1)
    try:
        return parse_yaml(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise yaml.YAMLError(f"it is not UTF-8: {error}") from error


def parse_yaml(text: str) -> Any:
    """Read one YAML document of plain values.

    Raises yaml.YAMLError, and nothing else, for what is no YAML, for a key that is there twice, and for what a file that somebody
    wrote has no use for but that costs time and memory without end: aliases, tags, deep nesting, and sizes above the limits of
    this module.
    """
    if len(text) > MAX_YAML_BYTES:
        raise yaml.YAMLError(f"it is longer than {MAX_YAML_BYTES} characters")
    depth = nodes = 0
    try:
        for event in yaml.parse(text, Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            nodes += isinstance(event, yaml.NodeEvent)
            if isinstance(event, yaml.AliasEvent):
                raise yaml.YAMLError(f"alias *{event.anchor}; write out what it stands for{event.start_mark}")
            tag = getattr(event, "tag", None)
            if tag is not None:
                raise yaml.YAMLError(f"tag {tag}; write plain values{event.start_mark}")
            if depth > MAX_YAML_DEPTH or nodes > MAX_YAML_NODES:
                limit = f"{MAX_YAML_DEPTH} levels" if depth > MAX_YAML_DEPTH else f"{MAX_YAML_NODES} values"
                raise yaml.YAMLError(f"more than {limit}{event.start_mark}")
            if isinstance(event, yaml.ScalarEvent) and not event.style and len(event.value) > MAX_YAML_SCALAR:
                raise yaml.YAMLError(
                    f"a value of more than {MAX_YAML_SCALAR} characters without quotes{event.start_mark}"
                )
        return yaml.load(text, Loader)
    except yaml.YAMLError:
        raise
    except Exception as error:  # PyYAML lets out what the constructors of dates, numbers and texts raise
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error


def _check_regular(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def _default_mode() -> int:
    """Return what the umask leaves of 0666; reading the umask needs setting it, so it is set straight back."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
