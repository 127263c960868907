#!/usr/bin/env python
"""Draw the sample clips of an evaluation: ``lmac_td/cli/draw_samples.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("draw_samples")
