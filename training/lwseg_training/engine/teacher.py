"""A finished network that teaches another: its logits for the images of a step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lwseg_ros.backends.openvino_core import shared_core
from lwseg_ros.classes import ClassInfo
from lwseg_ros.errors import RecipeError
from lwseg_training.config.recipe import DatasetSection, parse_recipe
from lwseg_training.engine.checkpoint import load_checkpoint, trained_network_of
from lwseg_training.engine.evaluation import autocast
from lwseg_training.engine.warm_start import TEACHER, check_unseen
from lwseg_training.networks.normalization import Normalize
from lwseg_training.networks.onnx_graph import onnx_graph


class Teacher:
    """Gives logits float32 [n, C, H, W] for images uint8 BGR [n, H, W, 3]; its class weights stay in them, as in the student's.

    On a CPU it runs in OpenVINO where that is installed, in a third of PyTorch's time.

    Args:
        path: of its checkpoint.
        dataset: what the student trains on: a teacher that has seen what that holds out is refused.
        classes: of the student.
        device: where the images are.
        precision: in which PyTorch runs it, the student's.

    Raises CheckpointError where there is no finished run, RecipeError where it has other classes or has seen what is held out.
    """

    def __init__(
        self,
        path: Path,
        dataset: DatasetSection,
        classes: tuple[ClassInfo, ...],
        device: torch.device,
        precision: str = "bf16",
    ) -> None:
        check_unseen(path, dataset, TEACHER)
        state = load_checkpoint(path)
        names = [entry["name"] for entry in state["classes"]]
        if names != [info.name for info in classes]:
            raise RecipeError(f"{TEACHER}: {path} tells the classes {', '.join(names)}, not those of {dataset.name}")
        recipe = parse_recipe(state["recipe"], source=str(path))
        self.device, self.precision = device, precision
        self.graph = (
            nn.Sequential(Normalize(recipe.normalization, recipe.exposure), trained_network_of(state)).eval().to(device)
        )
        self._compiled: dict[tuple[int, ...], Any] = {}  # by the images' shape
        # OpenVINO leaves its signal stack with the thread that compiles, and takes it back with the model: on the trainer's own
        # thread the signal to stop would end in a segmentation fault.
        self._runtime_thread = ThreadPoolExecutor(1)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        """Return the logits."""
        compiled = self._for_shape(image) if self.device.type == "cpu" else None
        if compiled is None:
            with autocast(self.device, self.precision):
                logits: Tensor = self.graph(image)
            return logits.float()
        return torch.from_numpy(np.array(self._runtime_thread.submit(compiled, image.numpy()).result()[0]))

    def _for_shape(self, image: Tensor) -> Any:
        """Compile the graph for images of a shape, once; None without OpenVINO."""
        try:
            core = shared_core()
        except ImportError:
            return None
        shape = tuple(image.shape)
        if shape not in self._compiled:
            threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
            # By way of ONNX: OpenVINO's own conversion of PyTorch modules gets exposure wrong (2026.4).
            graph = core.read_model(onnx_graph(self.graph, image, ["logits"]).SerializeToString(), b"")
            self._compiled[shape] = self._runtime_thread.submit(core.compile_model, graph, "CPU", threads).result()
        return self._compiled[shape]
