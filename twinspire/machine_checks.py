"""Checks of the machine: Python, SQLite, the extras, FAISS, the disk."""

import importlib.util
import shutil
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from twinspire.checks import Check

OLDEST_PYTHON = (3, 11)
SCARCE_DISK_BYTES = 1 << 30
NO_DISK_BYTES = 100 << 20
# Extra -> the modules that tell whether it is installed, and what one cannot do without it.
EXTRAS = {
    "cpu": (("faiss",), "build and search indexes"),
    "train": (("torch", "gensim", "ir_measures", "tokenizers", "optuna"), "train and evaluate"),
    "hf": (("transformers",), "run pretrained encoders"),
    "onnx": (("onnxruntime",), "serve pretrained text encoders without torch"),
    "image": (("PIL",), "read pictures"),
    "audio": (("soundfile", "soxr"), "read sounds"),
    "video": (("av",), "read videos"),
    "parquet": (("pyarrow",), "import Parquet files"),
}


def check_python() -> Check:
    """Is Python new enough?"""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Check("Python", "ok", found)
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Check("Python", "failed", found, f"install Python {wanted} or newer and make the environment anew")


def check_sqlite() -> Check:
    """Has SQLite full-text search?"""
    try:
        with sqlite3.connect(":memory:") as connection:
            connection.execute("CREATE VIRTUAL TABLE probe USING fts5(text)")
    except sqlite3.Error as error:
        return Check("SQLite", "failed", str(error), "use a Python whose SQLite has FTS5")
    return Check("SQLite", "ok", f"{sqlite3.sqlite_version} with FTS5")


def check_extra(extra: str) -> Check:
    """Is an extra installed?"""
    modules, purpose = EXTRAS[extra]
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return Check(f"extra {extra}", "ok", ", ".join(f"{name} {_version(name)}" for name in modules))
    remedy = f"to {purpose}: pip install 'twinspire[{extra}]'"
    return Check(f"extra {extra}", "warning", f"without {', '.join(missing)}", remedy)


def _version(module: str) -> str:
    known = {"PIL": "pillow"}
    for distribution in (known.get(module, module), f"{module}-cpu", module.replace("_", "-")):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return ""


def check_faiss() -> Check:
    """Does FAISS search?"""
    try:
        import faiss
        import numpy as np

        index = faiss.IndexFlatIP(2)
        index.add(np.eye(2, dtype=np.float32))
        _, found = index.search(np.eye(2, dtype=np.float32), 1)
        works = found.ravel().tolist() == [0, 1]
    except Exception as error:
        remedy = "pip install --force-reinstall 'twinspire[cpu]'"
        return Check("FAISS", "failed", f"{type(error).__name__}: {error}", remedy)
    if works:
        return Check("FAISS", "ok", f"{faiss.__version__} finds what it should")
    return Check("FAISS", "failed", "finds the wrong vectors", "reinstall faiss-cpu for this processor")


def check_disk(root: Path) -> Check:
    """Is there room to work?"""
    there = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{free / 2**30:.1f} GiB free"
    remedy = "free some space: an index and its vectors take about 2 KiB an item"
    if free < NO_DISK_BYTES:
        return Check("disk", "failed", found, remedy)
    return Check("disk", "warning" if free < SCARCE_DISK_BYTES else "ok", found, remedy)
