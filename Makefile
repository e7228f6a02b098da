# demo, test and lint each make the environment they need; a second call finds it made.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests that run models have an environment of their own: the core must do without torch.
MODEL_VENV ?= .venv-models
MODEL_BIN := $(MODEL_VENV)/bin
MODEL_TESTS := tests/depthvlm tests/baselines tests/predict tests/cli/test_efficiency.py tests/cli/test_eval_checkpoint.py \
	tests/cli/test_models.py tests/cli/test_predict.py tests/cli/test_train.py tests/records/test_backends.py
PACKAGES := depthvlm_bench converters baselines manifests
TYPECHECK := build/typecheck
# A release whose CPU build is known to do.
TORCH ?= 2.13.0

.PHONY: help demo test test-core test-models test-slow mutants devkits bench bench-short lint typecheck format clean

help:
	@echo "make demo       raw trees to a leaderboard on procedural scenes (./dvbench-demo)"
	@echo "make test       all tests but the slow ones: test-core without torch, test-models with it"
	@echo "make test-slow  the long simulations"
	@echo "make mutants    known faults of readers, planted one at a time: each must be caught"
	@echo "make devkits    projections against the datasets' own devkits, in environments of their own (3 GB)"
	@echo "make bench      cost of a frame, of a training item and of scoring, with the project's goals (bench-short: a minute)"
	@echo "make lint       ruff and mypy --strict"
	@echo "make format     let ruff format the code"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "depthvlm-bench needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.core: setup.cfg pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/dvbench demo

$(MODEL_VENV)/.dev: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(MODEL_VENV)
	$(MODEL_BIN)/python -m pip install --quiet --constraint constraints.txt torch==$(TORCH)
	$(MODEL_BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,models,train]"
	@touch $@

test: test-core test-models

test-core: $(VENV)/.dev
	$(BIN)/python -m pytest

test-models: $(MODEL_VENV)/.dev
	$(MODEL_BIN)/python -m pytest $(MODEL_TESTS)

# With Ray, so that its tests are not skipped.
test-slow: $(VENV)/.dev $(MODEL_VENV)/.dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,ray]"
	$(BIN)/python -m pytest -m slow
	$(MODEL_BIN)/python -m pytest -m slow $(MODEL_TESTS)

mutants: $(VENV)/.dev
	$(BIN)/python tests/mutants/run.py

# The official devkits are oracles, never dependencies: each clashes with the other's packages, and with ours.
# -P keeps the repository off the path, where it would hide the installed package.
devkits:
	$(PYTHON) -m venv build/devkit-av2
	build/devkit-av2/bin/pip install -q torch==$(TORCH) av2==0.3.6 pytest .
	$(PYTHON) -m venv build/devkit-nuscenes
	build/devkit-nuscenes/bin/pip install -q --no-deps nuscenes-devkit==1.2.0
	build/devkit-nuscenes/bin/pip install -q "numpy>=2" pyquaternion matplotlib opencv-python-headless \
		scikit-learn shapely cachetools tqdm pytest .
	build/devkit-av2/bin/python -P -m pytest tests/converters/test_devkits.py
	build/devkit-nuscenes/bin/python -P -m pytest tests/converters/test_devkits.py

# Both report and judge nothing: machines differ. With torch installed in the environment its fast path is measured.
bench: $(VENV)/.core $(MODEL_VENV)/.dev
	$(BIN)/python benchmarks/bench_convert.py
	$(BIN)/python benchmarks/bench_workers.py
	$(BIN)/python benchmarks/bench_scoring.py
	$(MODEL_BIN)/python benchmarks/bench_eval.py

bench-short: $(VENV)/.core
	$(BIN)/python benchmarks/bench_convert.py --short

lint: typecheck
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# converters/, baselines/ and manifests/ become depthvlm_bench.* only when installed, and mypy does not follow an
# editable install: check an ordinary one, and make sure that it saw every file.
typecheck: $(VENV)/.dev
	rm -rf build
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --target $(TYPECHECK) .
	MYPYPATH=$(TYPECHECK) $(BIN)/mypy --config-file pyproject.toml -p depthvlm_bench | tee build/mypy.txt
	@there=$$(find $(PACKAGES) -name '*.py' | wc -l); \
	seen=$$(sed -n 's/^Success: no issues found in \([0-9]*\) source files$$/\1/p' build/mypy.txt); \
	test "$${seen:-0}" -ge "$$there" || { echo "mypy found faults, or saw fewer than the $$there files there are"; exit 1; }

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf build dvbench-demo $(VENV) $(MODEL_VENV)
