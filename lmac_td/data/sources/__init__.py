"""Data sources: lists of clips with their labels and folds, one data set per file.

A recipe names its source (``dataset: !new:...``). ``base`` holds the base class of a
source; ``tables`` reads the csv files that list clips.
"""
