"""Data sources: where clips, their labels and their folds come from, one file each.

A recipe names its source (``dataset: !new:...``). ``base`` holds the contract of a
source, ``tables`` reads the csv files that list clips.
"""
