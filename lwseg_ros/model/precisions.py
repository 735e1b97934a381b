"""One model in several precisions: NAME.onnx, and beside it NAME.fp16.onnx and NAME.int8.onnx that were converted from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lwseg_ros.errors import ModelFileError
from lwseg_ros.model.manifest import PRECISIONS
from lwseg_ros.model.model_file import ModelFile, load_model, resolve_model

CHOICES = ("auto", *PRECISIONS)
CONVERTED = ("fp16", "int8")


@dataclass(frozen=True)
class ModelPrecisions:
    """The files of one model that a runtime may open.

    model: the file that was asked for. others: the files beside it that were converted from it, by precision. refused: of each
    file that has such a name and is none, why.
    """

    model: ModelFile
    others: Mapping[str, ModelFile] = field(default_factory=dict)
    refused: tuple[str, ...] = ()

    def best_first(self, preferred: Iterable[str]) -> list[ModelFile]:
        """List the conversions to the preferred precisions in their order, and `model` last."""
        return [*(self.others[precision] for precision in preferred if precision in self.others), self.model]


def split_precision(name_or_path: str | Path) -> tuple[str | Path, str]:
    """Split `MODEL:PRECISION`, such as `lite_seg0_camvid:int8`, into model and precision, which is "auto" where none is named."""
    name, colon, precision = str(name_or_path).rpartition(":")
    return (name, precision) if colon and precision in PRECISIONS else (name_or_path, "auto")


def find_model(name_or_path: str | Path, precision: str = "auto") -> ModelPrecisions:
    """Load a model by path or shipped name in the precisions that there are.

    precision: one of CHOICES; any but "auto" is the only one taken. `MODEL:PRECISION` as the name asks for one too. Raises
    ModelFileError as `resolve_model` and `load_model` do, and where there is no such precision, naming the command that makes it.
    """
    if precision not in CHOICES:
        raise ModelFileError(f"precision is {precision!r}, expected one of {', '.join(CHOICES)}")
    name, named = split_precision(name_or_path)
    if named != "auto" and precision not in ("auto", named):
        raise ModelFileError(
            f"model {str(name_or_path)!r} names a precision, and {precision} is asked for; give one of them"
        )
    wanted = precision if named == "auto" else named
    model = load_model(resolve_model(name))
    if wanted not in ("auto", model.manifest.precision):
        return ModelPrecisions(_conversion(model, wanted))
    others, refused = {}, []
    if wanted == "auto" and model.manifest.parent_sha256 is None:  # what was converted itself is meant as it is
        for other in CONVERTED:
            if other == model.manifest.precision or not conversion_path(model.path, other).is_file():
                continue
            try:
                others[other] = _conversion(model, other)
            except ModelFileError as error:
                refused.append(str(error))
    return ModelPrecisions(model, others, tuple(refused))


def conversion_path(path: Path, precision: str) -> Path:
    """Say where a model file's conversion lies: NAME.int8.onnx beside NAME.onnx."""
    return path.with_name(f"{path.name.removesuffix('.onnx')}.{precision}.onnx")


def _conversion(model: ModelFile, precision: str) -> ModelFile:
    """Load a model file's conversion; raises ModelFileError where it is missing, or another's."""
    path = conversion_path(model.path, precision)
    if precision not in CONVERTED:
        raise ModelFileError(
            f"model file {model.path} is {model.manifest.precision}, and no {precision} is made of that; "
            "export one with `lwseg export CHECKPOINT -o MODEL.onnx`"
        )
    command = f"lwseg quantize {model.path} --precision {precision} --data DIR -o {path}"
    remedy = f"`{command}` makes it, which `pip install './training[quantize]'` (from a checkout) brings"
    if not path.is_file():
        raise ModelFileError(
            f"model file {model.path} is {model.manifest.precision}, and beside it is no {path.name}; {remedy}"
        )
    conversion = load_model(path)
    if conversion.manifest.precision != precision:
        raise ModelFileError(f"model file {path} is {conversion.manifest.precision}, not {precision}; {remedy}")
    if conversion.manifest.parent_sha256 != model.sha256:
        raise ModelFileError(
            f"model file {path} was made of another file (SHA-256 {str(conversion.manifest.parent_sha256)[:12]}) than "
            f"{model.path} ({model.sha256[:12]}); {remedy}"
        )
    return conversion
