"""Convert published checkpoints to folders that every command opens.

One file for each kind: :mod:`~lmac_td.convert.classifier` (CNN14),
:mod:`~lmac_td.convert.interpreters` (L-MAC and LMAC-TD) and
:mod:`~lmac_td.convert.dictionary` (NMF). :mod:`~lmac_td.convert.checkpoints` finds and
reads what was published, :mod:`~lmac_td.convert.origins` remembers where each setting
is from.
"""
