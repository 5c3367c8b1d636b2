# `make` prints what there is. Every target installs what it needs into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
LIGHT := $(VENV)/light

HOSTERS ?= 4
VALIDATORS ?= 3
EPOCHS ?= 2
EPOCH_SECONDS ?= 30
SECONDS ?= 60
FIRST ?= 0
SEEDS ?= 1000
JOBS ?= 2
COUNT ?= 60
BASE ?= HEAD
CHAIN ?= local

PYTEST := $(BIN)/python -m pytest
WORKERS := -n $(JOBS) --dist loadfile
# Versions of constraints-dev.txt, so that all who develop have the same.
INSTALL := -m pip install --quiet -c constraints-dev.txt
DEPENDENCY_GROUPS := dev docs plots fuzz audit lock release

# The rules alone, and the tests of them that need neither torch nor a command line.
LIGHT_TESTS := $(wildcard $(addprefix tests/unit/, core engine node observe policies schemas store \
	supervision transcript chain/test_rounds.py chain/local test_keys.py))
NEED_TORCH := tests/unit/core/test_scoring_machines.py tests/unit/schemas/test_torch_file.py \
	tests/unit/engine/test_daemon.py tests/unit/engine/test_libp2p.py

# Measured where the rules are exercised; the network's tests run nodes in processes of their own.
COVERED_TESTS := tests/unit tests/simulation

.DEFAULT_GOAL := help
.NOTPARALLEL: # tests of a real network need the machine to themselves
.PHONY: help devnet test lint format types unit unit-light network coverage docs simulate \
	simulate-large fuzz mutants attack test-chain nightly bench plots docs-tables audit lock dist clean

help: ## Print this.
	@echo "make TARGET [VARIABLE=value]; the variables and their defaults are at the top of the Makefile."
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# The main job, and the tests.

ifeq ($(CHAIN),hypertensor)
devnet: $(VENV)/.dev tests/chain/node_modules/.stamp
	$(BIN)/python -m tests.chain.run_devnet
else
devnet: $(VENV)/.node ## Run a whole subnet on loopback.
	$(BIN)/epochgate devnet --hosters $(HOSTERS) --validators $(VALIDATORS) --epochs $(EPOCHS) \
		--epoch-seconds $(EPOCH_SECONDS) --json summary.json
endif

test: lint types unit network ## Run all that a change has to pass: lint, types, unit, network.

# The parts of `make test`.

lint: $(VENV)/.dev ## Check style, format and import contracts.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/.dev ## Format the code, and mend what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev ## Check types, strictly.
	$(BIN)/mypy

unit: $(VENV)/.dev ## Run the unit tests and the simulated subnets.
	$(PYTEST) $(WORKERS) --ignore=tests/network --ignore=tests/chain

unit-light: $(LIGHT)/.test ## Run the unit tests of the rules alone, without hivemind and torch.
	$(LIGHT)/bin/python -m pytest $(WORKERS) $(LIGHT_TESTS) $(NEED_TORCH:%=--ignore=%)

network: $(VENV)/.dev ## Run the tests that start libp2p daemons on loopback.
	$(PYTEST) tests/network

# What takes longer.

coverage: $(VENV)/.dev ## Measure which branches the tests reach; fail below the floor.
	$(PYTEST) $(WORKERS) --cov --cov-report=term:skip-covered $(COVERED_TESTS)

docs: $(VENV)/.docs ## Build the documentation into site/; fail on a dead link.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

simulate: $(VENV)/.dev ## Simulate SEEDS subnets with faults, from seed FIRST on.
	$(BIN)/python -m tests.simulation --first $(FIRST) --seeds $(SEEDS) --jobs $(JOBS)

simulate-large: $(VENV)/.dev ## Simulate larger subnets, and a hundred epochs of churn.
	$(BIN)/python -m tests.simulation --seeds 200 --jobs $(JOBS) --nodes 25 --epochs 5
	$(BIN)/python -m tests.simulation --seed 1 --nodes 1000 --epochs 2
	$(BIN)/python -m tests.simulation --churn 30 --epochs 100

fuzz: $(VENV)/.dev $(VENV)/.fuzz ## Fuzz every decoder, SECONDS in all; failures go into .fuzz/.
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

mutants: $(VENV)/.dev ## Break the core in COUNT places, on lines changed since BASE if CHANGED=1.
	$(BIN)/python -m tests.mutation --count $(COUNT) $(if $(CHANGED), --changed --base $(BASE))

attack: $(VENV)/.node ## Run every adversary on real subnets; update docs/security.md.
	$(BIN)/epochgate attack --page docs/security.md

test-chain: $(VENV)/.dev tests/chain/node_modules/.stamp ## Test against Hypertensor's own runtime (docs/hypertensor.md).
	$(PYTEST) tests/chain -rs

# An hour of fuzzing; a target that fails does not keep the others from running.
nightly: ## Run all that takes long: some two and a half hours.
	$(MAKE) --keep-going coverage simulate simulate-large attack fuzz test-chain SECONDS=3600

bench: $(VENV)/.dev ## Print what verdicts, stores, reads and epochs cost.
	$(BIN)/python -m benchmarks

plots: $(VENV)/.node $(VENV)/.plots ## Draw the pictures of docs/scoring.md.
	$(BIN)/python -m benchmarks.plots

docs-tables: $(VENV)/.node ## Write the tables in the documents that follow from the default policy.
	$(BIN)/python -m benchmarks.policy_tables

audit: $(VENV)/.node $(VENV)/.audit ## Look up known vulnerabilities of what is installed.
	$(BIN)/python .ci/audit.py

# Releases, and the repository itself.

lock: $(VENV)/.lock ## Update constraints-dev.txt to the newest versions that fit.
	$(BIN)/python -m dependency_groups $(DEPENDENCY_GROUPS) > $(VENV)/groups.in
	$(BIN)/pip-compile pyproject.toml $(VENV)/groups.in -c constraints.txt --extra node --extra hypertensor \
		--upgrade --allow-unsafe --strip-extras --no-header --no-annotate --no-emit-options --quiet \
		--output-file $(VENV)/compiled.txt
	@! grep '^nvidia-' $(VENV)/compiled.txt || \
		{ echo "pip has taken torch's CUDA build: tell it where the CPU builds are (docs/compatibility.md)"; exit 1; }
	{ grep '^#' constraints-dev.txt; grep '^[a-z]' $(VENV)/compiled.txt | sed 's/+cpu$$//'; } > $(VENV)/locked.txt
	mv $(VENV)/locked.txt constraints-dev.txt

dist: $(VENV)/.release ## Build wheel and sdist into dist/, and check them.
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(BIN)/python -m twine check --strict dist/*
	$(BIN)/python -m zipfile --list dist/*.whl
	@! $(BIN)/python -m zipfile --list dist/*.whl | grep '^epochgate/adversaries'

clean: ## Remove what the other targets left.
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .fuzz
	rm -rf .coverage* site dist summary.json tests/chain/node_modules

# What is installed. A stamp is newer than what it was installed from, so nothing is installed twice.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "epochgate needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.pip: constraints-dev.txt pyproject.toml | $(BIN)/python
	$(BIN)/python $(INSTALL) --upgrade pip
	touch $@

$(VENV)/.node: $(VENV)/.pip
	$(BIN)/python $(INSTALL) -e '.[node]'
	touch $@

$(VENV)/.dev: $(VENV)/.node
	$(BIN)/python $(INSTALL) -e '.[node,hypertensor]' --group dev
	touch $@

$(patsubst %, $(VENV)/.%, $(filter-out dev, $(DEPENDENCY_GROUPS))): $(VENV)/.%: $(VENV)/.pip
	$(BIN)/python $(INSTALL) --group $*
	touch $@

$(LIGHT)/.test: constraints-dev.txt pyproject.toml
	$(PYTHON) -m venv --clear $(LIGHT)
	$(LIGHT)/bin/python $(INSTALL) --upgrade pip
	$(LIGHT)/bin/python $(INSTALL) -e . --group test
	touch $@

tests/chain/node_modules/.stamp: tests/chain/package-lock.json
	cd tests/chain && npm ci --no-audit --no-fund --loglevel=error
	touch $@
