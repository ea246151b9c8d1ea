"""Describing published sentence encoders: BERT, DistilBERT, MPNet and XLM-RoBERTa with pooled tokens."""

import re
from pathlib import Path
from typing import get_args

from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE, read_json, read_json_list
from encoders.pretrained.weights import SINGLE, weight_files
from encoders.text.architecture import KIND, MODEL_TYPES, Architecture, Pooling
from encoders.text.tokenizing import TOKENIZER_FILE
from encoders.text.weights import WEIGHTS_FILE
from retrieval.errors import IncompatibleModel, InvalidInput, UnreadableSource

__all__ = ["KIND", "MODEL_TYPES", "describe"]

# An English word is 1.36 tokens on the demo corpus, and 9 texts of 10 stay below 1.6 a word; items that have
# more words than fit are split.
TOKENS_PER_WORD = 1.4
SPECIAL_TOKENS = 2
_E5 = re.compile(r"(?<![a-z0-9])e5(?![a-z0-9])", re.IGNORECASE)
_E5_PREFIXES = ("query: ", "passage: ")


def describe(
    folder: Path,
    *,
    query_prefix: str | None = None,
    item_prefix: str | None = None,
    pooling: Pooling | None = None,
    max_tokens: int | None = None,
    precision: str = "auto",
) -> Description:
    """Describe a sentence encoder, as `Family` says.

    Args:
        folder: holds config.json, tokenizer.json and model.safetensors; sentence-transformers' own files are
            read where they are there.
        query_prefix: put before queries; None = as published (E5: "query: "), else nothing.
        item_prefix: put before items; None = as published (E5: "passage: "), else nothing.
        pooling: "mean" over the tokens or "cls", the first one; None = as published, else mean.
        max_tokens: read of a text; None = as published.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.
    """
    from encoders.device import check_precision

    check_precision(precision)
    for name, value in (("query_prefix", query_prefix), ("item_prefix", item_prefix)):
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{name}: expected a text, got {value!r}", field=name)
    published = _published_pooling(folder)
    if pooling is not None and pooling not in get_args(Pooling):
        raise InvalidInput(f"pooling: expected mean or cls, got {pooling!r}", field="pooling")
    shape = Architecture.from_config(read_json(folder / CONFIG_FILE), pooling or published)
    tokens = _max_tokens(folder, shape, max_tokens)
    prefixes = _prefixes(folder, query_prefix, item_prefix)
    if not folder.joinpath(TOKENIZER_FILE).is_file():
        raise UnreadableSource(f"folder {folder.name!r} holds no {TOKENIZER_FILE}, which reads its texts")
    weights = weight_files(folder)
    if set(weights) != {SINGLE}:
        raise IncompatibleModel("weights in several files are not served for text: put them into one")
    return Description(
        kind=KIND,
        modalities=("text",),
        dims=shape.width,
        max_words=_max_words(tokens, prefixes[1]),
        preprocessing={
            "query_prefix": prefixes[0],
            "item_prefix": prefixes[1],
            "max_tokens": tokens,
            "precision": precision,
        },
        architecture=shape.to_card(),
        files={
            CONFIG_FILE: folder / CONFIG_FILE,  # so that others may open our folder, too
            TOKENIZER_FILE: folder / TOKENIZER_FILE,
            WEIGHTS_FILE: weights[SINGLE],
        },
    )


def _published_pooling(folder: Path) -> Pooling:
    """Read what sentence-transformers does after the transformer.

    Raises:
        IncompatibleModel: if it does more than pool and normalise.
    """
    if not folder.joinpath("modules.json").is_file():
        return "mean"
    try:
        modules = read_json_list(folder / "modules.json")
        kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
        places = [module["path"] for module in modules if str(module["type"]).endswith(".Pooling")]
    except (KeyError, TypeError) as error:
        raise UnreadableSource("modules.json does not list modules") from error
    if unknown := set(kinds) - {"Transformer", "Pooling", "Normalize"}:
        raise IncompatibleModel(f"the model has a {min(unknown)} layer after pooling, which is not served")
    if not places:
        return "mean"
    modes = read_json(folder / str(places[0]) / CONFIG_FILE)
    chosen = [name for name, on in modes.items() if name.startswith("pooling_mode_") and on is True]
    known: dict[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(chosen) == 1 and chosen[0] in known:
        return known[chosen[0]]
    raise IncompatibleModel(f"the pooling {', '.join(chosen) or 'none'} is not served: expected mean or cls")


def _max_tokens(folder: Path, shape: Architecture, told: int | None) -> int:
    if told is not None:
        if not isinstance(told, int) or not SPECIAL_TOKENS < told <= shape.max_tokens:
            raise InvalidInput(
                f"max_tokens: expected {SPECIAL_TOKENS + 1} to {shape.max_tokens}, got {told!r}",
                field="max_tokens",
            )
        return told
    for file, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        if folder.joinpath(file).is_file():
            published = read_json(folder / file).get(key)
            if isinstance(published, int | float) and published > SPECIAL_TOKENS:
                return int(min(published, shape.max_tokens))
    return shape.max_tokens


def _prefixes(folder: Path, query: str | None, item: str | None) -> tuple[str, str]:
    """Take what was told, else what sentence-transformers' file says, else E5's by the model's name."""
    published = ("", "")
    file = folder / "config_sentence_transformers.json"
    prompts = read_json(file).get("prompts") if file.is_file() else None
    if isinstance(prompts, dict) and isinstance(prompts.get("query"), str):
        items = (prompts.get(name) for name in ("passage", "document"))
        published = (prompts["query"], next((text for text in items if isinstance(text, str)), ""))
    elif _E5.search(_published_name(folder)):
        published = _E5_PREFIXES
    return published[0] if query is None else query, published[1] if item is None else item


def _published_name(folder: Path) -> str:
    """Return a model's name: its folder's, or what the hub's cache names the folder above its snapshots."""
    return folder.parent.parent.name if folder.parent.name == "snapshots" else folder.name


def _max_words(tokens: int, prefix: str) -> int:
    rest = tokens - SPECIAL_TOKENS - len(prefix)  # at most a token a character
    return max(1, int(rest / TOKENS_PER_WORD))
