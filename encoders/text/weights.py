"""Names of tensors: what each publisher calls the parts of the same transformer."""

import re
from collections.abc import Iterator, Mapping

from encoders.text.architecture import RELATIVE_BUCKETS, Architecture, ModelType

WEIGHTS_FILE = "model.safetensors"
QUERY_WEIGHTS_FILE = "query.safetensors"  # only where the sides are apart

# Ours -> theirs, of one layer; each has a weight and a bias.
_BERT = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "attended": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "norm": "output.LayerNorm",
}
_LAYER_PARTS: Mapping[ModelType, Mapping[str, str]] = {
    "bert": _BERT,
    "xlm-roberta": _BERT,
    "mpnet": _BERT
    | {
        "query": "attention.attn.q",
        "key": "attention.attn.k",
        "value": "attention.attn.v",
        "attended": "attention.attn.o",
        "attention_norm": "attention.LayerNorm",
    },
    "distilbert": {
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attended": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "inner": "ffn.lin1",
        "outer": "ffn.lin2",
        "norm": "output_layer_norm",
    },
}
_PREFIX = re.compile(r"^(bert|distilbert|mpnet|roberta|model|0\.auto_model)\.")


def tensor_names(shape: Architecture) -> Iterator[tuple[str, str]]:
    """Yield (our name, the publisher's name) of every tensor that the encoder needs."""
    yield "words", "embeddings.word_embeddings.weight"
    yield "positions", "embeddings.position_embeddings.weight"
    if shape.has_token_types:
        yield "token_types", "embeddings.token_type_embeddings.weight"
    if shape.is_relative:
        yield "relative", "encoder.relative_attention_bias.weight"
    for kind in ("weight", "bias"):
        yield f"norm.{kind}", f"embeddings.LayerNorm.{kind}"
    stem = "transformer.layer" if shape.model_type == "distilbert" else "encoder.layer"
    for layer in range(shape.layers):
        for ours, theirs in _LAYER_PARTS[shape.model_type].items():
            for kind in ("weight", "bias"):
                yield f"layers.{layer}.{ours}.{kind}", f"{stem}.{layer}.{theirs}.{kind}"


def without_prefix(name: str) -> str:
    """Take off what a model with a head puts before its body's names.

    >>> without_prefix("bert.embeddings.LayerNorm.weight"), without_prefix("embeddings.LayerNorm.gamma")
    ('embeddings.LayerNorm.weight', 'embeddings.LayerNorm.weight')
    """
    name = _PREFIX.sub("", name)
    return re.sub(
        r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name)
    )


def expected_shape(ours: str, shape: Architecture) -> tuple[int, ...]:
    """Return what shape a tensor has to have."""
    width, inner = shape.width, shape.inner_width
    part, kind = ours.rsplit(".", 1) if "." in ours else (ours, "")
    tables = {
        "words": (shape.vocabulary, width),
        "positions": (shape.positions, width),
        "token_types": (-1, width),  # any number of types: only the first is used
        "relative": (RELATIVE_BUCKETS, shape.heads),
    }
    if part in tables:
        return tables[part]
    name = part.rsplit(".", 1)[-1]
    if name.endswith("norm"):
        return (width,)
    if kind == "bias":
        return (inner if name == "inner" else width,)
    return {"inner": (inner, width), "outer": (width, inner)}.get(name, (width, width))
