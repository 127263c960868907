#!/usr/bin/env python
"""Explain trained mask estimators: ``lmac_td/cli/explain_enhancement.py``."""

from lmac_td.cli.explain_enhancement import command

if __name__ == "__main__":
    command()
