"""Which image goes with which label in a data set's folders. What a half-unpacked data set lacks is named."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lwseg_ros.datasets.labels import CodedPath, LabelCode
from lwseg_ros.errors import DatasetError


@dataclass(frozen=True)
class Files:
    """The files of a folder that end in a suffix; what stands before it, folders in between included, is their name."""

    folder: Path
    suffix: str  # such as `_L.png`
    under: str = ""  # a pattern of the folders in between, such as `*/`
    code: LabelCode | None = None  # what the values of labels mean; None for images, and where labels hold class ids

    def names(self) -> set[str]:
        """Return the names of the files that are there."""
        paths = self.folder.glob(f"{self.under}*{self.suffix}")
        return {path.relative_to(self.folder).as_posix().removesuffix(self.suffix) for path in paths}

    def path(self, name: str) -> Path:
        """Return where the file of a name belongs."""
        return self.folder / f"{name}{self.suffix}"

    def label(self, name: str) -> Path | CodedPath:
        """Return where the label of a name belongs, with what its values mean."""
        return self.path(name) if self.code is None else CodedPath(self.path(name), self.code)


def check_folders(root: Path, split: str, folders: Sequence[Path], tree: str) -> None:
    """Check that a split's folders are there; raises DatasetError naming the first that is not, and the expected tree."""
    if not root.is_dir():
        raise DatasetError(f"no folder {root}; expected\n{tree}")
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"{root} holds no split {split!r}: no folder {folder}; expected\n{tree}")


def pair_by_name(images: Files, labels: Sequence[Files], tree: str) -> tuple[tuple[Path, Path | CodedPath], ...]:
    """Pair images with labels of the same name, in the order of the names.

    Of several kinds of labels the first that has the name is taken. Raises DatasetError where there are no images, or where
    one of a pair is missing.
    """
    image_names, label_names = images.names(), [kind.names() for kind in labels]
    all_labels = set().union(*label_names)
    if not image_names and not all_labels:
        raise DatasetError(f"{images.folder} holds no {images.under}*{images.suffix}; expected\n{tree}")
    check_present((labels[0].path(name) for name in sorted(image_names - all_labels)), tree)
    check_present((images.path(name) for name in sorted(all_labels - image_names)), tree)
    return tuple(
        (
            images.path(name),
            next(kind.label(name) for kind, names in zip(labels, label_names, strict=True) if name in names),
        )
        for name in sorted(image_names)
    )


def pair_by_list(listing: Path, images: Files, labels: Files, tree: str) -> tuple[tuple[Path, Path | CodedPath], ...]:
    """Pair the images and labels of a list's names, in its order; raises DatasetError where it or one of a pair is missing."""
    names = read_names(listing, tree)
    for files in (images, labels):
        there = files.names()
        check_present((files.path(name) for name in names if name not in there), tree)
    return tuple((images.path(name), labels.label(name)) for name in names)


def check_present(missing: Iterable[Path], tree: str) -> None:
    """Raise DatasetError if files are missing, naming the first and counting the others."""
    paths = list(missing)
    if paths:
        more = f" and so are {len(paths) - 1} more" if len(paths) > 1 else ""
        raise DatasetError(f"{paths[0]} is missing{more}; expected\n{tree}")


def read_names(listing: Path, tree: str) -> list[str]:
    """Read a list of names, one a line; raises DatasetError where it cannot be read or is empty."""
    names = [name for line in read_lines(listing, tree, "the list ") for name in line.split()]
    if not names:
        raise DatasetError(f"the list {listing} is empty; expected\n{tree}")
    return names


def read_lines(path: Path, tree: str, kind: str = "") -> list[str]:
    """Read a text's lines; raises DatasetError where it cannot be read. kind: of text, in front of its path."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"cannot read {kind}{path}: {error}; expected\n{tree}") from error
