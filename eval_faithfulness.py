#!/usr/bin/env python
"""Score interpreters: ``lmac_td/cli/evaluate.py``."""

from lmac_td.cli.evaluate import command

if __name__ == "__main__":
    command()
