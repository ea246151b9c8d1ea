"""The generated code is fresh, and the API is well formed and breaks no client of the last release."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from protos.generate import PACKAGE, RELEASED, ROOT, describe, generate, generated_files

API_SERVICES = {
    "SearchService": {"Search", "BatchSearch"},
    "ItemService": {"UpsertItems", "DeleteItems", "GetItems", "ListItems", "CountItems"},
    "EncoderService": {"Encode", "ListEncoders"},
    "CollectionService": {"ListCollections", "GetCollection", "ListIndexVersions", "SetLiveVersion"},
    "ServerService": {"GetServerInfo"},
}


def buf(
    command: str, image: FileDescriptorSet, folder: Path, *options: str
) -> subprocess.CompletedProcess[str]:
    program = shutil.which("buf", path=sysconfig.get_path("scripts"))
    assert program is not None, "buf is not installed: pip install 'twinspire[dev]'"
    file = folder / "image.binpb"
    file.write_bytes(image.SerializeToString())
    return subprocess.run(
        [program, command, str(file), "--path", PACKAGE, "--config", "buf.yaml", *options],
        cwd=ROOT,
        env={"BUF_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


def message(image: FileDescriptorSet, file_name: str, name: str) -> DescriptorProto:
    file = next(file for file in image.file if file.name == f"{PACKAGE}/{file_name}.proto")
    return next(message for message in file.message_type if message.name == name)


def test_committed_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    generated = generate(tmp_path)

    assert generated == generated_files(ROOT), "run `make proto`"
    stale = [str(path) for path in generated if (tmp_path / path).read_bytes() != (ROOT / path).read_bytes()]
    assert stale == [], "run `make proto`"


def test_files_without_services_have_no_grpc_module() -> None:
    names = {path.name for path in generated_files(ROOT)}

    assert "search_pb2_grpc.py" in names
    assert "content_pb2_grpc.py" not in names


def test_generated_code_imports_from_the_root_unpatched() -> None:
    code = (ROOT / PACKAGE / "search_pb2.py").read_text()

    assert f"from {PACKAGE.replace('/', '.')} import filters_pb2" in code


def test_buf_finds_nothing_to_lint(tmp_path: Path) -> None:
    lint = buf("lint", describe(comments=True), tmp_path)

    assert (lint.returncode, lint.stdout + lint.stderr) == (0, "")


def test_buf_finds_a_badly_named_field(tmp_path: Path) -> None:
    image = describe()
    message(image, "search", "Hit").field[0].name = "badName"

    assert "badName" in buf("lint", image, tmp_path).stdout


def test_nothing_breaks_clients_of_the_last_release(tmp_path: Path) -> None:
    breaking = buf("breaking", describe(comments=True), tmp_path, "--against", str(RELEASED))

    assert (breaking.returncode, breaking.stdout + breaking.stderr) == (0, "")


def test_a_renumbered_field_breaks_clients(tmp_path: Path) -> None:
    image = describe()
    message(image, "search", "Hit").field[0].number = 99

    breaking = buf("breaking", image, tmp_path, "--against", str(RELEASED))

    assert breaking.returncode != 0
    assert '"1" with name "id" on message "Hit" was deleted' in breaking.stdout


def test_the_api_has_the_documented_calls() -> None:
    services = {
        service.name: {method.name for method in service.method}
        for file in describe().file
        if file.package == "twinspire.v1"
        for service in file.service
    }

    assert {name: services[name] & calls for name, calls in API_SERVICES.items()} == API_SERVICES


def test_generated_code_loads_without_grpc() -> None:
    code = "import sys; from protos.twinspire.v1 import search_pb2; assert 'grpc' not in sys.modules"

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
