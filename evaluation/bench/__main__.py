"""Takes the figures of docs/benchmarks.md that the demo suffices for: `python -m evaluation.bench W C OUT`.

Needs a machine that is otherwise idle, over an hour on two cores, and 8 GB of memory for the largest size.
Writes a JSON file for each, such as `search.json`, and `tables.md` with all tables.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from evaluation.bench.index import IndexBenchOptions, bench_index
from evaluation.bench.peers.comparison import bench_peers
from evaluation.bench.processes import run_command
from evaluation.bench.result import BenchResult, markdown
from evaluation.bench.search import bench_search
from evaluation.bench.train import bench_train
from evaluation.bench.workspaces import copy_workspace

_GROWTH_DIMS = "128"
_SIZES = (10_000, 100_000, 1_000_000)


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmarks that are asked for, one after another."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workspace", type=Path)
    parser.add_argument("collection")
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", choices=["search", "index", "growth", "train", "peers"])
    parser.add_argument("--sizes", default=",".join(map(str, _SIZES)), help="of the growth table")
    chosen = parser.parse_args(arguments)
    sizes = tuple(map(int, chosen.sizes.split(",")))
    benches: dict[str, Callable[[], BenchResult]] = {
        "search": lambda: bench_search(chosen.workspace, chosen.collection, on_step=_say),
        "index": lambda: bench_index(
            chosen.workspace, chosen.collection, IndexBenchOptions(sizes=()), on_step=_say
        ),
        "growth": lambda: _growth(chosen.workspace, chosen.collection, sizes),
        "train": lambda: bench_train(chosen.workspace, chosen.collection, on_step=_say),
        "peers": lambda: bench_peers(chosen.workspace, chosen.collection, on_step=_say),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    pages = []
    for name in chosen.only or benches:
        result = benches[name]()
        (chosen.out / f"{name}.json").write_text(json.dumps(result.to_json(), indent=1) + "\n")
        pages.append(f"## bench {name}\n\n{result.machine}\n\n{markdown(result)}")
        (chosen.out / "tables.md").write_text("\n".join(pages))


def _growth(root: Path, collection: str, sizes: tuple[int, ...]) -> BenchResult:
    """Grow with an encoder of 128 dimensions, trained for it."""
    with tempfile.TemporaryDirectory() as folder:
        copy_workspace(root, Path(folder))
        _say(f"train an encoder of {_GROWTH_DIMS} dimensions")
        run_command(
            Path(folder),
            *("train", "two-tower", collection, "--name", "grow", "--init", "static", "--dims", _GROWTH_DIMS),
        )
        options = IndexBenchOptions(encoder="grow", rounds=0, sizes=sizes)
        return bench_index(Path(folder), collection, options, _say)


def _say(step: str) -> None:
    sys.stderr.write(f"{step}\n")


if __name__ == "__main__":
    main()
