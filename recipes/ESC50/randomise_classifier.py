#!/usr/bin/env python
"""Randomise the classifier: ``lmac_td/cli/randomise.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("randomise")
