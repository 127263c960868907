# make demo-quick   evidence and a trained network on an embedded corpus: a table, and
#                   sounds to play
# make demo         the same, and LMAC-TD, L-MAC and L2I
# make esc10 DATA=... NOISE=... SPEECH=...   the comparison on real recordings
# make test         the quick tests         make test-all   every test
# make docs         the documentation       make check      lint and format
# make audit        advisories of the packages that are installed
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
BENCHMARK = $(RUN) recipes/ESC50/benchmark.py

.PHONY: install install-dev demo demo-quick esc10 test test-all docs check audit clean

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.11 install"; exit 2; }
	@echo "Installing into $(VENV): torch is large, this takes some minutes."
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --progress-bar on -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@$(RUN) -m pip install --quiet --progress-bar on -e '.[dev]'
	@touch $@

demo: install
	@$(BENCHMARK) recipes/demo/methods.yaml --jobs 2 --folder results/demo/benchmark

demo-quick: install
	@$(BENCHMARK) recipes/demo/quick.yaml --folder results/demo/quick

esc10: install
	@test -n "$(DATA)" -a -n "$(NOISE)" -a -n "$(SPEECH)" || { \
		echo "Give the folders: make esc10 DATA=path/to/ESC-10" \
		"NOISE=path/to/wham_noise SPEECH=path/to/LJSpeech-1.1"; exit 2; }
	$(BENCHMARK) recipes/ESC50/esc10.yaml --jobs 2 \
		--data_folder "$(DATA)" --wham_folder "$(NOISE)" \
		--ljspeech_folder "$(SPEECH)"

test: install-dev
	$(RUN) -m pytest --numprocesses 2 --dist worksteal -m "not slow"

test-all: install-dev
	$(RUN) -m pytest --numprocesses 2 --dist worksteal

docs: install-dev
	$(RUN) -m sphinx -W --keep-going -q docs docs/_build/html

check: install-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

audit: install-dev
	$(RUN) -m pip_audit --local --skip-editable --vulnerability-service pypi

clean:
	rm -rf $(VENV) results docs/_build docs/api docs/generated
