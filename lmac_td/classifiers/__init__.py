"""The classifiers that are explained: one adapter for each kind.

``cnn14``, ``modules``, ``huggingface``, ``speechbrain`` and ``black_box`` are adapters.
``check`` refuses a classifier that breaks the contract. ``activations`` and
``deeplift_rules`` are for methods that replace the gradients of modules. The adapters
share the other modules.
"""
