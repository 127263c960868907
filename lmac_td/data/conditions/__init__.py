"""Conditions: what clips are mixed with, one condition per file.

A recipe names its conditions (``conditions: {speech: !new:...}``); the key is the name.
``base`` holds the base classes of a condition.
"""
