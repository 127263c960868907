# make demo: the main job on the embedded corpus, ending with its table and wav files.
# make test: all tests.      make check: lint and format.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

# glibc gives freed memory back at once, and every step then pays for it anew: keep it.
export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
export MALLOC_TOP_PAD_ ?= 268435456

.PHONY: install demo test check clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.11 install"; exit 2; }
	@echo "Installing into $(VENV): torch is large, this takes some minutes."
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --progress-bar on -e '.[dev]'
	@touch $@

demo: install
	$(RUN) recipes/ESC50/train_classifier.py hparams/cnn14_demo.yaml
	$(RUN) train_interpreter.py hparams/lmac_td_demo.yaml
	$(RUN) eval_faithfulness.py hparams/lmac_td_demo.yaml

test: install
	$(RUN) -m pytest --numprocesses 2 --dist loadfile

check: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

clean:
	rm -rf $(VENV) results
