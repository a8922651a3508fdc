"""Regenerate the package's message classes: `python proto/generate.py [DIRECTORY]`.

Without a directory the checked-in one is replaced. The result depends on the .proto files and on
the pinned generators alone, so a test can compare it with what is checked in.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parent
CHECKED_IN = PROTO.parent / "atomix_election" / "rpc" / "_generated"
DESCRIPTORS = "descriptors.binpb"
OPTIONS = "client_generation=none,server_generation=async"
# betterproto2's compiler formats its output with the ruff that it finds on the path, under the
# configuration that governs the working directory. Both are given here.
RUFF_CONFIGURATION = 'line-length = 100\ntarget-version = "py311"\n'


def generate(output: Path) -> None:
    """Write the classes of every .proto file here into `output`, an existing directory.

    Beside the classes stands the FileDescriptorSet of all files and of what they import, for reflection.

    Raises subprocess.CalledProcessError when protoc refuses; it has printed why.
    """
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    scripts = sysconfig.get_path("scripts")
    with tempfile.TemporaryDirectory() as empty:
        Path(empty, "ruff.toml").write_text(RUFF_CONFIGURATION)
        protoc = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={PROTO}"]
        target = [f"--python_betterproto2_out={output}", f"--python_betterproto2_opt={OPTIONS}"]
        descriptors = ["--include_imports", f"--descriptor_set_out={output / DESCRIPTORS}"]
        path = os.pathsep.join((scripts, os.environ.get("PATH", os.defpath)))
        subprocess.run(
            [*protoc, *target, *descriptors, *sources], cwd=empty, env={**os.environ, "PATH": path}, check=True
        )


def main() -> None:
    """Generate aside first, so that a failure leaves the former code as it was."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else CHECKED_IN
    mark = directory / "message_pool.py"
    if directory.exists() and any(directory.iterdir()) and not mark.exists():
        sys.exit(f"{directory} holds something other than generated code: name another directory")
    with tempfile.TemporaryDirectory() as temporary:
        aside = Path(temporary, "generated")
        aside.mkdir()
        generate(aside)
        shutil.rmtree(directory, ignore_errors=True)
        shutil.copytree(aside, directory)


if __name__ == "__main__":
    main()
