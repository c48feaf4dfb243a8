# Two commands: `make demo` and `make test`. Both make .venv from the project's own files.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
INDEX := .demo/index

.PHONY: demo test lint clean

# torch by version: where a small CPU build of that version is at hand, pip takes it
$(STAMP): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(STAMP)
	@$(BIN)/python examples/demo/tour.py --index $(INDEX)

test: $(STAMP)
	$(BIN)/python -m pytest

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p mbert_retrieval

clean:
	rm -rf .venv .demo
