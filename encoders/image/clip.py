"""CLIP (Radford et al. 2021, arXiv:2103.00020): texts and pictures in one space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.image.pixels import Normalisation, image_spec
from encoders.image.preprocessing import image_preprocessing
from encoders.media.describing import describe_pair
from encoders.media.paired import PairedEncoder, pooled, rows, transformer_bytes
from encoders.media.sides import decoded
from encoders.media.texts import TOKENIZER_FILE, TextSide
from encoders.memory import in_batches
from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE, read_json
from encoders.pretrained.opening import need_transformers, open_model, read_config, require_transformers
from retrieval.content import Content, Modality
from retrieval.errors import IncompatibleModel

KIND = "clip"
MOST_PICTURES = 16  # together; more are not faster
LEGACY_EOS = 2  # what older configs say; the model then takes the highest id, which is the right one


def describe(folder: Path, *, precision: str = "auto") -> Description:
    """Describe a CLIP model, as `Family` says.

    Args:
        folder: with config.json, the weights, tokenizer.json and preprocessor_config.json.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.
    """
    require_transformers(f"the model in {folder.name!r}")
    from transformers import CLIPConfig

    config = read_config(CLIPConfig, read_json(folder / CONFIG_FILE))
    return describe_pair(
        folder,
        kind=KIND,
        media=Modality.IMAGE,
        dims=config.projection_dim,
        max_tokens=config.text_config.max_position_embeddings,
        preprocessing=image_preprocessing(folder),
        precision=precision,
    )


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    need_transformers(card)
    from transformers import CLIPModel

    model = open_model(CLIPModel, card, folder)
    text = clip_texts(card, folder, model)
    spec = image_spec(card.preprocessing)
    normalised = Normalisation(card.preprocessing, model.device, model.dtype)
    vision = model.config.vision_config
    memory = (vision.image_size // vision.patch_size) ** 2 * transformer_bytes(vision)

    def features(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return rows(model.get_image_features(pixel_values=normalised(pictures)))

    def pictures(contents: Sequence[Content]) -> NDArray[np.float32]:
        held = [decoded(content) for content in contents]
        return in_batches(features, held, bytes_each=memory, most=MOST_PICTURES)

    return PairedEncoder(card, text, Modality.IMAGE, spec, pictures)


def clip_texts(card: EncoderCard, folder: Path, model: Any) -> TextSide:
    """Return the text side of CLIP or X-CLIP.

    Raises:
        IncompatibleModel: if the tokenizer does not end texts as the model was trained.
    """
    config = model.config.text_config
    text = TextSide(
        folder / TOKENIZER_FILE,
        max_tokens=card.preprocessing["max_tokens"],
        compute=lambda ids: pooled(model.get_text_features(input_ids=ids)),
        device=model.device,
        bytes_per_token=transformer_bytes(config),
    )
    ids = text.ids("a")
    ends = max(ids) if config.eos_token_id == LEGACY_EOS else config.eos_token_id
    if ids[-1] != ends or max(ids) >= config.vocab_size:
        raise IncompatibleModel(
            f"model {card.name}@{card.version}: its {TOKENIZER_FILE} does not end texts as its config says"
        )
    return text
