"""Prints the requirements of pyproject.toml with some extras: `python .ci/requirements.py cpu,train`.

For the image's layer of dependencies, which is installed before the code is there.
"""

import sys
import tomllib
from pathlib import Path


def requirements(extras: list[str]) -> list[str]:
    """List what the project needs with these extras.

    Raises:
        KeyError: if there is no such extra.
    """
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    return [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements([extra for extra in sys.argv[1].split(",") if extra])) + "\n")
