# Two commands do everything: `make devnet` and `make test`. Each installs what it needs into .venv, once.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

HOSTERS ?= 4
VALIDATORS ?= 3
EPOCHS ?= 2
EPOCH_SECONDS ?= 30
SECONDS ?= 60
SEEDS ?= 1000
JOBS ?= 2
CHAIN ?= local

.PHONY: devnet test test-chain simulate simulate-nightly fuzz audit bench plots clean attack

ifeq ($(CHAIN),hypertensor)
devnet: $(VENV)/.dev tests/chain/node_modules/.stamp
	$(BIN)/python -m tests.chain.run_devnet
else
devnet: $(VENV)/.node
	$(BIN)/epochgate devnet --hosters $(HOSTERS) --validators $(VALIDATORS) --epochs $(EPOCHS) \
		--epoch-seconds $(EPOCH_SECONDS) --json summary.json
endif

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --ignore=tests/network
	$(BIN)/python -m pytest tests/network

# Every decoder for SECONDS in all, led by coverage; what fails is left in .fuzz/.
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# Known vulnerabilities of what is installed; what cannot be looked up from here is named.
audit: $(VENV)/.audit
	$(BIN)/python .ci/audit.py

# Hypertensor's own runtime, booted from EPOCHGATE_HYPERTENSOR_SPEC; needs Node.js 18 or newer (docs/hypertensor.md).
test-chain: $(VENV)/.dev tests/chain/node_modules/.stamp
	$(BIN)/python -m pytest tests/chain -rs

tests/chain/node_modules/.stamp: tests/chain/package-lock.json
	cd tests/chain && npm ci --no-audit --no-fund --loglevel=error
	touch $@

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

plots: $(VENV)/.docs
	$(BIN)/python -m benchmarks.plots

# Whole subnets in virtual time, each under faults drawn from its seed; a seed that breaks prints how to run it again.
simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --jobs $(JOBS)

simulate-nightly: $(VENV)/.dev
	$(BIN)/python -m tests.simulation --first 1000 --seeds 10000 --jobs $(JOBS)
	$(BIN)/python -m tests.simulation --seeds 200 --jobs $(JOBS) --nodes 25 --epochs 5
	$(BIN)/python -m tests.simulation --seed 1 --nodes 1000 --epochs 2
	$(BIN)/python -m tests.simulation --churn 30 --epochs 100

# Every adversary on real subnets, into the table of docs/security.md; six minutes on two cores.
attack: $(VENV)/.node
	$(BIN)/epochgate attack --page docs/security.md

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .fuzz summary.json

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "epochgate needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# The stamps are newer than what they were installed from, so nothing is installed twice.
$(VENV)/.node: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[node]'
	touch $@

$(VENV)/.dev: $(VENV)/.node
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[node,hypertensor]' --group dev
	touch $@

$(VENV)/.docs: $(VENV)/.node
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	touch $@

$(VENV)/.fuzz: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet -c constraints.txt --group fuzz
	touch $@

$(VENV)/.audit: $(VENV)/.node
	$(BIN)/python -m pip install --quiet -c constraints.txt --group audit
	touch $@
