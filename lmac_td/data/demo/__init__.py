"""The embedded corpus: a small data set of synthetic environmental sounds."""
