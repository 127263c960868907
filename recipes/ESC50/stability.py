#!/usr/bin/env python
"""Stability under inaudible noise: ``lmac_td/cli/stability.py``."""

from lmac_td.cli.stability import command

if __name__ == "__main__":
    command()
