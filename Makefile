# Needs Python >= 3.11 and a package registry; everything else is set up here. `make help` lists the targets.

UV_VERSION := 0.13.9
AUDIO ?=
WORKERS ?= 2
PYTEST_ARGS ?=

# One environment, made from the lock, whatever the caller's shell has activated. No interpreter is ever downloaded.
unexport VIRTUAL_ENV PYTHONPATH PYTHONHOME
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON_DOWNLOADS := never
# Importing torch and transformers from source costs seconds in each of the tests' processes.
export UV_COMPILE_BYTECODE := 1

PYTHON := $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.executable)' 2>/dev/null && break; done)
UV := $(or $(shell command -v uv 2>/dev/null),.tools/uv/bin/uv)
export UV_PYTHON := $(PYTHON)
# Tests that build the wheel or a second environment find uv here.
export UNIWHISPER_UV := $(if $(filter .tools/%,$(UV)),$(CURDIR)/)$(UV)

RUN := $(UV) run --no-sync
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help python setup lock check format test test-gpu demo docs compat compat-xares compat-xares-encoder benchmark-xares bench bench-gpu

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | awk -F '\t' '{printf "  make %-16s %s\n", $$1, $$2}'

python:
	@test -n "$(PYTHON)" || { found=$$(python3 --version 2>/dev/null); \
		echo "UniWhisper needs Python 3.11 or newer; found: $${found:-no python3}" >&2; exit 1; }

# Debian's python3 has no ensurepip without python3-venv; pip can then still put uv into a folder of its own.
.tools/uv/bin/uv: | python
	@rm -rf .tools/uv
	@$(PYTHON) -m venv .tools/uv >/dev/null 2>&1 && .tools/uv/bin/python -m pip install --quiet uv==$(UV_VERSION) \
		|| { rm -rf .tools/uv; $(PYTHON) -m pip install --quiet --target .tools/uv uv==$(UV_VERSION); } \
		|| { rm -rf .tools/uv; echo "uv cannot be installed: this Python has neither venv nor pip, or no package registry answers" >&2; exit 1; }

setup: python $(UV) ## install everything the lock names into .venv
	@$(UV) sync --locked --all-extras --group dev

lock: python $(UV) ## resolve the dependencies again into uv.lock
	@$(UV) lock
	@for project in compat/*/; do (cd $$project && $(UNIWHISPER_UV) lock); done

check: setup ## lint and check the formatting
	@$(RUN) ruff check
	@$(RUN) ruff format --check --quiet || { echo "some files are not formatted: make format" >&2; exit 1; }

format: setup ## format and mend what ruff can mend
	@$(RUN) ruff check --fix
	@$(RUN) ruff format

test: check ## lint, then all tests that need no GPU; PYTEST_ARGS="-k audio" narrows
	@$(ONE_THREAD) $(RUN) python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

test-gpu: ## tests on a CUDA device, in the Python that is active (its torch fits the driver)
	@PYTHONPATH=src python3 -m pytest -m gpu $(PYTEST_ARGS)

DOCS := UV_PROJECT_ENVIRONMENT=.venv-docs

docs: python $(UV) ## run every example of the documentation, draw its pictures, build the site into site/
	@$(DOCS) $(UV) sync --locked --all-extras --no-default-groups --group docs --quiet
	@$(ONE_THREAD) .venv-docs/bin/python examples/run_docs.py
	@$(ONE_THREAD) .venv-docs/bin/python examples/pictures.py
	@.venv-docs/bin/python -m mkdocs build --quiet

# Every adapter in the real package, each in the environment of its own lock; `make test` builds none of these.
TESTED := $(patsubst compat/%/,compat-%,$(sort $(dir $(wildcard compat/*/test_*.py))))

compat: $(TESTED) compat-xares-encoder ## all adapters in the real packages; compat-main, compat-hear … one of them

compat-%: python $(UV)
	@cd compat/$* && $(UNIWHISPER_UV) sync --locked --quiet
	@cd compat/$* && $(ONE_THREAD) .venv/bin/python -m pytest -p no:cacheprovider $(PYTEST_ARGS) . ; \
		status=$$?; $(PYTHON) ../page.py; exit $$status

# X-ARES brings its own environment, in which the sources stand beside it.
compat-xares-encoder: python $(UV)
	@cd compat/xares && $(UNIWHISPER_UV) sync --locked --quiet
	@cd compat/xares && $(ONE_THREAD) .venv/bin/python encoder_file.py; \
		status=$$?; $(PYTHON) ../page.py; exit $$status

demo: setup ## the whole path on synthetic sounds; AUDIO=folder embeds your own files instead
	@$(RUN) uniwhisper demo $(if $(AUDIO),--audio "$(AUDIO)")

# The real X-ARES needs torchaudio, hence an older torch: it has an environment of its own, and files go between.
compat/xares/.venv: compat/xares/pyproject.toml compat/xares/uv.lock | $(UV)
	@UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --locked --project compat/xares
	@touch $@

compat-xares: setup compat/xares/.venv ## agreement with the real X-ARES 0.1.3; DATA=folder with esc50, fsdd, ravdess
	@$(ONE_THREAD) $(RUN) python compat/xares/agree_metrics.py
	@$(ONE_THREAD) $(RUN) python compat/xares/agree.py --data "$(DATA)" $(COMPAT_ARGS)

benchmark-xares: setup compat/xares/.venv ## time and disk beside the real X-ARES (needs FFmpeg); DATA=folder with esc50
	@$(RUN) python benchmarks/xares.py --data "$(DATA)" $(COMPAT_ARGS)

bench: setup ## CPU benchmarks beside their peers, as ratios; JSON in benchmarks/results
	@cd benchmarks/peers && $(abspath $(UV)) sync --locked --quiet
	@for script in cpu_embedding startup growth; do \
		PYTHONPATH=src $(ONE_THREAD) benchmarks/peers/.venv/bin/python -W ignore benchmarks/$$script.py || exit 1; done

bench-gpu: ## GPU benchmarks, in the Python that is active; SIZES="tiny small" narrows
	@for script in gpu_embedding gpu_training; do PYTHONPATH=src python3 -W ignore benchmarks/$$script.py $(SIZES) || exit 1; done
	@PYTHONPATH=src python3 -W ignore benchmarks/from_files.py $(firstword $(SIZES))
