"""The tour: a real corpus from import to evaluation, with the same parts that the commands use."""

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from twinspire.child_server import child_server
from twinspire.client import Client
from twinspire.evaluations import show_evaluation
from twinspire.hits import result_json, show_result
from twinspire.judged import load_judged
from twinspire.progress import ProgressDisplay, StepDisplay
from twinspire.session import Session
from twinspire.training import TrainingDisplay, show_card

if TYPE_CHECKING:
    from evaluation.results import Evaluation
    from retrieval.judgements import JudgedQuery
    from retrieval.registry import ModelRow

COLLECTION = "demo"
MODEL = "demo-tower"
QUESTIONS_ASKED = 4
HITS_SHOWN = 5
SEED = 7  # which questions are asked
STEPS = 6


@dataclass(slots=True)
class Demo:
    """One run of the tour."""

    session: Session
    console: Console
    answers: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> "Evaluation":
        """Do all of it; what an earlier run left is used again."""
        with self._step(1, "Fetching the corpus: questions with judged passages"):
            source = self._fetch()
        with self._step(2, "Importing it into the workspace"):
            self._import(source)
        with self._step(3, "Training a two-tower encoder on its questions"):
            model = self._train()
        with self._step(4, "Encoding every passage and building the index"):
            self._index(model)
        with self._step(5, "Starting the server and asking it questions it was not trained on"):
            self._ask()
        with self._step(6, "Evaluating on held-out questions, beside BM25"):
            evaluation = self._evaluate()
        return evaluation

    @contextmanager
    def _step(self, number: int, what: str) -> Iterator[None]:
        click.secho(f"[{number}/{STEPS}] {what}", bold=True, err=True)
        started = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - started
        click.echo(f"      {self.seconds[what]:.1f} s\n", err=True)

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
        click.echo(f"  {items:,} passages, {len(self._queries()):,} judged questions", err=True)

    def _queries(self) -> Sequence["JudgedQuery"]:
        return load_judged(self.session, COLLECTION).queries

    def _train(self) -> "ModelRow":
        from encoders.training.config import TwoTowerConfig
        from encoders.training.two_tower import train_two_tower
        from indexer.assets import static_vectors
        from retrieval.errors import ModelNotFound
        from retrieval.registry import find_model

        workspace = self.session.workspace()
        try:
            model = find_model(workspace, MODEL)
            click.echo(f"  {model.reference} is there already", err=True)
        except ModelNotFound:
            with ProgressDisplay() as progress:
                config = TwoTowerConfig(init=str(static_vectors(progress)))
                display = TrainingDisplay(progress)
                card = train_two_tower(workspace, COLLECTION, config, name=MODEL, on_progress=display)
            show_card(card, COLLECTION, as_json=False, to_stderr=True)
            model = find_model(workspace, MODEL)
        return model

    def _index(self, model: "ModelRow") -> None:
        from indexer.indexing import index_collection
        from twinspire.commands.index import in_words

        with ProgressDisplay() as progress:
            report = index_collection(
                self.session.workspace(), COLLECTION, model.reference, on_progress=progress
            )
        click.echo(f"  {in_words(report)}", err=True)

    def _ask(self) -> None:
        judged = load_judged(self.session, COLLECTION)
        held_out = [query for query in judged.queries if query.split == "test"]
        asked = random.Random(SEED).sample(held_out, min(QUESTIONS_ASKED, len(held_out)))
        started = time.perf_counter()
        with child_server(self.session.root) as target, Client(target) as client:
            client.wait_until_ready()
            click.echo(f"  {target} is ready after {time.perf_counter() - started:.1f} s\n", err=True)
            for query in asked:
                result = client.search(COLLECTION, query.text, limit=HITS_SHOWN, hybrid=True)
                relevant = judged.relevant(query.text)
                self.answers.append(result_json(query.text, result, relevant))
                show_result(self.console, query.text, result, relevant)

    def _evaluate(self) -> "Evaluation":
        from evaluation.evaluate import evaluate

        with StepDisplay() as on_step:
            evaluation = evaluate(
                self.session.workspace(), COLLECTION, hybrid=True, record=True, on_step=on_step
            )
        show_evaluation(self.console, evaluation)
        return evaluation


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
