"""Mel spectrograms, as the makers of the models computed them."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

POWER_FLOOR = 1e-10
_SLANEY_LINEAR_HZ = 200 / 3  # per mel, up to the break
_SLANEY_BREAK_HZ = 1000.0
_SLANEY_STEP = np.log(6.4) / 27  # per mel, above it


def mel_filters(
    bins: int, mels: int, low_hz: float, high_hz: float, sample_rate: int, *, htk: bool = False
) -> NDArray[np.float32]:
    """Return triangular filters that turn the power of frequencies into that of mels.

    Args:
        bins: frequencies, from 0 to half the sample rate.
        mels: how many bands.
        low_hz: where the first band begins.
        high_hz: where the last one ends.
        sample_rate: in Hz.
        htk: place them by HTK's formula and leave their heights at one, else by Slaney's, each of area one.

    Returns:
        Shape (mels, bins).
    """
    to_mel, to_hz = (_htk_mel, _htk_hz) if htk else (_slaney_mel, _slaney_hz)
    low, high = to_mel(np.array([low_hz, high_hz]))
    edges = to_hz(np.linspace(low, high, mels + 2))
    frequencies = np.linspace(0, sample_rate // 2, bins)
    slopes = edges[:, None] - frequencies  # (mels + 2, bins)
    widths = np.diff(edges)[:, None]
    rising, falling = -slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    if not htk:
        filters *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return filters.astype(np.float32)


def mel_power(samples: "Tensor", filters: "Tensor", fft: int, hop: int) -> "Tensor":
    """Return the power in each mel band over time, at least `POWER_FLOOR`.

    Args:
        samples: shape (n, samples).
        filters: of `mel_filters`, shape (mels, fft / 2 + 1).
        fft: length of a frame, under a Hann window.
        hop: from one frame's middle to the next's; the ends are mirrored.

    Returns:
        Shape (n, mels, 1 + samples // hop).
    """
    import torch

    window = torch.hann_window(fft, device=samples.device)
    spectrum = torch.stft(samples, fft, hop, window=window, pad_mode="reflect", return_complex=True)
    return (filters @ spectrum.abs().square()).clamp_min(POWER_FLOOR)


def _htk_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(2595 * np.log10(1 + hz / 700))


def _htk_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


def _slaney_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = np.log(np.maximum(hz, _SLANEY_BREAK_HZ) / _SLANEY_BREAK_HZ) / _SLANEY_STEP
    return np.asarray(np.minimum(hz, _SLANEY_BREAK_HZ) / _SLANEY_LINEAR_HZ + above)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    break_mel = _SLANEY_BREAK_HZ / _SLANEY_LINEAR_HZ
    above = np.exp(_SLANEY_STEP * np.maximum(mel - break_mel, 0))
    return np.asarray(np.minimum(mel, break_mel) * _SLANEY_LINEAR_HZ * above)
