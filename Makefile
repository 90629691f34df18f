# `make demo` and `make test` set everything up by themselves; nothing else is needed first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
export OMP_NUM_THREADS := 1
# A file stays in one process, and files in the order that tests/conftest.py gives them.
PROCESSES := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo fuzz test test-slow test-cluster test-aarch64 check sizes format benchmarks clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --editable '.[dev,postgres,serve,rpc,dashboard]'
	touch $@

demo: $(VENV)/installed  ## search digits, print the front, export the knee
	# Goes on with what is there. Beside other work its times are rougher than a search insists on.
	$(BIN)/nas search examples/digits.yaml --resume --max-drift 3
	$(BIN)/nas export runs/digits --pick knee --formats onnx,tvm,torch --to runs/digits/export

test: $(VENV)/installed  ## the suite without its longest tests, files in two processes
	$(BIN)/python -m pytest $(PROCESSES) -m "not slow and not cluster"

test-slow: $(VENV)/installed  ## the longest tests, README's commands and the rest of each sweep
	$(BIN)/python -m pytest $(PROCESSES) -m "slow and not cluster"
	HWNAS_MANY_EXAMPLES=1 $(BIN)/python -m pytest $(PROCESSES) -m "not slow" tests/latency_models/kernels

test-cluster: $(VENV)/installed  ## kill nodes, drivers, databases and what else a cluster has
	$(BIN)/python -m pytest $(PROCESSES) -m cluster

fuzz: $(VENV)/installed  ## damaged files of every kind, about ten minutes
	$(BIN)/python -m tests.fuzz

test-aarch64: $(VENV)/installed  ## kernels and networks for 64-bit ARM, in an emulator
	$(BIN)/python -m pytest -rs tests/latency_models/compiler/test_aarch64.py tests/latency_models/boards/test_library_file.py

check: $(VENV)/installed sizes  ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .

sizes: $(VENV)/installed  ## files, lines, longest functions and widest folders of each package
	$(BIN)/python scripts/sizes.py

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(VENV)/installed  ## every benchmark, one after another
	$(BIN)/python -m benchmarks.kernels
	$(BIN)/python -m benchmarks.networks
	$(BIN)/python -m benchmarks.search_overhead
	$(BIN)/python -m benchmarks.cluster_overhead
	$(BIN)/python -m benchmarks.cluster_scaling
	$(BIN)/python -m benchmarks.cluster_faults
	$(BIN)/python -m benchmarks.latency_prediction --device host --device host-onnxruntime
	$(BIN)/python -m benchmarks.latency_published
	HWNAS_PROFILES=runs/latency_prediction $(BIN)/python -m benchmarks.latency_queries --device host --space benchmarks/spaces/mixed.yaml

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
