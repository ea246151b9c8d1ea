"""`twinspire train finetune-audio`: a frozen audio model, thawed."""

from typing import Any

import click

from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import belonging_options, name_option


@click.command(
    "finetune-audio",
    epilog=examples(
        "twinspire train finetune-audio music --labels composer --group-by work --backbone mert --name tuned",
        "twinspire train finetune-audio music --labels genre --loss classification --trained-blocks 2"
        " --backbone mert --name tuned",
    ),
)
@click.argument("collection")
@name_option
@click.option(
    "--backbone", required=True, metavar="NAME[@VERSION]", help="MERT, HuBERT, wav2vec2 or Whisper."
)
@belonging_options(
    "The attribute that says what belongs together, such as composer; numbers are parted into ranges."
)
@click.option(
    "--loss",
    type=click.Choice(["contrastive", "classification"]),
    help="Vectors of what belongs together near each other, or a head that tells labels."
    "  [default: contrastive]",
)
@click.option("--epochs", type=int, help="Over the sounds.  [default: 3]")
@click.option("--learning-rate", type=float, help="Of the model; the head's is 100 times.  [default: 1e-05]")
@click.option("--batch-size", type=int, help="Sounds in a step.  [default: 16]")
@click.option("--window-s", type=float, help="Seconds of each sound in a step.  [default: 5.0]")
@click.option(
    "--trained-blocks", type=int, help="Transformer blocks that learn, from the last; 0 = all.  [default: 0]"
)
@click.option("--temperature", type=float, help="Of contrastive.  [default: 0.1]")
@click.option("--weight-decay", type=float, help="Weight decay.  [default: 0.01]")
@click.option(
    "--patience", type=int, help="Epochs without a better MRR before it stops; 0 = never.  [default: 0]"
)
@click.option(
    "--keep",
    type=click.Choice(["best", "last"]),
    help="The epoch that is best on the fold kept for that, or the last; best may be none, which leaves the "
    "model as it was.  [default: best]",
)
@click.option("--folds", type=int, help="One of so many is held out, one tells when to stop.  [default: 5]")
@click.option("--seed", type=int, help="Of everything that is drawn.  [default: 0]")
@json_option
@pass_session
def finetune_audio_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Fine-tune an audio model on COLLECTION's sounds, and register it as NAME@version.

    Its weights change, so its features are extracted again by the next index or layer fusion. It takes
    minutes an epoch on a processor; a GPU is used where there is one. Run again after an interruption, it
    goes on from its last checkpoint.
    """
    from twinspire.layer_fusion import run_finetuning

    run_finetuning(session, collection, name, **options)
