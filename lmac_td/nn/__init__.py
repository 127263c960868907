"""Networks that do not depend on explanations: filterbank, MaskNet, U-Nets, Psi."""
