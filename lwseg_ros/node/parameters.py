"""The node's parameters: one table from which declaration, validation, help, documentation and launch arguments follow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from lwseg_ros.backends import BACKENDS, CPU_PRECISIONS
from lwseg_ros.model.model_file import DEFAULT_MODEL
from lwseg_ros.model.precisions import CHOICES

if TYPE_CHECKING:
    from rcl_interfaces.msg import ParameterDescriptor

_CAMERA_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")

Change = Literal["any time", "unconfigured", "at start"]
Value = TypeVar("Value")
InputReliability = Literal["auto", "reliable", "best_effort"]


@dataclass(frozen=True)
class Settings:
    """All parameters' values at one moment."""

    model: str = DEFAULT_MODEL
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    backend: str = "auto"
    cameras: tuple[str, ...] = ("",)
    transport: Literal["raw", "compressed"] = "raw"
    input_reliability: InputReliability = "auto"
    input_depth: int = 5
    cuda_device: int = 0
    num_threads: int = 0
    cpu_precision: Literal["auto", "fp32", "bf16"] = "auto"
    engine_cache_dir: str = ""
    publish_confidence: bool = False
    output_size: Literal["camera", "model"] = "camera"
    uncertainty_encoding: Literal["mono8", "32FC1"] = "mono8"
    label_compressed_rate_hz: float = 0.0
    label_compressed_divisor: int = 1
    overlay_alpha: float = 0.5
    max_rate_hz: tuple[float, ...] = (0.0,)
    priorities: tuple[int, ...] = (0,)
    max_age_ms: float = 1000.0
    input_timeout_s: float = 2.0
    inference_timeout_s: float = 1.0
    on_backend_loss: Literal["exit", "cpu"] = "exit"
    diagnostics_rate_hz: float = 1.0
    autostart: bool = True

    def changed(self, values: Mapping[str, Any]) -> Settings:
        """Give the settings with some parameters' (valid) values replaced; names that are not ours are left out."""
        known = {name: PARAMETERS[name].convert(value) for name, value in values.items() if name in PARAMETERS}
        return replace(self, **known)

    def disagreements(self) -> list[str]:
        """List the parameters that are given for another number of cameras than there is, and what they accept."""
        cameras = f"the cameras {', '.join(self.cameras)}" if any(self.cameras) else "one camera"
        return [
            f"{name} is {list(values)} for {cameras}; accepted: one for all, or one for each"
            for name, values in (("max_rate_hz", self.max_rate_hz), ("priorities", self.priorities))
            if len(values) not in (1, len(self.cameras))
        ]

    def max_rate_hz_of(self, camera: str) -> float:
        """Return a camera's limit; 0 for none."""
        return self._of_camera(self.max_rate_hz, camera)

    def priority_of(self, camera: str) -> int:
        """Return a camera's priority."""
        return self._of_camera(self.priorities, camera)

    def _of_camera(self, values: tuple[Value, ...], camera: str) -> Value:
        return values[self.cameras.index(camera)] if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Parameter:
    """What one parameter is for, which values it takes, and when it may change."""

    description: str
    change: Change
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: Any = None

    @property
    def accepted(self) -> str:
        """The values it takes, in words."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        if self.minimum is not None:
            of_cameras = "; one for all cameras, or one for each" if self.lists_numbers else ""
            return f"{self.minimum:g} to {self.maximum:g}{of_cameras}"
        return {bool: "true or false", tuple: "a list of camera names"}.get(type(self.default), "a text")

    def convert(self, value: Any) -> Any:
        """Give a ROS value the type of the default: lists become tuples, and a whole number serves as a float."""
        if self.lists_numbers:
            return tuple(map(type(self.default[0]), _items(value))) or self.default
        if isinstance(self.default, tuple):
            return tuple(value) or self.default  # an empty list is as good as one empty name
        return float(value) if isinstance(self.default, float) else value

    def fault(self, name: str, value: Any) -> str | None:
        """Say what is wrong with a value, or None."""
        if self.lists_numbers:
            value = _items(value)
            fits = all(self._fits(item, self.default[0]) for item in value)
        elif isinstance(self.default, tuple):
            return _cameras_fault(name, value)
        else:
            fits = self._fits(value, self.default)
        return None if fits else f"{name} is {value!r}; accepted: {self.accepted}"

    @property
    def lists_numbers(self) -> bool:
        """Whether it is a list of numbers, one for all cameras or one for each; a single number is one too."""
        return isinstance(self.default, tuple) and not isinstance(self.default[0], str)

    def _fits(self, value: Any, default: Any) -> bool:
        """Tell whether a single value has a default's type and is among those that are accepted."""
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        fits = number if isinstance(default, float) else type(value) is type(default)
        if fits and self.choices:
            fits = value in self.choices
        if fits and self.minimum is not None and self.maximum is not None:
            fits = self.minimum <= value <= self.maximum
        return fits

    def descriptor(self) -> ParameterDescriptor:
        """Describe it to ROS."""
        from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

        when = {
            "any time": "Can change at any time.",
            "unconfigured": "Can change only while the node is unconfigured.",
            "at start": "Read-only: set at start.",
        }[self.change]
        descriptor = ParameterDescriptor(
            description=f"{self.description} {when}",
            additional_constraints=self.accepted,
            read_only=self.change == "at start",
            # So that `max_age_ms:=200` is as good as `200.0`, and a number as a list of one; `fault` checks the type.
            dynamic_typing=isinstance(self.default, float) or self.lists_numbers,
        )
        if self.minimum is not None and self.maximum is not None and not self.lists_numbers:
            if isinstance(self.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=self.minimum, to_value=self.maximum)]
            else:
                integers = IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum), step=1)
                descriptor.integer_range = [integers]
        return descriptor


def _items(value: Any) -> list[Any]:
    """See a number as a list of one; lists of numbers come from rclpy as arrays."""
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def _cameras_fault(name: str, value: Sequence[str]) -> str | None:
    if isinstance(value, str) or not all(isinstance(camera, str) for camera in value):
        return f"{name} is {value!r}; accepted: a list of camera names"
    if tuple(value) in ((), ("",)):
        return None
    wrong = [camera for camera in value if not _CAMERA_NAME.fullmatch(camera)]
    if wrong:
        return f"{name} holds {wrong[0]!r}; accepted: letters, digits and _ with a letter first, levels parted by /"
    if len(set(value)) != len(value):
        return f"{name} is {list(value)}; accepted: every camera once"
    return None


def table(settings: type, **parameters: Parameter) -> dict[str, Parameter]:
    """Give the parameters by name, each with its default in a dataclass of settings."""
    defaults = {field.name: field.default for field in fields(settings)}
    return {name: replace(parameter, default=defaults[name]) for name, parameter in parameters.items()}


PARAMETERS = table(
    Settings,
    model=Parameter("Model file: a path, or the name of a shipped model.", "unconfigured"),
    precision=Parameter(
        "Which of the model's files: NAME.onnx, or NAME.fp16.onnx or NAME.int8.onnx beside it; auto takes the best for runtime and "
        "device.",
        "unconfigured",
        CHOICES,
    ),
    backend=Parameter(
        "Inference runtime; auto takes the best one that this machine can run.", "unconfigured", ("auto", *BACKENDS)
    ),
    cameras=Parameter(
        "Names of several cameras: subscribes <name>/image, publishes ~/<name>/label. "
        "A single empty name means one camera without a name.",
        "unconfigured",
    ),
    transport=Parameter(
        "Subscribe Image on `image`, or CompressedImage on `image/compressed`.", "unconfigured", ("raw", "compressed")
    ),
    input_reliability=Parameter(
        "QoS reliability of the image subscription; auto is reliable while every publisher offers that, else best_effort, which "
        "receives from every publisher.",
        "unconfigured",
        ("auto", "reliable", "best_effort"),
    ),
    input_depth=Parameter("QoS history depth of the image subscription.", "unconfigured", minimum=1, maximum=100),
    cuda_device=Parameter("Which CUDA device TensorRT runs on.", "unconfigured", minimum=0, maximum=63),
    num_threads=Parameter(
        "Threads for inference on a CPU; 0 lets the runtime choose.", "unconfigured", minimum=0, maximum=256
    ),
    cpu_precision=Parameter(
        "Arithmetic of OpenVINO on a CPU; auto is as fast as keeps the labels of fp32 on 99.9 % of the pixels.",
        "unconfigured",
        CPU_PRECISIONS,
    ),
    engine_cache_dir=Parameter(
        "Folder of the TensorRT engine cache; empty means the user's cache folder.", "unconfigured"
    ),
    publish_confidence=Parameter(
        "Publish ~/confidence, 255 less the uncertainty, as planners such as Nav2's semantic layer take it.",
        "unconfigured",
    ),
    output_size=Parameter("Publish results in the camera's pixels or in the model's.", "any time", ("camera", "model")),
    uncertainty_encoding=Parameter(
        "mono8: 0 certain to 255 not at all; 32FC1: the same as floats from 0 to 1.", "any time", ("mono8", "32FC1")
    ),
    label_compressed_rate_hz=Parameter(
        "Publish at most so many of ~/label/compressed a second; 0 publishes one for every frame.",
        "any time",
        minimum=0.0,
        maximum=1000.0,
    ),
    label_compressed_divisor=Parameter(
        "Divide height and width of ~/label/compressed by this.", "any time", minimum=1, maximum=16
    ),
    overlay_alpha=Parameter("Weight of the class colours in ~/overlay.", "any time", minimum=0.0, maximum=1.0),
    max_rate_hz=Parameter(
        "Segment at most so many of a camera's frames a second; 0 for no limit.",
        "any time",
        minimum=0.0,
        maximum=1000.0,
    ),
    priorities=Parameter(
        "Where several cameras wait, those of a higher number come first; none waits for ever.",
        "any time",
        minimum=0,
        maximum=100,
    ),
    max_age_ms=Parameter(
        "Drop a frame that is older than this when its turn comes; 0 keeps all. Age is by the stamp; by arrival where the stamp is "
        "missing or from another clock.",
        "any time",
        minimum=0.0,
        maximum=60_000.0,
    ),
    input_timeout_s=Parameter(
        "Diagnose a camera after this time without an image, or without a label for its images.",
        "any time",
        minimum=0.1,
        maximum=3600.0,
    ),
    inference_timeout_s=Parameter(
        "Diagnose an inference, or a frame's decoding or publication, that takes longer as hanging, and see to it; 0 never does.",
        "any time",
        minimum=0.0,
        maximum=3600.0,
    ),
    on_backend_loss=Parameter(
        "When an inference hangs or the CUDA device is lost: exit ends the process with exit code 3, to be started again; "
        "cpu goes on with a runtime on the CPU where TensorRT was used.",
        "any time",
        ("exit", "cpu"),
    ),
    diagnostics_rate_hz=Parameter("Rate of /diagnostics.", "any time", minimum=0.1, maximum=50.0),
    autostart=Parameter("Configure and activate at start; otherwise wait for lifecycle transitions.", "at start"),
)


def faults(
    values: Mapping[str, Any], *, unconfigured: bool, parameters: Mapping[str, Parameter] = PARAMETERS
) -> list[str]:
    """List what is wrong with a change of some parameters in the node's present state."""
    found: list[str] = []
    for name, value in values.items():
        parameter = parameters.get(name)
        if parameter is None:
            continue
        if parameter.change == "unconfigured" and not unconfigured:
            found.append(f"{name} can change only while the node is unconfigured: deactivate it and clean it up first")
            continue
        fault = parameter.fault(name, value)
        if fault:
            found.append(fault)
    return found


def help_text(parameters: Mapping[str, Parameter] = PARAMETERS) -> str:
    """List all parameters for `--help`."""
    lines = []
    for name, parameter in parameters.items():
        default = list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        lines.append(f"  {name} (default {default!r}; {parameter.accepted}; changes: {parameter.change})")
        lines.append(f"      {parameter.description}")
    return "\n".join(lines)
