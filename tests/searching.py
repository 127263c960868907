"""Interpreters that choose what is kept by the classifier's answer, for tests."""

import torch

from lmac_td.interpreters.base import Interpreter


class BestHalf(Interpreter):
    """Keeps the half of the band that the classifier finds more of the class in."""

    asks_classifier = True

    def forward(self, wavs, features, decision):
        """Explain (B, T) waveforms: two candidates, one of them for each clip."""
        low = torch.ones_like(features.magnitude)
        low[..., features.magnitude.shape[-1] // 2 :] = 0
        found = [
            self.explain_mask(mask, wavs, features, decision) for mask in (low, 1 - low)
        ]
        logits = decision.classifier.classify(*(e.kept_input for e in found))
        clips, target = torch.arange(len(wavs)), decision.target
        is_low = logits[0][clips, target] > logits[1][clips, target]
        mask = torch.where(is_low[:, None, None], low, 1 - low)
        return self.explain_mask(mask, wavs, features, decision)


class LowerHalf(Interpreter):
    """Keeps the lower half of the band, whatever the classifier answers."""

    is_control = True

    def forward(self, wavs, features, decision):
        """Explain (B, T) waveforms."""
        mask = torch.ones_like(features.magnitude)
        mask[..., features.magnitude.shape[-1] // 2 :] = 0
        return self.explain_mask(mask, wavs, features, decision)
