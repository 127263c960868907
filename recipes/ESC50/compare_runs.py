#!/usr/bin/env python
"""Put several evaluations in one table: ``lmac_td/cli/compare.py``."""

from lmac_td.cli.compare import command

if __name__ == "__main__":
    command()
