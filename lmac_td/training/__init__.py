"""Train interpreters: the Brain, its objectives and checkpoints, and sparse NMF."""
