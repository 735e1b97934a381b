"""The lifecycle node `segment`: the ROS 2 edge. Parameters, topics, states and diagnostics; no pixel work."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

from diagnostic_msgs.msg import DiagnosticStatus

from lwseg_ros.backends import BackendOptions
from lwseg_ros.backends.cuda import gpu_is_there
from lwseg_ros.errors import LwsegError
from lwseg_ros.imaging import messages
from lwseg_ros.node.backend_thread import BackendThread
from lwseg_ros.node.camera_input import CameraInput
from lwseg_ros.node.diagnostics import camera_status, inference_status, silence_reason
from lwseg_ros.node.drift import DriftWatch
from lwseg_ros.node.engine_build import EngineBuild
from lwseg_ros.node.frame import Frame
from lwseg_ros.node.label_relay import LabelRelay
from lwseg_ros.node.mailbox import Mailbox
from lwseg_ros.node.managed_node import ManagedNode
from lwseg_ros.node.parameters import PARAMETERS, Settings
from lwseg_ros.node.process import ProcessEnd
from lwseg_ros.node.publishers import CameraPublishers, ModelPublishers, ResultSink
from lwseg_ros.node.statistics import FrameSnapshot
from lwseg_ros.node.turns import Turns
from lwseg_ros.node.worker import SegmentWorker
from lwseg_ros.segmenter import Segmenter

WATCH_PERIOD_S = 0.25
# How long opening a model may take before it is an error; an engine that is being built takes longer.
OPENING_PATIENCE_S = 10.0
# Together below `process.END_TIMEOUT_S`.
STOP_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
# From diagnosing a lost backend to ending the process: monitors hear of it, and an inference may return after all.
END_DELAY_S = 5.0
EXIT_BACKEND_LOST = 3


@dataclass(frozen=True)
class Fallback:
    """A runtime on the CPU that is being opened in the place of one that was lost."""

    reason: str
    opening: Future[Segmenter]


class SegmentNode(ManagedNode[Settings]):
    """Segment the images of one or several cameras.

    Configured it holds its publishers and the model, in a thread that alone opens, runs and closes the backend; active also
    its subscriptions and the worker. Diagnostics run in every state.
    """

    def __init__(self, arguments: Sequence[str] = (), relay: LabelRelay | None = None) -> None:
        """Declare the parameters; arguments as in `ManagedNode`. relay: who takes the labels beside the topics."""
        super().__init__("segment", Settings(), PARAMETERS, arguments)
        self._relay = relay or LabelRelay()
        self._backend_thread: BackendThread | None = None
        self._left_behind: list[BackendThread] = []
        self._engine_build = EngineBuild(self.get_logger().info)
        self._segmenter: Segmenter | None = None
        self._fallback: Fallback | None = None
        self._model_publishers: ModelPublishers | None = None
        self._inputs: dict[str, CameraInput] = {}
        self._sink: ResultSink | None = None
        self._drift = DriftWatch(None, ())
        self._worker: SegmentWorker | None = None
        self._troubled_since_s: float | None = None
        self._silent: set[str] = set()
        self._reported: dict[str, FrameSnapshot] = {}
        self._watch_timer = self.create_timer(WATCH_PERIOD_S, self._watch, clock=self._steady_clock)

    def interrupt(self) -> None:
        """Give up what may take minutes, since the process is to end; from any thread."""
        self._engine_build.interrupt()

    def _disagreements(self, settings: Settings) -> list[str]:
        return settings.disagreements()

    def _hangs(self) -> bool:
        return any(thread.hangs for thread in self._left_behind)

    # States

    def _configure(self) -> None:
        settings = self._settings
        if disagreements := settings.disagreements():
            raise LwsegError("; ".join(disagreements))
        self._backend_thread = BackendThread()
        try:
            self._segmenter = self._backend_thread.open(
                self._segmenter_maker(settings.backend),
                meanwhile=self._publish_diagnostics,
                period_s=1 / settings.diagnostics_rate_hz,
            )
        finally:
            self._engine_build.finish()
        self._log_choice(self._segmenter)
        model = self._segmenter.model
        self._inputs = {camera: CameraInput(self, camera, lambda: self._settings) for camera in settings.cameras}
        self._model_publishers = ModelPublishers(self._outputs, model, publish_confidence=settings.publish_confidence)
        acceptance = model.manifest.accepted_pixels()
        self._drift = DriftWatch(acceptance, settings.cameras)
        self._sink = ResultSink(
            {
                camera: CameraPublishers(self._outputs, camera, model, publish_confidence=settings.publish_confidence)
                for camera in settings.cameras
            },
            self._model_publishers,
            self._drift,
            settings=lambda: self._settings,
            relay=lambda result: self._relay.send(result, acceptance),
        )

    def _segmenter_maker(self, backend: str, lost: Mapping[str, str] | None = None) -> Callable[[], Segmenter]:
        """Return what opens model and backend as the parameters now say; lost: see `open_backend`."""
        settings = self._settings
        options = BackendOptions(
            max_batch=len(settings.cameras),
            device_id=settings.cuda_device,
            num_threads=settings.num_threads,
            cpu_precision=settings.cpu_precision,
            cache_dir=Path(settings.engine_cache_dir) if settings.engine_cache_dir else None,
            build_progress=self._engine_build.report,
        )
        return lambda: Segmenter.open(settings.model, backend, precision=settings.precision, options=options, lost=lost)

    def _log_choice(self, segmenter: Segmenter) -> None:
        choice, backend = segmenter.choice, segmenter.backend
        if choice.fallback_reason:
            self.get_logger().warning(f"falling back to {backend.name}: {choice.fallback_reason}")
        self.get_logger().info(
            f"{segmenter.model.path} on {backend.name} {backend.library_version} "
            f"({backend.device}, {backend.precision}): {choice.reason}"
        )

    def _activate(self) -> None:
        if self._model_publishers is None:
            raise RuntimeError("the node is not configured")
        self._relay.send_label_info(self._model_publishers.label_info_json)
        self._model_publishers.publish_label_info(self.get_clock().now().to_msg())
        if self._fallback is None:  # else once that is open
            self._start()

    def _start(self) -> None:
        if self._segmenter is None or self._backend_thread is None or self._sink is None:
            raise RuntimeError("the node is not configured")
        turns = Turns(self._settings.cameras, lambda camera: self._settings.priority_of(camera))
        mailbox: Mailbox[Frame] = Mailbox(self._settings.cameras, turns.next)
        self._worker = SegmentWorker(
            self._segmenter,
            mailbox,
            self._backend_thread,
            decode=messages.decode_compressed if self._settings.transport == "compressed" else messages.to_bgr,
            settings=lambda: self._settings,
            clock_ns=lambda: self.get_clock().now().nanoseconds,
            sink=self._sink,
            statistics={camera: source.statistics for camera, source in self._inputs.items()},
            report=self._warn,
        )
        self._worker.start()
        for source in self._inputs.values():
            source.open(mailbox)

    def _stop(self) -> None:
        for source in self._inputs.values():
            source.close()
        # One that hangs is kept, for the diagnostics.
        if self._worker is not None and self._worker.stop(STOP_TIMEOUT_S):
            self._worker = None

    def _release(self) -> None:
        self._stop()
        self._close_segmenter()
        self._outputs.close()
        self._model_publishers = self._sink = None
        self._inputs = {}
        self._reported = {}
        self._silent.clear()

    def _close_segmenter(self) -> None:
        """Close the backend; one that hangs is left behind until the process ends."""
        self._worker = self._segmenter = self._fallback = None
        if self._backend_thread is not None and not self._backend_thread.close(CLOSE_TIMEOUT_S):
            self.get_logger().error("the backend hangs: it is left behind, with its memory, until the process ends")
            self._left_behind.append(self._backend_thread)
        self._backend_thread = None

    # The backend

    def _watch(self) -> None:
        """Say at once that inference hangs or its device is lost, and see to it."""
        if self._fallback is not None and self._fallback.opening.done():
            self._finish_fallback(self._fallback)
        trouble = self._trouble()
        now_s = time.monotonic()
        if not trouble:
            if self._troubled_since_s is not None and self._worker is not None and not self._worker.waits:
                self.get_logger().info("inference goes on")
            self._troubled_since_s = None
            return
        if self._troubled_since_s is None:
            self._troubled_since_s = now_s
            self.get_logger().error(trouble)
            self._publish_diagnostics()
        if self._state != "active" or self._segmenter is None or self._worker is None:
            return
        stage = self._worker.stage
        backend_fails = self._worker.lost or (stage and stage[0] not in ("decoding", "publishing"))
        if backend_fails and self._settings.on_backend_loss == "cpu" and self._segmenter.backend.name == "tensorrt":
            self._begin_fallback(trouble)
        elif now_s - self._troubled_since_s > END_DELAY_S:
            raise ProcessEnd(EXIT_BACKEND_LOST, f"{trouble}; the process ends, to be started again")

    @property
    def _opening_s(self) -> float:
        return self._backend_thread.opening_s if self._backend_thread else 0.0

    def _trouble(self) -> str:
        """Say what keeps the backend from segmenting at all; empty while nothing does."""
        if self._fallback is not None:
            return f"{self._fallback.reason}; a runtime on the CPU has been opening for {self._opening_s:.0f} s"
        if self._opening_s > OPENING_PATIENCE_S and not self._engine_build.text:
            is_built = self._settings.backend in ("auto", "tensorrt") and gpu_is_there()
            remedy = "; `lwseg build` builds TensorRT engines ahead" if is_built else ""
            return f"the model has been opening for {self._opening_s:.0f} s{remedy}"
        if self._worker is None:
            return ""
        if self._worker.lost:
            return f"the device is lost to this process: {self._worker.lost}"
        stage, timeout_s = self._worker.stage, self._settings.inference_timeout_s
        if timeout_s and stage and stage[1] > timeout_s:
            return f"the {stage[0]} in hand has been running for {stage[1]:.1f} s; inference_timeout_s is {timeout_s:g}"
        return ""

    def _begin_fallback(self, reason: str) -> None:
        """Let go of TensorRT, and begin to open a runtime on the CPU; meanwhile nothing is subscribed."""
        for source in self._inputs.values():
            source.close()
        if self._worker is not None:
            self._worker.stop(timeout_s=0)
        self._close_segmenter()
        self.get_logger().warning("opening a runtime on the CPU")
        self._backend_thread = BackendThread()
        opening = self._backend_thread.begin_opening(self._segmenter_maker("auto", {"tensorrt": reason}))
        self._fallback = Fallback(reason, opening)

    def _finish_fallback(self, fallback: Fallback) -> None:
        """Go on with the runtime that is open now; end the process where none could be opened."""
        try:
            self._segmenter = fallback.opening.result()
        except LwsegError as error:
            reason = f"{fallback.reason}; no runtime on the CPU either: {error}"
            raise ProcessEnd(EXIT_BACKEND_LOST, reason) from error
        self._fallback = None
        self._log_choice(self._segmenter)
        if self._state == "active":
            self._start()

    # Diagnostics

    def _warn(self, camera: str, text: str) -> None:
        self._warn_rarely(f"a frame{f' of {camera}' if camera else ''} {text}", camera)

    def _statuses(self, name: str) -> list[DiagnosticStatus]:
        now_s = time.monotonic()
        hardware_id = self._segmenter.backend.device if self._segmenter else "none"
        cameras = []
        errors = 0
        for camera, source in self._inputs.items():
            snapshot, state = source.statistics.snapshot(now_s), source.state()
            previous = self._reported.get(camera, snapshot)
            self._reported[camera] = snapshot
            errors += snapshot.dropped["error"] - previous.dropped["error"]
            if source.is_open:
                self._log_silence(camera, silence_reason(snapshot, state, self._settings.input_timeout_s))
            else:
                self._silent.discard(camera)
            cameras.append(
                camera_status(
                    name,
                    camera,
                    snapshot,
                    previous,
                    state,
                    stamp_clock=source.stamp_clock,
                    active=source.is_open,
                    input_timeout_s=self._settings.input_timeout_s,
                    hardware_id=hardware_id,
                    camera_info_fault=self._sink.camera_info_fault(camera) if self._sink else "",
                    lately=self._drift.mean(camera, now_s),
                    normal=self._drift.normal,
                )
            )
        timings = list(self._worker.timings) if self._worker else []
        building = self._engine_build.text
        opening = "building" if building else "configuring"
        lifecycle_state = opening if self._opening_s and self._fallback is None else self._state
        inference = inference_status(
            name,
            lifecycle_state,
            self._segmenter,
            timings,
            errors,
            hardware_id,
            trouble=self._trouble(),
            building=building,
        )
        return [inference, *cameras]

    def _log_silence(self, camera: str, reason: str | None) -> None:
        """Log the beginning and the end of a camera's silence, not what lies between."""
        if reason and camera not in self._silent:
            self._silent.add(camera)
            self.get_logger().warning(reason)
        elif not reason and camera in self._silent:
            self._silent.remove(camera)
            self.get_logger().info(f"images{f' of {camera}' if camera else ''} come in")
