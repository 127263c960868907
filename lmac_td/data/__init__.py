"""From folders of recordings to datasets of mixtures.

``download`` and ``corpus`` make the folders, ``esc50`` turns one into manifests,
``cache`` decodes each file once, ``noise`` and ``interference`` draw what a clip is
mixed with, ``datasets`` puts these together for a dataloader, ``loading`` says how
that reads ahead, ``mixing`` makes mixtures of its batches at an exact signal-to-noise
ratio, and ``prepare`` does all but that for the commands.
"""
