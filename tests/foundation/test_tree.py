"""The committed tree: nothing of a machine in it, links that lead somewhere, decisions in one form."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = re.compile(r"_pb2(_grpc)?\.pyi?$")
# Put together here, so that this file does not hold what it looks for.
MACHINE_FOLDERS = [f"/{name}/" for name in ("home", "root", "work", "Users")]
REGISTRY_HOSTS = [
    f"{name}.{top}"
    for name, top in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("debian", "org"),
        ("docker", "io"),
    )
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def texts() -> Iterator[tuple[Path, str]]:
    for path in tracked():
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            continue


def markdown() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".md"]


def test_no_file_names_a_machine_or_a_registry() -> None:
    banned = re.compile(
        "|".join(rf"(?<![\w.}}]){re.escape(folder)}" for folder in MACHINE_FOLDERS)
        + "|"
        + "|".join(re.escape(host) for host in REGISTRY_HOSTS)
    )

    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:90]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), 1)
        if banned.search(line)
    ]

    assert found == []


def test_no_binary_but_the_released_api_is_committed() -> None:
    readable = {path for path, _ in texts()}
    allowed = {"protos/released.binpb"}

    found = {path.relative_to(ROOT).as_posix() for path in tracked() if path not in readable} - allowed

    assert {name for name in found if not name.startswith(("docs/images/", "tests/data/"))} == set()


def test_no_large_file_is_committed() -> None:
    assert [path.name for path in tracked() if path.stat().st_size > 1 << 20] == []


@pytest.mark.parametrize("path", markdown(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(), flags=re.DOTALL)
    targets = [target for target in LINK.findall(text) if not re.match(r"[a-z]+:", target)]

    broken = [target for target in targets if not leads_somewhere(path, target)]

    assert broken == []


def leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    file = (page.parent / name) if name else page
    if not file.exists() or not file.resolve().is_relative_to(ROOT):
        return False
    return not anchor or file.suffix != ".md" or anchor in anchors(file)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_linked_from_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}

    assert pages - set(LINK.findall(index)) == set()


def test_decisions_have_one_form() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").iterdir())
    numbers = [path.name[:3] for path in decisions]

    assert [path.name for path in decisions if not re.fullmatch(r"\d{3}-[a-z0-9-]+\.md", path.name)] == []
    assert len(numbers) == len(set(numbers)), "two decisions have one number"
    for path in decisions:
        lines = path.read_text().splitlines()
        assert re.fullmatch(r"# \S.*[^.]", lines[0]), f"{path.name}: starts with its title"
        assert 5 <= len(lines) <= 80, f"{path.name}: half a page"


def test_code_says_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")

    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path, text in texts()
        if path.suffix == ".py" and not GENERATED.search(path.name)
        for number, line in enumerate(text.splitlines(), 1)
        if marks.search(line)
    ]

    assert found == []
