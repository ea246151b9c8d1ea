"""`twinspire train projection`: media and texts in one space, by two frozen encoders."""

from typing import Any

import click

from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import name_option


@click.command(
    "projection",
    epilog=examples(
        "twinspire train projection photos --media-encoder mobilenet --text-encoder minilm --name photo-text",
        "twinspire train projection music --media-encoder whisper --text-encoder minilm --name tags"
        " --text-attribute tags --group-by work",
        "twinspire train projection photos --media-encoder mobilenet --text-encoder minilm --name deep"
        " --hidden 512 --dropout 0.5",
    ),
)
@click.argument("collection")
@name_option
@click.option(
    "--media-encoder", required=True, metavar="NAME[@VERSION]", help="What encodes the pictures or sounds."
)
@click.option("--text-encoder", required=True, metavar="NAME[@VERSION]", help="What encodes the captions.")
@click.option(
    "--modality",
    type=click.Choice(["image", "audio", "video"]),
    help="Which media.  [default: the first that the media encoder takes]",
)
@click.option(
    "--text-attribute", default="", help="The attribute that holds the caption.  [default: the item's text]"
)
@click.option(
    "--group-by",
    default="",
    help="The attribute whose equal values are held out together. Equal captions and equal files always are."
    "  [default: none]",
)
@click.option("--dims", type=int, help="Width of the common space.  [default: 384]")
@click.option(
    "--start",
    type=click.Choice(["closed_form", "random"]),
    help="closed_form: canonical correlations of the pairs.  [default: closed_form]",
)
@click.option(
    "--kernel/--linear",
    default=None,
    help="Maps of how like each medium is to those learned from, or of its vector.  [default: kernel]",
)
@click.option("--landmarks", type=int, help="Of the kernel: media to be compared with.  [default: 1024]")
@click.option(
    "--media-gamma",
    type=float,
    help="Of the media's kernel; 0 = none.  [default: the best in cross-validation]",
)
@click.option(
    "--text-gamma",
    type=float,
    help="Of the texts' kernel; 0 = none.  [default: the best in cross-validation]",
)
@click.option("--hidden", type=int, help="A hidden layer beside the linear one; 0 = none.  [default: 0]")
@click.option("--dropout", type=float, help="Of the hidden layer and of the media's input.  [default: 0.3]")
@click.option("--noise", type=float, help="Length of what is added to both inputs.  [default: 0.0]")
@click.option(
    "--regularisation",
    type=float,
    help="Of the closed form that training starts from.  [default: the best in cross-validation]",
)
@click.option("--temperature", type=float, help="At the start; it is learned.  [default: 0.07]")
@click.option("--epochs", type=int, help="At most.  [default: 40]")
@click.option("--learning-rate", type=float, help="The learning rate.  [default: 0.0003]")
@click.option("--weight-decay", type=float, help="Weight decay.  [default: 0.0]")
@click.option("--batch-size", type=int, help="Pairs in a step.  [default: 256]")
@click.option("--patience", type=int, help="Epochs without a better MRR before it stops.  [default: 10]")
@click.option("--test", type=float, help="Share of the pairs that is held out.  [default: 0.2]")
@click.option(
    "--validation", type=float, help="Share that says when to stop, and is then learned from.  [default: 0.1]"
)
@click.option("--split-seed", type=int, help="Of which pairs are held out.  [default: 0]")
@click.option("--seed", type=int, help="Of all else that is drawn.  [default: 0]")
@json_option
@pass_session
def projection_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Train COLLECTION's pictures or sounds and their captions into one space, registered as NAME@version.

    Both encoders stay as they are; what each gives goes through a trained projection, so that texts find
    media and media find texts. Media that lack a vector are encoded first. The table compares the trained
    projection with a ridge regression, with the closed form that it starts from, and with chance, on pairs
    held out. Run again after an interruption, it goes on from its last checkpoint.
    """
    from twinspire.projection import run_projection

    run_projection(session, collection, name, **options)
