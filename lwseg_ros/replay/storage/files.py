"""Which files make up a bag, and how each of them is opened: the folder decides, metadata.yaml is a hint."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from pathlib import Path, PurePath
from typing import NamedTuple

import yaml

from lwseg_ros.errors import BagError
from lwseg_ros.host.files import load_yaml, temporary_folder
from lwseg_ros.replay.storage import mcap, ros1, sqlite
from lwseg_ros.replay.storage.base import Storage, check_room
from lwseg_ros.replay.storage.compression import ZSTD_MAGIC, open_zstd

METADATA = "metadata.yaml"
SUFFIXES = re.compile(r"\.(mcap|db3|bag)(\.zstd?)?$")
COPY_BYTES = 16 << 20
MAX_PACKING = 1000  # nothing that a sensor records becomes smaller than this part of itself


class BagFiles(NamedTuple):
    """The files of a bag in their order, what does not fit, and how many messages metadata.yaml counts, if it does."""

    paths: list[Path]
    warnings: list[str]
    num_messages: int | None = None


def find_files(path: Path) -> BagFiles:
    """Find the files of a bag, a folder or a single file.

    Raises:
        BagError: there are none, or metadata.yaml cannot be read.
    """
    if not path.exists():
        raise BagError(f"no bag at {path}; give the folder that holds metadata.yaml, or one .mcap, .db3 or .bag file")
    if not path.is_dir():
        return BagFiles([path], [])
    found = _each_once(sorted((file for file in path.iterdir() if SUFFIXES.search(file.name)), key=_natural_order))
    # `ros2 bag play` leaves what it unpacked beside the file
    found = [file for file in found if not (file.suffix.startswith(".zst") and file.with_suffix("") in found)]
    metadata = path / METADATA
    if not metadata.exists():
        if not found:
            raise BagError(f"{path} holds no metadata.yaml and no .mcap, .db3 or .bag file; give a bag's own folder")
        return BagFiles(found, [f"{path} holds no metadata.yaml; its files are read in the order of their names"])
    names, num_messages = _read_metadata(metadata)
    # named as they lay when they were recorded: beside it, or somewhere else
    named = [
        next((file for file in (path / PurePath(name).name, path / name) if _is_file(file)), name) for name in names
    ]
    present = _each_once(file for file in named if isinstance(file, Path))
    if not present:
        if not found:
            raise BagError(
                f"{path} holds no .mcap, .db3 or .bag file, and metadata.yaml names none that is there: {names}"
            )
        warning = "metadata.yaml names none of the files beside it; they are read in the order of their names"
        return BagFiles(found, [warning], num_messages)
    warnings = [
        f"{name or repr(name)} is missing, which metadata.yaml names" for name in named if isinstance(name, str)
    ]
    others = _each_once([*present, *found])[len(present) :]
    warnings += [f"{file.name} is not read: metadata.yaml does not name it" for file in others]
    return BagFiles(present, warnings, num_messages)


def open_storage(path: Path, msgtypes: Collection[str], stack: ExitStack) -> Storage:
    """Open one file of a bag, whatever its name says, until the stack is closed.

    Raises:
        BagError, OSError, zstd.ZstdError: it cannot be read.
    """
    if not path.is_file():
        raise BagError(f"{path} is no file")
    with path.open("rb") as file:
        magic = file.read(16)
    if magic.startswith(ZSTD_MAGIC):
        return open_storage(_unpacked(path, stack), msgtypes, stack)
    if not magic:
        raise BagError(f"{path.name} is empty: nothing of the recording was written")
    storage: Storage
    if magic.startswith(mcap.MAGIC):
        storage = mcap.McapStorage(path, msgtypes)
    elif magic == sqlite.MAGIC:
        storage = sqlite.SqliteStorage(path, msgtypes)
    elif magic.startswith(ros1.MAGIC):
        storage = ros1.Ros1Storage(path, msgtypes)
    else:
        raise BagError(f"{path.name} is no MCAP file, SQLite database or ROS 1 bag: it begins with {magic[:8]!r}")
    stack.callback(storage.close)
    return storage


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, or in a folder that may not be entered
        return False


def _each_once(files: Iterable[Path]) -> list[Path]:
    """Leave out what is a link to another of the files, or named again."""
    unique: dict[str, Path] = {}
    for file in files:
        unique.setdefault(os.path.realpath(file), file)
    return list(unique.values())


def _natural_order(path: Path) -> list[tuple[int, str]]:
    """Order bag_2 before bag_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _unpacked(path: Path, stack: ExitStack) -> Path:
    """Unpack a zstd-compressed file as far as it goes into a folder that goes with the stack."""
    target = stack.enter_context(temporary_folder("lwseg_bag_")) / path.with_suffix("").name
    max_bytes = MAX_PACKING * path.stat().st_size
    with open_zstd(path) as packed, target.open("wb") as unpacked:
        while unpacked.tell() <= max_bytes:
            try:
                data = packed.read1(COPY_BYTES)
            except EOFError:  # cut off, which the storage will notice
                data = b""
            if not data:
                return target
            check_room(target.parent, len(data), f"{path.name} unpacked")
            unpacked.write(data)
    raise BagError(
        f"{path.name} is left packed: more than {MAX_PACKING} times as large unpacked, it is no recording; if it is, unpack "
        "it with `unzstd`"
    )


def _read_metadata(path: Path) -> tuple[list[str], int | None]:
    """Read from a metadata.yaml which files it names, and how many messages it counts; raises BagError."""
    try:
        document = load_yaml(path)
    except (OSError, yaml.YAMLError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BagError(
            f"the bag {path.parent} cannot be opened: metadata.yaml cannot be read ({reason}); without it, the files beside "
            "it are"
        ) from error
    information = document.get("rosbag2_bagfile_information") if isinstance(document, dict) else None
    information = information if isinstance(information, dict) else {}
    names, count = information.get("relative_file_paths"), information.get("message_count")
    names = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return names, count if isinstance(count, int) else None
