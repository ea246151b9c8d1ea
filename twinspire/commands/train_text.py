"""`twinspire train text`: pretrained text encoders, fine-tuned."""

from collections.abc import Sequence
from typing import Any

import click

from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import TrainingOption, choice, name_option, training_options

OPTIONS: Sequence[TrainingOption] = (
    TrainingOption(
        "tuned",
        choice("both", "query"),
        "both",
        "Which sides learn. With query, items keep their vectors, which an index under the encoder has made: "
        "none is encoded again, and the whole corpus serves as negatives.",
        "--tune",
    ),
    TrainingOption("epochs", int, "2", "Epochs over the judged questions."),
    TrainingOption("learning_rate", float, "3e-05", "Their learning rate."),
    TrainingOption("batch_size", int, "64", "Questions in a step; the others' items are its negatives."),
    TrainingOption(
        "texts_at_once",
        int,
        "32",
        "Texts held in memory; the gradient is that of the whole batch all the same.",
    ),
    TrainingOption("own_negatives", int, "1", "Negatives from a question's own judged items."),
    TrainingOption("mined_negatives", int, "1", "With --mine: negatives from the current index."),
    TrainingOption("max_tokens", int, "128", "Tokens of a text that are read while training."),
    TrainingOption(
        "held_out_items", int, "2000", "Items that held-out questions search, where items are tuned too."
    ),
    TrainingOption("temperature", float, "0.05", "Of the loss."),
    TrainingOption(
        "learn_temperature",
        bool,
        "fixed",
        "Learn the temperature.",
        "--learn-temperature/--fixed-temperature",
    ),
    TrainingOption("dropout", float, "0.0", "Dropout."),
    TrainingOption(
        "scheduler", choice("cosine", "step", "plateau", "none"), "cosine", "Of the learning rate."
    ),
    TrainingOption("weight_decay", float, "0.01", "Weight decay."),
    TrainingOption("grad_clip", float, "1.0", "Longest gradient; 0 = any."),
    TrainingOption(
        "patience", int, "2", "Epochs without a better held-out MRR@10 before it stops; 0 = never."
    ),
    TrainingOption(
        "precision",
        choice("auto", "float32"),
        "auto",
        "bfloat16 where the device computes in it, or float32.",
    ),
    TrainingOption(
        "skip_missing",
        bool,
        "refuse",
        "Ignore judgements of absent items.",
        "--skip-missing/--refuse-missing",
    ),
    TrainingOption("seed", int, "0", "Of everything that is drawn."),
)


@click.command(
    "text",
    epilog=examples(
        "twinspire train text demo --encoder minilm --name minilm-demo --tune query",
        "twinspire train text demo --encoder e5 --name e5-demo --mine --batch-size 256",
    ),
)
@click.argument("collection")
@click.option("--encoder", required=True, help="The text encoder to begin with: NAME or NAME@version.")
@name_option
@click.option("--mine", is_flag=True, help="Take hard negatives from the collection's live index.")
@training_options(OPTIONS)
@json_option
@pass_session
def text_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Fine-tune a pretrained text encoder on COLLECTION's judged questions, as NAME@version.

    Questions are pulled towards their items and away from the others. An interrupted training goes on from
    its last checkpoint when it is run again with the same settings, and ends in the same weights.
    """
    from twinspire.training import run_text_tuning

    run_text_tuning(session, collection, name, **options)
