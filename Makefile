# The road through the lab: `make lab` opens it, `make test` runs everything that CI runs.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Containers like to forbid Python its compiled files, and then each of a thousand processes compiles every library
# anew: a kernel that imports the lab takes 1.5 s of the processor instead of 0.7 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: lab test lint bench notebooks students site kernels photographs clean
.DEFAULT_GOAL := lab

# One clear sentence where something is missing, then the locked packages, then the project itself.
$(READY): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "The lab needs Python 3.11 or newer, and '$(PYTHON)' was not found: install it, or name yours: make lab PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "The lab needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) -c 'import sys; sys.stdout.write(".".join(map(str, sys.version_info[:3])))'): name a newer one: make lab PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "The lab needs Python's venv module, and '$(PYTHON)' came without it: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once, about half a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(sed -n 's/^\(uv==[0-9.]*\).*/\1/p' requirements.lock)"
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --compile-bytecode -r requirements.lock
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -q --no-deps -e .
	@touch $(READY)

# JupyterLab refuses root unless told; in a container there is nobody else. It listens on loopback only, as always.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

lab: $(READY)
	$(BIN)/python -m jupyterlab --ServerApp.root_dir=notebooks --LabApp.default_url=/lab/tree/00_start_here.ipynb $(AS_ROOT) $(LAB_OPTIONS)

# Three processes, a file at a time in each: most tests wait for sockets and clocks, and so wait side by side.
test: $(READY) lint
	$(BIN)/python -m pytest -n 3 --dist loadfile

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Ratios against peers and floors, measured in one run: about three minutes, on an otherwise quiet machine.
bench: $(READY)
	$(BIN)/python -m tests.bench $(BENCH)

notebooks: $(READY)
	$(BIN)/python -m labsupport notebooks

# The student's edition, answers cut, in build/students
students: $(READY)
	$(BIN)/python -m labsupport students

# The course as static pages, in build/site
site: $(READY)
	$(BIN)/python -m labsupport site

# Every chapter in two kernels at once, restarted twice, interrupted and run again: a long run
kernels: $(READY)
	LAB_ALL_CHAPTERS=1 $(BIN)/python -m pytest tests/browser/test_kernels.py

# Every chapter as JupyterLab shows it, in light and in dark, in test-results: for eyes, not for checks
photographs: $(READY)
	LAB_PHOTOGRAPHS=1 $(BIN)/python -m pytest -n 3 --dist loadfile tests/browser/test_chapters_?.py

clean:
	rm -rf $(VENV) build *.egg-info
