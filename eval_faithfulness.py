#!/usr/bin/env python
"""Score interpreters: ``lmac_td/cli/evaluate.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("evaluate")
