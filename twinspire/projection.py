"""Training a projection from the command line: encode what is missing, train, compare, print."""

from typing import TYPE_CHECKING, Any

import click

from twinspire.console import out, print_json, say
from twinspire.layer_fusion import FusionDisplay
from twinspire.progress import ProgressDisplay
from twinspire.session import Session
from twinspire.systems_table import LEGEND, systems_table
from twinspire.training import model_json
from twinspire.training_option import config_from

if TYPE_CHECKING:
    from encoders.training.projection import Backbone, ProjectionReport
    from retrieval.content import Modality
    from retrieval.workspace import Workspace

TITLES = {"text_to_media": "Texts find {media}", "media_to_text": "{media} find texts"}
SYSTEMS = {"ridge": "ridge regression", "closed form": "closed form (CCA)", "projection": "trained"}


def run_projection(
    session: Session,
    collection: str,
    name: str,
    *,
    media_encoder: str,
    text_encoder: str,
    modality: str | None,
    text_attribute: str,
    group_by: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Train, and print the figures on held-out pairs."""
    from encoders.training.pairs import PairSource
    from encoders.training.projection import train_projection
    from encoders.training.projection_config import ProjectionConfig

    session.on_interrupt = "Run the same command again: it goes on from where it was."
    config = config_from(ProjectionConfig, given)
    workspace = session.workspace()
    media, text = backbone(workspace, media_encoder), backbone(workspace, text_encoder)
    source = PairSource(
        modality=media_modality(media, modality), text_attribute=text_attribute, group_by=group_by
    )
    with ProgressDisplay() as progress:
        encode_missing(workspace, collection, media, progress)
        report = train_projection(
            workspace,
            collection,
            config,
            source,
            name=name,
            media=media,
            text=text,
            on_progress=FusionDisplay(progress),
        )
    if as_json:
        print_json(report_json(report))
        return
    show_report(report)
    say(f"Next: twinspire index {collection} --encoder {name}")


def backbone(workspace: "Workspace", reference: str) -> "Backbone":
    """Open a model that stays as it is.

    Raises:
        ModelNotFound: if there is none of that name.
    """
    from encoders.loading import load_encoder
    from encoders.training.projection import Backbone
    from retrieval.registry import find_model

    row = find_model(workspace, reference)
    return Backbone(load_encoder(row.folder), row.folder)


def media_modality(media: "Backbone", wanted: str | None) -> "Modality":
    """Return the modality of the media: the one that is wanted, or the first that the encoder takes.

    Raises:
        IncompatibleModel: if the encoder takes no media.
    """
    from retrieval.content import Modality
    from retrieval.errors import IncompatibleModel

    taken = [modality for modality in media.encoder.card.modalities if modality != Modality.TEXT]
    if wanted is None and not taken:
        raise IncompatibleModel(f"encoder {media.reference} takes no pictures, sounds or videos")
    return Modality(wanted or taken[0])


def encode_missing(
    workspace: "Workspace", collection: str, media: "Backbone", progress: ProgressDisplay
) -> None:
    """Give the media that lack one a vector of the backbone."""
    from indexer.encoding import encode_pending
    from retrieval.items import sequence

    encode_pending(
        workspace,
        collection,
        media.encoder,
        up_to_key=sequence(workspace, collection),
        on_progress=progress,
    )


def report_json(report: "ProjectionReport") -> dict[str, Any]:
    """Describe a training to programs."""
    return {
        **model_json(report.card),
        "pairs": dict(report.counts),
        "chance": dict(report.chance),
        "systems": {
            system: {"metrics": ranks.means(), "intervals": ranks.intervals()}
            for system, ranks in report.systems.items()
        },
        "training": dict(report.card.training),
    }


def show_report(report: "ProjectionReport") -> None:
    """Print what was trained on what, and a table for each direction."""
    counts, card = report.counts, report.card
    media = {"image": "pictures", "audio": "sounds", "video": "videos"}[card.training["modality"]]
    click.echo(
        f"{card.name}@{card.version}: {card.dims}-wide vectors of texts and {media},"
        f" fingerprint {card.fingerprint[:12]}"
    )
    click.echo(
        f"{counts['train']} pairs to learn from, {counts['validation']} to stop by and then learned from,"
        f" {counts['test']} held out; {counts['without caption']} {media} have no caption"
    )
    for direction, title in TITLES.items():
        told = title.format(media=media)
        queries = len(report.systems["projection"].ranks[direction])
        candidates = report.systems["projection"].candidates[direction]
        heading = f"{told[0].upper()}{told[1:]}: {queries} held-out queries, {candidates} candidates each"
        out().print(direction_table(heading, direction, report))
    click.echo(LEGEND)


def direction_table(title: str, direction: str, report: "ProjectionReport") -> Any:
    """Build the table of one direction: chance, what is simpler, and what was trained."""
    from encoders.training.cross_modal import METRICS

    names = [f"{direction}.{metric}" for metric in METRICS]
    measured = {}
    for system, told in SYSTEMS.items():
        means, intervals = report.systems[system].means(), report.systems[system].intervals()
        measured[told] = [(means[name], intervals[name]) for name in names]
    chance = {metric: report.chance[name] for metric, name in zip(METRICS, names, strict=True)}
    return systems_table(title, chance, measured, trained=SYSTEMS["projection"])
