"""A server that serves an `mlp` needs neither torch nor what trained it."""

import subprocess
import sys

import pytest

from tests.encoders.conftest import MakeFolder

PROGRAM = """
import sys
from pathlib import Path
from encoders.loading import load_encoder
from retrieval.content import Content
encoder = load_encoder(Path(sys.argv[1]))
encoder.encode_queries([Content(text="the red ship")])
heavy = {"torch", "gensim", "tokenizers", "transformers", "scipy", "optuna"} & set(sys.modules)
print(heavy or "light")
"""


@pytest.mark.parametrize("kind", ["mlp", "mlp without hidden layer"])
def test_the_mlp_is_served_without_torch(kind: str, make_folder: MakeFolder) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(make_folder(kind))], capture_output=True, text=True, check=True
    )

    assert run.stdout.strip() == "light"
