"""Regenerate the package's message classes: `python proto/generate.py [DIRECTORY]`.

The directory stands for the package; without one, the classes that are checked in are replaced. The result depends on
the .proto files and on the pinned generators alone, so a test can compare it with what is checked in.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

PROTO = Path(__file__).resolve().parent
PACKAGE = PROTO.parent / "atomix_election"
DESCRIPTORS = "descriptors.binpb"


class Tree(NamedTuple):
    """Classes that belong together.

    Args:
        place: where they go, inside the package.
        schemas: the directories here that they are made from.
        described: whether the FileDescriptorSet of all files and of what they import is there too, for reflection.
    """

    place: str
    schemas: tuple[str, ...]
    described: bool


TREES = (
    Tree("rpc/_generated", ("atomix", "atomix_election", "grpc"), True),
    Tree("etcd/_generated", ("etcd",), False),
)
# Messages alone: the classes for clients and servers are not used, and import grpclib's server with them.
COMPILER_OPTIONS = "client_generation=none,server_generation=none"
# betterproto2's compiler formats its output with the ruff that it finds on the path, under the
# configuration that governs the working directory. Both are given here.
RUFF_CONFIGURATION = 'line-length = 100\ntarget-version = "py311"\n'
DEFERRED = {
    "import dateutil.parser\n": "",
    "            dt = dateutil.parser": "            import dateutil.parser\n\n            dt = dateutil.parser",
}


def generate(tree: Tree, output: Path) -> None:
    """Write the classes of a tree into `output`, an existing directory.

    Raises subprocess.CalledProcessError when protoc refuses; it has printed why.
    """
    found = [path for schema in tree.schemas for path in (PROTO / schema).rglob("*.proto")]
    sources = sorted(str(path.relative_to(PROTO)) for path in found)
    scripts = sysconfig.get_path("scripts")
    with tempfile.TemporaryDirectory() as empty:
        Path(empty, "ruff.toml").write_text(RUFF_CONFIGURATION)
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
        target = [f"--python_betterproto2_out={output}", f"--python_betterproto2_opt={COMPILER_OPTIONS}"]
        if tree.described:
            target += ["--include_imports", f"--descriptor_set_out={output / DESCRIPTORS}"]
        path = os.pathsep.join((scripts, os.environ.get("PATH", os.defpath)))
        subprocess.run([*protoc, *target, *sources], cwd=empty, env={**os.environ, "PATH": path}, check=True)
    defer_dateutil(output)


def defer_dateutil(output: Path) -> None:
    """Let dateutil be imported where a timestamp is read from JSON, and not by all who use a message.

    It takes longer to import than all the messages, and only JSON needs it.
    """
    for path in output.rglob("google/protobuf/__init__.py"):
        text = path.read_text()
        for eager, deferred in DEFERRED.items():
            if text.count(eager) != 1:
                sys.exit(f"{path} does not have {eager!r} once: betterproto2's compiler has changed")
            text = text.replace(eager, deferred)
        path.write_text(text)


def main() -> None:
    """Generate aside first, so that a failure leaves the former code as it was."""
    package = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    for tree in TREES:
        directory = package / tree.place
        mark = directory / "message_pool.py"
        if directory.exists() and any(directory.iterdir()) and not mark.exists():
            sys.exit(f"{directory} holds something other than generated code: name another directory")
    with tempfile.TemporaryDirectory() as temporary:
        for tree in TREES:
            aside = Path(temporary, tree.place)
            aside.mkdir(parents=True)
            generate(tree, aside)
        for tree in TREES:
            shutil.rmtree(package / tree.place, ignore_errors=True)
            shutil.copytree(Path(temporary, tree.place), package / tree.place)


if __name__ == "__main__":
    main()
