# Each target makes .venv first if it is missing or older than its sources.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NATIVE := setup.py CMakeLists.txt $(wildcard csrc/*.h csrc/*.cpp)

.PHONY: demo test test-dali test-wheel wheel docs lint format bench bench-all sanitize soak fuzz
.PHONY: audit-dependencies clean

# Without DATA: the digits of scikit-learn. On Debian: DATA=/usr/share/datasets/fashion-mnist.
demo: $(VENV)/.ready
	$(BIN)/selfie-train demo $(if $(DATA),--data $(DATA))

test: $(VENV)/.ready
	$(BIN)/python -m pytest --numprocesses auto

# The tests that need NVIDIA DALI, but no GPU. `make test` skips them: DALI takes 620 MB.
test-dali: $(VENV)/.ready
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev,dali]'
	$(BIN)/python -m pytest tests/test_backends.py tests/test_dali.py

# dist/: the sdist, and the wheel that is built from it; on Linux the wheel is then made manylinux.
wheel: $(VENV)/.ready
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir build/wheel
	mkdir -p dist && cp build/wheel/*.tar.gz dist
	if [ "$$(uname)" = Linux ]; \
	then PATH="$(abspath $(BIN)):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist build/wheel/*.whl; \
	else cp build/wheel/*.whl dist; fi

# Installs the wheel into an empty environment, without a compiler and without torch, and uses it.
test-wheel: wheel
	SELFIE_WHEEL=$$(echo dist/*.whl) $(BIN)/python -m pytest tests/test_wheel.py

# The documentation site: build/site/index.html. A broken link or a missing name is an error. (Not with
# --quiet: mkdocs then counts no warnings.)
docs: $(VENV)/.ready
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files '*.h' '*.cpp')

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $$(git ls-files '*.h' '*.cpp')

# The loader and the installed rivals; bench-all first makes an environment for each rival.
# LOADER: options of bench_loader.py, such as LOADER="--side 32 --threads 1", or LOADER="--until-quiet 30" to
# repeat each table for up to 30 minutes, until the machine is quiet.
bench: $(VENV)/.ready
	$(BIN)/python benchmarks/bench_loader.py $(LOADER)
	$(BIN)/python benchmarks/bench_batch.py
	$(BIN)/python benchmarks/bench_open.py
	$(BIN)/python benchmarks/tables.py

# JPEGS=cifar10-jpeg.zip: a zip of images to convert; without it bench_convert is skipped.
bench-all: $(VENV)/.ready
	$(BIN)/python benchmarks/bench_loader.py --install $(LOADER)
	$(BIN)/python benchmarks/bench_batch.py
	$(BIN)/python benchmarks/bench_open.py
	$(BIN)/python benchmarks/bench_memory.py
	$(BIN)/python benchmarks/bench_augment.py --install
	$(BIN)/python benchmarks/bench_noise.py
	$(BIN)/python benchmarks/bench_history.py
	$(BIN)/python benchmarks/bench_networks.py
	$(BIN)/python benchmarks/bench_step.py
	$(if $(JPEGS),$(BIN)/python benchmarks/bench_convert.py $(JPEGS),@echo "skipped: bench_convert needs JPEGS=archive.zip")
	$(BIN)/python benchmarks/tables.py

# The C++ tests on every instruction set of this machine, under ASan with UBSan and under TSan.
sanitize: $(VENV)/.ready
	set -e; for sanitizer in address,undefined thread; do \
	  $(BIN)/cmake -S . -B build/sanitize-$$sanitizer -G Ninja -DCMAKE_MAKE_PROGRAM=$(abspath $(BIN)/ninja) \
	    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSELFIE_PYTHON=OFF -DSELFIE_TESTS=ON -DSELFIE_SANITIZE=$$sanitizer; \
	  $(BIN)/cmake --build build/sanitize-$$sanitizer; \
	  for isa in $$(build/sanitize-$$sanitizer/core_test --isas); do \
	    SELFIE_IO_ISA=$$isa build/sanitize-$$sanitizer/core_test; done; done

# Random operations on loaders against a slow model, files that are cut, commands and runs that are killed.
# SOAK: options, such as SOAK="--seed 7 --part kills --trial 12" to repeat a failure, or SOAK="--out x.json".
# GENERATED_INPUTS=5000: so many inputs of the property test first (tests/test_any_input.py).
soak: $(VENV)/.ready
	$(if $(GENERATED_INPUTS),GENERATED_INPUTS=$(GENERATED_INPUTS) $(BIN)/python -m pytest --timeout 0 tests/test_any_input.py)
	PYTHONPATH=tests $(BIN)/python -m soak --seconds $(or $(SECONDS),1800) $(SOAK)

# Hostile input for the C++ core (by libFuzzer where clang++ is) and for the parsers (by atheris).
fuzz: $(VENV)/.ready
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(or $(SECONDS),60) $(FUZZ)

# Known vulnerabilities of the pinned versions. Without the database, which needs a network: a line says so.
audit-dependencies: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt pip-audit
	$(BIN)/python tests/audit_dependencies.py constraints.txt

$(VENV)/.ready: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info selfie_io/_core*.so
