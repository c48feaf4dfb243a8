# Two commands: `make demo` and `make test`. Both make .venv from the project's own files.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
# another one for another nano
INDEX = .demo/$(firstword $(shell cksum mbert_retrieval/encoders/nano/model.safetensors)).index

# what users import: docstrings are checked against signatures
PUBLIC = $(addprefix indexes/, __init__.py device.py export.py filtering.py folder.py manifest.py writer.py) \
	mbert_retrieval/*.py mbert_retrieval/search/*.py mbert_retrieval/sync/*.py \
	mbert_retrieval/encoders/*.py mbert_retrieval/backbone/*.py \
	$(addprefix mbert_retrieval/training/, __init__.py finetune.py losses.py mining.py mlm.py recipe.py) \
	eval/*.py eval/*/*.py

.PHONY: demo test fuzz lint pydoclint docs clean

# torch by version: where a small CPU build of that version is at hand, pip takes it
$(STAMP): pyproject.toml setup.py $(wildcard mbert_retrieval/native/* mbert_retrieval/native/tiers/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

# some of the standard library's packages: real code, the same on every machine
SOURCES = $$($(BIN)/python -c 'import sysconfig as s; print(*(s.get_path("stdlib") + "/" + name \
	for name in ("asyncio", "concurrent", "email", "http", "json", "logging", "urllib")))')

demo: $(STAMP)
	$(BIN)/mbert-index build $(SOURCES) --index $(INDEX)
	$(BIN)/mbert-search query "wait for the first task that finishes" -k 3 --index $(INDEX)
	$(BIN)/mbert-search query "decode an attachment of a mail message" -k 3 --index $(INDEX)
	$(BIN)/mbert-search query "follow a redirect but not forever" -k 3 --index $(INDEX)

# a file's tests stay in one process; each process computes with one thread
JOBS ?= 2

test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# damaged and hostile input at random, in about ten minutes; more: make fuzz FUZZ_SCALE=10 FUZZ_SEED=2
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 FUZZ_SCALE=$(or $(FUZZ_SCALE),1) FUZZ_SEED=$(or $(FUZZ_SEED),1) \
		$(BIN)/python -m pytest tests/fuzz -m fuzz

# mypy cannot follow the package mapping of the tree, so it checks links laid out as the package
lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files "*.cpp" "*.h")
	rm -rf .lint && mkdir -p .lint/mbert_retrieval
	ln -s $(CURDIR)/mbert_retrieval/* $(CURDIR)/indexes $(CURDIR)/eval .lint/mbert_retrieval
	MYPYPATH=.lint $(BIN)/mypy -p mbert_retrieval
	$(MAKE) pydoclint

pydoclint: $(STAMP)
	$(BIN)/pydoclint $(PUBLIC)

# into .site/; needs no network
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

clean:
	rm -rf .venv .demo .lint .site .docs-package
