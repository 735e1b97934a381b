"""What a report is of: the bag by its digest, the versions that took part."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from lwseg_ros.evaluation.machine import library_versions, machine
from lwseg_ros.host.files import file_sha256
from lwseg_ros.replay.storage.files import find_files


@dataclass(frozen=True)
class BagIdentity:
    """Path, size in bytes and SHA-256 of a bag."""

    path: str
    bytes: int
    sha256: str


def identify_bag(path: Path) -> BagIdentity:
    """Read a bag's files once more for their digest.

    The digest of a bag of one file is the file's; that of several is the digest of the lines `DIGEST  NAME` that `sha256sum`
    writes for them, in the order of their names. Metadata and indexes beside them, which decide nothing, are left out.

    Raises:
        BagError: there is no bag.
        OSError: a file cannot be read.
    """
    files = sorted(find_files(path).paths, key=lambda file: file.name)
    digests = [file_sha256(file) for file in files]
    lines = "".join(f"{digest}  {file.name}\n" for digest, file in zip(digests, files, strict=True))
    digest = digests[0] if len(files) == 1 else hashlib.sha256(os.fsencode(lines)).hexdigest()
    return BagIdentity(str(path), sum(file.stat().st_size for file in files), digest)


def versions() -> dict[str, str]:
    """Return the versions of lwseg_ros, Python and the libraries that take part."""
    here = machine()
    return {"lwseg_ros": here["lwseg_ros"], "python": here["python"], **library_versions()}
