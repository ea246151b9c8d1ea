"""`twinspire train`: encoders of one's own."""

from collections.abc import Sequence
from typing import Any

import click

from twinspire.commands.train_finetune_audio import finetune_audio_command
from twinspire.commands.train_layer_fusion import layer_fusion_command
from twinspire.commands.train_modality_fusion import modality_fusion_command
from twinspire.commands.train_projection import projection_command
from twinspire.commands.train_text import text_command
from twinspire.console import examples, json_option, pass_session
from twinspire.session import Session
from twinspire.training_option import TrainingOption, choice, name_option, training_options

OPTIONS: Sequence[TrainingOption] = (
    TrainingOption("tower", choice("mlp", "rnn", "gru"), "mlp", "What reads the words."),
    TrainingOption(
        "init",
        str,
        "none",
        "The word vectors: none (random), cbow (trained on the corpus), static (downloaded), or a file: "
        "gensim KeyedVectors, GloVe text, or a folder with model.safetensors and tokenizer.json.",
    ),
    TrainingOption("dims", int, "as the words", "Width of the vectors."),
    TrainingOption("hidden_dims", int, "twice dims", "Width of the hidden layer; mlp only uses one, or 0."),
    TrainingOption("layers", int, "2", "Layers of rnn and gru."),
    TrainingOption("dropout", float, "0.0", "Dropout."),
    TrainingOption("shared", bool, "shared", "One tower for both sides.", "--shared/--apart"),
    TrainingOption("max_words", int, "256", "Words of a text that are read; longer items are cut."),
    TrainingOption("train_words", bool, "train", "Train the words too.", "--train-words/--freeze-words"),
    TrainingOption("min_word_texts", int, "3", "A word in fewer texts has no vector of its own."),
    TrainingOption("max_vocabulary", int, "200000", "Words at most."),
    TrainingOption("word_weighting", float, "0.5", "Words start weighted by idf to this power."),
    TrainingOption("cbow_dims", int, "300", "CBOW: width."),
    TrainingOption("cbow_epochs", int, "10", "CBOW: epochs."),
    TrainingOption("corpus_steps", int, "300 for mlp, else 0", "Steps on texts alone, before the questions."),
    TrainingOption("corpus_learning_rate", float, "0.003", "Their learning rate."),
    TrainingOption("epochs", int, "4", "Epochs over the judged questions."),
    TrainingOption("learning_rate", float, "0.001", "Their learning rate."),
    TrainingOption("batch_size", int, "512", "Questions in a step; the others' items are its negatives."),
    TrainingOption("own_negatives", int, "2", "Negatives from a question's own judged items."),
    TrainingOption("mined_negatives", int, "2", "With --mine: negatives from the current index."),
    TrainingOption(
        "skip_missing",
        bool,
        "refuse",
        "Ignore judgements of absent items.",
        "--skip-missing/--refuse-missing",
    ),
    TrainingOption(
        "loss", choice("contrastive", "margin_contrastive", "triplet"), "contrastive", "The loss."
    ),
    TrainingOption("temperature", float, "0.05", "Of the contrastive loss."),
    TrainingOption(
        "learn_temperature",
        bool,
        "learn",
        "Learn the temperature.",
        "--learn-temperature/--fixed-temperature",
    ),
    TrainingOption("margin", float, "0.2", "Of margin_contrastive and triplet."),
    TrainingOption("optimizer", choice("adamw", "adam", "sgd"), "adamw", "The optimiser."),
    TrainingOption(
        "scheduler", choice("cosine", "step", "plateau", "none"), "cosine", "Of the learning rate."
    ),
    TrainingOption("weight_decay", float, "0.0", "Weight decay."),
    TrainingOption("grad_clip", float, "1.0", "Longest gradient; 0 = any."),
    TrainingOption(
        "patience", int, "3", "Epochs without a better held-out MRR@10 before it stops; 0 = never."
    ),
    TrainingOption("seed", int, "0", "Of everything that is drawn."),
)


@click.group("train", epilog=examples("twinspire train two-tower demo --name tower --init static"))
def train_group() -> None:
    """Train an encoder on a collection."""


@train_group.command(
    "two-tower",
    epilog=examples(
        "twinspire train two-tower demo --name tower --init static",
        "twinspire train two-tower demo --name tower --mine --epochs 2",
        "twinspire train two-tower demo --name tower --sweep 20",
    ),
)
@click.argument("collection")
@name_option
@click.option("--mine", is_flag=True, help="Take hard negatives from the collection's live index.")
@click.option(
    "--sweep", type=click.IntRange(1), metavar="TRIALS", help="Search for the best settings (Optuna)."
)
@training_options(OPTIONS)
@json_option
@pass_session
def two_tower_command(session: Session, /, collection: str, name: str, **options: Any) -> None:
    """Train a two-tower on COLLECTION's texts and judged questions, and register it as NAME@version.

    Progress and the metrics on held-out (validation) questions are shown after every epoch; the best
    weights are kept. A training that was interrupted goes on from its last checkpoint when it is run again
    with the same settings, and ends in the same weights. For several processes:
    torchrun --nproc-per-node 2 -m twinspire train two-tower ...
    """
    from twinspire.training import run_training

    run_training(session, collection, name, **options)


train_group.add_command(layer_fusion_command)
train_group.add_command(projection_command)
train_group.add_command(modality_fusion_command)
train_group.add_command(text_command)
train_group.add_command(finetune_audio_command)
