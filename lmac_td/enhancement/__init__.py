"""Explaining speech enhancement: a network that estimates masks, and DeepSHAP of it.

Sivasankaran, Vincent and Fohr, "Explaining deep learning models for speech
enhancement", Interspeech 2021.
"""
