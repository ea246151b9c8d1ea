# Every command makes its environment first, on a fresh machine with Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS := cpu,train,hf,audio,image,video,onnx,ray,redis,parquet,otel,native,dev
READY := $(VENV)/.ready
# Tests of one file share their fixtures, so they stay in one process.
PYTEST := $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: help demo demo-media test test-native check lint soak bench proto format clean

help:
	@echo "make demo        the tour: fetches a corpus, trains, indexes, serves, searches, evaluates"
	@echo "make demo-media  the tour of pictures and music"
	@echo "make test        every check and every test"
	@echo "make test-native the server's tests again, with another transport: serve --transport native"
	@echo "make check       the checks and the quick tests: what to run before a commit"
	@echo "make bench       measures the demo: a server under load, beside the bare index"
	@echo "make soak        ten minutes of mixed load; nothing acknowledged may be lost, no call fail"
	@echo "make proto       generates the code of protos/twinspire/v1/*.proto"
	@echo "make format      formats the code and mends what can be mended"

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) .ci/environment.py $(VENV) $(EXTRAS)
	@touch $@

demo: $(READY)
	@$(BIN)/twinspire demo

demo-media: $(READY)
	@$(BIN)/twinspire demo-media

test: lint
	$(PYTEST) -m "not gpu"

test-native: $(READY)
	TWINSPIRE_TEST_TRANSPORT=native $(PYTEST) -m "not gpu" tests/server $(addprefix tests/faults/test_,clients.py fuzz.py large_requests.py)

check: lint
	$(PYTEST) -m "not slow and not assets and not gpu"

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: $(READY)
	$(BIN)/python -m tests.soak.soak

bench: $(READY)
	@$(BIN)/twinspire --workspace demo-workspace bench search demo

proto: $(READY)
	$(BIN)/python -m protos.generate

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
