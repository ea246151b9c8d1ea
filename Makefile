# `make demo` and `make test` work on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,train,redis,parquet,dev
READY := $(VENV)/.ready

.PHONY: demo test check bench proto format clean

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing Twinspire and what it needs into $(VENV) (once, about two minutes) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

demo: $(READY)
	@$(BIN)/twinspire demo

test: check
	$(BIN)/pytest -n 2 -m "slow or assets"

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -m "not slow and not assets and not gpu"

bench: $(READY)
	@$(BIN)/twinspire bench search

proto: $(READY)
	$(BIN)/python -m protos.generate

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
