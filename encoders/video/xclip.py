"""X-CLIP (Ni et al. 2022, arXiv:2208.02816): texts and videos in one space.

The model can also bend a text's vector towards a video that it is compared with. That takes a run of the
model per pair, so a search does without.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from encoders.card import EncoderCard
from encoders.encoder import Encoder
from encoders.image.clip import clip_texts
from encoders.image.pixels import Normalisation, image_spec
from encoders.image.preprocessing import image_preprocessing
from encoders.media.describing import describe_pair
from encoders.media.paired import PairedEncoder, rows, transformer_bytes
from encoders.media.sides import decoded
from encoders.media.specs import VideoSpec
from encoders.memory import in_batches
from encoders.pretrained.description import Description
from encoders.pretrained.hub import CONFIG_FILE, read_json
from encoders.pretrained.opening import need_transformers, open_model, read_config, require_transformers
from retrieval.content import Content, Modality

KIND = "xclip"
MOST_VIDEOS = 4  # together; more are not faster


def describe(folder: Path, *, precision: str = "auto") -> Description:
    """Describe an X-CLIP model, as `Family` says.

    Args:
        folder: with config.json, the weights, tokenizer.json and preprocessor_config.json.
        precision: `auto` (bfloat16 where the device computes in it) or `float32`.
    """
    require_transformers(f"the model in {folder.name!r}")
    from transformers import XCLIPConfig

    config = read_config(XCLIPConfig, read_json(folder / CONFIG_FILE))
    return describe_pair(
        folder,
        kind=KIND,
        media=Modality.VIDEO,
        dims=config.projection_dim,
        max_tokens=config.text_config.max_position_embeddings,
        preprocessing={**image_preprocessing(folder), "frames": config.vision_config.num_frames},
        precision=precision,
    )


def load(card: EncoderCard, folder: Path) -> Encoder:
    """Open the encoder of a folder whose files were checked. Raises as `load_encoder` does."""
    need_transformers(card)
    from transformers import XCLIPModel

    model = open_model(XCLIPModel, card, folder)
    text = clip_texts(card, folder, model)
    frames = card.preprocessing["frames"]
    spec = VideoSpec(frames=frames, image=image_spec(card.preprocessing))
    normalised = Normalisation(card.preprocessing, model.device, model.dtype)
    vision = model.config.vision_config
    memory = frames * (vision.image_size // vision.patch_size) ** 2 * transformer_bytes(vision)

    def features(videos: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            return rows(model.get_video_features(pixel_values=normalised(videos)))

    def videos(contents: Sequence[Content]) -> NDArray[np.float32]:
        held = [decoded(content) for content in contents]
        return in_batches(features, held, bytes_each=memory, most=MOST_VIDEOS)

    return PairedEncoder(card, text, Modality.VIDEO, spec, videos)
