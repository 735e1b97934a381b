"""How often each class is in a split's labels; counted once, then kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np

from lwseg_ros.datasets import CodedPath
from lwseg_ros.host.files import write_json
from lwseg_training.data.labelled_images import LabelledImages

FORMAT = 1


def class_frequencies(images: LabelledImages, num_classes: int) -> np.ndarray:
    """Return each class's share of the labelled pixels, float64 [num_classes], summing to 1.

    Counts are kept under the names, sizes and times of change of all label files, so that those of other files, or of files that
    have changed since, are never found. Where they cannot be kept they are counted every time.

    Raises DatasetError as ``images`` does.
    """
    kept = _kept_file(images)
    counts = _read(kept)
    if counts is None:
        counts = np.zeros(256, dtype=np.int64)
        for _, label in images:
            counts += np.bincount(label.ravel(), minlength=256)
        with suppress(OSError):
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, counts.tolist())
    frequencies: np.ndarray = counts[:num_classes] / max(1, counts[:num_classes].sum())
    return frequencies


def _kept_file(images: LabelledImages) -> Path:
    """Return where the counts of these very labels are kept."""
    codes: dict[int, str] = {}  # by object: all labels of a split share one code, or two
    digest = hashlib.sha256(json.dumps([FORMAT, images.split.dataset, images.split.ignore_id, images.size_hw]).encode())
    digest.update(str(len(images.split.classes)).encode())
    for _, label in images.split.pairs:
        path, code = (label.path, label.code) if isinstance(label, CodedPath) else (label, None)
        meaning = codes.setdefault(id(code), repr(sorted(code.ids.items())) if code is not None else "")
        with suppress(OSError):  # a missing file is told when it is read
            status = path.stat()
            digest.update(f"{path.resolve()}\0{status.st_size} {status.st_mtime_ns} {meaning}\n".encode())
    base = os.environ.get("XDG_CACHE_HOME") or Path(os.environ.get("HOME", "/")) / ".cache"
    return Path(base) / "lwseg_ros" / "class_counts" / f"{digest.hexdigest()[:32]}.json"


def _read(path: Path) -> np.ndarray | None:
    """Return kept counts int64 [256]; None where there are none, or what is there is none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not (
        isinstance(values, list) and len(values) == 256 and all(type(v) is int and 0 <= v < 1 << 62 for v in values)
    ):
        return None
    return np.array(values, dtype=np.int64)
