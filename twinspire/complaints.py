"""Errors as a person reads them: what went wrong, why, and what to do."""

import os
import traceback
from collections.abc import Mapping

import click

from retrieval.errors import TwinspireError

DEBUG_VARIABLE = "TWINSPIRE_DEBUG"

REMEDIES: Mapping[str, str] = {
    "COLLECTION_NOT_FOUND": "`twinspire collections` lists those there are",
    "ITEM_NOT_FOUND": "check the id",
    "MODEL_NOT_FOUND": "`twinspire models` lists those there are",
    "MODEL_NOT_LOADED": "`twinspire index COLLECTION --encoder NAME` builds an index and makes it live",
    "VERSION_NOT_FOUND": "`twinspire versions list COLLECTION` lists those there are",
    "VERSION_MOVED": "look at `twinspire versions list COLLECTION` and try again",
    "ENCODER_INDEX_MISMATCH": "build an index with this encoder: `twinspire index COLLECTION --encoder NAME`",
    "CORRUPT_ARTIFACT": "`twinspire doctor` looks for what else is damaged",
    "UNAUTHENTICATED": "give the key's file with --api-key-file, or the key in TWINSPIRE_API_KEY",
    "PERMISSION_DENIED": "use a key with that role: `twinspire keys list` shows them on the server",
    "INVALID_KEYS_FILE": "check the path; `twinspire keys add` makes a keys file",
    "UNUSABLE_WORKSPACE": "check --workspace and TWINSPIRE_WORKSPACE",
}

# Third-party module -> the extra that installs it.
EXTRAS: Mapping[str, str] = {
    "faiss": "cpu",
    "gensim": "train",
    "ir_measures": "train",
    "optuna": "train",
    "pyarrow": "parquet",
    "redis": "redis",
    "tokenizers": "train",
    "torch": "train",
    "transformers": "hf",
}


def complaint(error: BaseException) -> str:
    """Put an error into words."""
    if isinstance(error, click.UsageError):
        help_command = f"{error.ctx.command_path} --help" if error.ctx else "twinspire --help"
        said = _one_line(error.format_message())
        return f"{said}{' See' if said.endswith('?') else '; see'} `{help_command}`"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, TwinspireError):
        remedy = REMEDIES.get(error.reason)
        said = "\n".join([str(error), *getattr(error, "__notes__", [])])
        advised = any(word in said for word in ("twinspire ", "restore"))
        return f"{said}; {remedy}" if remedy and not advised else said
    if isinstance(error, ModuleNotFoundError) and error.name and error.name.partition(".")[0] in EXTRAS:
        extra = EXTRAS[error.name.partition(".")[0]]
        return f"this needs the package {error.name}: pip install 'twinspire[{extra}]'"
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{where}; check the path, its permissions and the disk"
    return (
        f"something that Twinspire did not expect ({type(error).__name__}: {_one_line(str(error))[:300]}); "
        f"this is a fault of ours: {DEBUG_VARIABLE}=1 shows where, please report it"
    )


def complain(error: BaseException) -> None:
    """Say it on stderr, in red on a terminal."""
    if os.environ.get(DEBUG_VARIABLE):
        click.echo("".join(traceback.format_exception(error)), err=True)
    click.echo(click.style("Error:", fg="red", bold=True) + " " + complaint(error), err=True)


def _one_line(text: str) -> str:
    return " ".join(text.split()).rstrip(".")
