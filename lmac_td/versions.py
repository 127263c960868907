"""The versions of this package and of those that must match."""

import importlib.metadata
import warnings


def package_version(name: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def warn_of_mismatch():
    """Warn if torch and torchaudio do not have the same version.

    torchaudio is compiled against one version of torch. With another one, its import,
    which is SpeechBrain's first, can fail with a message about symbols.
    """
    torch, torchaudio = package_version("torch"), package_version("torchaudio")
    if torch and torchaudio and _release(torch) != _release(torchaudio):
        warnings.warn(
            f"torch {torch} and torchaudio {torchaudio} do not match: install the "
            f"torchaudio of this torch, `pip install torchaudio=={_release(torch)}`",
            stacklevel=2,
        )


def _release(version):
    """Return a version without what names its build, such as ``+cpu``."""
    return version.partition("+")[0]
