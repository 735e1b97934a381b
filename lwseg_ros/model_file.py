"""The model file: one ONNX that holds graph, weights and manifest. See docs/architecture.md."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from lwseg_ros.errors import ModelFileError
from lwseg_ros.files import write_atomically
from lwseg_ros.manifest import FORMAT_VERSION, UNCERTAINTY_KINDS, Manifest

__all__ = [
    "DEFAULT_MODEL",
    "FORMAT_VERSION",
    "METADATA_KEY",
    "UNCERTAINTY_KINDS",
    "Manifest",
    "ModelFile",
    "load_model",
    "resolve_model",
    "save_model",
    "shipped_models",
    "weights_sha256",
]

DEFAULT_MODEL = "dwrseg_b_camvid"
METADATA_KEY = "lwseg_manifest"
MODELS_FOLDER = Path(__file__).parent / "assets" / "models"
# Far above any network that runs at camera rate, and below the 2 GiB at which protobuf gives up.
MAX_FILE_BYTES = 1 << 30
INPUT_NAME = "image"
OUTPUT_NAMES = ("label", "uncertainty")
EXPORT_HINT = "write model files with `lwseg export`"


@dataclass(frozen=True)
class ModelFile:
    """A checked model file.

    path: where it was read from. manifest: what it says of itself. data: the file's bytes, which every runtime reads.
    sha256: of those bytes, 64 lower-case hex digits.
    """

    path: Path
    manifest: Manifest
    data: bytes
    sha256: str


def load_model(path: str | Path) -> ModelFile:
    """Read and check a model file.

    Raises ModelFileError, which names what does not fit, when the file is missing, unreadable, not ONNX, without a
    manifest, of another format version, or when its graph or weights disagree with its manifest.
    """
    path = Path(path)
    data = _read(path)
    try:
        return _checked(path, data, _parse(data))
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}") from (error.__cause__ or error)


def save_model(onnx_model: onnx.ModelProto, manifest: Manifest, path: str | Path) -> ModelFile:
    """Write graph, weights and manifest as one model file, atomically, and return it as `load_model` would.

    The manifest's weights_sha256 is computed here; the graph given is not changed. Raises ModelFileError, and leaves
    whatever was at `path` as it was, when the result would not load.
    """
    path = Path(path)
    complete = replace(manifest, weights_sha256=weights_sha256(onnx_model))
    stamped = onnx.ModelProto()
    stamped.CopyFrom(onnx_model)
    kept = [(entry.key, entry.value) for entry in onnx_model.metadata_props if entry.key != METADATA_KEY]
    del stamped.metadata_props[:]
    for key, value in [*kept, (METADATA_KEY, complete.to_json())]:
        stamped.metadata_props.add(key=key, value=value)
    data = stamped.SerializeToString()
    try:
        model = _checked(path, data, stamped)
    except ModelFileError as error:
        raise ModelFileError(f"cannot save {path}: {error}") from error
    write_atomically(path, data)
    return model


def resolve_model(name_or_path: str | Path) -> Path:
    """Find a model file by path, or a shipped model by name such as `dwrseg_b_camvid`.

    Raises ModelFileError, which lists the shipped names, when there is neither.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path
    shipped = shipped_models()
    name = str(name_or_path).removesuffix(".onnx")
    if name in shipped:
        return shipped[name]
    names = ", ".join(shipped) or "none in this installation"
    raise ModelFileError(
        f"no model {str(name_or_path)!r}: it is neither a file nor a shipped model; shipped models: {names}"
    )


def shipped_models() -> dict[str, Path]:
    """List the models that come with the package, by name."""
    return {path.stem: path for path in sorted(MODELS_FOLDER.glob("*.onnx"))}


def weights_sha256(onnx_model: onnx.ModelProto) -> str:
    """Hash the weights alone, so that the same weights under another graph or manifest can be told.

    SHA-256 over the initializers sorted by name; of each: name, element type, dimensions and little-endian values.
    """
    digest = hashlib.sha256()
    for tensor in sorted(onnx_model.graph.initializer, key=lambda tensor: tensor.name):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ModelFileError(
                f"weights {tensor.name!r} are kept in another file; a model file holds all its weights, {EXPORT_HINT}"
            )
        dims = "x".join(map(str, tensor.dims))
        digest.update(f"{tensor.name}\0{tensor.data_type}\0{dims}\0".encode())
        try:
            digest.update(numpy_helper.to_array(tensor).tobytes())
        except (ValueError, TypeError) as error:
            raise ModelFileError(f"weights {tensor.name!r} are damaged ({error}); copy the file again") from error
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise ModelFileError(f"model file {path} does not exist; shipped models: {', '.join(shipped_models())}")
        if not path.is_file():
            raise ModelFileError(f"model file {path} is not a file; give the path of an .onnx file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelFileError(f"model file {path} has {size} bytes, at most {MAX_FILE_BYTES} are accepted")
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"model file {path} cannot be read: {error.strerror or error}") from error


def _parse(data: bytes) -> onnx.ModelProto:
    if not data:
        raise ModelFileError("it is empty; copy it again")
    if data.startswith(b"version https://git-lfs"):
        raise ModelFileError("it is a Git LFS pointer, not the model; fetch the model with `git lfs pull`")
    try:
        onnx_model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise ModelFileError(f"it is not an ONNX file, or a truncated one ({error}); copy it again") from error
    if not onnx_model.graph.node:
        raise ModelFileError("it is not an ONNX file, or it holds no graph; " + EXPORT_HINT)
    return onnx_model


def _checked(path: Path, data: bytes, onnx_model: onnx.ModelProto) -> ModelFile:
    """Hold graph and weights against the manifest."""
    manifest = _manifest_of(onnx_model)
    if onnx_model.ir_version > onnx.IR_VERSION:
        raise ModelFileError(
            f"it is of ONNX IR version {onnx_model.ir_version}, the installed onnx {onnx.__version__} reads up to "
            f"{onnx.IR_VERSION}; `pip install --upgrade onnx`"
        )
    actual = weights_sha256(onnx_model)
    try:
        onnx.checker.check_model(onnx_model)
    except (onnx.checker.ValidationError, ValueError) as error:
        first_line = next(iter(str(error).splitlines()), "no reason given")
        raise ModelFileError(f"its graph is not valid ONNX ({first_line}); {EXPORT_HINT}") from error
    _check_graph(onnx_model, manifest)
    if actual != manifest.weights_sha256:
        raise ModelFileError(
            f"its weights have SHA-256 {actual[:12]}..., its manifest says {manifest.weights_sha256[:12]}...; "
            "the file was damaged or edited, copy or export it again"
        )
    return ModelFile(path=path, manifest=manifest, data=data, sha256=hashlib.sha256(data).hexdigest())


def _manifest_of(onnx_model: onnx.ModelProto) -> Manifest:
    texts = [entry.value for entry in onnx_model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        raise ModelFileError(f"it has no manifest (ONNX metadata key {METADATA_KEY!r}); {EXPORT_HINT}")
    if len(texts) > 1:
        raise ModelFileError(f"it has {len(texts)} manifests (ONNX metadata key {METADATA_KEY!r}), one is accepted")
    return Manifest.from_json(texts[0])


def _check_graph(onnx_model: onnx.ModelProto, manifest: Manifest) -> None:
    initialized = {tensor.name for tensor in onnx_model.graph.initializer}
    inputs = [value for value in onnx_model.graph.input if value.name not in initialized]
    names = [value.name for value in inputs]
    if names != [INPUT_NAME]:
        raise ModelFileError(f"its inputs are {names}, expected ['{INPUT_NAME}']; {EXPORT_HINT}")
    outputs = [value.name for value in onnx_model.graph.output]
    if sorted(outputs) != sorted(OUTPUT_NAMES):
        raise ModelFileError(f"its outputs are {outputs}, expected {list(OUTPUT_NAMES)}; {EXPORT_HINT}")
    _check_tensor("input", inputs[0], (*manifest.input_size_hw, 3))
    for output in onnx_model.graph.output:
        _check_tensor("output", output, manifest.input_size_hw)


def _check_tensor(kind: str, value: onnx.ValueInfoProto, expected: tuple[int, ...]) -> None:
    """Demand uint8 [N, *expected] with N free."""
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.UINT8:
        actual = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelFileError(f"its {kind} {value.name!r} is {actual}, expected uint8; {EXPORT_HINT}")
    dims = [dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?") for dim in tensor.shape.dim]
    free_batch = bool(dims) and not isinstance(dims[0], int)
    if not free_batch or tuple(dims[1:]) != expected:
        shown = ", ".join(map(str, dims))
        wanted = ", ".join(["N", *map(str, expected)])
        raise ModelFileError(
            f"its {kind} {value.name!r} has shape [{shown}], the manifest's input_size_hw asks for [{wanted}] "
            f"with N dynamic; {EXPORT_HINT}"
        )
