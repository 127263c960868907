"""From folders of recordings to datasets of mixtures.

``sources`` lists the clips of a data set; ``manifests`` decodes the clips of each split
once into ``cache``; ``conditions`` says what clips are mixed with, and ``noise`` draws
it from recordings; ``datasets`` combines clips and interference for a dataloader;
``epoch_seeds`` shuffles the training split and seeds its draws; ``loading`` sets up the
dataloader; ``mixing`` mixes loaded batches at an exact signal-to-noise ratio.
``prepare`` does all steps before the mixing in one call. ``demo`` generates the
embedded corpus; ``download`` fetches ESC-50.
"""
