"""`twinspire train layer-fusion`: one vector of the layers of a frozen audio model."""

from pathlib import Path
from typing import Any

import click

from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import belonging_options, name_option


@click.command(
    "layer-fusion",
    epilog=examples(
        "twinspire train layer-fusion music --labels composer --group-by work --backbone mert --name fused",
        "twinspire train layer-fusion music --labels target:spectral_centroid --backbone mert --name bright",
        "twinspire train layer-fusion music --pairs alike.csv --backbone mert --fusion mlp --name alike",
        "twinspire train layer-fusion music --labels composer --backbone mert --fusion average --head siamese"
        " --name metric",
    ),
)
@click.argument("collection")
@name_option
@click.option(
    "--backbone", required=True, metavar="NAME[@VERSION]", help="A model with layers: MERT, HuBERT, Whisper."
)
@belonging_options(
    "The attribute that says what belongs together, such as composer; numbers are parted into five "
    "ranges. Or target:NAME, a property measured from the sound, such as target:tempo."
)
@click.option(
    "--fusion",
    type=click.Choice(["attention", "weights", "mlp", "average", "layer"]),
    help="attention: shares that depend on the sound; weights: one share a layer; mlp: all layers into a "
    "network; average and layer learn nothing about layers.  [default: attention]",
)
@click.option(
    "--head",
    type=click.Choice(["linear", "siamese"]),
    help="What the mixture goes through; siamese has a hidden layer of 512.  [default: siamese]",
)
@click.option("--layer", type=int, help="With --fusion layer: which, from 0.  [default: 0]")
@click.option("--dims", type=int, help="Width of the vectors.  [default: 256]")
@click.option("--loss", type=click.Choice(["triplet", "infonce"]), help="The loss.  [default: infonce]")
@click.option("--margin", type=float, help="Of triplet.  [default: 0.2]")
@click.option("--temperature", type=float, help="Of infonce.  [default: 0.1]")
@click.option(
    "--mined/--random",
    default=None,
    help="Negatives that seem nearest too, or drawn ones only.  [default: mined]",
)
@click.option("--dropout", type=float, help="Of the mixture.  [default: 0.0]")
@click.option("--epochs", type=int, help="At most.  [default: 60]")
@click.option("--learning-rate", type=float, help="The learning rate.  [default: 0.001]")
@click.option("--weight-decay", type=float, help="Weight decay.  [default: 0.0]")
@click.option("--batch-size", type=int, help="Anchors in a step.  [default: 64]")
@click.option("--patience", type=int, help="Epochs without a better MRR before it stops.  [default: 15]")
@click.option("--folds", type=int, help="Each group is held out by one of so many folds.  [default: 5]")
@click.option("--seed", type=int, help="Of everything that is drawn.  [default: 0]")
@click.option(
    "--html", type=click.Path(dir_okay=False, path_type=Path), help="Draw layers and weights into this file."
)
@json_option
@pass_session
def layer_fusion_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Train a fusion of a frozen audio model's layers, and register it as NAME@version.

    Features that COLLECTION lacks are extracted first. Then each group is held out once, and one table
    compares the fusion with every single layer and their average. Run again after an interruption, it goes
    on from its last checkpoint.
    """
    from twinspire.layer_fusion import run_layer_fusion

    run_layer_fusion(session, collection, name, **options)
