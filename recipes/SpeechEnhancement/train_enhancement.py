#!/usr/bin/env python
"""Train a mask estimator: ``lmac_td/cli/train_enhancement.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("train_enhancement")
