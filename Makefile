# Python 3.11 or 3.12 and make are all this needs. Variables, on the command line or in the environment:
#   VENV=.venv     where the environment is; a conda environment is taken as it is
#   DEVICE=auto    cpu or gpu: auto takes the GPU where nvidia-smi lists one; a choice lasts
#   PYTHON=        the interpreter; empty finds a Python 3.11 or 3.12
#   TORCH_INDEX=   a mirror of the PyTorch CPU index; the folder in PIP_FIND_LINKS, if set, goes before it
#   SKIP_INSTALL=1 use the environment in VENV without installing anything
#   FULL=1         run the notebooks at full size
#   QUICK=1        run them with as few rows as they work with, as the tests do
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup run test test-fast test-slow lab lint notebooks bench bundle teaching site hub dist lock upgrade-check clean distclean

VENV ?= .venv
DEVICE ?= auto
PYTHON ?=
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN = $(abspath $(VENV))/bin
# Workers side by side: what shares Ray, the lessons, and all others (see tests/conftest.py).
SIDE_BY_SIDE = --dist loadgroup --no-loadscope-reorder
FIND_PYTHON = python=$$(sh scripts/find-python.sh) && "$$python"
export VENV DEVICE PYTHON TORCH_INDEX
export RAY_USAGE_STATS_ENABLED := 0
export VLLM_NO_USAGE_STATS := 1

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /:/' | awk -F: '{printf "  make %-10s %s\n", $$1, $$2}'
	@echo; sed -n 's/^#   /  /p' Makefile

setup: ## Install what the lab needs and fetch its model and data (minutes once, then a second)
	@$(FIND_PYTHON) scripts/setup.py

run: setup ## Execute the three notebooks into build/notebooks (9 min; 18 min without AVX-512)
	@"$(BIN)/python" -m labkit notebooks --out build/notebooks

lab: setup ## Open the first lesson in JupyterLab
	@JUPYTER_CONFIG_PATH="$(CURDIR)/scripts/jupyter$${JUPYTER_CONFIG_PATH:+:$$JUPYTER_CONFIG_PATH}" \
		"$(BIN)/jupyter" lab notebooks/01_faq_answers.ipynb --ServerApp.root_dir="$(CURDIR)" $(ARGS) \
		--LabApp.news_url=None --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(if $(filter 0,$(shell id -u)),--allow-root)

test: setup lint ## Run what no change may break, lessons and browser too (7 min; 7 min without AVX-512)
	@LABKIT_TESTS="make $@" "$(BIN)/python" -m pytest -n 3 $(SIDE_BY_SIDE)

test-fast: setup ## Run the tests without engine and browser (1 min)
	@LABKIT_TESTS="make $@" "$(BIN)/python" -m pytest tests -n 2 $(SIDE_BY_SIDE) \
		-m "not engine and not browser and not slow and not endurance"

test-slow: setup ## Run the lessons on real weights, and the faults (40 min)
	@$(FIND_PYTHON) scripts/setup.py s3 || echo "Without it the tests of S3 are skipped."
	@LABKIT_TESTS="make $@" "$(BIN)/python" -m pytest tests -n 2 $(SIDE_BY_SIDE) -m endurance

lint: setup ## Check style and types
	@"$(BIN)/ruff" check .
	@"$(BIN)/ruff" format --check .
	@"$(BIN)/mypy"

notebooks: setup ## Execute the notebooks in place, to commit them with their outputs, and record their jobs
	@"$(BIN)/python" -m tools.record_lessons

bench: setup ## Measure batching, and what a warm engine saves, on this machine
	@"$(BIN)/python" -m benchmarks.batching
	@"$(BIN)/python" -m benchmarks.warm

bundle: setup ## Pack the lab for a host without Internet (ARGS="--part-mib 500", see labkit bundle --help)
	@"$(BIN)/python" -m labkit bundle $(ARGS)

teaching: setup ## Build slides, cheat sheet, quizzes, exam and the lessons without solutions into build/teaching
	@"$(BIN)/python" -m tools.teaching

site: ## Build the book (lessons and docs as a static site) into build/site
	@$(FIND_PYTHON) scripts/setup.py site
	@.venv-site/bin/python -m book

hub: setup ## Try lesson 1 for four learners at once on a JupyterHub here, and print their peaks
	@$(FIND_PYTHON) scripts/setup.py hub
	@"$(BIN)/python" -m benchmarks.hub $(ARGS)

dist: setup ## Build the source archive and the wheel into build/dist; nothing is published
	@"$(BIN)/python" -m tools.dist

lock: ## Make the locks and the conda environments anew from locks/*.in (UPGRADE=1 for the newest)
	@$(FIND_PYTHON) scripts/lock.py

upgrade-check: setup ## Try another pair beside it (ARGS="--ray 2.60.0 --vllm 0.32.0"): what would break?
	@"$(BIN)/python" -m tools.upgrade_check $(ARGS)

clean: ## Remove what builds, tests and checks leave behind
	@rm -rf build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis notebooks/.ipynb_checkpoints
	@for d in labkit tools tests benchmarks scripts datasets book; do \
		if [ -d $$d ]; then find $$d -name __pycache__ -prune -exec rm -rf {} +; fi; done

distclean: clean ## Remove the environment as well, if `make setup` made it
	@if [ -f "$(VENV)/labkit-setup.json" ]; then rm -rf "$(VENV)"; \
	elif [ -e "$(VENV)" ]; then echo "$(VENV) was not made by make setup: left alone"; fi
	@rm -rf .venv-site .venv-hub .venv-s3
