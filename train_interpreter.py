#!/usr/bin/env python
"""Train an interpreter of a frozen classifier: ``lmac_td/cli/train.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("train")
