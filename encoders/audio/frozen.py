"""Frozen audio models: windows of samples in, one vector per layer out."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from encoders.audio.spectrogram import mel_filters, mel_power

if TYPE_CHECKING:
    from torch import Tensor

Samples = NDArray[np.float32]  # (samples,)


class FrozenModel(Protocol):
    """Hidden states of a model, averaged over time."""

    @property
    def module(self) -> Any:
        """The model of torch."""
        ...

    def states(self, windows: Sequence[Samples]) -> "Tensor":
        """Compute what a call returns as a tensor, with gradients where the module's weights ask for them."""
        ...

    def __call__(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Return the mean of each layer's states, shape (n, layers, width)."""
        ...

    def together(self, samples: int) -> int:
        """Return a number that windows share if they may be computed together."""
        ...

    def bytes_of(self, samples: int) -> int:
        """Return about how much memory a window of so many samples takes while it is computed."""
        ...


class WaveModel:
    """HuBERT (and MERT), wav2vec2: convolutions over the samples, then a transformer."""

    def __init__(self, model: Any, *, normalise: bool) -> None:
        """Wrap an opened model; `normalise` scales each window to mean 0 and variance 1 first."""
        self._model, self._normalise = model, normalise

    @property
    def module(self) -> Any:
        """As `FrozenModel` says."""
        return self._model

    def __call__(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Compute, as `FrozenModel` says, windows of equal length."""
        return _inferred(self.states, windows)

    def states(self, windows: Sequence[Samples]) -> "Tensor":
        """Compute, as `FrozenModel` says, windows of equal length."""
        import torch

        samples = torch.from_numpy(np.stack(windows)).to(self._model.device)
        if self._normalise:
            variance, mean = torch.var_mean(samples, dim=1, correction=0, keepdim=True)
            samples = (samples - mean) / (variance + 1e-7).sqrt()
        out = self._model(samples.to(self._model.dtype), output_hidden_states=True)
        means = [states.mean(dim=1, dtype=torch.float32) for states in out.hidden_states]
        return torch.stack(means, dim=1)

    def together(self, samples: int) -> int:
        """Only those of one length: the group norm would see any padding, and change the result."""
        return samples

    def bytes_of(self, samples: int) -> int:
        """As `FrozenModel` says: the first convolution is the widest, then the layers' states are kept."""
        config = self._model.config
        first = samples // config.conv_stride[0] * config.conv_dim[0]
        frames = samples // int(np.prod(config.conv_stride)) + 1
        states = frames * (config.hidden_size * (config.num_hidden_layers + 4) + 2 * config.intermediate_size)
        return int(4 * (3 * first + states))


class WhisperModel:
    """The encoder of Whisper: log-mel frames of one fixed length, convolutions, a transformer."""

    def __init__(self, model: Any, *, fft: int, hop: int, sample_rate: int) -> None:
        """Wrap an opened `WhisperEncoder`; its positions say how long a window is."""
        self._model, self._fft, self._hop = model, fft, hop
        config = model.config
        self._samples: int = config.max_source_positions * 2 * hop  # its second convolution halves the frames
        self._filters = mel_filters(fft // 2 + 1, config.num_mel_bins, 0, sample_rate / 2, sample_rate)

    @property
    def module(self) -> Any:
        """As `FrozenModel` says."""
        return self._model

    def __call__(self, windows: Sequence[Samples]) -> NDArray[np.float32]:
        """Compute, as `FrozenModel` says."""
        return _inferred(self.states, windows)

    def states(self, windows: Sequence[Samples]) -> "Tensor":
        """Compute, as `FrozenModel` says.

        Shorter windows are filled up with silence, as the model was trained, but the mean is only over the
        frames that hold sound.
        """
        import torch

        filled = np.zeros((len(windows), self._samples), np.float32)
        for row, window in zip(filled, windows, strict=True):
            row[: len(window)] = window
        frames = self._log_mel(torch.from_numpy(filled).to(self._model.device))
        out = self._model(frames.to(self._model.dtype), output_hidden_states=True)
        states = torch.stack(out.hidden_states, dim=1)  # (n, layers, frames, width)
        means = [
            row[:, : -(-len(window) // (2 * self._hop))].mean(dim=1, dtype=torch.float32)
            for row, window in zip(states, windows, strict=True)
        ]
        return torch.stack(means)

    def together(self, samples: int) -> int:
        """All of them: each is filled up to the same length."""
        return self._samples

    def bytes_of(self, samples: int) -> int:
        """As `FrozenModel` says; every window is filled up to the same length."""
        config = self._model.config
        states = config.d_model * (config.encoder_layers + 6) + 2 * config.encoder_ffn_dim
        return int(4 * config.max_source_positions * states + 8 * self._samples)

    def _log_mel(self, samples: "Tensor") -> "Tensor":
        import torch

        filters = torch.from_numpy(self._filters).to(samples.device)
        power = mel_power(samples, filters, self._fft, self._hop)[..., :-1]
        levels = power.log10()
        loudest = levels.amax(dim=(1, 2), keepdim=True)
        return (torch.maximum(levels, loudest - 8) + 4) / 4


def _inferred(
    states: Callable[[Sequence[Samples]], "Tensor"], windows: Sequence[Samples]
) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        return np.asarray(states(windows).cpu().numpy())
