"""U-Nets that decode a classifier's representations into one more set of channels.

They compute H_d = U(h) of LMAC-TD (eq. 2) and the decoder of L-MAC (figure 5): the
representations of a CNN14, deepest first, become (B, K, T') on the frames of what they
join or mask.

:class:`AlignedUNet` keeps time. CNN14 halves time by averaging pairs, so index j of
level d (after d poolings) is centred on STFT frame 2^d j + (2^d - 1) / 2, whatever the
length of the clip; an odd last frame is dropped. A transposed convolution of kernel 4,
stride 2 and padding 1 is the exact counterpart: from j it writes 2j - 1 ... 2j + 2,
centred on 2j + 1/2, which is the centre of the pair that was averaged.

:class:`PublishedUNet` has the geometry of the authors' release, for checkpoints that
exist. Its strides multiply to 11 082 frames for a clip of 5 s that has 10 001 and the
rest is cut off, so it drifts: late in the clip it is 0.3 to 0.6 s late.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F
from speechbrain.lobes.models.Cnn14 import CNN14PSI, CNN14PSI_stft

from lmac_td.errors import SettingError, require_choice


class AlignedUNet(nn.Module):
    """A U-Net whose output stands over the sound that it was computed from.

    Arguments
    ---------
    rep_channels : sequence of int
        Channels of the four representations, deepest first: blocks 6, 5, 4 and 3.
    mel_bins : int
        Mel bands of the classifier's input, at least 32.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Widths of the decoder: at the rate of blocks 6 and 5, of block 4, of block 3,
        and after the mel axis is folded into channels.
    normalise : bool
        Bring each representation of each clip to zero mean and unit variance first.

    Raises
    ------
    ValueError
        If mel_bins vanish in five poolings, or a width is missing.

    Example
    -------
    >>> unet = AlignedUNet((16, 8, 8, 4), mel_bins=40, out_channels=6,
    ...                    channels=(8, 8, 8, 8))
    >>> t = 100  # STFT frames
    >>> reps = [torch.rand(2, c, t // p, 40 // p)
    ...         for c, p in zip((16, 8, 8, 4), (32, 32, 16, 8))]
    >>> unet(reps, n_stft_frames=t, n_frames=2305, samples_per_stft_frame=186,
    ...      samples_per_frame=8).shape
    torch.Size([2, 6, 2305])
    """

    def __init__(
        self,
        rep_channels,
        mel_bins=80,
        out_channels=256,
        channels=(512, 512, 256, 256),
        normalise=False,
    ):
        super().__init__()
        self.normalise = normalise
        if mel_bins < 32:
            raise SettingError(
                f"mel_bins: CNN14 halves them five times, {mel_bins} < 32"
            )
        if len(rep_channels) != 4 or len(channels) != 4:
            raise SettingError("rep_channels and channels: the U-Net has four of each")
        deep, middle, shallow, flat = channels
        widths = (deep, deep, middle, shallow)
        self.skips = nn.ModuleList(
            nn.Conv2d(c_in, c_out, 1)
            for c_in, c_out in zip(rep_channels, widths, strict=True)
        )
        self.up4 = nn.ConvTranspose2d(deep, middle, 4, 2, 1)
        self.up3 = nn.ConvTranspose2d(middle, shallow, 4, 2, 1)
        self.fold = nn.Conv2d(shallow, flat, (1, mel_bins // 8))
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(flat, flat, 4, 2, 1) for _ in range(3)
        )
        self.out = nn.Conv1d(flat, out_channels, 1)

    def forward(
        self,
        representations,
        n_stft_frames,
        n_frames,
        samples_per_stft_frame,
        samples_per_frame,
    ):
        """Decode.

        Arguments
        ---------
        representations : sequence of torch.Tensor
            Four of (B, C, time, mel), deepest first (see
            :class:`lmac_td.classifier.Cnn14`).
        n_stft_frames : int
            STFT frames t of the clip; frame f is centred on sample f times
            samples_per_stft_frame.
        n_frames : int
            Encoder frames T' of the clip; frame m is centred on sample m times
            samples_per_frame.
        samples_per_stft_frame : int
            Samples between STFT frames (the hop).
        samples_per_frame : int
            Samples between encoder frames (the stride).

        Returns
        -------
        torch.Tensor
            (B, K, T').
        """
        if self.normalise:
            representations = [F.group_norm(rep, 1) for rep in representations]
        skip6, skip5, skip4, skip3 = (
            F.relu(conv(rep))
            for conv, rep in zip(self.skips, representations, strict=True)
        )
        h = skip6 + skip5  # (B, C, t // 32, mel // 32)
        h = fit(F.relu(self.up4(h)), skip4.shape[2:]) + skip4
        h = fit(F.relu(self.up3(h)), skip3.shape[2:]) + skip3
        h = F.relu(self.fold(h)).squeeze(3)  # (B, C, t // 8)
        # Cnn14 pads what is shorter than its poolings.
        n_stft_frames = max(n_stft_frames, 8 * representations[3].shape[2])
        for up, size in zip(
            self.ups,
            (n_stft_frames // 4, n_stft_frames // 2, n_stft_frames),
            strict=True,
        ):
            h = fit(F.relu(up(h)), (size,))
        # Pointwise layers and interpolation commute: mix where frames are few.
        h = self.out(h)  # (B, K, t)
        return interpolate(h, n_frames, samples_per_frame / samples_per_stft_frame)


def init_before_relu(layer):
    """Initialise a convolution, transposed or not, as He et al. 2015 do."""
    fan_in = layer.in_channels
    for size, stride in zip(layer.kernel_size, layer.stride, strict=True):
        # A transposed convolution meets an output with one tap in `stride`; the others
        # have a stride of 1.
        fan_in *= size // stride
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
    nn.init.zeros_(layer.bias)


def fit(x, sizes):
    """Repeat the last entry of axes that pooling cut, from the third on.

    As ``F.pad(mode="replicate")``, whose gradient ``torch.compile`` expects in another
    layout than it gets.

    Example
    -------
    >>> fit(torch.tensor([[[1.0, 2.0]]]), (4,))
    tensor([[[1., 2., 2., 2.]]])
    """
    for axis, size in enumerate(sizes, start=2):
        missing = size - x.shape[axis]
        if missing < 0:
            x = x.narrow(axis, 0, size)
        elif missing:
            last = x.narrow(axis, x.shape[axis] - 1, 1)
            x = torch.cat([x, *[last] * missing], dim=axis)
    return x


def interpolate(x, n_frames, step):
    """Read x (B, K, t) at positions m step, m < n_frames, held at its end: linear."""
    last = x.shape[-1] - 1
    position = torch.arange(n_frames, device=x.device, dtype=torch.float64) * step
    position = position.clamp(max=last)
    left = position.long()
    right = (left + 1).clamp(max=last)
    weight = (position - left).to(x.dtype)
    return torch.lerp(x[..., left], x[..., right], weight)


class PublishedUNet(nn.Module):
    """The geometry and the keys of the authors' release (see the module's docstring).

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, / 4 and / 8.
    out_channels : int
        Channels K of the output, at most the 256 frequencies that the net makes of 80
        mel bands: the frequency axis of its one-channel output plays the channels.

    Example
    -------
    >>> unet = PublishedUNet(dim=16)
    >>> t = 431  # STFT frames of 5 s
    >>> reps = [torch.rand(1, 16 // d, t // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> unet(reps, n_stft_frames=t, n_frames=10001, samples_per_stft_frame=186,
    ...      samples_per_frame=8).shape
    torch.Size([1, 256, 10001])
    """

    def __init__(self, dim=2048, out_channels=256):
        super().__init__()
        self.out_channels = out_channels
        half, quarter, eighth, sixteenth = dim // 2, dim // 4, dim // 8, dim // 16
        up = nn.ConvTranspose2d  # in, out, kernel, stride, padding
        self.convt1 = up(dim, quarter, 7, (3, 2), 1)
        self.convt2 = up(half, quarter, 7, (3, 2), 1)
        self.convt3 = up(quarter, quarter, (12, 11), (3, 2), 1)
        self.convt4 = up(quarter, quarter, (7, 7), (5, 4), 1)
        self.convt5 = up(quarter, eighth, 7, (2, 2), 1)
        self.convt6 = up(eighth, eighth, (7, 11), (5, 4), (2, 1))
        self.convt7 = up(eighth, eighth, (4, 3), (2, 2), (0, 5))
        self.convt8 = up(eighth, sixteenth, (10, 7), (3, 1), (4, 2))
        self.convt9 = up(sixteenth, 1, (8, 10), (7, 3), 0)

    def forward(
        self,
        representations,
        n_stft_frames,
        n_frames,
        samples_per_stft_frame,
        samples_per_frame,
    ):
        """Decode, as :meth:`AlignedUNet.forward`; only n_frames is used.

        Raises
        ------
        ValueError
            If the skips do not meet, or fewer frames or channels come out than asked
            for: the geometry was made for clips of 5 s and 80 mel bands.
        """
        reps = representations
        h = F.relu(self.convt1(reps[0])) + F.relu(self.convt2(reps[1]))
        h = _meet(F.relu(self.convt3(h)), F.relu(self.convt4(reps[2])))
        h = _meet(F.relu(self.convt5(h)), F.relu(self.convt6(reps[3])))
        # Of the costly last layers, only what reaches the frames that are kept.
        n8 = rows_before(self.convt9, n_frames)
        n7 = rows_before(self.convt8, n8)
        h = F.relu(self.convt7(h[:, :, : rows_before(self.convt7, n7)]))
        h = self.last_two(h[:, :, :n7]).squeeze(1)  # (B, time, frequency)
        if h.shape[1] < n_frames or h.shape[2] < self.out_channels:
            raise SettingError(
                f"the published U-Net gives {h.shape[1]} frames of {h.shape[2]} "
                f"channels, {n_frames} of {self.out_channels} are needed: use "
                "geometry: aligned"
            )
        return h[:, :n_frames, : self.out_channels].transpose(1, 2)

    def last_two(self, h):
        """``convt9(convt8(h))``, for a third of the work.

        Nothing stands between the two, so they are one transposed convolution, whose
        kernel is that of the one spread by the other. It would also hear what the
        padding of convt8 cuts off: that reaches the edges alone, which are computed
        layer by layer.

        Arguments
        ---------
        h : torch.Tensor
            (B, dim / 8, t, f).

        Returns
        -------
        torch.Tensor
            (B, 1, 21 t - 6, 3 f + 13).
        """

        def plain(x):
            return self.convt9(self.convt8(x))

        n_t, n_f = h.shape[2:]
        if n_t < 2 or n_f < 5:
            return plain(h)
        spread = {"stride": self.convt9.stride}
        # In float32: what half precision would round here reaches all outputs.
        with torch.autocast("cuda" if h.is_cuda else "cpu", enabled=False):
            weight = self.convt9.weight
            kernel = F.conv_transpose2d(self.convt8.weight, weight, **spread)
            bias = torch.einsum("m,mnij->nij", self.convt8.bias, weight)
        both = F.conv_transpose2d(h, kernel, stride=(3 * 7, 1 * 3))
        both = both[:, :, 4 * 7 :, 2 * 3 :][:, :, : 21 * n_t - 6, : 3 * n_f + 13]
        # The bias of convt8 reaches all outputs alike but the edges.
        ones = h.new_ones(1, 1, 3 * n_t - 1, n_f + 2)
        both = both + F.conv_transpose2d(
            ones, bias.unsqueeze(0), self.convt9.bias, **spread
        )
        # Two columns are cut off at each side: they reach seven, which five make.
        left, right = plain(h[..., :5])[..., :7], plain(h[..., -5:])[..., -7:]
        both = torch.cat([left, both[..., 7:-7], right], dim=3)
        # Four rows are cut off at each end: they reach one, which two make.
        first, last = plain(h[:, :, :2])[:, :, :1], plain(h[:, :, -2:])[:, :, -1:]
        return torch.cat([first, both[:, :, 1:-1], last], dim=2)


def rows_before(layer, n_rows):
    """Rows of its input that the first n rows of a transposed convolution depend on.

    Row i of the input begins at row i s - p of the output.

    Example
    -------
    >>> layer = nn.ConvTranspose2d(1, 1, (5, 1), stride=(3, 1), padding=(1, 0))
    >>> x = torch.rand(1, 1, 20, 1)
    >>> needed = rows_before(layer, 7)
    >>> needed
    3
    >>> torch.allclose(layer(x[:, :, :needed])[:, :, :7], layer(x)[:, :, :7])
    True
    """
    return math.ceil((n_rows + layer.padding[0]) / layer.stride[0])


def _meet(x, skip):
    """Add a skip that must have the very shape of x."""
    if x.shape != skip.shape:
        raise SettingError(
            f"the skips of the published U-Net do not meet, {tuple(x.shape[2:])} and "
            f"{tuple(skip.shape[2:])}, for a clip of this length: use geometry: aligned"
        )
    return x + skip


def build_unet(geometry, emb_dim, cnn14_channels, mel_bins, out_channels, channels):
    """Build U for a CNN14 of the given widths.

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`AlignedUNet`) or ``published`` (:class:`PublishedUNet`).
    emb_dim : int
        Channels of CNN14's block 6.
    cnn14_channels : sequence of int
        Channels of its blocks 1 to 5.
    mel_bins : int
        Mel bands of its input.
    out_channels : int
        Channels K of the output.
    channels : sequence of int
        Decoder widths of the aligned geometry; the published one has its own.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If the geometry is neither, or the published one does not fit the widths.

    Example
    -------
    >>> unet = build_unet("published", 32, (1, 2, 4, 8, 16), 80, 256, None)
    >>> type(unet).__name__
    'PublishedUNet'
    """
    rep_channels = (emb_dim, *reversed(cnn14_channels[2:]))  # deepest first
    require_choice("geometry", geometry, ("aligned", "published"))
    if geometry == "aligned":
        return AlignedUNet(rep_channels, mel_bins, out_channels, channels)
    check_published_widths(emb_dim, cnn14_channels)
    return PublishedUNet(emb_dim, out_channels)


def check_published_widths(emb_dim, cnn14_channels):
    """Refuse widths that the published geometries do not have.

    Raises
    ------
    SettingError
    """
    widths = (emb_dim, *reversed(cnn14_channels[2:]))  # deepest first
    if widths != tuple(emb_dim // d for d in (1, 2, 4, 8)):
        raise SettingError(
            f"geometry: published needs representations that halve their {emb_dim} "
            f"channels, not {widths}: use geometry: aligned"
        )


class _PublishedMask:
    """SpeechBrain's mask decoders, called as :meth:`AlignedUNet.forward` is.

    Their mask stands 4.5 STFT frames (52 ms) late over the sound, throughout, and ends
    6 frames early for a clip of 5 s; its last frame is held.
    """

    def forward(self, representations, n_frames, **_):
        """Decode, as :meth:`AlignedUNet.forward`; of the numbers, n_frames is used.

        Raises
        ------
        SettingError
            If the skips do not meet: the geometry was made for clips of 5 s.
        """
        try:
            h = super().forward(representations)  # (B, 1, time, bins)
        except RuntimeError as error:
            if "size of tensor" not in str(error):  # out of memory, say
                raise
            raise SettingError(
                "the skips of the published U-Net do not meet for a clip of this "
                "length: use geometry: aligned"
            ) from error
        h = h.squeeze(1).transpose(1, 2)  # (B, bins, time)
        return fit(h, (n_frames,))


class PublishedStftMask(_PublishedMask, CNN14PSI_stft):
    """L-MAC's decoder of a mask on the STFT, with SpeechBrain's keys.

    Arguments
    ---------
    dim : int
        Channels of the deepest representation; the others have dim / 2, / 4 and / 8.

    Example
    -------
    >>> reps = [torch.rand(1, 16 // d, 431 // p, 80 // p)
    ...         for d, p in ((1, 32), (2, 32), (4, 16), (8, 8))]
    >>> PublishedStftMask(16)(reps, n_frames=431).shape
    torch.Size([1, 513, 431])
    """


class PublishedMelMask(_PublishedMask, CNN14PSI):
    """L-MAC's decoder of a mask on 80 mel bands, with SpeechBrain's keys.

    Arguments
    ---------
    dim : int
        As of :class:`PublishedStftMask`.
    """


def build_mask_unet(
    geometry, domain, emb_dim, cnn14_channels, mel_bins, n_fft, channels
):
    """Build the decoder of L-MAC for a CNN14 of the given widths.

    Arguments
    ---------
    geometry : str
        ``aligned`` (:class:`AlignedUNet`) or ``published`` (SpeechBrain's, by keys and
        by geometry).
    domain : str
        ``stft`` or ``mel``: what the mask is for.
    emb_dim, cnn14_channels, mel_bins, channels
        As of :func:`build_unet`.
    n_fft : int
        Points of the FFT: the STFT has n_fft // 2 + 1 bins.

    Returns
    -------
    nn.Module

    Raises
    ------
    SettingError
        If a setting is none of these, or the published geometry does not fit.
    """
    require_choice("domain", domain, ("stft", "mel"))
    n_out = n_fft // 2 + 1 if domain == "stft" else mel_bins
    require_choice("geometry", geometry, ("aligned", "published"))
    if geometry == "aligned":
        rep_channels = (emb_dim, *reversed(cnn14_channels[2:]))  # deepest first
        # Nothing after it normalises, as MaskNet does in LMAC-TD: left to PyTorch's own
        # init, hardly a signal comes through and the mask becomes a fixed equaliser.
        unet = AlignedUNet(rep_channels, mel_bins, n_out, channels, normalise=True)
        for layer in (*unet.skips, unet.up4, unet.up3, unet.fold, *unet.ups):
            init_before_relu(layer)
        return unet
    check_published_widths(emb_dim, cnn14_channels)
    if mel_bins != 80 or n_fft != 1024:
        raise SettingError(
            f"geometry: published makes masks of 80 mel bands or of the 513 bins of an "
            f"FFT of 1024, not for n_mels {mel_bins} and n_fft {n_fft}: use geometry: "
            "aligned"
        )
    return PublishedStftMask(emb_dim) if domain == "stft" else PublishedMelMask(emb_dim)
