"""Sentence encoders in both runtimes; the contract of all encoders is in test_encoder_contract.py."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from encoders.encoder import Encoder
from encoders.loading import load_encoder
from encoders.text.exporting import export_to_onnx
from encoders.text.loading import RUNTIME_VARIABLE
from retrieval.content import Content, Modality
from retrieval.errors import CorruptArtifact, IncompatibleModel, ModalityNotServed
from tests.encoders.text.conftest import CONFIGS, AddTiny

ODD_TEXTS = [
    "",
    "?",
    "zzz unknown",
    "🚢🎵",
    "船が港に着いた",
    "a" * 100_000,
    "ship " * 50_000,
    "\x00\x01",
    "‮‍",
]


def texts(*values: str) -> list[Content]:
    return [Content(text=value) for value in values]


@pytest.fixture(params=[(kind, runtime) for kind in CONFIGS for runtime in ("torch", "onnx")], ids="-".join)
def encoder(request: pytest.FixtureRequest, add_tiny: AddTiny, monkeypatch: pytest.MonkeyPatch) -> Encoder:
    """Every type of model in every runtime, in float32."""
    kind, runtime = request.param
    _, folder = add_tiny(kind, precision="float32")
    if runtime == "onnx":
        export_to_onnx(folder, ["the red ship", "song"])
    monkeypatch.setenv(RUNTIME_VARIABLE, runtime)
    return load_encoder(folder)


def test_vectors_are_unit_rows_of_the_promised_width(encoder: Encoder) -> None:
    vectors = encoder.encode_items(texts("the red ship", "a song"))

    assert vectors.dtype == np.float32
    assert vectors.shape == (2, encoder.card.dims)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert encoder.encode_queries([]).shape == (0, encoder.card.dims)


def test_a_vector_does_not_depend_on_its_batch_nor_on_its_order(encoder: Encoder) -> None:
    contents = texts("the red ship", "a song", "harbour . the blue ship", "green", *["the ship"] * 40)

    together = encoder.encode_items(contents)

    alone = np.concatenate([encoder.encode_items([content]) for content in contents])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together, encoder.encode_items(contents[::-1])[::-1], atol=1e-6)


def test_any_text_has_a_vector(encoder: Encoder) -> None:
    vectors = encoder.encode_items(texts(*ODD_TEXTS))

    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_other_content_than_text_is_refused(add_tiny: AddTiny) -> None:
    with pytest.raises(ModalityNotServed, match="takes text, got image"):
        load_encoder(add_tiny()[1]).encode_items([Content(Modality.IMAGE, media=b"x")])


def test_it_reads_as_many_tokens_as_its_card_says(add_tiny: AddTiny) -> None:
    encoder = load_encoder(add_tiny(max_tokens=8)[1])  # six words and two special tokens
    six, seven = "ship " * 6, "ship " * 6 + "song"

    assert encoder.truncates(texts(six, seven)) == [False, True]
    np.testing.assert_array_equal(encoder.encode_items(texts(six)), encoder.encode_items(texts(seven)))


def test_the_card_asks_for_items_of_fewer_words_than_tokens(add_tiny: AddTiny) -> None:
    assert add_tiny(max_tokens=16)[0].max_words == 10


def test_prefixes_part_queries_from_items(add_tiny: AddTiny) -> None:
    encoder = load_encoder(add_tiny(query_prefix="query: ", item_prefix="passage: ", precision="float32")[1])
    plain = load_encoder(add_tiny(name="plain", precision="float32")[1])

    queries = encoder.encode_queries(texts("ship"))

    np.testing.assert_allclose(queries, plain.encode_queries(texts("query: ship")), atol=1e-6)
    np.testing.assert_allclose(
        encoder.encode_items(texts("ship")), plain.encode_items(texts("passage: ship")), atol=1e-6
    )


def test_the_first_token_may_stand_for_the_text(add_tiny: AddTiny, monkeypatch: pytest.MonkeyPatch) -> None:
    card, folder = add_tiny(pooling="cls", precision="float32")
    export_to_onnx(folder, ["ship"])
    contents = texts("the red ship", "song")
    found = {}
    for runtime in ("torch", "onnx"):
        monkeypatch.setenv(RUNTIME_VARIABLE, runtime)
        found[runtime] = load_encoder(folder).encode_items(contents)

    assert card.architecture["pooling"] == "cls"
    np.testing.assert_allclose(found["torch"], found["onnx"], atol=1e-6)


PROGRAM = """
import sys
from pathlib import Path
from encoders.loading import load_encoder
from retrieval.content import Content
encoder = load_encoder(Path(sys.argv[1]))
encoder.encode_queries([Content(text="the red ship")])
print({"torch", "transformers", "gensim"} & set(sys.modules) or "light")
"""


def test_onnx_runtime_serves_without_torch(add_tiny: AddTiny) -> None:
    folder = add_tiny()[1]
    export_to_onnx(folder, ["ship"])

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder)], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "light"


def test_exporting_keeps_the_fingerprint_and_measures_the_difference(add_tiny: AddTiny) -> None:
    card, folder = add_tiny()

    measured = export_to_onnx(folder, ["the red ship", "song"])

    assert measured["min_cosine"] >= 0.9999
    assert json.loads((folder / "onnx.json").read_text())["measured"] == measured
    assert load_encoder(folder).card.fingerprint == card.fingerprint


def test_a_changed_graph_is_refused(add_tiny: AddTiny) -> None:
    folder = add_tiny()[1]
    export_to_onnx(folder, ["ship"])
    graph = folder / "model.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"Gemm", b"Gemn", 1))

    with pytest.raises(CorruptArtifact, match="export the model again"):
        load_encoder(folder)


def test_what_was_not_exported_is_not_served_by_onnx(
    add_tiny: AddTiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, "onnx")

    with pytest.raises(IncompatibleModel, match="was not exported"):
        add_tiny()


def test_bfloat16_stays_near_float32(add_tiny: AddTiny, tmp_path: Path) -> None:
    import torch

    from encoders.text.architecture import Architecture
    from encoders.text.torch_runtime import TorchRuntime

    card, folder = add_tiny()
    shape = Architecture.from_card(card.architecture)
    ids = [np.arange(2, 12), np.array([2, 7, 3])]
    fine, coarse = (
        TorchRuntime(folder / "model.safetensors", shape, dtype=dtype).run(ids)
        for dtype in (torch.float32, torch.bfloat16)
    )

    cosines = (fine * coarse).sum(1) / np.linalg.norm(fine, axis=1) / np.linalg.norm(coarse, axis=1)
    assert cosines.min() > 0.999


def test_what_changes_a_vector_changes_the_fingerprint(add_tiny: AddTiny) -> None:
    different: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"pooling": "cls"},
        {"query_prefix": "query: "},
        {"max_tokens": 9},
    ]

    found = {add_tiny(name=str(n), **options)[0].fingerprint for n, options in enumerate(different)}

    assert len(found) == 5
