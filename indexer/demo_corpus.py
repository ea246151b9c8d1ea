"""The demo corpus: HotpotQA's questions and passages (CC-BY-SA 4.0), written as a BEIR folder."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexer.assets import QUESTIONS, fetch
from indexer.progress import OnProgress, Progress, ignore_progress
from retrieval.cache import cached

PASSAGES = 66_635
FORMAT = 1  # raise it when the files below change


def demo_corpus(on_progress: OnProgress = ignore_progress) -> Path:
    """Return a BEIR folder of 66,635 passages and 7,405 judged questions, made the first time.

    A question's own ten passages are judged: the two that support its answer 1, the others 0. A split is
    not given: it is drawn at import.

    Raises:
        BackendUnavailable: if the registry cannot be reached.
        CorruptArtifact: if what came is not what is pinned.
    """

    def fill(folder: Path) -> None:
        questions = json.loads((fetch(QUESTIONS, on_progress) / "hotpotqa.json").read_bytes())
        (folder / "qrels").mkdir()
        _write(questions, folder, on_progress)

    return cached(f"demo-corpus-{QUESTIONS.sha256[:12]}-{FORMAT}", fill)


def _write(questions: list[Mapping[str, Any]], folder: Path, on_progress: OnProgress) -> None:
    ids: dict[tuple[str, str], str] = {}
    with (
        (folder / "corpus.jsonl").open("w", encoding="utf-8") as corpus,
        (folder / "queries.jsonl").open("w", encoding="utf-8") as queries,
        (folder / "qrels" / "all.tsv").open("w", encoding="utf-8") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for done, question in enumerate(questions, 1):
            supporting = {title for title, _ in question["supporting_facts"]}
            for title, sentences in question["context"]:
                passage = (title, "".join(sentences))
                if passage not in ids:
                    ids[passage] = f"p{len(ids) + 1:05d}"
                    row = {"_id": ids[passage], "title": title, "text": passage[1]}
                    corpus.write(json.dumps(row, ensure_ascii=False) + "\n")
                qrels.write(f"{question['_id']}\t{ids[passage]}\t{int(title in supporting)}\n")
            row = {"_id": question["_id"], "text": question["question"]}
            queries.write(json.dumps(row, ensure_ascii=False) + "\n")
            if done % 1000 == 0 or done == len(questions):
                on_progress(Progress("convert", done, len(questions)))
