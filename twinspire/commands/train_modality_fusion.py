"""`twinspire train modality-fusion`: one vector of a picture (or sound, or video) and its text."""

from typing import Any

import click

from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import name_option


@click.command(
    "modality-fusion",
    epilog=examples(
        "twinspire train modality-fusion shop --part image=mobilenet --part text=minilm --labels category"
        " --name product",
        "twinspire train modality-fusion clips --part video=xclip --part text=minilm --judged --name clip"
        " --strategy concat",
    ),
)
@click.argument("collection")
@name_option
@click.option(
    "--part",
    "parts",
    multiple=True,
    required=True,
    metavar="MODALITY=NAME[@VERSION]",
    help="What encodes a modality: image, audio, video or text. Give two or more.",
)
@click.option("--labels", default="", help="The attribute that says which items are alike, such as category.")
@click.option("--judged", is_flag=True, help="Learn from the collection's judged queries, not from labels.")
@click.option(
    "--group-by",
    default="",
    help="The attribute whose equal values are held out together.  [default: none]",
)
@click.option(
    "--text-attribute", default="", help="The attribute that holds the text.  [default: the item's text]"
)
@click.option(
    "--strategy",
    type=click.Choice(["concat", "sum", "max", "gated"]),
    help="How parts become one: side by side into a layer, added, the largest, or added in shares that"
    " depend on them.  [default: gated]",
)
@click.option("--dims", type=int, help="Width of the vectors.  [default: 256]")
@click.option("--gate-hidden", type=int, help="Hidden layer of gated.  [default: 128]")
@click.option("--dropout", type=float, help="Of what the parts' encoders give.  [default: 0.3]")
@click.option(
    "--drop-parts",
    type=float,
    help="How often an item of several parts shows only one while training.  [default: 0.5]",
)
@click.option("--temperature", type=float, help="Of the loss.  [default: 0.1]")
@click.option("--epochs", type=int, help="At most.  [default: 40]")
@click.option("--learning-rate", type=float, help="The learning rate.  [default: 0.001]")
@click.option("--weight-decay", type=float, help="Weight decay.  [default: 0.01]")
@click.option("--batch-size", type=int, help="Queries in a step.  [default: 64]")
@click.option("--patience", type=int, help="Epochs without a better MRR before it stops.  [default: 10]")
@click.option("--test", type=float, help="With --labels: share of the items held out.  [default: 0.2]")
@click.option("--validation", type=float, help="Share that says when to stop.  [default: 0.1]")
@click.option("--split-seed", type=int, help="Of which items are held out.  [default: 0]")
@click.option("--seed", type=int, help="Of all else that is drawn.  [default: 0]")
@json_option
@pass_session
def modality_fusion_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Train how COLLECTION's pictures, sounds or videos and their texts become one vector each.

    The parts' encoders stay as they are. An item that lacks a part is encoded by those it has, and so is a
    query. The table compares the fusion with each part alone and with the parts side by side, untrained.
    Run again after an interruption, it goes on from its last checkpoint.
    """
    from twinspire.modality_fusion import run_modality_fusion

    run_modality_fusion(session, collection, name, **options)
