"""What the configs of HuBERT, MERT, wav2vec2 and Whisper models say about their encoders."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from encoders.audio.pooling import pooled_layers
from encoders.device import check_precision
from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE, read_json
from encoders.pretrained.opening import read_config, require_transformers
from encoders.pretrained.weights import SINGLE, as_json, read_tensors, to_safetensors, weight_files
from retrieval.errors import IncompatibleModel, InvalidInput, UnreadableSource

# What a family says of a model: preprocessing, architecture, files.
Parts: TypeAlias = tuple[dict[str, Any], dict[str, Any], dict[str, bytes | Path]]

KIND = "audio_layers"  # on the card: which loader
PREPROCESSOR_FILE = "preprocessor_config.json"
WAVE_WINDOW_S = 5.0
WAVE_OVERLAP = 0.5
MAX_SECONDS = 3600.0
WHISPER_RATE, WHISPER_FFT, WHISPER_HOP = 16_000, 400, 160
# Of MERT's config: what names its remote code, or does nothing in the two released models.
MERT_ONLY = (
    "architectures",
    "auto_map",
    "attention_relax",  # read by the deepnorm encoder alone
    "deepnorm",
    "feature_extractor_cqt",
    "feature_extractor_cqt_bins",
    "sample_rate",
    "tokenizer_class",
)


def describe_layers(
    folder: Path, pooling: str, window_s: float | None, overlap: float | None, precision: str
) -> Description:
    """Describe an audio model; for the options see `encoders.audio.layers.describe`."""
    require_transformers(f"the model in {folder.name!r}")
    config = read_json(folder / CONFIG_FILE)
    check_precision(precision)
    made = _whisper if config.get("model_type") == "whisper" else _wave
    preprocessing, architecture, files = made(folder, config, window_s)
    told = 0.0 if made is _whisper else WAVE_OVERLAP
    share = _number("overlap", overlap, told, 0, 0.95)
    pooled_layers(pooling, architecture["layers"])
    window = preprocessing["window_s"]
    return Description(
        kind=KIND,
        modalities=("audio",),
        dims=architecture["width"],
        max_words=0,
        preprocessing={
            **preprocessing,
            "hop_s": window * (1 - share),
            "max_seconds": MAX_SECONDS,
            "precision": precision,
        },
        architecture={**architecture, "pooling": pooling},
        files=files,
    )


def _wave(folder: Path, config: Mapping[str, Any], window_s: float | None) -> Parts:
    from transformers import HubertConfig, Wav2Vec2Config

    files: dict[str, bytes | Path] = {CONFIG_FILE: folder / CONFIG_FILE}
    if config["model_type"] == "mert_model":
        config = mert_as_hubert(config)
        files = {CONFIG_FILE: as_json(dict(config))}
    read = read_config(HubertConfig if config["model_type"] == "hubert" else Wav2Vec2Config, config)
    told = read_json(folder / PREPROCESSOR_FILE)
    rate, normalise = told.get("sampling_rate"), told.get("do_normalize", True)
    if not isinstance(rate, int) or not 1000 <= rate <= 192_000 or not isinstance(normalise, bool):
        raise UnreadableSource(f"{PREPROCESSOR_FILE}: expected sampling_rate in Hz and do_normalize")
    window = _number("window_s", window_s, WAVE_WINDOW_S, 0.1, 60)
    return (
        {"sample_rate": rate, "normalise": normalise, "window_s": window},
        {
            "family": config["model_type"],
            "layers": read.num_hidden_layers + 1,
            "width": read.hidden_size,
        },
        files | weight_files(folder),
    )


def mert_as_hubert(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of a HuBERT that computes what a MERT does, as the two released ones do.

    Raises:
        IncompatibleModel: if an option that changes the arithmetic is on.
    """
    if (
        config.get("feature_extractor_cqt")
        or config.get("deepnorm")
        or not config.get("feat_proj_layer_norm", True)
    ):
        raise IncompatibleModel(
            "this MERT uses constant-Q features, deepnorm or no layer norm: it is no HuBERT, and its "
            "own code is not run"
        )
    kept = {name: value for name, value in config.items() if name not in MERT_ONLY}
    return kept | {"model_type": "hubert"}


def _whisper(folder: Path, config: Mapping[str, Any], window_s: float | None) -> Parts:
    from transformers import WhisperConfig

    read = read_config(WhisperConfig, config)
    told = read_json(folder / PREPROCESSOR_FILE) if folder.joinpath(PREPROCESSOR_FILE).is_file() else {}
    rate, fft = told.get("sampling_rate", WHISPER_RATE), told.get("n_fft", WHISPER_FFT)
    hop = told.get("hop_length", WHISPER_HOP)
    if (rate, fft, hop) != (WHISPER_RATE, WHISPER_FFT, WHISPER_HOP):
        raise IncompatibleModel(
            f"{PREPROCESSOR_FILE}: expected Whisper's frames of {WHISPER_FFT} samples at {WHISPER_RATE} Hz"
        )
    longest = read.max_source_positions * 2 * hop / rate
    window = _number("window_s", window_s, longest, 0.1, longest)
    positions = round(window * rate / (2 * hop))
    tensors = _encoder_tensors(folder)
    tensors["embed_positions.weight"] = tensors["embed_positions.weight"][:positions]
    return (
        {"sample_rate": rate, "fft": fft, "hop": hop, "window_s": window},
        {"family": "whisper", "layers": read.encoder_layers + 1, "width": read.d_model},
        {
            CONFIG_FILE: as_json({**config, "max_source_positions": positions}),
            SINGLE: to_safetensors(tensors),
        },
    )


def _number(name: str, given: object, default: float, low: float, high: float) -> float:
    value = default if given is None else given
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidInput(f"{name}: expected a number from {low:g} to {high:g}, got {value!r}", field=name)
    return float(value)


def _encoder_tensors(folder: Path) -> dict[str, Any]:
    """Read the encoder's tensors, under its own names; the decoder is left behind."""
    tensors = read_tensors(folder)
    for prefix in ("model.encoder.", "encoder.", ""):
        own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        if {"conv1.weight", "embed_positions.weight"} <= own.keys():
            return own
    raise IncompatibleModel(f"the weights in {folder.name!r} hold no encoder of Whisper")
