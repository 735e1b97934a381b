"""Package metadata, read by pip and by colcon alike."""

from __future__ import annotations

from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = "lwseg_ros"

EXTRAS = {
    # rclpy and the message packages, for machines without a ROS distribution
    "ros": ["ros-rclpy[fastrtps]", "ros-common-interfaces"],
    "cpu": ["openvino>=2024.4", "onnxruntime>=1.18"],
    "rtx": ["tensorrt-rtx-cu13>=1.1; platform_system == 'Linux'", "cuda-python>=12.6"],
    "matlab": ["scipy>=1.8"],  # labels of PASCAL Context and COCO-Stuff 10k as they are downloaded
    "view": ["rerun-sdk>=0.26"],  # lwseg replay --record FILE.rrd
    "fleet": ["distributed>=2024.8"],  # many bags over many processes: lwseg replay --workers, --scheduler
    # what `make check` needs; the training distribution lies in training/
    "dev": [
        "pytest>=8",
        "pytest-xdist>=3.5",
        "hypothesis>=6",
        "jsonschema>=4",
        "playwright>=1.40",  # drives a Chromium that is there; `make browser` brings one
        "ruff>=0.8",
        "mypy>=1.13",
        "import-linter>=2.5",
        "types-PyYAML",
        "types-tqdm",
        "scipy>=1.8",
        "scikit-learn>=1.4",  # figures are checked against it
    ],
    "colcon": ["colcon-common-extensions", "colcon-ros"],
    "release": ["build>=1.2"],  # make release
}


def shared_files() -> list[tuple[str, list[str]]]:
    """List what a ROS 2 install space needs outside the Python package."""
    shares = {
        f"share/{PACKAGE}/{folder}": sorted(map(str, Path(folder).glob("*.*"))) for folder in ("launch", "config")
    }
    return [
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (f"share/{PACKAGE}/models", sorted(map(str, Path("lwseg_ros/assets/models").glob("*.onnx")))),
        *shares.items(),
    ]


setup(
    name=PACKAGE,
    version="0.1.0",
    description="Lightweight semantic segmentation with calibrated uncertainty for ROS 2",
    long_description=Path("README.md").read_text(encoding="utf-8") if Path("README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    author="The lwseg_ros maintainers",
    maintainer="The lwseg_ros maintainers",
    maintainer_email="maintainers@lwseg.example.org",
    python_requires=">=3.10",
    packages=find_packages(include=["lwseg_ros", "lwseg_ros.*"]),
    package_data={
        "lwseg_ros": [
            "assets/models/*.onnx",
            "assets/*/*",
            "replay/report/*.html",
            "replay/report/*.css",
            "replay/report/*.js",
            "py.typed",
        ],
    },
    data_files=shared_files(),
    install_requires=[
        "setuptools",
        "numpy>=1.23",
        "opencv-python-headless>=4.6",  # the same cv2, without the window library that bare machines lack
        "simplejpeg>=1.6",
        "pillow>=9.0",
        "onnx>=1.16",
        "rosbags>=0.11",
        "lz4>=4.0",
        "backports.zstd>=1.0; python_version < '3.14'",
        "jinja2>=3.0",
        "pyyaml>=6.0",
        "tqdm>=4.60",
    ],
    extras_require={**EXTRAS, "all": sorted({requirement for group in EXTRAS.values() for requirement in group})},
    entry_points={
        "console_scripts": [
            "lwseg = lwseg_ros.cli:main",
            "segment = lwseg_ros.node.__main__:main",
            "paint = lwseg_ros.node.paint.__main__:main",
            "segment_and_paint = lwseg_ros.node.segment_and_paint:main",
        ],
        "lwseg.commands": [
            "evaluate = lwseg_ros.commands.evaluate",
            "build = lwseg_ros.commands.build",
            "predict = lwseg_ros.commands.predict",
            "bench = lwseg_ros.commands.bench",
            "models = lwseg_ros.commands.models",
            "replay = lwseg_ros.commands.replay",
            "report = lwseg_ros.commands.report",
            "demo = lwseg_ros.commands.demo",
            "soak = lwseg_ros.commands.soak",
            "doctor = lwseg_ros.commands.doctor",
        ],
    },
    zip_safe=False,
)
