"""`lwseg build`: a model file's TensorRT engine into the cache, so that the first start on the vehicle is quick."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from lwseg_ros.backends import BackendOptions, cuda
from lwseg_ros.backends.engine_cache import ANY, EngineCache
from lwseg_ros.backends.tensorrt import TensorRtBackend, preferred_precisions
from lwseg_ros.backends.tensorrt_builder import CURRENT, build_engine, engine_key, load_library
from lwseg_ros.backends.tensorrt_engines import device_keys
from lwseg_ros.commands.arguments import MODEL_HELP, natural_int, positive_int
from lwseg_ros.errors import BackendUnavailableError
from lwseg_ros.host.terminal import say
from lwseg_ros.model.precisions import CHOICES, find_model

HELP = "Build the TensorRT engine of a model file and keep it in the engine cache."
EXAMPLE = "lwseg build lite_seg0_camvid --max-batch 2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help=MODEL_HELP)
    parser.add_argument(
        "--precision",
        choices=CHOICES,
        default="auto",
        help="which of the model's files; auto: the one that the node takes",
    )
    parser.add_argument(
        "--max-batch", type=positive_int, default=1, metavar="N", help="as at run time (default: %(default)s)"
    )
    parser.add_argument(
        "--device", type=natural_int, default=0, metavar="ID", help="CUDA device (default: %(default)s)"
    )
    parser.add_argument("--cpu-only", action="store_true", help="build without a GPU (TensorRT for RTX)")
    parser.add_argument(
        "--compute-capability", default=ANY, metavar="X.Y", help="with --cpu-only: for this device only, such as 8.9"
    )
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="default: the user's own cache folder")


def run(args: argparse.Namespace) -> int:
    """Build, or find it built, and say where it is."""
    if args.compute_capability != ANY and not args.cpu_only:
        say("lwseg build: --compute-capability goes with --cpu-only", file=sys.stderr)
        return 2
    options = BackendOptions(max_batch=args.max_batch, cache_dir=args.cache_dir, device_id=args.device)
    model = find_model(args.model, args.precision).best_first(preferred_precisions(options))[0]
    library = load_library()
    if args.cpu_only:
        if library.needs_device_to_build:
            raise BackendUnavailableError(
                f"{library.name} {library.version} builds on its device only; leave out --cpu-only"
            )
        key = engine_key(model, options, library, ANY, args.compute_capability)
    else:
        device = _device(args.device)
        key = device_keys(model, options, library, device)[0]
    cache = EngineCache(args.cache_dir)
    if cache.load(key) is None:
        with tqdm(desc="building", unit="step", file=sys.stderr, leave=False) as bar:

            def show(phase: str, step: int, steps: int) -> bool:
                bar.set_description(f"building: {phase}", refresh=False)
                bar.total, bar.n = steps, step
                bar.refresh()
                return True

            here = ANY if library.needs_device_to_build else CURRENT
            capability = args.compute_capability if args.cpu_only else here
            engine = build_engine(model, options, compute_capability=capability, progress=show)
        path, done = cache.store(key, engine), "built"
    else:
        path, done = cache.path_of(key), "was there already"
    if not args.cpu_only:
        TensorRtBackend(model, options).close()  # what was built has to load
    say(f"{path}: {done}; {path.stat().st_size / 1e6:.1f} MB")
    say(f"for {library.name} {library.version}, {model.manifest.precision}, max_batch {options.max_batch}")
    if args.cpu_only:
        kinds = (
            "any supported GPU" if args.compute_capability == ANY else f"compute capability {args.compute_capability}"
        )
        say(f"built without a device, for {kinds}: it was not run here; copy it into the vehicle's engine cache")
    return 0


def _device(device_id: int) -> cuda.CudaDevice:
    try:
        device = cuda.find_device(device_id)
    except BackendUnavailableError as error:
        raise BackendUnavailableError(f"{error}; build on the vehicle, or with --cpu-only") from error
    cuda.check(cuda.bindings().cudaSetDevice(device.id))
    return device
