"""What every metric does with its arguments: check them, count in float64.

A wrong shape, logits in the place of audio or a NaN would otherwise give a number
that looks right. Sums run in float64, so that a clip's value depends neither on
the size of its batch nor on the order of 220 000 bins.
"""

import functools

import torch


def in_double(*, dims=None, **tensors):
    """Check a metric's arguments and return them in float64.

    Arguments
    ---------
    dims : tuple of str | None
        The names of the dimensions that all of them have, such as ("B", "C");
        None allows (B, ...).
    **tensors : torch.Tensor
        The arguments by name, all of one shape, floating and finite.

    Returns
    -------
    doubles : list of torch.Tensor
        The arguments in float64, in the order given.
    dtype : torch.dtype
        The type of the metric's result: the arguments' own, float32 at least.

    Raises
    ------
    ValueError
        Names the argument and says what is wrong with it.

    Example
    -------
    >>> (wavs,), dtype = in_double(dims=("B", "T"), wavs=torch.ones(2, 3).half())
    >>> wavs.dtype, dtype
    (torch.float64, torch.float32)
    """
    doubles, dtype = shaped_in_double(dims=dims, **tensors)
    require_finite(**tensors)
    return doubles, dtype


def shaped_in_double(*, dims=None, **tensors):
    """:func:`in_double`, but values are not looked at: no GPU is waited for."""
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if not (isinstance(tensor, torch.Tensor) and tensor.is_floating_point()):
            kind = getattr(tensor, "dtype", type(tensor).__name__)
            raise ValueError(f"{name} must be a floating-point tensor, not {kind}.")
        wanted = "(B, ...)" if dims is None else f"({', '.join(dims)})"
        if tensor.ndim < 2 or (dims is not None and tensor.ndim != len(dims)):
            shape = tuple(tensor.shape)
            raise ValueError(f"{name} must have shape {wanted}, not {shape}.")
        if tensor.shape != first.shape:
            raise ValueError(
                f"{name} and {first_name} must have the same shape {wanted}, "
                f"not {tuple(tensor.shape)} and {tuple(first.shape)}."
            )
        if tensor.shape[1:].numel() == 0:
            raise ValueError(f"{name} has no values: {tuple(tensor.shape)}.")
    dtype = functools.reduce(
        torch.promote_types, (t.dtype for t in tensors.values()), torch.float32
    )
    return [tensor.to(torch.float64) for tensor in tensors.values()], dtype


def without_padding(n_valid, *tensors):
    """Set what lies after the end of each clip to zero: it adds nothing to any sum.

    Arguments
    ---------
    n_valid : torch.Tensor | None
        (B,) samples, or frames, of each clip before padding; None leaves all as it is.
    *tensors : torch.Tensor
        (B, T, ...), all of one shape.

    Returns
    -------
    list of torch.Tensor
        Bit for bit the same where nothing is padded.

    Raises
    ------
    ValueError
        There is not one number per clip, from 1 to T.

    Example
    -------
    >>> without_padding(torch.tensor([1, 2]), torch.ones(2, 2))
    [tensor([[1., 0.],
            [1., 1.]])]
    """
    if n_valid is None:
        return list(tensors)
    after = beyond(n_valid, tensors[0])
    return [
        tensor.masked_fill(after.view(*after.shape, *[1] * (tensor.ndim - 2)), 0)
        for tensor in tensors
    ]


def beyond(n_valid, tensor):
    """Mark what lies after the end of each clip, (B, T) boolean, on the device.

    Arguments
    ---------
    n_valid : torch.Tensor
        (B,) samples, or frames, of each clip before padding.
    tensor : torch.Tensor
        (B, T, ...).

    Raises
    ------
    ValueError
        There is not one number per clip, from 1 to T.
    """
    n_clips, length = tensor.shape[:2]
    if n_valid.shape != (n_clips,):
        raise ValueError(
            f"there must be one valid length a clip, {n_clips}, not a shape of "
            f"{tuple(n_valid.shape)}."
        )
    if not all(1 <= n <= length for n in n_valid.tolist()):
        raise ValueError(f"valid lengths must be from 1 to {length}, not {n_valid}.")
    places = torch.arange(length, device=tensor.device)
    return places >= n_valid.to(tensor.device).unsqueeze(1)


def require_finite(**tensors):
    """Refuse NaN and infinity; a GPU is waited for once.

    Arguments
    ---------
    **tensors : torch.Tensor
        (B, ...) by name, all of one shape.

    Raises
    ------
    ValueError
        Names the first argument that holds one, and the clips.
    """
    finite = torch.stack([t.isfinite().flatten(1).all(dim=1) for t in tensors.values()])
    if finite.all():
        return
    for name, of_clips in zip(tensors, finite, strict=True):
        clips = (~of_clips).nonzero().flatten().tolist()
        if clips:
            raise ValueError(
                f"{name} is NaN or infinite in clips {clips} of the batch."
            )
