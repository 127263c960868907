#!/usr/bin/env python
"""Explain trained mask estimators: ``lmac_td/cli/explain_enhancement.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("explain_enhancement")
