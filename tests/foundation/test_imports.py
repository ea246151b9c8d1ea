"""What importing a room costs: heavy libraries load only where they are needed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "gensim", "scipy", "pandas", "matplotlib", "optuna", "pyarrow")


def modules_of(room: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / room).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]


def loaded_by(names: list[str]) -> set[str]:
    """Import modules in a fresh process; return the top-level packages that it has loaded then."""
    code = (
        "import importlib, sys\n"
        f"for name in {names!r}: importlib.import_module(name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return set(answer.stdout.split())


def test_retrieval_loads_neither_torch_nor_grpc() -> None:
    assert loaded_by(modules_of("retrieval")) & {*HEAVY, "grpc", "protos", "google"} == set()


def test_the_index_contract_loads_no_index_library() -> None:
    assert loaded_by(["retrieval.index", "retrieval.search", "retrieval.items"]) & {"faiss", "redis"} == set()


def test_the_server_loads_nothing_heavy() -> None:
    assert loaded_by(modules_of("server")) & set(HEAVY) == set()


def test_loading_an_encoder_loads_no_torch_until_one_needs_it() -> None:
    assert loaded_by(["encoders.loading"]) & set(HEAVY) == set()


@pytest.mark.parametrize("name", ["twinspire", "twinspire.cli"])
def test_the_public_package_loads_lazily(name: str) -> None:
    assert loaded_by([name]) & {*HEAVY, "numpy", "grpc", "faiss", "sqlite_utils", "rich"} == set()


def test_the_version_is_told_once() -> None:
    code = "from importlib.metadata import version; print(version('twinspire'))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()

    assert f'version = "{told}"' in (ROOT / "pyproject.toml").read_text()
