"""A training that is killed goes on to the same weights."""

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from encoders.training.checkpoint import CheckpointFile
from encoders.training.events import EpochDone, Event, Resumed, StepDone
from encoders.training.loop import train
from encoders.training.optimisation import LoopConfig
from encoders.training.registering import begin_training
from encoders.two_tower.text_encoder import TENSORS_FILE
from retrieval.collections import create_collection
from retrieval.errors import Conflict
from retrieval.registry import list_runs, model_folder
from retrieval.workspace import Workspace
from tests.encoders.conftest import fill
from tests.encoders.test_loop import Line, Points

PROGRAM = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
from encoders.training.config import TwoTowerConfig
from encoders.training.events import StepDone
from encoders.training.optimisation import LoopConfig
from encoders.training.two_tower import train_two_tower
from retrieval.workspace import Workspace

LoopConfig.__init__.__kwdefaults__["checkpoint_every_s"] = 0.0  # every epoch
stage, step = sys.argv[2], int(sys.argv[3])
def kill(event):
    if isinstance(event, StepDone) and (event.stage, event.step) == (stage, step):
        os.kill(os.getpid(), signal.SIGKILL)
config = TwoTowerConfig(init="none", dims=16, hidden_dims=32, dropout=0.2, corpus_steps=100, epochs=3,
                        batch_size=16, min_word_texts=1)
train_two_tower(Workspace(Path(sys.argv[1])), "docs", config, name="m", on_progress=kill)
"""


def run(root: Path, stage: str = "", step: int = 0) -> int:
    command = [sys.executable, "-c", PROGRAM, str(root), stage, str(step)]
    return subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.slow
def test_killed_at_any_stage_it_ends_with_the_same_weights(tmp_path: Path) -> None:
    weights = []
    for kills in ([], [("corpus", 70), ("questions", 1), ("questions", 8)]):
        root = tmp_path / str(len(kills))
        with Workspace(root, create=True) as ws:
            fill(ws)
        for stage, step in kills:
            assert run(root, stage, step) == -signal.SIGKILL
        assert run(root) == 0
        with Workspace(root) as ws:
            weights.append(load_file(model_folder(ws, "m", 1) / TENSORS_FILE))
            assert len(list_runs(ws)) == 1

    for name, tensor in weights[0].items():
        np.testing.assert_array_equal(tensor, weights[1][name], err_msg=name)


BEGIN = """
import sys
from pathlib import Path
from encoders.training.registering import begin_training
from retrieval.workspace import Workspace
begin_training(Workspace(Path(sys.argv[1])), "docs", "m", "d", config={}, seed=0, data_digest="")
print("begun", flush=True)
sys.stdin.read()
"""


def test_one_process_at_a_time_is_at_a_training(tmp_path: Path) -> None:
    with Workspace(tmp_path, create=True) as ws:
        create_collection(ws, "docs")
        begin = partial(begin_training, ws, "docs", "m", config={}, seed=0, data_digest="")
        command = [sys.executable, "-c", BEGIN, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout
            assert other.stdout.readline() == "begun\n"

            with pytest.raises(Conflict, match="another process trains m@1"):
                begin("d")
            assert begin("another digest").position["version"] == 2
            other.kill()

        job = begin("d")
        assert job.resumed
        assert job.position["version"] == 1


class Killed(Exception):
    pass


def test_a_stage_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    config = LoopConfig(stage="s", epochs=4, learning_rate=0.1, checkpoint_every_s=0)
    whole = Line(dropout=0.5)
    train(whole, Points(), config, lambda event: None)
    events: list[Event] = []

    def stop(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 8:  # in the third epoch
            raise Killed

    file = CheckpointFile(tmp_path / "s.pt")
    with pytest.raises(Killed):
        train(Line(dropout=0.5), Points(), config, stop, checkpoint=file)
    torch.manual_seed(99)
    resumed = Line(dropout=0.5, start=7.0)
    train(resumed, Points(), config, events.append, checkpoint=file)

    assert events[0] == Resumed(stage="s", epoch=2)
    assert [event.epoch for event in events if isinstance(event, EpochDone)] == [3, 4]
    torch.testing.assert_close(resumed.weight, whole.weight, rtol=0, atol=0)


def test_a_damaged_checkpoint_is_started_over(tmp_path: Path) -> None:
    file = CheckpointFile(tmp_path / "s.pt")
    file.write({"x": torch.ones(3)})
    file.path.write_bytes(file.path.read_bytes()[:50])

    assert file.read() is None
