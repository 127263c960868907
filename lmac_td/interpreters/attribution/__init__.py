"""Post-hoc attributions of the classifier's decision, computed by Captum, as masks.

A method attributes the logit of the target class (occlusion: its probability) to the
magnitude |X| of the STFT, or to the mel bands that the classifier takes. For a
classifier of waveforms, |X| and the phase of the clip are first converted to sound. The
mask is the positive part of the attribution over its maximum, computed for each clip;
without a positive part the mask is 0.

Clips are explained one by one. Random numbers come from a fixed seed and are the same
for every clip, so an explanation depends neither on its batch nor on the order of the
clips. Methods that need a reference use silence, which is zero in both domains; the two
SHAP methods average over several reference sounds (:mod:`.reference_sounds`).

A method is a subclass of :class:`Attribution` with the decorator :func:`register`, in
a module of this package. Every module of the package is imported here, so a new method
is one new file; its settings are the arguments of its class. Captum is imported only
when a method runs.
"""

import importlib
import pkgutil

from lmac_td.interpreters.attribution.base import Attribution
from lmac_td.interpreters.attribution.registry import (
    METHODS,
    build_attributions,
    register,
)

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

__all__ = ["METHODS", "Attribution", "build_attributions", "register"]
