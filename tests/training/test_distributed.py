"""Which device a training process gets."""

from __future__ import annotations

import pytest
import torch

from lwseg_ros.errors import RecipeError
from training.distributed import training_process


def test_alone_it_is_the_main_process() -> None:
    with training_process("cpu") as process:
        assert (process.rank, process.world_size, process.device, process.is_main) == (0, 1, torch.device("cpu"), True)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    count = torch.cuda.device_count()
    monkeypatch.setenv("LOCAL_RANK", str(count))
    with (
        pytest.raises(
            RecipeError, match=rf"wants CUDA device {count}, .* sees {count}; start fewer processes, use --dev"
        ),
        training_process("cuda"),
    ):
        pass
