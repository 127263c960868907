#!/usr/bin/env python
"""Train and measure everything that a file lists: ``lmac_td/cli/benchmark.py``."""

from lmac_td.cli.benchmark import command

if __name__ == "__main__":
    command()
