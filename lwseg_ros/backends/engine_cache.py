"""Built TensorRT engines on disk, found again only by exactly what they were built from and for.

An engine is machine code: a file that another user may have written is not used. For root, as in a container with a user's folder
mounted, the owner of the folder may be anybody, and its files that owner's or root's. Several processes may build and store
the same engine at once; each file is whole whenever it is seen, and the last one stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pwd
import stat
import struct
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lwseg_ros.errors import BackendError
from lwseg_ros.host.files import open_regular, write_atomically

ANY = "any"
MAGIC = b"LWSEGENGINE\x00\x00\x00\x00\x01"
LENGTH = struct.Struct("<Q")
MAX_HEADER_BYTES = 1 << 16
OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineKey:
    """All that an engine depends on, or what was compiled of it further on a device.

    model_sha256: of the model file. library, library_version: what built it. gpu: device name, compute_capability: such
    as "8.7", multiprocessors: how many; ANY, or 0, for engines that are compiled further on the device. precision: the
    model's. max_batch: there is one optimisation profile for each size of a batch up to it. part: the engine, or the
    kernels that TensorRT for RTX compiled of it (its runtime cache).
    """

    model_sha256: str
    library: str
    library_version: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    precision: str
    max_batch: int
    part: Literal["engine", "kernels"] = "engine"

    def file_name(self) -> str:
        """Return a name that no other key has."""
        digest = hashlib.sha256(self.to_json()).hexdigest()
        return f"{self.library}-{self.precision}-{digest[:32]}.{self.part}"

    def to_json(self) -> bytes:
        """Write as canonical JSON."""
        return json.dumps(asdict(self), sort_keys=True).encode()


def default_folder() -> Path:
    """Return the user's own cache folder: $XDG_CACHE_HOME or ~/.cache, and in it lwseg_ros/engines."""
    try:
        # an empty variable, as some units and containers have it, is none
        base = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME") or _home_of_user()) / ".cache"
    except KeyError as error:  # a user without a name, as in some containers
        raise BackendError("there is no home folder for the engine cache; set XDG_CACHE_HOME or cache_dir") from error
    return Path(base) / "lwseg_ros" / "engines"


def _home_of_user() -> str:
    return pwd.getpwuid(os.getuid()).pw_dir


class EngineCache:
    """A private folder of engines, made with mode 0700 on the first store; files have 0600."""

    def __init__(self, folder: Path | None = None) -> None:
        """Name the folder; None takes the default one. Raises BackendError where a home folder in it is nobody's."""
        try:
            self.folder = default_folder() if folder is None else Path(folder).expanduser()
        except RuntimeError as error:
            raise BackendError(f"engine cache {folder} cannot be looked for ({error}); choose another") from error

    def path_of(self, key: EngineKey) -> Path:
        """Return where the engine of a key is or would be."""
        return self.folder / key.file_name()

    def load(self, key: EngineKey) -> bytes | None:
        """Return the engine of a key, or None, with a warning in the log, where there is none that can be trusted."""
        path = self.path_of(key)
        try:
            with open_regular(path) as file:
                # The folder counts too: who may write it can put another file in the place of ours.
                if not _is_private(os.fstat(file.fileno()), self.folder.stat()):
                    logger.warning("engine %s is not used: it may be written by others; it is built again", path)
                    return None
                data = file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("engine %s cannot be read (%s); it is built again", path, error)
            return None
        engine = _unpack(data, key)
        if engine is None:
            logger.warning("engine %s is damaged or another's; it is built again", path)
        return engine

    def remove(self, key: EngineKey) -> None:
        """Forget an engine, such as one that does not load; where that cannot be, the next one stored takes its place."""
        with contextlib.suppress(OSError):
            self.path_of(key).unlink()

    def store(self, key: EngineKey, engine: bytes) -> Path:
        """Keep an engine; raises BackendError where the folder cannot be written or is not private."""
        path = self.path_of(key)
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.folder.stat()
            if not _is_private(status, status):
                raise BackendError(
                    f"engine cache {self.folder} belongs to, or may be written by, others; `chmod 700` it or choose another"
                )
            write_atomically(path, _pack(key, engine), mode=0o600)
        except OSError as error:
            raise BackendError(f"engine cache {self.folder} cannot be written: {error}; choose another") from error
        return path


def _is_private(status: os.stat_result, folder: os.stat_result) -> bool:
    """Tell whether nobody but us, and the owner of the folder where we are root, may write a file in it, or the folder itself.

    Root could not keep that owner out anyway, who may have mounted the folder into the container that we are root of.
    """
    us = os.getuid()
    owners = {us, folder.st_uid} if us == 0 else {us}
    return {status.st_uid, folder.st_uid} <= owners and not (status.st_mode | folder.st_mode) & OTHERS_MAY_WRITE


def _pack(key: EngineKey, engine: bytes) -> bytes:
    """Lay out: magic, header length, header (key and the payload's SHA-256), payload."""
    header = json.dumps({"key": asdict(key), "sha256": hashlib.sha256(engine).hexdigest()}, sort_keys=True).encode()
    return MAGIC + LENGTH.pack(len(header)) + header + engine


def _unpack(data: bytes, key: EngineKey) -> bytes | None:
    start = len(MAGIC) + LENGTH.size
    if len(data) < start or not data.startswith(MAGIC):
        return None
    (header_bytes,) = LENGTH.unpack_from(data, len(MAGIC))
    if header_bytes > MAX_HEADER_BYTES:
        return None
    try:
        header = json.loads(data[start : start + header_bytes])
    except ValueError:
        return None
    engine = data[start + header_bytes :]
    expected = {"key": asdict(key), "sha256": hashlib.sha256(engine).hexdigest()}
    return engine if engine and header == expected else None
