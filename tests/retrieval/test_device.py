from pathlib import Path

import faiss
import numpy as np
import pytest

from retrieval.device import VARIABLE, DeviceNotThere, chosen_device, use_device
from retrieval.errors import InvalidInput
from retrieval.index_build import build_index, open_index_files
from retrieval.index_types import choose_parameters


def test_a_device_is_chosen_for_this_process_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert chosen_device() == "auto"

    monkeypatch.setenv(VARIABLE, "auto")
    use_device("cpu")

    assert chosen_device() == "cpu"


def test_an_unknown_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "tpu")

    with pytest.raises(InvalidInput, match="expected one of auto, cpu, cuda, got 'tpu'"):
        chosen_device()


@pytest.mark.skipif(faiss.get_num_gpus() > 0, reason="there is one")
def test_a_gpu_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parameters = choose_parameters(2, 2, 0.95, {"kind": "flat"})
    vectors = np.eye(2, dtype=np.float32)
    built = build_index(tmp_path, [(np.array([1, 2]), vectors)], 2, parameters, vectors)
    monkeypatch.setenv(VARIABLE, "cuda")

    with pytest.raises(DeviceNotThere, match="--device cuda"):
        open_index_files(tmp_path, built.parameters)
