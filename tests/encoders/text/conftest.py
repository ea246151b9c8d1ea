"""Tiny sentence encoders of every type, with random weights, laid out as they are published."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from encoders.card import EncoderCard
from encoders.pretrained.adding import add_encoder
from encoders.text.architecture import Architecture
from encoders.text.saving import weights_bytes
from encoders.text.transformer import Transformer
from retrieval.registry import model_folder
from retrieval.workspace import Workspace

torch.set_num_threads(1)  # these matrices are small: a second thread only waits

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = [
    "red",
    "green",
    "blue",
    "ship",
    "##wreck",
    "harbour",
    "song",
    ".",
    ":",
    "the",
    "a",
    "query",
    "passage",
]
TOPIC_WORDS = [f"w{topic}x{word}" for topic in range(12) for word in range(8)]
ASKED = [f"asked{topic}" for topic in range(12)]
VOCABULARY = [*SPECIAL, *WORDS, *TOPIC_WORDS, *ASKED]

_BERT = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 20,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
}
CONFIGS: Mapping[str, Mapping[str, Any]] = {
    "bert": _BERT,
    "xlm-roberta": _BERT | {"layer_norm_eps": 1e-5, "pad_token_id": 1, "type_vocab_size": 1},
    "mpnet": _BERT | {"layer_norm_eps": 1e-5, "pad_token_id": 1, "relative_attention_num_buckets": 32},
    "distilbert": {
        "vocab_size": len(VOCABULARY),
        "dim": 24,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 32,
        "max_position_embeddings": 20,
        "activation": "gelu",
    },
}
MakePublished: TypeAlias = Callable[..., Path]
AddTiny: TypeAlias = Callable[..., tuple[EncoderCard, Path]]


def write_tokenizer(folder: Path) -> None:
    ids = {word: number for number, word in enumerate(VOCABULARY)}
    tokenizer: Any = Tokenizer(WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])]
    )
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def make_published(tmp_path: Path) -> MakePublished:
    """Write a folder as a publisher would."""

    def make(model_type: str = "bert", *, seed: int = 0, name: str = "tiny", **changes: Any) -> Path:
        config = {"model_type": model_type, **CONFIGS[model_type], **changes}
        folder = tmp_path / "published" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        write_tokenizer(folder)
        shape = Architecture.from_config(config, "mean")
        torch.manual_seed(seed)
        model = Transformer(shape, token_types=config.get("type_vocab_size", 2))
        for key, parameter in model.named_parameters():
            is_scale = key.endswith("norm.weight")  # around one, else nothing can be learned
            torch.nn.init.normal_(parameter, mean=float(is_scale), std=0.1 if parameter.ndim < 2 else 0.3)
        (folder / "model.safetensors").write_bytes(weights_bytes(shape, model.state_dict()))
        return folder

    return make


@pytest.fixture
def models(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace to add encoders to."""
    with Workspace(tmp_path / "models-ws", create=True) as workspace:
        yield workspace


@pytest.fixture
def add_tiny(models: Workspace, make_published: MakePublished) -> AddTiny:
    """Add a tiny encoder, and return its card and folder."""

    def add(
        model_type: str = "bert", *, seed: int = 0, name: str = "tiny", **options: Any
    ) -> tuple[EncoderCard, Path]:
        card = add_encoder(models, name, make_published(model_type, seed=seed, name=name), **options)
        return card, model_folder(models, card.name, card.version)

    return add
