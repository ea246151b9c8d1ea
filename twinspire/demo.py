"""The tour: a real corpus from import to evaluation, with the same parts that the commands use."""

import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.local_redis import LocalRedis
from retrieval.redis_address import URL_VARIABLE, redis_is_given
from twinspire.child_server import child_server
from twinspire.client import Client
from twinspire.evaluations import show_evaluation
from twinspire.hits import result_json, show_result
from twinspire.judged import load_judged
from twinspire.progress import ProgressDisplay, StepDisplay
from twinspire.tour import Tour
from twinspire.training import TrainingDisplay, card_lines

if TYPE_CHECKING:
    from retrieval.registry import ModelRow
    from retrieval.workspace import Workspace

COLLECTION = "demo"
MODEL = "demo-tower"
QUESTIONS_ASKED = 4
HITS_SHOWN = 5
SEED = 7  # which questions are asked
EVALUATION_FILE = "demo-evaluation.json"


@dataclass(slots=True)
class Demo(Tour):
    """One run of the tour of texts, over an index in faiss or redis."""

    backend: str = "faiss"
    answers: list[dict[str, Any]] = field(default_factory=list)
    evaluation: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = 6

    def run(self) -> None:
        """Do all of it; what an earlier run left is used again."""
        with self.step("fetch", "Fetching the corpus: Wikipedia passages, and questions about them"):
            source = self._fetch()
        with self.step("import", "Importing it into the workspace"):
            self._import(source)
        with self.step("train", "Training a two-tower encoder on its questions"):
            model = self._train()
        with self.step("index", "Encoding every passage and building the index"):
            self._index(model)
        with self.step("serve", "Starting the server, and asking it questions that it was not trained on"):
            self._ask()
        with self.step("evaluate", "Evaluating on all held-out questions, beside BM25"):
            self._evaluate()

    def _fetch(self) -> Any:
        from indexer.demo_corpus import demo_corpus
        from indexer.importers.source import Source

        with ProgressDisplay() as progress:
            return Source(kind="beir", path=demo_corpus(progress))

    def _import(self, source: Any) -> None:
        from indexer.demo_corpus import PASSAGES
        from indexer.importing import import_source
        from retrieval.collections import collection_names, count

        workspace = self.session.workspace(create=True)
        if COLLECTION not in collection_names(workspace) or count(workspace, COLLECTION).items < PASSAGES:
            with ProgressDisplay() as progress:
                import_source(workspace, COLLECTION, source, on_progress=progress)
        items = count(workspace, COLLECTION).items
        questions = len(load_judged(self.session, COLLECTION).queries)
        self.tell(f"{items:,} passages, {questions:,} questions with judged passages")

    def _train(self) -> "ModelRow":
        from retrieval.errors import ModelNotFound
        from retrieval.registry import find_model

        workspace = self.session.workspace()
        try:
            model = find_model(workspace, MODEL)
            self.tell(f"{model.reference} is there already")
        except ModelNotFound:
            self._train_anew(workspace)
            model = find_model(workspace, MODEL)
        return model

    def _train_anew(self, workspace: "Workspace") -> None:
        from encoders.training.config import TwoTowerConfig
        from encoders.training.two_tower import train_two_tower
        from indexer.assets import static_vectors

        with ProgressDisplay() as progress:
            config = TwoTowerConfig(init=str(static_vectors(progress)))
            display = TrainingDisplay(progress)
            card = train_two_tower(workspace, COLLECTION, config, name=MODEL, on_progress=display)
        for line in card_lines(card):
            self.tell(line)

    def _index(self, model: "ModelRow") -> None:
        from indexer.indexing import index_collection
        from twinspire.commands.index import in_words

        with ProgressDisplay() as progress:
            report = index_collection(
                self.session.workspace(),
                COLLECTION,
                model.reference,
                backend=self.backend,
                on_progress=progress,
            )
        self.tell(in_words(report))

    def _ask(self) -> None:
        judged = load_judged(self.session, COLLECTION)
        held_out = [query for query in judged.queries if query.split == "test"]
        asked = random.Random(SEED).sample(held_out, min(QUESTIONS_ASKED, len(held_out)))
        started = time.perf_counter()
        with child_server(self.session.root) as target, Client(target) as client:
            client.wait_until_ready()
            self.tell(f"{target} is ready after {time.perf_counter() - started:.1f} s\n")
            for query in asked:
                result = client.search(COLLECTION, query.text, limit=HITS_SHOWN, hybrid=True)
                relevant = judged.relevant(query.text)
                self.answers.append(result_json(query.text, result, relevant))
                show_result(self.console, query.text, result, relevant)

    def _evaluate(self) -> None:
        from evaluation.evaluate import evaluate
        from retrieval.publishing import live_version

        workspace = self.session.workspace()
        kept = self.session.root / EVALUATION_FILE
        stored = json.loads(kept.read_text()) if kept.exists() else {}
        if stored.get("index_version") == live_version(workspace, COLLECTION):
            self.tell("as measured before, on this very index")
            self.evaluation = stored
        else:
            with StepDisplay() as on_step:
                evaluation = evaluate(workspace, COLLECTION, hybrid=True, on_step=on_step)
            self.evaluation = evaluation.to_json()
            kept.write_text(json.dumps(self.evaluation))
        show_evaluation(self.console, self.evaluation)


@contextmanager
def redis_for_the_tour() -> Iterator[None]:
    """Take the Redis that the environment names, or start one on loopback that ends with the tour."""
    if redis_is_given():
        yield
        return
    with LocalRedis() as redis:
        os.environ[URL_VARIABLE] = redis.url  # the server is a child: it finds it there too
        try:
            yield
        finally:
            del os.environ[URL_VARIABLE]


def next_steps(root: str) -> str:
    """Tell what to try after the tour."""
    program = f"twinspire --workspace {root}"
    tries = (
        (
            "ask it yourself; a blank line takes a random question",
            f"search --collection {COLLECTION} --hybrid",
        ),
        ("keep it serving; docs/client.md shows the Python client", "serve"),
        ("the figures as a page with plots", f"eval {COLLECTION} --hybrid --html report.html"),
        (
            "train again, with hard negatives from this index",
            f"train two-tower {COLLECTION} --name mine --mine",
        ),
        ("your own documents", "import jsonl FILE --collection NAME"),
    )
    lines = [f"  {what}:\n    {program} {command}" for what, command in tries]
    return "What to try next\n" + "\n".join(lines)
