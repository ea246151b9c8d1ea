"""Copies of workspaces to measure in, so that a benchmark never changes what a user has."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from encoders.card import read_card
from retrieval.registry import ModelRow, register_model
from retrieval.workspace import DATABASE_FILE, Workspace


def copy_workspace(source: Path, target: Path) -> None:
    """Copy a workspace that may be in use; index and model files, which never change, are linked."""
    target.mkdir(parents=True, exist_ok=True)
    with (
        closing(sqlite3.connect(source / DATABASE_FILE)) as original,
        closing(sqlite3.connect(target / DATABASE_FILE)) as copy,
    ):
        original.backup(copy)
    for folder in ("indexes", "models"):
        if (source / folder).is_dir():
            shutil.copytree(source / folder, target / folder, copy_function=_link, dirs_exist_ok=True)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk
        shutil.copy2(source, target)


def copy_model(model: ModelRow, target: Workspace) -> None:
    """Bring a model into another workspace."""
    folder = target.models / model.name / str(model.version)
    shutil.copytree(model.folder, folder, copy_function=_link, dirs_exist_ok=True)
    card = read_card(folder)
    register_model(target, model.name, model.version, model.kind, card.fingerprint, model.metrics)
