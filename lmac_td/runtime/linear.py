"""Linear layers that use the fastest matrix product on a CPU.

PyTorch multiplies float32 matrices with MKL, which uses AVX-512 only on Intel
processors; on others it runs at half the possible rate. PyTorch computes convolutions
with oneDNN, which uses AVX-512 on all processors. A pointwise convolution of
channels-last data is the same product, so we use it where MKL would be slow.
``python -m benchmarks.train_step`` prints both rates.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Linear(nn.Linear):
    """``nn.Linear`` computed by :func:`linear`, with the same weights and keys.

    Example
    -------
    >>> Linear(4, 3)(torch.rand(2, 5, 4)).shape
    torch.Size([2, 5, 3])
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return (..., out_features) for x (..., in_features)."""
        return linear(x, self.weight, self.bias)


def linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute ``F.linear`` with the faster of two libraries.

    Arguments
    ---------
    x : torch.Tensor
        (..., N).
    weight : torch.Tensor
        (M, N).
    bias : torch.Tensor, optional
        (M,).

    Returns
    -------
    torch.Tensor
        (..., M).

    Example
    -------
    >>> x, weight, bias = torch.rand(2, 5, 4), torch.rand(3, 4), torch.rand(3)
    >>> torch.allclose(linear(x, weight, bias), F.linear(x, weight, bias))
    True
    """
    uses_mkl = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    # Under autocast, PyTorch uses oneDNN already.
    if uses_mkl and ONEDNN_IS_FASTER and not torch.is_autocast_enabled("cpu"):
        return as_convolution(x, weight, bias)
    return F.linear(x, weight, bias)


def as_convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute ``F.linear`` as a convolution with kernel size 1.

    The first dimension of x becomes the batch of the convolution: with a single thread,
    PyTorch uses oneDNN only for batches of 16 or more.
    """
    n_images = len(x) if x.dim() > 2 else 1
    rows = x.reshape(n_images, -1, 1, x.shape[-1])
    images = rows.permute(0, 3, 1, 2)  # (images, N, rows, 1), channels last in memory
    y = F.conv2d(images, weight[:, :, None, None], bias)  # (images, M, rows, 1)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def mkl_lacks_avx512() -> bool:
    """Return whether MKL does not use the AVX-512 of this CPU, but oneDNN would.

    Returns
    -------
    bool
        True for a CPU with AVX-512 that is not from Intel, if PyTorch has both
        libraries. False if the vendor is unknown.
    """
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and processor().get("vendor_id", "") not in ("", "GenuineIntel")
    )


def processor() -> dict[str, str]:
    """Return what Linux reports about the processor.

    Returns
    -------
    dict of str to str
        ``vendor_id``, ``model name``, ``flags`` and so on of one core. Empty on other
        systems.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.split(":", 1) for line in file if ":" in line]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, value in pairs}


# Determined at import, since a compiled network cannot read files.
ONEDNN_IS_FASTER = mkl_lacks_avx512()
