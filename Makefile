# Every target sets up what it needs: a fresh machine needs CPython 3.11+ and make.
PYTHON ?= python3
EXTRA  ?= cpu
BIN    := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup train test test-slow chaos fuzz check bench bench-check bench-peers bench-growth clean

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup:  ## build the environment in .venv (EXTRA=cpu or gpu); does nothing when it is up to date
	@$(PYTHON) scripts/setup_environment.py --extra $(EXTRA)

train: setup  ## the whole loop on drawn faces with the shipped MLLM (ARGS="group.option=value ...")
	$(BIN)/python -m jobs.train $(ARGS)

test: setup  ## the tests, with real Ray, vLLM and S3 protocol (under 20 minutes on 2 cores); ARGS="tests/unit -k ..."
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest -n 2 tests/unit tests/fuzz
	$(BIN)/python -m pytest --durations=40 tests/integration tests/chaos tests/cluster
endif

test-slow: setup  ## the long tests: minutes of load, kills and absence (about 85 minutes)
	$(BIN)/python -m pytest -m slow $(ARGS)

chaos: setup  ## kills, lost calls, faults of storage, full disks, every port, bombs and hostile files, the long tests too
	$(BIN)/python -m pytest -m "slow or not slow" -s tests/chaos $(ARGS)

fuzz: setup  ## readers of files and the DisGraph's store under many more examples than in make test
	GEM_RAY_FUZZ_EXAMPLES=1000 $(BIN)/python -m pytest -m "slow or not slow" --timeout 1800 tests/fuzz tests/unit/graph/test_store_machine.py $(ARGS)

check: setup  ## lint, format, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup  ## ratios on this machine, as JSON lines and a table (about 25 minutes; ARGS="--only training store")
	$(BIN)/python -m benchmarks $(ARGS)

bench-check: setup  ## the same against benchmarks/baselines.json: fails on a regression beyond the spread
	$(BIN)/python -m benchmarks --check $(ARGS)

bench-peers: setup  ## our training step against those of pythae, disent, Lightning and a bare loop, in an environment of theirs
	$(BIN)/python -m benchmarks.peers $(ARGS)

bench-growth: setup  ## how cost grows with images, attributes, workers and side: plots in build/growth
	$(BIN)/python -m benchmarks.growth $(ARGS)

clean:  ## remove the environment and caches; data/ and runs/ stay
	rm -rf .venv .venv-peers build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
