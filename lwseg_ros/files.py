"""Files that are there whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path


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


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=2) + "\n").encode())


def _default_mode() -> int:
    """Return what the umask leaves of 0666; reading the umask needs setting it, so it is set straight back."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
