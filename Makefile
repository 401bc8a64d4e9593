# demo, test, lint, bench, sanitize: each makes .venv first if it is missing or older than what it is built from.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := setup.py CMakeLists.txt $(wildcard csrc/*.h csrc/*.cpp)

.PHONY: demo test lint format clean

# Without DATA: the digits that ship with scikit-learn. `make demo DATA=/usr/share/datasets/fashion-mnist` on Debian.
demo: $(VENV)/.ready
	$(BIN)/selfie-train demo $(if $(DATA),--data $(DATA))

test: $(VENV)/.ready
	$(BIN)/python -m pytest

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp')

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp')

$(VENV)/.ready: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info selfie_io/_core*.so
