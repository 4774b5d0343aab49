# The verbs. `make run` and `make test` need nothing but python3 (3.11 or newer), make and git.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test faults images test-containers check systems compile install help

.venv/.installed: constraints.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mmgen needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	@echo "installing about 240 packages (torch is most of it); this takes some minutes, once"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/mmgen data build
	@touch $@

# The data sets are built with the set-up, so that nothing after it needs the network.
run: .venv/.installed ## set up, then the whole pipeline on the default recipe
	@$(BIN)/mmgen run

test: .venv/.installed ## set up, then all tests with coverage of the wiring
	$(BIN)/python -m pytest --cov --cov-report=term --numprocesses=2 --dist=loadfile

faults: .venv/.installed ## set up, then every fault of tests/faults, those that take minutes too
	$(BIN)/python -m pytest tests/faults -m 'not containers' --numprocesses=2 --dist=loadfile

images: ## build the images of a cluster: make images BASE=python:3.11-slim@sha256:... PREFIX=registry/mmgen-python
	@BASE='$(BASE)' PREFIX='$(PREFIX)' DEV='$(DEV)' .ci/images

test-containers: .venv/.installed ## build both images on a stand-in base and run the pipeline in them (root, Debian)
	$(BIN)/python -m pytest tests/containers -m containers

systems: .venv/.installed ## run every recipe small, write docs/systems.md (half an hour on two cores)
	$(BIN)/mmgen systems --size small

check: .venv/.installed ## format, lint, types, compiled pipeline
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mmgen compile --check

install: .venv/.installed ## set up only

compile: .venv/.installed ## compile the pipeline to pipelines/compiled/
	@$(BIN)/mmgen compile

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20
