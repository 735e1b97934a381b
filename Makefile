# Everything a newcomer needs: make demo, make test, make bench. All of it happens inside .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help setup demo test bench lint clean

help:
	@echo "make setup  .venv with everything in it"
	@echo "make demo   the sample bag through the live node; report in out/demo/"
	@echo "make test   all tests, linting and typing"
	@echo "make bench  every performance figure; tables in out/bench/"

setup: $(STAMP)

$(STAMP): setup.py constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || \
	  { echo "$(PYTHON) is not Python 3.10 to 3.12; name one that is: make PYTHON=python3.12 setup" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[all]'
	@touch $(STAMP)

demo: setup
	$(BIN)/lwseg demo -o out/demo

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest

bench: setup
	$(BIN)/python -m benchmarks --out out/bench

clean:
	rm -rf out build *.egg-info ros2_ws/build ros2_ws/install ros2_ws/log
