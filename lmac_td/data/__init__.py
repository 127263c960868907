"""From folders of recordings to datasets of mixtures.

``download`` and ``corpus`` make the folders, ``esc50`` turns one into manifests,
``cache`` decodes each file once, ``noise`` and ``interference`` draw what a clip is
mixed with, ``mixing`` adds it at an exact signal-to-noise ratio, ``datasets`` puts
these together for a dataloader, and ``prepare`` does all of it for the commands.
"""
