"""Sanity checks: does an explanation depend on what the classifier has learned?

Randomisation (Adebayo et al., "Sanity checks for saliency maps") re-initialises the
classifier stage by stage and compares explanations:

- ``cascade``: randomise the classifier and restore it.
- ``similarity``: compare two maps of a clip.
- ``comparison``: explain clips several times, compare, and summarise.
- ``randomisation``: explain clips at every stage.
- ``figures``: similarity by stage, and what is kept of one clip.

Stability adds noise below the masking threshold, and compares explanations in the same
way:

- ``masking_threshold``: what a clip masks for a human ear.
- ``inaudible_noise``: noise below this threshold.
- ``stability``: explain clips with noise.

RemOve And Retrain, ROAR (Hooker et al., "A benchmark for interpretability methods in
deep neural networks"), removes the bins that an explanation ranks first and trains a
new classifier on the rest:

- ``rankings``: order bins by a method, by chance, by loudness.
- ``removal``: remove the first bins from the clips of all splits.
- ``retraining``: train a new classifier.
- ``cells``: results of single trainings, in a file from which a run is resumed.
- ``roar``: train what is missing, and summarise.
"""
