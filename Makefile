# One command for each habit; `make help` lists them. Everything but the installation works offline.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip -qq --disable-pip-version-check --no-input
BUDGET ?= 90s
DEMO   ?= runs/demo

# Threads that wait must not spin: beside another job that costs ten times the time.
export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow check bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.core  ## install, then the main job on real data, offline: fit, predict, evaluate
	@rm -rf $(DEMO) $(DEMO)-photos
	@echo '$$ graft fit digits --budget $(BUDGET)'
	@GRAFT_OFFLINE=1 $(BIN)/graft fit digits --budget $(BUDGET) --augment 'basic(scale=0.7, flip=False)' --out $(DEMO)
	@$(BIN)/python examples/sealed_digits.py $(DEMO) $(DEMO)-photos
	@echo; echo '$$ graft predict $(DEMO) $(DEMO)-photos/7'
	@GRAFT_OFFLINE=1 $(BIN)/graft predict $(DEMO) $(DEMO)-photos/7 > $(DEMO)/predictions.tsv && head -5 $(DEMO)/predictions.tsv
	@echo; echo '$$ graft evaluate $(DEMO) $(DEMO)-photos'
	@GRAFT_OFFLINE=1 $(BIN)/graft evaluate $(DEMO) $(DEMO)-photos
	@echo; echo 'Next: $(BIN)/graft fit FOLDER, with one folder of images for each class; $(BIN)/graft fit --help'

test: check  ## ruff, mypy --strict, and all tests but the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(VENV)/.dev  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(if $(RUN),$(VENV)/.dev)  ## the table of all speed comparisons; RUN=1 or RUN="heads input" measures them first
	@$(if $(RUN),$(BIN)/python,$(PYTHON)) benchmarks/bench.py $(if $(RUN),--run $(filter-out 1,$(RUN)))

clean:  ## remove what can be made again, but no runs
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# A stamp in .venv says what is installed; it is made again when the requirements change.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=python3.11'; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing Graft into $(VENV); PyTorch is large, the first time takes minutes'
	$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml constraints.txt
	@echo 'installing Graft and what its tests need into $(VENV)'
	$(PIP) install -c constraints.txt -e '.[text,audio,trust,openvino,onnx,dev]'
	@touch $@ $(VENV)/.core
