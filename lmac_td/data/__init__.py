"""From folders of recordings to datasets of mixtures.

``download`` and ``corpus`` make the folders, ``esc50`` turns one into manifests,
``cache`` decodes each file once, ``noise`` draws interference, ``mixing`` adds it at an
exact signal-to-noise ratio, and ``datasets`` puts these together for a dataloader.
"""
