# Everything a newcomer needs: make demo, make check, make test, make bench. All of it happens inside .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STAMP_ALL := $(VENV)/.installed-all
PIP := $(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt
PYTEST := $(BIN)/python -m pytest --durations 10

.PHONY: help setup setup-all demo check lint test bench clean

help:
	@echo "make setup      .venv with what the node, the replay and their tests need; no torch"
	@echo "make setup-all  .venv with everything: training, TensorRT for RTX, colcon"
	@echo "make demo       the sample bag through the live node; report in out/demo/"
	@echo "make check      lint, types and the fast tests, in parallel: under a minute"
	@echo "make test       lint, types and all tests"
	@echo "make bench      every performance figure; tables in out/bench/"

setup: $(STAMP)

setup-all: $(STAMP_ALL)

$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "$(PYTHON) is not Python 3.10 to 3.12; name one that is: make PYTHON=python3.12 setup" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(PIP) -e '.[ros,cpu,dev]'
	@touch $(STAMP)

$(STAMP_ALL): $(STAMP) training/pyproject.toml
	$(PIP) -e '.[ros,cpu,dev,rtx,colcon]' -e ./training
	@touch $(STAMP_ALL)

demo: setup
	$(BIN)/lwseg demo -o out/demo

# Tests in two processes: OMP_NUM_THREADS=1, so that they do not wait for each other's threads.
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy lwseg_ros
	PYTHONPATH=training $(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 -m "not integration" --ignore tests/training

lint: setup-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=training $(BIN)/lint-imports

# The live tests wait for real time and share the machine's ROS domains, so they have it to themselves.
test: lint
	OMP_NUM_THREADS=1 $(PYTEST) -n 2 --dist worksteal -m "not integration"
	$(PYTEST) -m integration

bench: setup-all
	$(BIN)/python -m benchmarks --out out/bench

clean:
	rm -rf .import_linter_cache out build *.egg-info training/build training/*.egg-info ros2_ws/build ros2_ws/install ros2_ws/log
