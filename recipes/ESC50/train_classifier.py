#!/usr/bin/env python
"""Train the classifier: ``lmac_td/cli/train_classifier.py``."""

from lmac_td.cli import run

if __name__ == "__main__":
    run("train_classifier")
