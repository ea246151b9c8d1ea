"""Whisper as OpenAI published it: one file of torch, brought into the layout of the hub, encoder only."""

from pathlib import Path
from typing import Any

from encoders.pretrained.hub import CONFIG_FILE
from encoders.pretrained.weights import SINGLE, as_json, read_legacy, to_safetensors
from retrieval.durable import write_durably
from retrieval.errors import UnreadableSource

# OpenAI's names of a block's parts -> transformers'.
PARTS = {
    "attn_ln": "self_attn_layer_norm",
    "attn.query": "self_attn.q_proj",
    "attn.key": "self_attn.k_proj",
    "attn.value": "self_attn.v_proj",
    "attn.out": "self_attn.out_proj",
    "mlp_ln": "final_layer_norm",
    "mlp.0": "fc1",
    "mlp.2": "fc2",
}
WHOLE = {"ln_post": "layer_norm", "positional_embedding": "embed_positions.weight"}


def convert_whisper(checkpoint: Path, folder: Path) -> None:
    """Write `config.json` and `model.safetensors` of the encoder in a checkpoint of OpenAI's.

    Raises:
        UnreadableSource: if it is no such checkpoint.
    """
    held = read_legacy(checkpoint)
    try:
        dims, state = held["dims"], held["model_state_dict"]
        config = {
            "architectures": ["WhisperModel"],
            "model_type": "whisper",
            "num_mel_bins": dims["n_mels"],
            "max_source_positions": dims["n_audio_ctx"],
            "d_model": dims["n_audio_state"],
            "encoder_attention_heads": dims["n_audio_head"],
            "encoder_layers": dims["n_audio_layer"],
            "encoder_ffn_dim": 4 * dims["n_audio_state"],
        }
        tensors = {
            f"model.encoder.{_renamed(name.removeprefix('encoder.'))}": value
            for name, value in state.items()
            if name.startswith("encoder.")
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UnreadableSource(f"{checkpoint.name}: expected a checkpoint of OpenAI's Whisper") from error
    write_durably(folder / SINGLE, to_safetensors(tensors))
    write_durably(folder / CONFIG_FILE, as_json(_plain(config)))


def _renamed(name: str) -> str:
    head, _, rest = name.partition(".")
    if head != "blocks":
        return WHOLE[head] if name in WHOLE else f"{WHOLE.get(head, head)}.{rest}"
    block, _, rest = rest.partition(".")
    part, _, kind = rest.rpartition(".")
    return f"layers.{block}.{PARTS[part]}.{kind}"


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {name: int(value) if isinstance(value, int) else value for name, value in config.items()}
