"""What every training does around its loop: a name that is checked, a run, a version, a job that resumes."""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from encoders.card import EncoderCard
from retrieval.durable import lock_folder
from retrieval.errors import Conflict, InvalidInput
from retrieval.failpoints import failpoint
from retrieval.jobs import Job, start_job
from retrieval.registry import finish_run, model_folder, next_model_version, register_model, start_run
from retrieval.workspace import Workspace, now, translate_sqlite_errors

CURVES_FILE = "training.json"  # beside every trained model
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def check_name(name: str) -> None:
    """Check what a model is to be called.

    Raises:
        InvalidInput: if a folder could not be called so.
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"model name: expected letters, digits, '.', '_', '-', got {name!r}", field="name")


def digest_of(*parts: Any) -> str:
    """Identify a training by all that it depends on, as JSON values: the same digest, the same weights."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def begin_training(
    ws: Workspace,
    collection: str,
    name: str,
    digest: str,
    *,
    config: Mapping[str, Any],
    seed: int,
    data_digest: str,
) -> Job:
    """Find the interrupted training of this digest, or begin a run and reserve a version.

    No other process may take it up until it is finished, or this one has ended.

    Returns:
        The job; its position holds the `version` and the `run`.

    Raises:
        Conflict: if another process is at it.
    """
    with ws.atomic():
        job = start_job(ws, "train", collection, {"model": name, "digest": digest})
        if job.position is None:
            version = next_model_version(ws, name)
            model_folder(ws, name, version).mkdir(parents=True)
            run = start_run(
                ws,
                "train",
                collection=collection,
                model=f"{name}@{version}",
                config=config,
                seed=seed,
                data_digest=data_digest,
            )
            job.advance({"version": version, "run": run})
    _claim(model_folder(ws, name, job.position["version"]))
    return job


# The folders that this process trains into, locked: the system lets go of them when it ends.
_claims: dict[Path, int] = {}


def _claim(folder: Path) -> None:
    if folder in _claims:  # it was interrupted, and begins again
        return
    with translate_sqlite_errors():
        folder.mkdir(parents=True, exist_ok=True)
        handle = lock_folder(folder)
    if handle is None:
        raise Conflict(
            f"another process trains {folder.parent.name}@{folder.name} on the same data with the same"
            " settings: wait for it to end, or end it"
        )
    _claims[folder] = handle


def training_file(
    config: Mapping[str, Any], data_digest: str, metrics: Mapping[str, float], **more: Any
) -> dict[str, bytes]:
    """Make the file that tells how a model came to be: its name and its content.

    Args:
        config: of the training.
        data_digest: of what it learned from.
        metrics: of the model.
        more: what else this kind of training tells, such as the curves of its `stages`.
    """
    told = {"config": config, "data_digest": data_digest, **more, "metrics": metrics}
    return {CURVES_FILE: as_json({**told, "torch": torch.__version__, "at": now()})}


def as_json(body: Mapping[str, Any]) -> bytes:
    """Write a file for people and programs."""
    return (json.dumps(body, indent=1) + "\n").encode()


def finish_training(ws: Workspace, job: Job, card: EncoderCard, *, artifacts: Mapping[str, Any]) -> None:
    """Register a model whose folder is complete, and end its run and its job, all or none."""
    failpoint("model-written")
    with ws.atomic():
        register_model(ws, card.name, card.version, card.kind, card.fingerprint, card.metrics)
        finish_run(
            ws,
            job.position["run"],
            metrics=card.metrics,
            artifacts={**artifacts, "fingerprint": card.fingerprint},
        )
        job.finish()
        failpoint("model-not-committed")
    os.close(_claims.pop(model_folder(ws, card.name, card.version)))
