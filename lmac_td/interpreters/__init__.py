"""Interpreters: each turns a clip and the classifier's decision into an Explanation."""
