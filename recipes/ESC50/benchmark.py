#!/usr/bin/env python
"""Train and measure everything that a file lists: ``lmac_td/cli/benchmark.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("benchmark")
