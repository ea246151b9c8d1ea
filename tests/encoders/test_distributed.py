"""Several processes take the very step that one takes with the whole batch."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from retrieval.registry import list_models
from retrieval.workspace import Workspace

PROGRAM = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from encoders.training import distributed
from encoders.training.objective import PairBatch, TwoTowerObjective
from encoders.two_tower.architecture import Architecture
from encoders.two_tower.ragged import RaggedTexts
from encoders.two_tower.towers import TwoTower

distributed.join()
assert distributed.world_size() == int(sys.argv[2])
shape = Architecture(tower=sys.argv[3], rows=30, word_dims=6, hidden_dims=8, dims=5, shared=False)
torch.manual_seed(distributed.rank())
towers = TwoTower(shape)
torch.nn.init.normal_(towers.table)
model = TwoTowerObjective(towers, sys.argv[4], temperature=0.1, learn_temperature=True, margin=0.2)
if distributed.world_size() == 1:
    torch.manual_seed(0)
    towers = TwoTower(shape); torch.nn.init.normal_(towers.table)
    model = TwoTowerObjective(towers, sys.argv[4], temperature=0.1, learn_temperature=True, margin=0.2)
distributed.share_weights(model)
random = np.random.default_rng(0)
texts = lambda n: RaggedTexts.pack([random.integers(2, 30, random.integers(1, 9)).tolist() for _ in range(n)])
forbidden = torch.zeros(5, 7, dtype=torch.bool); forbidden[0, 3] = True
batch = PairBatch(texts(5), texts(7), torch.tensor([0, 1, 2, 2, 4]), forbidden)
loss = model(batch)
loss.backward()
distributed.sum_gradients(model)
if distributed.rank() == 0:
    gradients = {n: p.grad.to_dense() for n, p in model.named_parameters() if p.grad is not None}
    torch.save({"loss": loss.detach(), **gradients}, sys.argv[1])
if distributed.world_size() > 1:
    torch.distributed.barrier()
"""


def gradients(folder: Path, processes: int, tower: str, loss: str) -> dict[str, torch.Tensor]:
    program, result = folder / "program.py", folder / f"{processes}.pt"
    program.write_text(PROGRAM)
    arguments = [str(program), str(result), str(processes), tower, loss]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    run = subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    found: dict[str, torch.Tensor] = torch.load(result, weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tower", "loss"), [("mlp", "contrastive"), ("mlp", "triplet"), ("gru", "margin_contrastive")]
)
def test_two_processes_have_the_gradient_of_one(tower: str, loss: str, tmp_path: Path) -> None:
    one, two = (gradients(tmp_path, processes, tower, loss) for processes in (1, 2))

    assert one.keys() == two.keys()
    for name, gradient in one.items():
        torch.testing.assert_close(two[name], gradient, rtol=1e-5, atol=1e-6, msg=name)


TRAINING = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from encoders.training.config import TwoTowerConfig
from encoders.training.two_tower import train_two_tower
from retrieval.workspace import Workspace
config = TwoTowerConfig(init="none", dims=16, corpus_steps=50, epochs=2, batch_size=16, min_word_texts=1)
print(train_two_tower(Workspace(Path(sys.argv[1])), "docs", config, name="m").fingerprint)
"""


@pytest.mark.slow
def test_two_processes_train_and_register_one_model(ws: Workspace, tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(TRAINING)
    run = subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
            str(program), str(ws.root),
        ],
        check=False,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ".", "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip

    assert run.returncode == 0, run.stderr[-2000:]
    (model,) = list_models(ws)
    assert run.stdout.count(model.fingerprint) == 2  # their lines may run into each other
    assert model.metrics["test.MRR@10"] > model.metrics["zero_shot.test.MRR@10"]
