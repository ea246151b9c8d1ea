"""Makes the passwords of Redis's users. Run it by `python deploy/redis/make_secrets.py`.

What it writes beside itself, into secrets/, is neither committed nor part of an image. Run again, it keeps
what is there; delete the folder for new passwords, then restart Redis and the server.
"""

import argparse
import hashlib
import secrets
from pathlib import Path

HERE = Path(__file__).parent
USERS = ("twinspire", "replica", "admin")
# As docker-compose.yml has them.
SINGLE = "redis:6379"
CLUSTER = ",".join(f"redis-{number}:6379" for number in range(1, 7))


def make_secrets(folder: Path, single: str = SINGLE, cluster: str = CLUSTER) -> dict[str, str]:
    """Write the access list and who comes in with which password; return the passwords.

    Args:
        folder: where to; made if it is not there.
        single: host and port of a Redis that stands alone.
        cluster: hosts and ports of a cluster's nodes.
    """
    passwords = {user: secrets.token_urlsafe(32) for user in USERS}
    digests = {user: hashlib.sha256(word.encode()).hexdigest() for user, word in passwords.items()}
    files = {
        "users.acl": (HERE / "users.acl").read_text().format(**digests),
        "replica.conf": f"masteruser replica\nmasterauth {passwords['replica']}\n",
        "single.env": f"TWINSPIRE_REDIS_URL=redis://twinspire:{passwords['twinspire']}@{single}\n",
        "cluster.env": f"TWINSPIRE_REDIS_URL=redis://twinspire:{passwords['twinspire']}@{cluster}\n",
        "admin.password": passwords["admin"],
    }
    # The folder keeps others out; inside the containers, other users than ours must read the files.
    folder.mkdir(mode=0o700, parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return passwords


def main() -> None:
    """Make them, unless they are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=HERE / "secrets")
    folder = parser.parse_args().folder
    if not folder.exists():
        make_secrets(folder)


if __name__ == "__main__":
    main()
