"""The model file: one ONNX that holds graph, weights and manifest. See docs/architecture.md."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from lwseg_ros.errors import ModelFileError
from lwseg_ros.host.files import open_regular, write_atomically
from lwseg_ros.model.graph_classes import label_values
from lwseg_ros.model.graph_sizes import check_sizes
from lwseg_ros.model.manifest import FORMAT_VERSION, PRECISIONS, UNCERTAINTY_KINDS, Manifest
from lwseg_ros.model.onnx_file import EXPORT_HINT, check_onnx, element_type, parse_onnx, tensor_values

__all__ = [
    "DEFAULT_MODEL",
    "FORMAT_VERSION",
    "METADATA_KEY",
    "UNCERTAINTY_KINDS",
    "Manifest",
    "ModelFile",
    "check_batch",
    "load_model",
    "resolve_model",
    "save_model",
    "shipped_models",
    "weights_sha256",
]

DEFAULT_MODEL = "lite_seg0_camvid"
METADATA_KEY = "lwseg_manifest"
MODELS_FOLDER = Path(__file__).parents[1] / "assets" / "models"
# 42 million weights in fp32, as the largest of our networks has; checking a file takes four times its memory.
MAX_FILE_BYTES = 5 << 25
INPUT_NAME = "image"
OUTPUT_NAMES = ("label", "uncertainty")
NO_CLASS = 255
MAX_MESSAGE = 2000  # a foreign file's names may be of any length


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

    Raises ModelFileError, and nothing else whatever the bytes, which names what does not fit, when the file is missing,
    unreadable, not ONNX, without a manifest, of another format version, holds less or more than it declares, or when its graph
    or weights disagree with its manifest.
    """
    path = Path(path)
    data = _read(path)
    try:
        return _checked(path, data)
    except ModelFileError as error:
        raise ModelFileError(f"model file {path}: {error}") from (error.__cause__ or error)


def check_batch(model: ModelFile, num_images: int) -> None:
    """Refuse a model whose graph takes more for several images at a time than for as many one by one; raises ModelFileError."""
    try:
        check_sizes(onnx.load_model_from_string(model.data), num_images)
    except ModelFileError as error:
        raise ModelFileError(f"model file {model.path}, for {num_images} images at a time: {error}") from error


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
        model = _checked(path, data)
    except ModelFileError as error:
        raise ModelFileError(f"cannot save {path}: {error}") from error
    write_atomically(path, data)
    return model


def resolve_model(name_or_path: str | Path) -> Path:
    """Find a model file by path, or a shipped model by name such as `lite_seg0_camvid`.

    Raises ModelFileError, which lists the shipped names, when there is neither, or where it cannot be looked for.
    """
    try:
        path = Path(name_or_path).expanduser()
        found = path.is_file()
    except (OSError, RuntimeError) as error:  # RuntimeError: of a home folder that nobody knows
        reason = getattr(error, "strerror", None) or error
        shown = str(name_or_path)[:MAX_MESSAGE]
        raise ModelFileError(
            f"no model {shown!r}: it cannot be looked for ({reason}); give its path or name"
        ) from error
    if found:
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
    """List the models that come with the package, by name; other precisions of one (`precisions.py`) have no name of their own."""
    paths = sorted(MODELS_FOLDER.glob("*.onnx"))
    return {path.stem: path for path in paths if path.suffixes[-2:-1] not in [[f".{name}"] for name in PRECISIONS]}


def weights_sha256(onnx_model: onnx.ModelProto) -> str:
    """Hash the weights alone, so that the same weights under another graph or manifest can be told.

    SHA-256 over the initializers sorted by name; of each: name, element type, dimensions and little-endian values.
    """
    digest = hashlib.sha256()
    for tensor in sorted(onnx_model.graph.initializer, key=lambda tensor: tensor.name):
        dims = "x".join(map(str, tensor.dims))
        digest.update(f"{tensor.name}\0{tensor.data_type}\0{dims}\0".encode())
        digest.update(np.ascontiguousarray(tensor_values(tensor)).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(path: Path) -> bytes:
    try:
        if not path.exists():
            raise ModelFileError(f"model file {path} does not exist; shipped models: {', '.join(shipped_models())}")
        with open_regular(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        reason = error.strerror or error
        raise ModelFileError(f"model file {path} cannot be read: {reason}; give the path of an .onnx file") from error
    if len(data) > MAX_FILE_BYTES:
        raise ModelFileError(f"model file {path} is too large, at most {MAX_FILE_BYTES} bytes are accepted")
    return data


def _checked(path: Path, data: bytes) -> ModelFile:
    """Hold graph and weights against the manifest; raises ModelFileError."""
    try:
        onnx_model = parse_onnx(data)
        manifest = _manifest_of(onnx_model)
        actual = weights_sha256(onnx_model)
        check_onnx(onnx_model, data)
        _check_graph(onnx_model, manifest)
        _check_classes(onnx_model.graph, manifest)
        check_sizes(onnx_model)
    except ModelFileError as error:
        text = str(error)
        if len(text) <= MAX_MESSAGE:
            raise
        raise ModelFileError(f"{text[:MAX_MESSAGE]}...") from error.__cause__
    except Exception as error:  # onnx and protobuf say of no function what damaged bytes may make it raise
        raise ModelFileError(f"it is damaged ({type(error).__name__}: {error}); copy it again") from error
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


def _check_classes(graph: onnx.GraphProto, manifest: Manifest) -> None:
    """Demand a class for every label that the graph can give, and no other."""
    labels = label_values(graph)
    if labels is None:
        return
    ids = {info.id for info in manifest.classes}
    unnamed, never = labels - ids - {NO_CLASS, manifest.ignore_id}, ids - labels
    if unnamed or never:
        problem = f"it can give the labels {sorted(unnamed)}" if unnamed else f"it can never give {sorted(never)}"
        raise ModelFileError(
            f"its graph does not fit the classes of its manifest, {sorted(ids)}: {problem}; export it again"
        )


def _check_tensor(kind: str, value: onnx.ValueInfoProto, expected: tuple[int, ...]) -> None:
    """Demand uint8 [N, *expected] with N free."""
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.UINT8:
        actual = element_type(tensor.elem_type)
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
