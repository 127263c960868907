"""The classifiers that are explained: one adapter for each kind.

``cnn14``, ``modules``, ``huggingface``, ``speechbrain`` and ``black_box`` are adapters.
``check`` refuses a classifier that breaks the contract. The other modules are shared by
the adapters.
"""
