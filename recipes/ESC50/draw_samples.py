#!/usr/bin/env python
"""Draw the sample clips of an evaluation: ``lmac_td/cli/draw_samples.py``."""

from lmac_td.cli.draw_samples import command

if __name__ == "__main__":
    command()
