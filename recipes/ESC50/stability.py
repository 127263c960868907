#!/usr/bin/env python
"""Stability under inaudible noise: ``lmac_td/cli/stability.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("stability")
