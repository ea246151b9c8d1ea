"""`twinspire encoders`: pretrained encoders, from a folder or the hub."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, say, show_table
from twinspire.groups import ListAlone
from twinspire.session import Session

if TYPE_CHECKING:
    from encoders.card import EncoderCard


@click.group(
    "encoders",
    cls=ListAlone,
    epilog=examples(
        "twinspire encoders add minilm sentence-transformers/all-MiniLM-L6-v2", "twinspire encoders"
    ),
)
def encoders_group() -> None:
    """Add pretrained encoders; list all; export them to ONNX Runtime."""


@encoders_group.command(
    "add",
    epilog=examples(
        "twinspire encoders add minilm sentence-transformers/all-MiniLM-L6-v2",
        "twinspire encoders add e5 ./e5-small-v2 --set query_prefix='query: ' --set item_prefix='passage: '",
        "twinspire encoders add sounds ./whisper-tiny.en --set pooling=last",
    ),
)
@click.argument("name")
@click.argument("source", metavar="FOLDER_OR_HUB_NAME")
@click.option(
    "--revision", help="Of the model on the hub: a branch, a tag or a commit.  [default: its newest]"
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="What this type of model lets one choose (docs/encoders.md lists it). For texts: query_prefix, "
    "item_prefix, pooling (mean, cls), max_tokens, precision (auto, float32). May be given several times.",
)
@click.option(
    "--onnx/--no-onnx",
    default=None,
    help="Export a text encoder to ONNX Runtime too.  [default: if torch and onnxruntime are installed]",
)
@json_option
@pass_session
def add_command(
    session: Session,
    name: str,
    source: str,
    revision: str | None,
    settings: Sequence[str],
    onnx: bool | None,
    as_json: bool,
) -> None:
    """Make the encoder NAME of a pretrained model, and register it as NAME@version.

    The model is a folder with config.json and weights, or a name on the hub of Hugging Face, of which only
    safetensors and plain text are downloaded. Its type follows from its config: BERT, XLM-RoBERTa, MPNet and
    DistilBERT encode texts; CLIP pictures and texts; X-CLIP video; CLAP sounds; HuBERT (MERT), wav2vec2 and
    Whisper sounds by layers. Its files are copied into the workspace.
    """
    from encoders.pretrained.adding import add_encoder
    from encoders.pretrained.exporting import can_export, export_encoder

    workspace = session.workspace(create=True)
    card = add_encoder(workspace, name, source, revision=revision, **_settings(settings))
    reference = f"{card.name}@{card.version}"
    exported = None
    if onnx or (onnx is None and can_export(card)):
        exported = export_encoder(workspace, reference)
    if as_json:
        print_json(_described(card) | {"onnx": exported})
        return
    click.echo(_line(card))
    if exported:
        click.echo(_export_line(exported))
    say(f"Next: twinspire index COLLECTION --encoder {card.name}")


def _settings(given: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE; a value that is JSON is taken as that, else as text."""
    settings: dict[str, Any] = {}
    for setting in given:
        key, equals, value = setting.partition("=")
        if not equals or not key.isidentifier():
            raise click.BadParameter(f"expected KEY=VALUE, got {setting!r}", param_hint="--set")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


@encoders_group.command("list", epilog=examples("twinspire encoders list --json"))
@json_option
@pass_session
def list_command(session: Session, as_json: bool) -> None:
    """List all encoders, trained ones too: what they take, how wide their vectors are, and their runtime."""
    from encoders.card import EncoderCard
    from encoders.text.export_record import is_exported
    from retrieval.registry import list_models

    rows = []
    for model in list_models(session.workspace()):
        card = EncoderCard.from_json((model.folder / "card.json").read_text())
        rows.append(_described(card) | {"onnx": is_exported(model.folder)})
    if as_json:
        print_json(rows)
        return
    show_table(
        "",
        ["encoder", "kind", "takes", "dims", "of", "ONNX"],
        [
            [
                row["encoder"],
                row["kind"],
                ", ".join(row["modalities"]),
                str(row["dims"]),
                row["source"] or "trained here",
                "yes" if row["onnx"] else "",
            ]
            for row in rows
        ],
        right=["dims"],
        empty="no encoders yet: `twinspire encoders add` or `twinspire train` makes one",
    )


@encoders_group.command("export", epilog=examples("twinspire encoders export minilm --onnx"))
@click.argument("encoder")
@click.option("--onnx", is_flag=True, default=True, help="To ONNX Runtime, the only target so far.")
@json_option
@pass_session
def export_command(session: Session, encoder: str, onnx: bool, as_json: bool) -> None:
    """Let ONNX Runtime serve the text encoder ENCODER, so that its server needs no torch.

    The graph is compared with torch on texts of the workspace, and refused if a cosine is below 0.9999. The
    encoder and its fingerprint stay the same: its indexes need not be made again.
    """
    from encoders.pretrained.exporting import export_encoder

    measured = export_encoder(session.workspace(), encoder)
    if as_json:
        print_json({"encoder": encoder, **measured})
    else:
        click.echo(_export_line(measured))


def _described(card: "EncoderCard") -> dict[str, Any]:
    return {
        "encoder": f"{card.name}@{card.version}",
        "kind": card.kind,
        "modalities": list(card.modalities),
        "dims": card.dims,
        "max_words": card.max_words,
        "preprocessing": dict(card.preprocessing),
        "source": str(card.training.get("source", "")),
        "fingerprint": card.fingerprint,
    }


def _line(card: "EncoderCard") -> str:
    takes = ", ".join(card.modalities)
    return (
        f"{card.name}@{card.version}: {card.kind}, takes {takes}, {card.dims}-wide vectors, "
        f"fingerprint {card.fingerprint[:12]}"
    )


def _export_line(measured: dict[str, float]) -> str:
    return (
        f"  served by ONNX Runtime: least cosine to torch {measured['min_cosine']:.6f} "
        f"on {measured['texts']:.0f} texts"
    )
