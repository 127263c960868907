"""Sanity checks: does an explanation depend on what the classifier has learned?

``cascade``, ``similarity`` and ``randomisation`` randomise the classifier and see
whether explanations change (Adebayo et al., "Sanity checks for saliency maps");
``rankings``, ``removal``, ``retraining`` and ``roar`` remove what explanations point
at, and see whether a classifier that is trained on the rest misses it (Hooker et al.,
"A benchmark for interpretability methods in deep neural networks"). ``command`` is what
their two commands do alike.
"""
