"""Reading an ONNX file of others: bounded, and with the weights that lie beside it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import external_data_helper

from lwseg_ros.errors import ModelFileError
from lwseg_ros.host.files import open_regular
from lwseg_ros.model.model_file import MAX_FILE_BYTES
from lwseg_ros.model.onnx_file import EXPORT_HINT, check_onnx, messages, parse_onnx


def read_foreign(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file; weights that it keeps in other files are in what is returned.

    Raises ModelFileError where it cannot be read, is no valid ONNX or made of functions, or is larger, with all its weights, than
    a model file may be.
    """
    try:
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
        size = path.stat().st_size
    except OSError as error:
        raise ModelFileError(
            f"{path} cannot be read: {error.strerror or error}; give the path of an ONNX file"
        ) from error
    with foreign_errors(path):
        _check_size(size)
        model = parse_onnx(data)
        if model.functions:
            raise ModelFileError(
                "its graph is made of functions, which are not accepted; write them out with onnx.inliner.inline_local_functions"
            )
        _load_external_data(model, path.parent, size)
        check_onnx(model, model.SerializeToString())
        return model


@contextlib.contextmanager
def foreign_errors(path: Path) -> Iterator[None]:
    """Let a ModelFileError name the foreign file, and not send its owner to the exporter of our own."""
    try:
        yield
    except ModelFileError as error:
        raise ModelFileError(f"{path}: {str(error).replace(f'; {EXPORT_HINT}', '')}") from error.__cause__


def _load_external_data(model: onnx.ModelProto, folder: Path, size: int) -> None:
    """Read weights from the files beside the model's, `size` bytes large itself; raises ModelFileError."""
    external = [
        message
        for message, _ in messages(model)
        if isinstance(message, onnx.TensorProto) and external_data_helper.uses_external_data(message)
    ]
    for tensor in external:
        try:
            info = external_data_helper.ExternalDataInfo(tensor)
            size += (folder / info.location).stat().st_size - (info.offset or 0) if info.length is None else info.length
            _check_size(size)
            # Refuses paths that lead out of the folder.
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))
        except (OSError, ValueError, onnx.checker.ValidationError) as error:
            first_line = next(iter(str(error).splitlines()), "no reason given")
            raise ModelFileError(
                f"its weights {tensor.name!r} cannot be read from the file that it names ({first_line}); "
                "keep both files in one folder under the names they were exported to"
            ) from error


def _check_size(size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise ModelFileError(
            f"it has {size} bytes with its weights, at most {MAX_FILE_BYTES} are accepted, 41 million weights in fp32; "
            "export a smaller network, or in half precision"
        )
