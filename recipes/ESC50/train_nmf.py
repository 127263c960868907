#!/usr/bin/env python
"""Learn L2I's dictionary: ``lmac_td/cli/train_nmf.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("train_nmf")
