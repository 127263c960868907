#!/usr/bin/env python
"""RemOve And Retrain: ``lmac_td/cli/roar.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("roar")
