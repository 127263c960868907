"""Linear layers on the fastest matrix products that a CPU has.

PyTorch multiplies float32 matrices by MKL, which takes the AVX-512 units of Intel's own
processors alone; on others it computes at half their rate. Convolutions go through
oneDNN, which takes what it finds, and a pointwise convolution of channels-last data is
the same product. ``python -m benchmarks.train_step`` prints both rates.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F


class Linear(nn.Linear):
    """``nn.Linear`` through :func:`linear`: same weights, keys and numbers.

    Example
    -------
    >>> Linear(4, 3)(torch.rand(2, 5, 4)).shape
    torch.Size([2, 5, 3])
    """

    def forward(self, x):
        """Return (..., out_features) for x (..., in_features)."""
        return linear(x, self.weight, self.bias)


def linear(x, weight, bias=None):
    """``F.linear``, by whichever library multiplies faster.

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
    by_mkl = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    # What autocast computes in half precision goes through oneDNN already.
    if by_mkl and ONEDNN_IS_FASTER and not torch.is_autocast_enabled("cpu"):
        return as_convolution(x, weight, bias)
    return F.linear(x, weight, bias)


def as_convolution(x, weight, bias=None):
    """``F.linear`` as a convolution of kernel 1 over images of one row.

    The first dimension of x counts the images: with a single thread PyTorch asks
    oneDNN only for 16 or more.
    """
    n_images = len(x) if x.dim() > 2 else 1
    rows = x.reshape(n_images, -1, 1, x.shape[-1])
    images = rows.permute(0, 3, 1, 2)  # (images, N, rows, 1), channels last in memory
    y = F.conv2d(images, weight[:, :, None, None], bias)  # (images, M, rows, 1)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)


def mkl_leaves_avx512():
    """Whether this CPU has AVX-512, but not from Intel, and PyTorch has both libraries.

    Returns
    -------
    bool
        False also where the maker cannot be told.
    """
    return (
        torch.backends.mkl.is_available()
        and torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and processor().get("vendor_id", "") not in ("", "GenuineIntel")
    )


def processor():
    """What Linux tells of this machine's processor.

    Returns
    -------
    dict of str to str
        Of one core: ``vendor_id``, ``model name``, ``flags`` and so on; empty where
        there is nothing to read.
    """
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            pairs = [line.split(":", 1) for line in file if ":" in line]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, value in pairs}


# Told once: a compiled network cannot ask.
ONEDNN_IS_FASTER = mkl_leaves_avx512()
