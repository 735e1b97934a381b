"""What this machine has for the node, each thing with the one remedy where it is not as it should be; cameras aside."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lwseg_ros.backends import BackendOptions
from lwseg_ros.errors import BackendError, LwsegError
from lwseg_ros.imaging.transport import PROFILES_VARIABLES, affordable_segment_bytes
from lwseg_ros.node.shared_memory import DEFAULT_SEGMENT_BYTES, SEGMENT_BYTES, user_decision
from lwseg_ros.replay.live.processes import missing_middleware
from lwseg_ros.segmenter import Segmenter

INSTALL_RCLPY = "source /opt/ros/<distribution>/setup.bash, or `pip install 'lwseg_ros[ros]'`"
INSTALL_RUNTIME = "`pip install 'lwseg_ros[cpu]'` brings the runtimes for a CPU"
# By the first number of rclpy's version.
DISTRIBUTIONS = {3: "humble", 4: "iron", 7: "jazzy", 9: "kilted"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    name: what it is. found: in words. remedy: what to do about it, empty where all is well. values: the figures in `found`.
    """

    name: str
    found: str
    remedy: str = ""
    values: Mapping[str, object] = field(default_factory=dict)


def runtime_findings(model: str, backend_name: str) -> Iterator[Finding]:
    """Open a model as the node would with that parameter `backend`, and tell runtime, device and precision.

    A TensorRT engine is not built for it.
    """
    engine_missing = False

    def give_up(phase: str, step: int, steps: int) -> bool:
        nonlocal engine_missing
        engine_missing = True
        return False

    build = f"`lwseg build {model}` builds the TensorRT engine, once; the node would at its start, which takes minutes"
    try:
        with Segmenter.open(model, backend_name, options=BackendOptions(build_progress=give_up)) as segmenter:
            backend, choice, file = segmenter.backend, segmenter.choice, segmenter.model.path
    except BackendError as error:
        remedy = INSTALL_RUNTIME if backend_name == "auto" else "mend that, or set the parameter backend to auto"
        yield Finding("runtime", str(error), build if engine_missing else remedy)
        return
    except LwsegError as error:
        yield Finding("model", str(error), "name a model file that `lwseg models MODEL` can read")
        return
    found, remedy = f"{backend.name} {backend.library_version}", ""
    if choice.fallback_reason:
        found = f"{found} as a fallback: {choice.fallback_reason}"
        remedy = (
            f"mend that, or set the parameter backend to {backend.name} (here --backend), which is then no fallback"
        )
    yield Finding("runtime", found, build if engine_missing else remedy, {"backend": backend.name})
    yield Finding("device", backend.device)
    yield Finding("precision", f"{backend.precision}, of {file.name}", values={"precision": backend.precision})


def shared_memory_finding() -> Finding:
    """Tell whether what the node publishes has room in shared memory; of Fast DDS, the only middleware that asks for it."""
    segment_bytes = affordable_segment_bytes(SEGMENT_BYTES)
    values = {"segment_bytes": segment_bytes, "wanted_bytes": SEGMENT_BYTES}
    if decision := user_decision():
        value = os.environ.get(decision, "")
        if decision in PROFILES_VARIABLES and not Path(value).is_file():
            return Finding("shared memory", f"{decision} is {value!r}, which is no file", "correct it, or unset it")
        return Finding("shared memory", f"left to {decision}", values={"decided_by": decision})
    found = f"{segment_bytes / 2**20:.1f} MiB of {SEGMENT_BYTES / 2**20:.0f} MiB for the node's images"
    if segment_bytes <= DEFAULT_SEGMENT_BYTES:
        remedy = "free some of /dev/shm (`fastdds shm clean`), or start the container with `--shm-size=512m`"
        return Finding("shared memory", found, remedy, values)
    return Finding("shared memory", found, values=values)


def ros_finding() -> Finding:
    """Tell which ROS there is: one that can be imported, and of the distribution that is sourced."""
    try:
        import rclpy  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "rclpy":
            return Finding("ROS", "rclpy is not installed", INSTALL_RCLPY)
        return _unusable(error)
    except Exception as error:  # a library of another version or Python
        return _unusable(error)
    version, sourced = _rclpy_version(), os.environ.get("ROS_DISTRO", "")
    number = re.match(r"\d+", version)
    distribution = DISTRIBUTIONS.get(int(number[0]), "") if number else ""
    found = f"rclpy {version or 'of unknown version'}{f', of {distribution}' if distribution else ''}"
    values = {"rclpy": version, "distribution": sourced or distribution}
    if sourced and distribution and sourced != distribution:
        remedy = f"take one of them: `pip uninstall ros-rclpy` in this environment, or a shell where {sourced} is not sourced"
        return Finding("ROS", f"{found}, where {sourced} is sourced", remedy, values)
    return Finding("ROS", found, values=values)


def missing_middleware_finding() -> Finding | None:
    """Tell that the environment asks for a middleware that is not there, which ends every ROS process at its start."""
    if (missing := missing_middleware()) is None:
        return None
    package = f"ros-{os.environ.get('ROS_DISTRO', '<distribution>')}-{missing.replace('_', '-')}"
    remedy = f"`apt install {package}`, or unset RMW_IMPLEMENTATION to take the distribution's own"
    return Finding("middleware", f"RMW_IMPLEMENTATION is {missing}, which is not installed", remedy)


def middleware_finding() -> Finding:
    """Tell which middleware runs, and whom it reaches; rclpy has to be usable."""
    from rclpy.utilities import get_rmw_implementation_identifier

    name, domain = get_rmw_implementation_identifier(), os.environ.get("ROS_DOMAIN_ID") or "0"
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "the distribution's own"
    found = f"{name}, ROS_DOMAIN_ID {domain}, discovery range {reach}"
    return Finding("middleware", found, values={"middleware": name, "domain_id": domain})


def _unusable(error: Exception) -> Finding:
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return Finding("ROS", f"rclpy cannot be used: {reason}", "use the Python that the distribution was built for")


def _rclpy_version() -> str:
    try:
        return importlib.metadata.version("rclpy") or ""
    except Exception:  # an overlay's metadata may be missing or anything
        return ""
