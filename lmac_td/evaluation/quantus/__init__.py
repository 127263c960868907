"""Metrics of Quantus on explanations of sound."""
