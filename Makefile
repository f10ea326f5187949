.POSIX:
.PHONY: help install demo test test-light test-rest check bench soak

PYTHON = python3
VENV = .venv
BIN = $(VENV)/bin
INSTALLED = $(VENV)/.installed

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## make .venv with labctl, its extras and the tested versions of all they need

demo: $(INSTALLED) ## train a small network in situ on the simulated vapour-cell bench
	$(BIN)/labctl run train_in_situ --bench vapour_cell --simulate \
	    --set data=sample --set 'hidden=[128]' --set epochs=8 --set optical_depth=10

test: $(INSTALLED) ## run the tests, in two processes
	$(MAKE) -j 2 test-light test-rest

# The light path, its networks, calibrations and the commands; then all other tests, which take somewhat longer.
LIGHT = tests/calibration tests/cli tests/experiments tests/optics tests/sim_backends tests/training
REST = tests $(LIGHT:%=--ignore=%)
PYTEST = OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/pytest

test-light: $(INSTALLED)
	$(PYTEST) $(LIGHT)

test-rest: $(INSTALLED)
	$(PYTEST) $(REST)

bench: $(INSTALLED) ## time labctl beside its peers, one thread
	$(BIN)/python benchmarks/in_situ_step.py
	$(BIN)/python benchmarks/camera_frame.py
	$(BIN)/python benchmarks/diffraction.py

soak: $(INSTALLED) ## take 100,000 frames with faults injected; end the owner of a bench in every way, 50 times by kill -9
	$(BIN)/python benchmarks/soak.py
	$(BIN)/python benchmarks/safety.py --kills 50

check: $(INSTALLED) ## lint, check formatting, types, and what imports what
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

# Installed again only when what to install has changed; -c keeps pip to the tested versions, torch's above all.
# svetlanna and lightridge are timed, nothing else: what they ask for beside torch draws pictures and loads data.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo '$(PYTHON) is missing or cannot make a virtual environment. On Debian and Ubuntu, type:'; \
	    echo '    sudo apt-get install -y python3-venv'; exit 1; }
	.ci/qt-system-libraries
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -e '.[gui,hardware,benchmarks,dev]' -c constraints.txt
	$(BIN)/python -m pip install --no-deps svetlanna lightridge -c constraints.txt
	@touch $(INSTALLED)
