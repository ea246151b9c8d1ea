"""Training a modality fusion from the command line: encode what is missing, train, compare, print."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import out, print_json, say
from twinspire.layer_fusion import FusionDisplay
from twinspire.progress import ProgressDisplay
from twinspire.projection import backbone, encode_missing
from twinspire.session import Session
from twinspire.systems_table import LEGEND, systems_table
from twinspire.training import model_json
from twinspire.training_option import config_from

if TYPE_CHECKING:
    from encoders.training.modality_fusion import ModalityFusionReport
    from encoders.training.projection import Backbone
    from retrieval.content import Modality
    from retrieval.workspace import Workspace


def run_modality_fusion(
    session: Session,
    collection: str,
    name: str,
    *,
    parts: Sequence[str],
    labels: str,
    judged: bool,
    group_by: str,
    text_attribute: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Train, and print the figures on held-out queries."""
    from encoders.training.modality_config import ModalityFusionConfig
    from encoders.training.modality_data import Aim
    from encoders.training.modality_fusion import train_modality_fusion
    from retrieval.content import Modality
    from retrieval.errors import InvalidInput

    if bool(labels) == judged:
        raise InvalidInput("expected --labels ATTRIBUTE or --judged, and not both", field="labels")
    session.on_interrupt = "Run the same command again: it goes on from where it was."
    config = config_from(ModalityFusionConfig, given)
    workspace = session.workspace()
    opened = open_parts(workspace, parts)
    with ProgressDisplay() as progress:
        for modality, part in opened.items():
            if modality is not Modality.TEXT:
                encode_missing(workspace, collection, part, progress)
        report = train_modality_fusion(
            workspace,
            collection,
            config,
            Aim(labels=labels, group_by=group_by, text_attribute=text_attribute),
            name=name,
            parts=opened,
            on_progress=FusionDisplay(progress),
        )
    if as_json:
        print_json(report_json(report))
        return
    show_report(report)
    say(f"Next: twinspire index {collection} --encoder {name}")


def open_parts(workspace: "Workspace", told: Sequence[str]) -> "dict[Modality, Backbone]":
    """Read MODALITY=NAME and open the encoders.

    Raises:
        InvalidInput: if one is not of that form, or a modality comes twice.
        ModelNotFound: if there is no such model.
    """
    from retrieval.content import Modality
    from retrieval.errors import InvalidInput

    parts: dict[Modality, Backbone] = {}
    for one in told:
        modality, equals, reference = one.partition("=")
        if not equals or modality not in tuple(Modality) or modality in parts:
            raise InvalidInput(
                f"part: expected MODALITY=NAME, each of {', '.join(Modality)} once, got {one!r}",
                field="part",
            )
        parts[Modality(modality)] = backbone(workspace, reference)
    return parts


def report_json(report: "ModalityFusionReport") -> dict[str, Any]:
    """Describe a training to programs."""
    from encoders.training.modality_fusion import FUSED
    from encoders.training.similarity import METRICS

    return {
        **model_json(report.card),
        "counts": dict(report.counts),
        "chance": report.systems[FUSED].chances(),
        "systems": {
            system: {
                "metrics": ranked.means(),
                "intervals": dict(zip(METRICS, report.intervals[system], strict=True)),
            }
            for system, ranked in report.systems.items()
        },
        "training": dict(report.card.training),
    }


def show_report(report: "ModalityFusionReport") -> None:
    """Print what was trained on what, and the table of systems."""
    from encoders.training.modality_fusion import FUSED

    card = report.card
    click.echo(
        f"{card.name}@{card.version}: {card.dims}-wide vectors of {' and '.join(card.modalities)},"
        f" {card.training['strategy']}, fingerprint {card.fingerprint[:12]}"
    )
    fused = report.systems[FUSED]
    measured = {
        system: list(zip(ranked.means().values(), report.intervals[system], strict=True))
        for system, ranked in report.systems.items()
    }
    title = f"{len(fused.queries)} held-out queries"
    out().print(systems_table(title, fused.chances(), measured, trained=FUSED))
    click.echo(LEGEND)
