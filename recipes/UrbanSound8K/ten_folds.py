#!/usr/bin/env python
"""Each fold is the test once: ``lmac_td/cli/cross_validate.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("cross_validate")
