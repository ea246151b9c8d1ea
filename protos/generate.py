"""Generates the Python code and the type stubs of the protos: `make proto`.

`python -m protos.generate --release` also notes the API as released, in `released.binpb`: from then on a
change that would break clients of it fails the tests (docs/decisions/007-protos.md).
"""

import argparse
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).parent.parent
RELEASED = ROOT / "protos" / "released.binpb"
PACKAGE = "protos/twinspire/v1"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi")


def proto_files() -> list[str]:
    """List our .proto files, relative to the root, sorted."""
    return sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / PACKAGE).glob("*.proto"))


def generate(out: Path) -> list[Path]:
    """Generate the code of every proto into an empty folder, and return its files, relative to it.

    A file without services gets no `_pb2_grpc` module.

    Raises:
        RuntimeError: if protoc refuses a file; what is wrong stands on stderr.
    """
    ours = [file for file in describe().file if file.name.startswith(f"{PACKAGE}/")]
    _protoc([f"--python_out={out}", _plugin("mypy"), f"--mypy_out=quiet:{out}"], [file.name for file in ours])
    _protoc(
        [f"--grpc_python_out={out}", _plugin("mypy_grpc"), f"--mypy_grpc_out=quiet:{out}"],
        [file.name for file in ours if file.service],
    )
    return generated_files(out)


def generated_files(root: Path) -> list[Path]:
    """List the generated files below a folder, relative to it, sorted."""
    found = (path for pattern in GENERATED for path in (root / PACKAGE).glob(pattern))
    return sorted(path.relative_to(root) for path in found)


def describe(*, comments: bool = False) -> FileDescriptorSet:
    """Compile our protos, and all they import, into one descriptor set."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.binpb"
        options = [f"--descriptor_set_out={file}", "--include_imports"]
        _protoc([*options, "--include_source_info"] if comments else options, proto_files())
        return FileDescriptorSet.FromString(file.read_bytes())


def _protoc(options: Sequence[str], sources: Sequence[str]) -> None:
    """Run protoc from the root, so that generated code imports `protos.twinspire.v1`.

    Its search path is our tree, protobuf's own files, and googleapis-common-protos for google/rpc.
    """
    includes = (ROOT, Path(grpc_tools.__file__).parent / "_proto", Path(status_pb2.__file__).parents[2])
    arguments = ["protoc", *(f"-I{folder}" for folder in includes), *options, *sources]
    if protoc.main(arguments) != 0:
        raise RuntimeError("protoc failed: mend the protos and run `make proto` again")


def _plugin(name: str) -> str:
    """Find a protoc plugin beside the running Python: its folder need not be on PATH."""
    program = f"protoc-gen-{name}"
    found = shutil.which(program, path=sysconfig.get_path("scripts")) or shutil.which(program)
    if found is None:
        raise RuntimeError(f"{program} is not installed: pip install 'twinspire[dev]'")
    return f"--plugin={program}={found}"


def main() -> None:
    """Generate in place."""
    parser = argparse.ArgumentParser(
        prog="python -m protos.generate", description="Generate the protos' code."
    )
    parser.add_argument("--release", action="store_true", help="also note the API as released")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        for stale in set(generated_files(ROOT)) - set(generated):
            (ROOT / stale).unlink()
        for path in generated:
            shutil.copyfile(Path(folder) / path, ROOT / path)
    sys.stdout.write(f"{len(generated)} files generated in {PACKAGE}\n")
    if arguments.release:
        RELEASED.write_bytes(describe().SerializeToString(deterministic=True))
        sys.stdout.write(f"{RELEASED.relative_to(ROOT)} holds the API as released\n")


if __name__ == "__main__":
    main()
