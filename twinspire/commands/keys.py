"""`twinspire keys`: who may call a server."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from twinspire.console import examples, json_option, pass_session, print_json, say, show_table
from twinspire.groups import ListAlone
from twinspire.secret_files import new_secret
from twinspire.session import Session

if TYPE_CHECKING:
    from server.keys import Key

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

file_option = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TWINSPIRE_KEYS",
    help="The keys file.  [default: keys.json of the workspace]",
)


class Expiry(click.ParamType["datetime"]):
    """90d, 2w, 12h from now, or a day or moment in ISO's form."""

    name = "when"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the moment, with its time zone; UTC unless told."""
        number, unit = str(value)[:-1], str(value)[-1:]
        try:
            if unit in _UNITS and number.isdecimal():
                return datetime.now(UTC).replace(microsecond=0) + int(number) * _UNITS[unit]
            moment = datetime.fromisoformat(str(value))
        except (ValueError, OverflowError):
            self.fail(f"expected 90d, 2w, 12h or 2030-01-31, got {value!r}", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@click.group(
    "keys", cls=ListAlone, epilog=examples("twinspire keys add web --role read", "twinspire keys revoke web")
)
def keys_group() -> None:
    """Make and revoke the keys that a server asks its callers for.

    `serve` asks for keys when there is a keys file, and takes changes over within a second. The file holds
    only hashes: a key is shown once, when it is made.
    """


@keys_group.command("add", epilog=examples("twinspire keys add web --role read --expires 90d"))
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["read", "write", "admin"]),
    required=True,
    help="read searches; write also stores and deletes items; admin also switches what is live.",
)
@click.option("--expires", "expires_at", type=Expiry(), help="90d, 2w, 12h or 2030-01-31.  [default: never]")
@click.option("--rate", type=click.FloatRange(0), help="Requests a second; 0 = no limit.  [default: serve's]")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the key to this new file, for its owner only, instead of printing it.",
)
@file_option
@pass_session
def add_command(
    session: Session,
    name: str,
    role: str,
    expires_at: datetime | None,
    rate: float | None,
    out: Path | None,
    file: Path | None,
) -> None:
    """Make a key and print it: it is the only time that it can be seen."""
    from server.keys import add_key
    from server.permissions import Role

    chosen = file or _default_file(session)
    with new_secret(out, click.echo) as keep:
        keep(add_key(chosen, name, Role[role.upper()], expires_at=expires_at, rate_limit=rate))
    until = f", until {expires_at:%Y-%m-%d %H:%M %Z}" if expires_at else ""
    where = f"it is in {out}" if out else "keep it: it is not shown again"
    say(f"{name}: a key with the role {role}{until}; {where}")


@keys_group.command("list", epilog=examples("twinspire keys list"))
@file_option
@json_option
@pass_session
def list_command(session: Session, file: Path | None, as_json: bool) -> None:
    """List the keys, but not what they are."""
    from server.keys import read_keys

    chosen = file or _default_file(session)
    keys = read_keys(chosen) if chosen.exists() else ()
    if as_json:
        print_json([_described(key) for key in keys])
        return
    unset = {"expires_at": "never", "rate_limit": "as served"}
    rows = [
        [str(unset.get(name, "") if value is None else value) for name, value in _described(key).items()]
        for key in keys
    ]
    columns = ["key", "role", "made", "expires", "rate", "state"]
    show_table("", columns, rows, empty="there are no keys: `twinspire keys add NAME --role ROLE` makes one")


def _described(key: "Key") -> dict[str, Any]:
    expires, now = key.expires_at, datetime.now(UTC)
    return {
        "name": key.name,
        "role": key.role.label,
        "created_at": key.created_at.isoformat(),
        "expires_at": expires.isoformat() if expires else None,
        "rate_limit": key.rate_limit,
        "state": "expired" if key.expired(now) else "in force",
    }


@keys_group.command("revoke", epilog=examples("twinspire keys revoke web"))
@click.argument("name")
@file_option
@pass_session
def revoke_command(session: Session, name: str, file: Path | None) -> None:
    """Revoke a key: running servers refuse it within a second."""
    from server.keys import revoke_key

    revoke_key(file or _default_file(session), name)
    say(f"{name}: revoked")


def _default_file(session: Session) -> Path:
    from server.keys import FILE_NAME

    return session.root / FILE_NAME
