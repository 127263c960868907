#!/usr/bin/env python
"""Print a composed recipe, with roles and types: ``lmac_td/cli/show.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("show")
