"""The arithmetic of the CPU's benchmarks, and that they run to their end. Times mean nothing here: `make bench` is for those."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from support.tiny_model import painted_image

from benchmarks import camera_shares, cameras, frame_profile, large_camera, peer, threads
from benchmarks.closed_loop import Answer, latencies_s, latency_ms
from benchmarks.documented import write_table
from benchmarks.frame_picture import frame_svg
from benchmarks.frame_stages import AFTER, STAGES, stage_times_ms, work_of
from benchmarks.openvino_graphs import bare_network, streams
from lwseg_ros.backends import BackendOptions, load_runtime
from lwseg_ros.errors import LwsegError
from lwseg_ros.evaluation.machine import cores
from lwseg_ros.model.model_file import ModelFile

MS = 1_000_000
PLACE = "before\n<!-- table: by python -m benchmarks.peer -->\nold\n<!-- /table -->\nafter\n"


def test_latencies_are_from_publishing_to_receiving() -> None:
    turns = [[Answer(1, 10 * MS, 14 * MS), Answer(2, 20 * MS, 22 * MS)], [Answer(3, 30 * MS, 33 * MS)]]
    assert latencies_s(turns) == [[0.004, 0.002], [0.003]]
    assert latency_ms(turns)["p50"] == 3.0


def test_a_frames_time_is_given_to_its_stages() -> None:
    spans = [
        ("arrival", 3, 4),
        ("turn", 6, 8),
        ("decode", 6, 7),
        ("resize", 8, 10),
        ("engine", 10, 20),
        ("check", 20, 21),
        ("resize back", 21, 22),
        ("resize back", 22, 24),
        ("message", 25, 27),  # the label
        ("message", 30, 31),  # the uncertainty
        ("extras", 31, 35),
    ]
    in_ns = [(stage, begin * MS, end * MS) for stage, begin, end in spans]
    later = [(stage, begin + 100 * MS, end + 100 * MS) for stage, begin, end in in_ns]
    answers = [Answer(1, 1 * MS, 29 * MS), Answer(2, 101 * MS, 129 * MS)]
    assert stage_times_ms(answers, [*later, *in_ns]) == {
        "to the node": 2,
        "turn": 3,
        "decode": 1,
        "resize": 2,
        "engine": 10,
        "check": 1,
        "resize back": 3,
        "message": 2,
        "publish": 2,
        "between": 2,
        AFTER: 8,
        "all": 28,
    }


def test_a_stage_moves_its_bytes_once() -> None:
    work = work_of((4, 6), (2, 3), message_bytes=72, encoding="rgb8", multiply_adds=1000)
    assert {stage: row.num_bytes for stage, row in work.items()} == {
        "to the node": 72,
        "decode": 72,
        "resize": (72 + 18) // 2,
        "engine": (18 + 12) // 2,
        "check": 3,
        "resize back": (12 + 48) // 2,
        "message": 24,
        "publish": 24,
    }
    assert work["engine"].multiply_adds == 1000
    assert work_of((2, 3), (2, 3), 18, "bgr8", 1)["resize"].num_bytes == 0


def test_the_pictures_bars_are_as_long_as_the_stages_take() -> None:
    row = {"p50_ms": 2.0, "limit_ms": 1.0}
    stages = dict.fromkeys(STAGES, row)
    cases = {"small": {"stages": stages, "all_ms": 20.0}, "large": {"stages": stages, "all_ms": 40.0}}
    root = ElementTree.fromstring(frame_svg({"cases": cases}))
    bars = [entry for entry in root.iter("{http://www.w3.org/2000/svg}rect") if entry.get("height") == "34"]
    limits = [entry for entry in root.iter("{http://www.w3.org/2000/svg}rect") if entry.get("class") == "limit"]
    assert len(bars) == len(limits) == 2 * len(STAGES)
    assert sum(float(bar.get("width", "")) for bar in bars[: len(STAGES)]) == pytest.approx(780 / 2, abs=1)
    assert float(limits[0].get("width", "")) == pytest.approx(float(bars[0].get("width", "")) / 2, abs=0.1)


def test_a_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PLACE)
    write_table(page, "peer", "new\n")
    assert page.read_text() == PLACE.replace("old", "new")


@pytest.mark.parametrize("text", ["no place", PLACE + PLACE, PLACE.replace("<!-- /table -->", "")])
def test_a_page_without_a_place_is_refused_before_anything_is_measured(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    assert peer.main(["--docs", str(page), "--out", str(tmp_path / "out")]) == 1
    assert "needs `<!-- table: by python -m benchmarks.peer -->` once" in capsys.readouterr().err
    with pytest.raises(LwsegError, match="needs"):
        write_table(page, "peer", "new")


def test_the_bare_network_gives_the_logits_of_the_labels(tiny_model: ModelFile) -> None:
    image, _ = painted_image(tiny_model.manifest.input_size_hw)
    backend = load_runtime("openvino").open(tiny_model, BackendOptions(num_threads=1, cpu_precision="fp32"))
    label, _ = backend.infer(image[None])
    backend.close()
    manifest = tiny_model.manifest
    # Its network takes BGR.
    mean, std = (np.array(values[::-1], np.float32) for values in (manifest.mean_rgb, manifest.std_rgb))
    normalised = ((image / np.float32(255) - mean) / std).transpose(2, 0, 1)[None]
    logits = bare_network(tiny_model, "fp32")(np.ascontiguousarray(normalised, np.float32))
    assert logits.shape == (1, manifest.num_classes, *manifest.input_size_hw)
    assert np.array_equal(logits.argmax(axis=1), label)


def test_streams_give_what_the_backend_gives(tiny_model: ModelFile) -> None:
    image, _ = painted_image(tiny_model.manifest.input_size_hw)
    backend = load_runtime("openvino").open(tiny_model, BackendOptions(num_threads=1))
    label, uncertainty = backend.infer(image[None])
    for infer in streams(tiny_model, backend.precision, count=2, num_threads=2):
        outputs = {next(iter(output.get_names())): value for output, value in infer(image[None]).items()}
        assert np.array_equal(outputs["label"], label)
        assert np.array_equal(outputs["uncertainty"], uncertainty)
    backend.close()


def test_every_image_goes_to_one_stream() -> None:
    seen: list[list[int]] = [[], []]
    images = np.arange(5, dtype=np.uint8)[:, None, None, None]
    infers = [lambda image, number=number: seen[number].append(int(image.item())) for number in range(2)]
    with ThreadPoolExecutor(2) as pool:
        taken = cameras.in_streams(infers, images, pool)
    assert seen == [[0, 2, 4], [1, 3]]
    assert len(taken) == 5


def test_threads_are_told_beside_openvinos_own_choice() -> None:
    row = threads.row("idle", "1", [[0.004, 0.004], [0.008]], [[0.002, 0.002], [0.004]])
    assert (row["p50_ms"], row["p50_to_0"]) == (4, 2)
    assert row["p99_to_0"] == pytest.approx(2)


def test_every_number_of_threads_is_measured_alone_and_beside_a_busy_core(tiny_model: ModelFile) -> None:
    figures = threads.measure(str(tiny_model.path), seconds=0.01)
    counts = list(range(cores() + 1))
    assert [(row["load"], row["num_threads"]) for row in figures["rows"]] == [
        (load, count) for load in ("idle", "one core busy") for count in counts
    ]
    assert f"| one core busy: {counts[-1]} |" in threads.table(figures)


def test_every_way_of_serving_cameras_is_measured(tiny_model: ModelFile) -> None:
    figures = cameras.measure(str(tiny_model.path), cameras=(1, 3), seconds=0.01)
    ways = [cameras.BATCH, cameras.SINGLE, cameras.STREAMS]
    assert [(row["cameras"], row["way"]) for row in figures["rows"]] == [
        (count, way) for count in (1, 3) for way in ways
    ]
    assert [row["times_the_batch"] for row in figures["rows"] if row["way"] == cameras.BATCH] == [1, 1]
    assert f"| 3: streams ({min(3, cores())}) |" in cameras.table(figures)


def test_shares_add_up_and_drops_have_causes() -> None:
    counts = {"received": 9, "segmented": 6, "dropped_superseded": 3, "dropped_bad": 0}
    found = {
        "front": {"published": 10, "counts": counts, "latencies_ms": [4.0, 2.0, 3.0]},
        "rear": {"published": 10, "counts": counts | {"segmented": 2}, "latencies_ms": []},
    }
    rows = camera_shares.rows_of(found, seconds=2.0)
    assert [(row["rate_hz"], row["share"], row["not_received"]) for row in rows.values()] == [
        (3, 0.75, 1),
        (1, 0.25, 1),
    ]
    assert rows["front"]["dropped"] == {"superseded": 3}
    assert rows["front"]["latency_ms"]["p50"] == 3.0
    figures = {"model": "tiny", "rate_hz": 5.0, "seconds": 2.0, "cases": {"all alike": rows}, "comparisons": []}
    assert "| front | 6 of 10 | 3.0 | 75.0 % | 3.0 | 4.0 | 3 superseded | 1 |" in camera_shares.table(figures)
    assert "| rear | 2 of 10 | 1.0 | 25.0 % |  |  | 3 superseded | 1 |" in camera_shares.table(figures)


@pytest.mark.integration
def test_what_cameras_get_is_counted(tiny_model: ModelFile) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    parameters = {"priorities": [1, 0, 0, 0, 0, 0], "max_rate_hz": 100}
    # Returns once every camera has had labels.
    rows = camera_shares.measure_case(str(tiny_model.path), parameters, seconds=1.0, rate_hz=4.0, settle_s=0.5)
    assert list(rows) == list(camera_shares.CAMERAS)
    assert all(0 <= row["segmented"] <= row["published"] + 1 for row in rows.values())
    assert sum(row["published"] for row in rows.values()) > 0


@pytest.mark.integration
def test_the_node_with_clocks_tells_every_stage(tiny_model: ModelFile, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    case = frame_profile.Case((96, 128), "rgb8")
    times_ms, message_bytes = frame_profile.live_profile(case, str(tiny_model.path), 3, tmp_path)
    assert message_bytes > 96 * 128 * 3
    assert all(times_ms[stage] > 0 for stage in (*STAGES, AFTER, "all"))


@pytest.mark.integration
def test_a_large_cameras_images_are_counted(tiny_model: ModelFile) -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    name = str(tiny_model.path)
    figures = large_camera.measure(name, beside=name, seconds=1.0, rate_hz=4.0)
    (row,) = figures["models"].values()
    assert row["published"] == row["segmented"] + sum(row["dropped"].values()) + row["not_received"]
    assert row["segmented"] > 0
    assert row["latency_ms"]["p50"] > 0
    assert f"| `{name}` | {row['segmented']} of {row['published']} |" in large_camera.table(figures)


@pytest.mark.integration
def test_the_afternoons_node_answers_beside_ours() -> None:
    pytest.importorskip("rclpy", reason="rclpy is not installed: pip install lwseg_ros[ros]")
    figures = peer.measure("lite_seg0_fast_camvid", turns=1, images=1)
    assert all(row["latency_ms"]["p50"] > 0 for row in figures["contenders"].values())
    (row,) = figures["comparisons"]
    assert f"{row['value']:.2f} (at least 3.0 wanted)" in peer.table(figures)
