"""Conditions: what clips are mixed with, one file each.

A recipe names its conditions (``conditions: {speech: !new:...}``); the name is the key.
``base`` holds the contract of a condition.
"""
