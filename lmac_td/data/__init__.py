"""From folders of recordings to datasets of mixtures.

``sources`` list clips, ``manifests`` decodes those of each split once into ``cache``,
``conditions`` say what clips are mixed with (``noise`` draws it from recordings),
``datasets`` puts these together for a dataloader, ``epoch_seeds`` shuffles and draws
by epoch, ``loading`` says how a loader reads ahead, ``mixing`` makes mixtures of its
batches at an exact signal-to-noise ratio, and ``prepare`` does all but that for the
commands. ``corpus`` and ``download`` make folders of recordings.
"""
