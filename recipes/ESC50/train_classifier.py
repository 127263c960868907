#!/usr/bin/env python
"""Train the classifier: ``lmac_td/cli/train_classifier.py``."""

from lmac_td.cli.train_classifier import command

if __name__ == "__main__":
    command()
