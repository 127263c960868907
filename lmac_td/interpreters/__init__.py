"""Interpreters: each makes an Explanation of a clip and the classifier's decision."""
