"""Our transformer gives the vectors of transformers' own classes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder
from encoders.text.tokenizing import Tokenizer
from retrieval.content import Content
from retrieval.registry import model_folder
from retrieval.workspace import Workspace
from tests.encoders.text.conftest import CONFIGS, VOCABULARY, MakePublished

pytestmark = pytest.mark.slow  # importing transformers takes seconds
MAX_TOKENS = 18
TEXTS = ["the red ship", "a song . the blue harbour : green shipwreck", "ship " * 30]


@pytest.mark.parametrize("model_type", CONFIGS)
def test_a_model_saved_by_transformers_gives_the_same_vectors(
    model_type: str, make_published: MakePublished, models: Workspace
) -> None:
    transformers = pytest.importorskip("transformers")
    folder = make_published(model_type)
    torch.manual_seed(1)
    config = transformers.AutoConfig.from_pretrained(folder)
    theirs = transformers.AutoModel.from_config(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    theirs.save_pretrained(folder)

    card = add_encoder(models, "theirs", folder, max_tokens=MAX_TOKENS, precision="float32")

    encoder = load_encoder(model_folder(models, "theirs", card.version))
    found = encoder.encode_items([Content(text=text) for text in TEXTS])
    np.testing.assert_allclose(found, _encoded(theirs, folder), atol=5e-6)


def _encoded(model: Any, folder: Path) -> Any:
    tokenizer = Tokenizer(folder / "tokenizer.json", max_tokens=MAX_TOKENS, vocabulary=len(VOCABULARY))
    rows = []
    with torch.inference_mode():
        for ids in tokenizer.ids(TEXTS):
            tokens = model(input_ids=torch.from_numpy(ids)[None]).last_hidden_state[0]
            rows.append(torch.nn.functional.normalize(tokens.mean(0), dim=0).numpy())
    return np.stack(rows)
