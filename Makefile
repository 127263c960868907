# make demo: three methods on the embedded corpus, ending with one table.
# make demo-quick: LMAC-TD alone, ending with its table and wav files.
# make esc10 DATA=... NOISE=... SPEECH=...: every method on real recordings.
# make test: all tests.      make check: lint and format.
# make docs: the pages and the API reference, in docs/_build/html.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python

.PHONY: install demo demo-quick esc10 test check docs clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed: make PYTHON=python3.11 install"; exit 2; }
	@echo "Installing into $(VENV): torch is large, this takes some minutes."
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --progress-bar on -e '.[dev]'
	@touch $@

demo: demo-quick
	$(RUN) train_interpreter.py hparams/lmac_demo.yaml
	$(RUN) eval_faithfulness.py hparams/lmac_demo.yaml --references False
	$(RUN) recipes/ESC50/train_nmf.py hparams/nmf_demo.yaml
	$(RUN) train_interpreter.py hparams/l2i_demo.yaml
	$(RUN) eval_faithfulness.py hparams/l2i_demo.yaml --references False
	$(RUN) recipes/ESC50/compare_runs.py $(addsuffix /evaluation,\
		$(addprefix results/demo/,lmac_td_alpha0.75 lmac l2i_att)) --columns \
		AI AD AG FF Fid-In SPS "kept (dB)" "SI-SDRi (dB)" insertion deletion

demo-quick: install
	$(RUN) recipes/ESC50/train_classifier.py hparams/cnn14_demo.yaml
	$(RUN) train_interpreter.py hparams/lmac_td_demo.yaml
	$(RUN) eval_faithfulness.py hparams/lmac_td_demo.yaml

esc10: install
	@test -n "$(DATA)" -a -n "$(NOISE)" -a -n "$(SPEECH)" || { \
		echo "Give the folders: make esc10 DATA=path/to/ESC-10" \
		"NOISE=path/to/wham_noise SPEECH=path/to/LJSpeech-1.1"; exit 2; }
	$(RUN) recipes/ESC50/benchmark.py recipes/ESC50/esc10.yaml --jobs 2 \
		--data_folder "$(DATA)" --wham_folder "$(NOISE)" \
		--ljspeech_folder "$(SPEECH)" --condition all

test: install
	$(RUN) -m pytest --numprocesses 2 --dist loadfile

check: install
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

docs: install
	$(RUN) -m sphinx --builder html --fail-on-warning --keep-going --quiet \
		docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

clean:
	rm -rf $(VENV) results docs/_build docs/api docs/generated
