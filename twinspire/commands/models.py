"""`twinspire models`: the encoders that were trained or imported, ranked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, show_table
from twinspire.groups import ListAlone
from twinspire.session import Session

if TYPE_CHECKING:
    from retrieval.registry import ModelRow

SHOWN_METRICS = ("MRR@10", "nDCG@10", "Recall@10")
PREFERRED_SPLIT = "validation"  # models are chosen by it, so that the test queries stay unseen


@click.group(
    "models",
    cls=ListAlone,
    epilog=examples("twinspire models --by MRR@10", "twinspire models compare tower@1 tower@2 demo"),
)
def models_group() -> None:
    """List models, the best first by any metric; promote, roll back, compare, import."""


@models_group.command("list", epilog=examples("twinspire models list --by MRR@10"))
@click.option("--by", "metric", help="Rank by this metric, the best first.  [default: newest first]")
@json_option
@pass_session
def list_command(session: Session, metric: str | None, as_json: bool) -> None:
    """List the models with their metrics on validation queries, size and date."""
    from retrieval.registry import list_models

    workspace = session.workspace()
    metric = metric and _full_name(metric, list_models(workspace))
    rows = [_described(model) for model in list_models(workspace, order_by=metric)]
    if as_json:
        print_json(rows)
        return
    usual = [f"{PREFERRED_SPLIT}.{name}" for name in SHOWN_METRICS]
    shown = list(dict.fromkeys([*([metric] if metric else []), *usual]))
    show_table(
        "",
        ["#", "model", "kind", *map(_heading, shown), "MB", "created"],
        [
            [
                str(rank),
                row["model"],
                row["kind"],
                *(_figure(row["metrics"].get(name)) for name in shown),
                f"{row['size_bytes'] / 1e6:.1f}",
                row["created_at"][:16],
            ]
            for rank, row in enumerate(rows, 1)
        ],
        right=["#", *map(_heading, shown), "MB"],
        empty="no models yet: `twinspire train two-tower COLLECTION --name NAME` makes one",
    )


def _full_name(metric: str, models: "Sequence[ModelRow]") -> str:
    """Let `MRR@10` mean `validation.MRR@10`, where no model has a metric of just that name."""
    known = {name for model in models for name in model.metrics}
    preferred = f"{PREFERRED_SPLIT}.{metric}"
    return preferred if metric not in known and preferred in known else metric


def _heading(metric: str) -> str:
    return metric.removeprefix(f"{PREFERRED_SPLIT}.")


def _described(model: "ModelRow") -> dict[str, Any]:
    files = model.folder.glob("*") if model.folder.is_dir() else ()
    return {
        "model": model.reference,
        "name": model.name,
        "version": model.version,
        "kind": model.kind,
        "fingerprint": model.fingerprint,
        "metrics": dict(model.metrics),
        "size_bytes": sum(file.stat().st_size for file in files if file.is_file()),
        "created_at": model.created_at,
    }


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


@models_group.command("promote", epilog=examples("twinspire models promote tower@2 demo"))
@click.argument("model")
@click.argument("collection")
@json_option
@pass_session
def promote_command(session: Session, model: str, collection: str, as_json: bool) -> None:
    """Make the newest index of COLLECTION that MODEL made the live one."""
    from retrieval.collections import require_collection
    from retrieval.errors import FailedPrecondition
    from retrieval.publishing import list_versions, live_version, promote
    from retrieval.registry import find_model

    workspace = session.workspace()
    require_collection(workspace, collection)
    found = find_model(workspace, model)
    made = [
        version
        for version in list_versions(workspace, collection)
        if version.manifest.fingerprint == found.fingerprint and version.state == "ready"
    ]
    if not made:
        raise FailedPrecondition(
            f"{found.reference} has no index of {collection!r} yet: "
            f"run `twinspire index {collection} --encoder {found.reference}`"
        )
    previous = live_version(workspace, collection) or ""
    promote(workspace, collection, made[0].version, previous)
    _show_live(collection, found.reference, previous, made[0].version, as_json)


@models_group.command("rollback", epilog=examples("twinspire models rollback demo"))
@click.argument("collection")
@json_option
@pass_session
def rollback_command(session: Session, collection: str, as_json: bool) -> None:
    """Go back to the model, and the index, that were live before in COLLECTION."""
    from retrieval.collections import require_collection
    from retrieval.publishing import list_versions, live_version, roll_back

    workspace = session.workspace()
    require_collection(workspace, collection)
    previous = live_version(workspace, collection) or ""
    version = roll_back(workspace, collection, previous)
    model = next(
        found.manifest.model for found in list_versions(workspace, collection) if found.version == version
    )
    _show_live(collection, model, previous, version, as_json)


def _show_live(collection: str, model: str, previous: str, version: str, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "collection": collection,
                "model": model,
                "previous_version": previous,
                "live_version": version,
            }
        )
    else:
        click.echo(f"{collection}: {model} is live with index {version}; before it was {previous or 'none'}")


@models_group.command("compare", epilog=examples("twinspire models compare tower@1 tower@2 demo"))
@click.argument("a")
@click.argument("b")
@click.argument("collection")
@click.option("--split", default="test", show_default=True, help="The judged queries to compare on.")
@json_option
@pass_session
def compare_command(session: Session, a: str, b: str, collection: str, split: str, as_json: bool) -> None:
    """Compare two models query by query on COLLECTION's judged queries, with a paired test."""
    from twinspire.commands.evaluate import compare_models

    compare_models(session, collection, (a, b), split=split, hybrid=False, as_json=as_json)


@models_group.command("import", epilog=examples("twinspire models import two_tower_best.pt --name seed"))
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--name", required=True, help="What to call the model.")
@json_option
@pass_session
def import_command(session: Session, checkpoint: Path, name: str, as_json: bool) -> None:
    """Import a two-tower checkpoint (.pt); nothing in the file is ever run."""
    from encoders.training.importing import import_checkpoint

    card = import_checkpoint(session.workspace(create=True), checkpoint, name)
    if as_json:
        print_json({"model": f"{card.name}@{card.version}", "fingerprint": card.fingerprint})
    else:
        click.echo(f"imported as {card.name}@{card.version}")
