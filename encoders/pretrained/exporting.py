"""Exporting an encoder of a workspace to ONNX Runtime, compared on the workspace's own texts."""

from importlib.util import find_spec

from encoders.card import EncoderCard
from encoders.text.architecture import KIND
from encoders.text.exporting import export_to_onnx
from retrieval.registry import find_model
from retrieval.workspace import Workspace

COMPARED_TEXTS = 24
# For a workspace without texts yet.
_TEXTS = (
    "who wrote the song that was sung at the harbour?",
    "The ship sailed at dawn.",
    "Mitochondria are membrane-bound organelles that supply most of the chemical energy of a cell.",
    "In 1969 the crew of Apollo 11 landed; about 600 million people watched them on television.",
    "Une phrase en français, und eine auf Deutsch.",
    "?",
)


def can_export(card: EncoderCard) -> bool:
    """Tell whether an encoder can be exported here: it is one of text, and the libraries are installed."""
    return card.kind == KIND and all(find_spec(module) is not None for module in ("torch", "onnxruntime"))


def export_encoder(ws: Workspace, reference: str) -> dict[str, float]:
    """Export an encoder by "name" or "name@version"; returns and raises as `export_to_onnx` does.

    Raises:
        ModelNotFound: if there is no such model.
    """
    model = find_model(ws, reference)
    rows = ws.fetch(
        "SELECT text FROM items WHERE modality = 'text' AND text != '' ORDER BY rowid LIMIT ?",
        (COMPARED_TEXTS,),
    )
    return export_to_onnx(model.folder, [*_TEXTS, *(str(text) for (text,) in rows)])
