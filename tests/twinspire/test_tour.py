"""From a folder of documents to measured answers, by commands alone, on a corpus small enough to train on."""

import json
import os
import pty
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from twinspire.cli import run

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TOPICS = {
    "sea": "ship sail harbour wave captain anchor tide island",
    "kitchen": "bread oven flour salt butter soup pepper knife",
    "sky": "star moon telescope planet comet orbit night galaxy",
    "music": "violin piano song concert melody drum rhythm choir",
}
TRAIN = ["--init", "none", "--dims", "16", "--min-word-texts", "1", "--batch-size", "16"]
QUICK = [*TRAIN, "--corpus-steps", "20", "--epochs", "1"]


def write_beir(folder: Path) -> None:
    """Write 80 passages of four topics and 60 questions, each with two relevant passages."""
    chance = random.Random(0)
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for topic, words in TOPICS.items():
        for number in range(20):
            text = " ".join(chance.sample(words.split(), 6))
            corpus.append({"_id": f"{topic}{number}", "title": topic, "text": text})
            if number < 15:
                queries.append({"_id": f"q-{topic}{number}", "text": " ".join(text.split()[:3])})
                qrels += [f"q-{topic}{number}\t{topic}{number}\t1", f"q-{topic}{number}\t{topic}19\t0"]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    (folder / "qrels" / "all.tsv").write_text("\n".join(qrels) + "\n")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace after import, train and index."""
    import torch

    torch.set_num_threads(1)  # the corpus is too small to share out, and other tests run beside
    folder = tmp_path_factory.mktemp("tour")
    write_beir(folder / "beir")
    workspace = folder / "workspace"
    for command in (
        ["import", "beir", str(folder / "beir"), "--collection", "topics"],
        ["train", "two-tower", "topics", "--name", "tower", *QUICK],
        ["index", "topics", "--encoder", "tower"],
    ):
        assert run(["--workspace", str(workspace), *command]) == 0, command
    return workspace


def json_of(capsys: pytest.CaptureFixture[str], workspace: Path, *arguments: str) -> Any:
    capsys.readouterr()
    assert run(["--workspace", str(workspace), *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_model_is_listed_with_its_metrics(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model,) = json_of(capsys, trained, "models", "--by", "MRR@10")

    assert model["model"] == "tower@1"
    assert 0 <= model["metrics"]["validation.MRR@10"] <= 1


def test_an_unknown_metric_is_refused(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--workspace", str(trained), "models", "--by", "beauty"]) == 1

    assert "no model has the metric 'beauty'" in capsys.readouterr().err


def test_indexing_again_finds_nothing_new(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json_of(capsys, trained, "index", "topics", "--encoder", "tower")

    assert report["nothing_new"]
    assert report["encoded"] == 0


def test_an_evaluation_gives_the_promised_json(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = json_of(capsys, trained, "eval", "topics")

    assert body["n"] == 12
    assert body["corpus"] == 80
    assert set(body["metrics"]) >= {"MRR@10", "nDCG@10", "MAP", "Recall@1", "Recall@100"}
    assert set(body) >= {"intervals", "chance", "bm25", "ann_recall@10"}


def test_an_evaluation_is_shown_with_its_report_and_ranking(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html, ranking = tmp_path / "report.html", tmp_path / "run.txt"
    capsys.readouterr()

    command = ["eval", "topics", "--hybrid", "--html", str(html), "--trec", str(ranking)]
    assert run(["--workspace", str(trained), *command]) == 0

    printed = capsys.readouterr().out
    assert "12 test queries over the full corpus of 80 items" in printed
    assert "chance" in printed
    assert "hybrid - BM25" in printed
    assert "<svg" in html.read_text()
    assert len(ranking.read_text().splitlines()[0].split()) == 6


def test_another_training_with_mined_negatives_can_be_compared(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mined = json_of(capsys, trained, "train", "two-tower", "topics", "--name", "miner", "--mine", *QUICK)
    assert run(["--workspace", str(trained), "index", "topics", "--encoder", "miner", "--no-promote"]) == 0

    comparison = json_of(capsys, trained, "models", "compare", "tower", "miner", "topics")

    assert mined["model"] == "miner@1"
    assert comparison["n"] == 12
    assert set(comparison["metrics"]) == {"a", "b"}


def test_a_sweep_trains_the_best_of_its_trials(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swept = json_of(
        capsys, trained, "train", "two-tower", "topics", "--name", "swept", "--sweep", "2", *QUICK
    )

    assert swept["model"] == "swept@1"
    assert swept["training"]["batch_size"] in {128, 256, 512, 1024}


def test_a_file_that_is_no_checkpoint_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model.pt").write_bytes(b"not a checkpoint")
    command = ["models", "import", str(tmp_path / "model.pt"), "--name", "seed"]

    assert run(["--workspace", str(trained), *command]) == 1

    assert "model.pt is not a two-tower checkpoint" in capsys.readouterr().err


def test_runs_are_kept(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = json_of(capsys, trained, "runs", "--kind", "train")

    assert runs[-1]["model"] == "tower@1"
    assert runs[-1]["config"]["init"] == "none"


def test_the_table_of_runs_shows_what_training_reached(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--workspace", str(trained), "runs", "--kind", "train"]) == 0

    printed = capsys.readouterr().out
    assert "validation.MRR@10" in printed
    assert "zero_shot" not in printed


def test_bad_training_settings_are_refused_before_any_work(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["--workspace", str(trained), "train", "two-tower", "topics", "--name", "x", "--epochs", "-1"])
        == 1
    )

    assert "epochs: expected at least 0, got -1" in capsys.readouterr().err


def test_the_prompt_answers_until_the_input_ends(trained: Path) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "twinspire", "--workspace", str(trained), "search", "--limit", "2"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(theirs)
    os.write(ours, b"violin concert\n\n#nobody\n\x04")
    printed, said = process.communicate(timeout=60)
    os.close(ours)

    assert process.returncode == 0
    assert "violin concert" in printed
    assert "of 1 relevant found" in printed
    assert "no judged query 'nobody'" in printed
    assert "Traceback" not in said


def test_the_training_options_tell_the_defaults_of_the_config() -> None:
    from encoders.training.config import TwoTowerConfig
    from twinspire.commands.train import OPTIONS

    config = TwoTowerConfig()
    words = {
        "dims": None,
        "hidden_dims": None,
        "corpus_steps": None,
        "shared": True,
        "train_words": True,
        "learn_temperature": True,
        "skip_missing": False,
    }
    for option in OPTIONS:
        value = getattr(config, option.field)
        assert value == words[option.field] if option.field in words else option.default == str(value)


def test_every_setting_of_a_training_has_an_option() -> None:
    from dataclasses import fields

    from encoders.training.config import TwoTowerConfig
    from twinspire.commands.train import OPTIONS

    assert {option.field for option in OPTIONS} == {field.name for field in fields(TwoTowerConfig)}
