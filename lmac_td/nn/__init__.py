"""Building blocks that know nothing of explanations: filterbank, SepFormer, U-Nets."""
