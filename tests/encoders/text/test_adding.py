"""Adding pretrained encoders: from folders and from the hub."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from encoders.loading import load_encoder
from encoders.pretrained.adding import add_encoder, describe
from encoders.pretrained.exporting import export_encoder
from retrieval.content import Content
from retrieval.errors import IncompatibleModel, InvalidInput, UnreadableSource
from retrieval.registry import find_model, list_models, model_folder
from retrieval.workspace import Workspace
from tests.encoders.text.conftest import AddTiny, MakePublished


def test_an_added_encoder_is_registered_and_needs_its_source_no_more(
    models: Workspace, make_published: MakePublished
) -> None:
    source = make_published()
    card = add_encoder(models, "tiny", source)
    for file in source.iterdir():
        file.unlink()

    encoder = load_encoder(find_model(models, "tiny@1").folder)

    assert encoder.card == card
    assert encoder.encode_queries([Content(text="ship")]).shape == (1, card.dims)
    assert card.training["source"] == "tiny"


def test_the_same_model_is_not_added_twice(models: Workspace, make_published: MakePublished) -> None:
    cards = [add_encoder(models, "tiny", make_published(seed=seed)) for seed in (0, 0, 1)]

    assert [card.version for card in cards] == [1, 1, 2]
    assert len(list_models(models)) == 2


def test_what_cannot_be_loaded_leaves_nothing_behind(
    models: Workspace, make_published: MakePublished
) -> None:
    source = make_published()
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])

    with pytest.raises(IncompatibleModel, match="is not a file of safetensors"):
        add_encoder(models, "tiny", source)

    assert list_models(models) == []
    assert not model_folder(models, "tiny", 1).exists()


def test_weights_that_do_not_fit_the_config_are_refused(
    models: Workspace, make_published: MakePublished
) -> None:
    source = make_published()
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))

    with pytest.raises(IncompatibleModel, match=r"there is no tensor encoder\.layer\.2"):
        add_encoder(models, "tiny", source)


def test_a_tokenizer_of_another_model_is_refused(models: Workspace, make_published: MakePublished) -> None:
    source = make_published(vocab_size=50)

    with pytest.raises(IncompatibleModel, match="has tokens up to"):
        add_encoder(models, "tiny", source)


def test_an_unknown_type_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')

    with pytest.raises(IncompatibleModel, match="'gpt2'; there are encoders for bert, "):
        describe(tmp_path)


def test_an_unknown_option_is_refused_and_the_known_ones_are_named(make_published: MakePublished) -> None:
    with pytest.raises(InvalidInput, match="no option 'layer'; it has query_prefix, "):
        describe(make_published(), layer=3)


def test_a_folder_without_a_model_is_refused(models: Workspace, tmp_path: Path) -> None:
    with pytest.raises(UnreadableSource, match=r"holds no config\.json"):
        add_encoder(models, "tiny", tmp_path)
    with pytest.raises(UnreadableSource, match="expected a folder"):
        add_encoder(models, "tiny", "./nowhere")


@pytest.mark.parametrize("name", ["e5-small-v2", "multilingual-E5-base"])
def test_an_e5_gets_its_prefixes_by_its_name(name: str, make_published: MakePublished) -> None:
    preprocessing = describe(make_published(name=name)).preprocessing

    assert (preprocessing["query_prefix"], preprocessing["item_prefix"]) == ("query: ", "passage: ")


def test_prefixes_are_read_as_sentence_transformers_publishes_them(make_published: MakePublished) -> None:
    folder = make_published()
    (folder / "config_sentence_transformers.json").write_text(
        '{"prompts": {"query": "ask: ", "document": "text: "}}'
    )

    published = describe(folder).preprocessing
    told = describe(folder, query_prefix="", item_prefix="").preprocessing

    assert (published["query_prefix"], published["item_prefix"]) == ("ask: ", "text: ")
    assert (told["query_prefix"], told["item_prefix"]) == ("", "")


def _publish_modules(folder: Path, mode: str, *more: str) -> None:
    kinds = ["Transformer", "Pooling", *more]
    modules = [
        {"type": f"sentence_transformers.models.{kind}", "path": f"{n}_{kind}"}
        for n, kind in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({mode: True, "word_embedding_dimension": 24})
    )


def test_pooling_is_read_as_it_is_published(make_published: MakePublished) -> None:
    folder = make_published()
    _publish_modules(folder, "pooling_mode_cls_token", "Normalize")

    assert describe(folder).architecture["pooling"] == "cls"
    assert describe(folder, pooling="mean").architecture["pooling"] == "mean"


def test_what_comes_after_pooling_is_refused_if_it_is_not_served(make_published: MakePublished) -> None:
    folder = make_published()
    _publish_modules(folder, "pooling_mode_mean_tokens", "Dense")

    with pytest.raises(IncompatibleModel, match="has a Dense layer after pooling"):
        describe(folder)


def test_exporting_compares_on_the_workspaces_own_texts(models: Workspace, add_tiny: AddTiny) -> None:
    add_tiny()

    assert export_encoder(models, "tiny")["min_cosine"] >= 0.9999


PROGRAM = """
import sys
from encoders.pretrained.hub import source_folder
from retrieval.errors import TwinspireError
try:
    print(source_folder("someone/model"))
except TwinspireError as error:
    print(type(error).__name__, error)
"""


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        environment = {"HF_ENDPOINT": f"http://127.0.0.1:{unused.getsockname()[1]}", "HF_HOME": str(tmp_path)}
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
            cwd=Path.cwd(),
        )

    assert run.stdout.startswith("BackendUnavailable there is no folder 'someone/model' here, and the hub")
