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
        options: of betterproto2's compiler.
        described: whether the FileDescriptorSet of all files and of what they import is there too, for reflection.
    """

    place: str
    schemas: tuple[str, ...]
    options: str
    described: bool


TREES = (
    Tree(
        "rpc/_generated", ("atomix", "atomix_election", "grpc"), "client_generation=none,server_generation=async", True
    ),
    Tree("etcd/_generated", ("etcd",), "client_generation=none,server_generation=none", False),
)
# betterproto2's compiler formats its output with the ruff that it finds on the path, under the
# configuration that governs the working directory. Both are given here.
RUFF_CONFIGURATION = 'line-length = 100\ntarget-version = "py311"\n'


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
        target = [f"--python_betterproto2_out={output}", f"--python_betterproto2_opt={tree.options}"]
        if tree.described:
            target += ["--include_imports", f"--descriptor_set_out={output / DESCRIPTORS}"]
        path = os.pathsep.join((scripts, os.environ.get("PATH", os.defpath)))
        subprocess.run([*protoc, *target, *sources], cwd=empty, env={**os.environ, "PATH": path}, check=True)


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
