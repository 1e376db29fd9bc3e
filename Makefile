# Needs only make and Python 3.11 or newer with its venv module: the first target that you run sets up
# .venv from requirements-dev.lock.
#
#   make PYTHON=/path/to/python3.12 test    picks the Python for .venv

.PHONY: help demo test faults soak mutants check bench screenshots sbom setup clean

VENV = .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.set-up
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
SIDE_BY_SIDE = --numprocesses 4 --dist loadfile --no-loadscope-reorder
CANDIDATES = python3 python3.13 python3.12 python3.11

help:
	@echo 'make demo    show the whole system on this machine, with a stand-in for Cronofy'
	@echo 'make test    all checks, then all tests'
	@echo 'make faults  the long form of the fault tests, and the image built and run (with buildah)'
	@echo 'make soak    a real fleet under a fault a minute, for an hour'
	@echo 'make mutants mutation testing of the diagnosis and the schedule (minutes)'
	@echo 'make check   lint, formatting, types and import rules'
	@echo 'make bench   benchmarks: tables on screen, figures as JSON in benchmarks/results'
	@echo 'make screenshots  retake the pictures in README and docs, with Chromium'
	@echo 'make sbom    what the image consists of in Python, with licences: build/sbom.cdx.json (CycloneDX)'
	@echo 'make clean   remove .venv, all caches, and the data of an embedded server (reconciler-data)'

demo: setup
	$(BIN)/reconciler demo

# Most tests wait for processes and clocks, so four files at a time keep two cores busy. In the order of their
# names: the heavy ones come first. Files that share a fleet or a browser are one group, which one process runs.
test: check
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

# A new seed each time, shown at the head of the run; FLAGS='--seed N' repeats one. With the tests of the table
# of host faults that are elsewhere.
faults: setup
	$(BIN)/python -m pytest tests/faults tests/acceptance/test_image.py tests/acceptance/test_rabbitmq.py tests/acceptance/test_demo.py \
	  tests/integration/test_ledger_gauges.py tests/integration/test_deciding.py tests/integration/test_incidents.py \
	  $$($(BIN)/python -m tests.faults.hosts) --long $(SIDE_BY_SIDE) $(FLAGS)

# FLAGS='--minutes 10 --seed N' for another length, or to repeat a schedule.
soak: setup
	$(BIN)/python -m tests.faults.soak $(FLAGS)

# tests/mutants.py says how many must be killed, pyproject.toml what is mutated.
mutants: setup
	$(BIN)/python -m tests.mutants $(FLAGS)

check: setup
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks

screenshots: setup
	$(BIN)/python docs/screenshots.py

# From what the lock installs, since the lock itself names no licences. The tool has its own environment: neither
# the program nor its tests need it.
sbom: setup
	rm -rf build/sbom
	$(BIN)/python -m venv build/sbom/tool
	$(BIN)/python -m venv --without-pip build/sbom/image
	build/sbom/tool/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements-sbom.lock
	build/sbom/tool/bin/python -m pip --disable-pip-version-check --quiet --python build/sbom/image/bin/python \
	  install --require-hashes -r requirements.lock
	build/sbom/tool/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
	  --output-file build/sbom.cdx.json build/sbom/image/bin/python
	$(BIN)/python docs/licences.py build/sbom.cdx.json

setup: $(STAMP)

# The stamp is written last, so an interrupted set-up is repeated. An existing environment is updated in
# place, since others may be using it.
$(STAMP): requirements-dev.lock pyproject.toml
	@set -e; \
	if [ ! -x $(BIN)/python ]; then \
	  newest=0; chosen=; \
	  for python in $(if $(PYTHON),"$(PYTHON)",$(CANDIDATES)); do \
	    command -v "$$python" >/dev/null 2>&1 || continue; \
	    version=$$("$$python" -c 'import ensurepip, sys, venv; print(sys.version_info[0] * 100 + sys.version_info[1])' 2>/dev/null) || continue; \
	    if [ "$$version" -ge 311 ] && [ "$$version" -gt "$$newest" ]; then newest=$$version; chosen=$$python; fi; \
	  done; \
	  if [ -z "$$chosen" ]; then \
	    echo 'This needs Python 3.11 or newer with its venv module, and found none among: $(or $(PYTHON),$(CANDIDATES)).' >&2; \
	    echo 'Install one (on Debian and Ubuntu also python3-venv), or name one: make PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	  fi; \
	  echo "Setting up $(VENV) with $$("$$chosen" --version)"; \
	  if command -v uv >/dev/null 2>&1; then uv venv --quiet --python "$$(command -v "$$chosen")" $(VENV); \
	  else "$$chosen" -m venv $(VENV); fi; \
	else echo 'Updating $(VENV)'; fi; \
	if command -v uv >/dev/null 2>&1; then \
	  uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.lock; \
	  uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .; \
	else \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
	  $(PIP) install --require-hashes -r requirements-dev.lock; \
	  $(PIP) install --no-deps --no-build-isolation -e .; \
	fi; \
	touch $(STAMP)

clean:
	rm -rf $(VENV) build mutants *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis reconciler-data
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
