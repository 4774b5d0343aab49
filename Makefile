# The verbs. `make run` and `make test` need nothing but python3 (3.11 or newer), make and git.
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin

# Two test files at a time, in their order: the long ones come first. Which tests run by default stands in pyproject.toml.
PYTEST := $(BIN)/python -m pytest
TWO := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

.PHONY: run test test-slow test-all faults images test-containers test-cluster check systems docs compile install help

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

test: .venv/.installed ## set up, then the tests of every day
	$(PYTEST) $(TWO)

test-slow: .venv/.installed ## the tests that `make test` leaves out, but for those in containers and on a cluster
	$(PYTEST) -m '(slow or minutes) and not containers and not cluster' $(TWO)

test-all: .venv/.installed ## both of them together, with coverage
	$(PYTEST) -m 'not containers and not cluster' --cov --cov-report=term $(TWO)

faults: .venv/.installed ## every fault of tests/faults, those that take minutes too
	$(PYTEST) tests/faults -m 'not containers and not cluster' $(TWO)

images: ## build the images of a cluster: make images BASE=python:3.11-slim@sha256:... PREFIX=registry/mmgen-python
	@BASE='$(BASE)' PREFIX='$(PREFIX)' DEV='$(DEV)' .ci/images

test-containers: .venv/.installed ## build both images on a stand-in base and run the pipeline in them (root, Debian)
	$(PYTEST) tests/containers -m containers

# The browser itself is the machine's Chromium.
.venv/.browser: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[browser]'
	@touch $@

test-cluster: .venv/.browser ## run the pipeline on the Kubernetes that KUBECONFIG and KFP_ENDPOINT name
	$(PYTEST) tests/cluster -m cluster

systems: .venv/.installed ## run every recipe small, write docs/systems.md (half an hour on two cores)
	$(BIN)/mmgen systems --size small

# What builds the site is no part of the first set-up, which has to be short.
.venv/.docs: .venv/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

docs: .venv/.docs ## the documentation as a site, in site/; a broken link or reference fails
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html, or with a search: $(BIN)/python -m http.server --directory site"

check: .venv/.installed ## format, lint, types, compiled pipeline
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mmgen compile --check

install: .venv/.installed ## set up only

compile: .venv/.installed ## compile the pipeline to pipelines/compiled/
	@$(BIN)/mmgen compile

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 24
