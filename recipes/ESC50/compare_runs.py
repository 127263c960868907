#!/usr/bin/env python
"""Put several evaluations in one table: ``lmac_td/cli/compare.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("compare")
