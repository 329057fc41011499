"""The package of the Python client: it builds from the tree and from its source distribution, runs
with grpcio and protobuf alone, and is typed; the code of its page runs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import imquota
from sidecar import clean_environment
from stubs import CLIENT, PROTO

TIMEOUT_S = 300
NEEDED = ("grpc", "google", "typing_extensions.py")
"""grpcio, protobuf, and what grpcio needs."""
SESSION = """
import asyncio, sys
import imquota, imquota.aio
address, app = sys.argv[1:]
with imquota.Client(address, app) as quota:
    quota.create_group("g", "Public", owner="owner", timeout_s=20)
    with quota.joining("g", ["a"]):
        pass
    try:
        quota.join_group("none", "a", timeout_s=20)
    except imquota.NotFound as error:
        assert error.reason == "GROUP_NOT_FOUND", error
    else:
        raise AssertionError
async def session():
    async with imquota.aio.Client(address, app) as quota:
        return (await quota.group_usage("g"))["members_per_group"].used
assert asyncio.run(session()) == 2
foreign = [name for name in sys.modules if name.startswith(("google.rpc", "grpc_status"))]
assert not foreign, foreign
print(imquota.__file__)
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """Runs a command that has to succeed; returns what it prints."""
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True,
        timeout=TIMEOUT_S, env=clean_environment(PIP_DISABLE_PIP_VERSION_CHECK="1", **environment))
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def build_wheel(folder: Path, out: Path) -> Path:
    """Builds the wheel of a folder, with the tools that are installed."""
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps",
        "--no-build-isolation", "--wheel-dir", out, folder, cwd=out.parent)
    (wheel,) = out.glob("imquota-*.whl")
    return wheel


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the tree, so that nothing is built in the repository."""
    root = tmp_path_factory.mktemp("tree")
    shutil.copytree(PROTO, root / "proto")
    ignored = shutil.ignore_patterns("build", "dist", "*.egg-info", "v1", "__pycache__")
    shutil.copytree(CLIENT, root / "deploy" / "clients" / "python", ignore=ignored)
    return root / "deploy" / "clients" / "python"


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    """The wheel of the tree."""
    return build_wheel(tree, tmp_path_factory.mktemp("wheel") / "of-tree")


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new virtual environment with the wheel, grpcio and protobuf; returns its Python."""
    root = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", root, cwd=root)
    python = root / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index",
        "--no-deps", wheel, cwd=root)
    installed = Path(sysconfig.get_path("purelib"))
    (folder,) = root.glob("lib/python3*/site-packages")
    for name in NEEDED:
        if name != "google":
            (folder / name).symlink_to(installed / name)
    (folder / "google").mkdir()
    for name in ("protobuf", "_upb"):
        (folder / "google" / name).symlink_to(installed / "google" / name)
    return python


def contents(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, without the list of them."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()
                if not name.endswith("RECORD")}


def test_the_wheel_has_the_generated_modules_and_their_types(wheel):
    files = contents(wheel)
    for service in ("common", "quota_service", "metering_service", "admin_service"):
        assert {f"imquota/v1/{service}_pb2.py", f"imquota/v1/{service}_pb2.pyi"} <= set(files)
    assert "imquota/py.typed" in files
    (metadata,) = [text for name, text in files.items() if name.endswith("METADATA")]
    needed = [line for line in metadata.decode().splitlines() if line.startswith("Requires-Dist")]
    assert sorted(line.split()[1].split(">")[0].split("<")[0] for line in needed) == [
        "grpcio", "protobuf"]


def test_a_build_leaves_no_modules_in_the_tree(tree, wheel):
    modules = {path.relative_to(tree) for path in tree.rglob("*.py")}
    assert modules == {path.relative_to(CLIENT) for path in CLIENT.rglob("*.py")
                       if "v1" not in path.parts and "build" not in path.parts}


def test_the_source_distribution_builds_the_same_wheel(tree, wheel, tmp_path):
    run(sys.executable, "setup.py", "--quiet", "sdist", "--dist-dir", tmp_path, cwd=tree)
    (archive,) = tmp_path.glob("imquota-*.tar.gz")
    with tarfile.open(archive) as unpacked:
        unpacked.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    assert contents(build_wheel(source, tmp_path / "of-source")) == contents(wheel)


def test_it_runs_with_grpcio_and_protobuf_alone(environment, sidecar, tcp_app, tmp_path):
    for target in (sidecar.tcp, sidecar.unix):
        app = f"{tcp_app.id}-{target.startswith('unix')}"
        path = run(environment, "-c", SESSION, target, app, cwd=tmp_path)
        assert path.startswith(str(environment.parent.parent))


def test_it_is_typed_strictly(environment, wheel, tree, tmp_path):
    user = tmp_path / "user.py"
    user.write_text("""
import imquota, imquota.aio
def join(quota: imquota.Client) -> int:
    try:
        with quota.joining("g", ["a"], hold_s=5) as lease:
            names: tuple[str, ...] = lease.allowed
            return len(names)
    except imquota.Denied as denied:
        return denied.im_error_code
async def leave(quota: imquota.aio.Client) -> bool:
    return (await quota.leave_group("g", "a")).group_reclaimed
""")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "package")
    mypy = (sys.executable, "-m", "mypy", "--config-file", tree / "pyproject.toml", "--cache-dir",
            tmp_path / "cache")
    run(*mypy, "-p", "imquota", cwd=tmp_path / "package")
    # A user's code, with the installed package.
    run(*mypy, "--python-executable", environment, user, cwd=tmp_path)
    user.write_text(user.read_text().replace("tuple[str, ...]", "int"))
    with pytest.raises(AssertionError, match="Incompatible types in assignment"):
        run(*mypy, "--python-executable", environment, user, cwd=tmp_path)


def test_the_code_of_the_page_runs(sidecar, tcp_app):
    text = (CLIENT / "README.md").read_text()
    blocks = [each.partition("```")[0] for each in text.split("```python\n")[1:]]
    first = blocks[0]
    assert "unix:/run/imquota.sock" in first and '"demo"' in first
    first = first.replace("unix:/run/imquota.sock", sidecar.unix).replace("demo", tcp_app.id)

    class Database:
        """A database that commits everything."""

        def __getattr__(self, _name):
            return lambda *_arguments: None

    tcp_app.create_group("g", "Public", "owner")
    names = {"database": Database()}
    for block in blocks:
        compile(block, "README.md", "exec")
    exec(first, names)
    with names["quota"]:
        codes = [names["join"]("g", f"u{number}") for number in range(20)]
        assert codes == [None] * 19 + [10014] and tcp_app.members("g") == 20
        names["leave"]("g", "u0")
        assert tcp_app.members("g") == 19


def test_all_public_names_exist():
    assert sorted(imquota.__all__) == imquota.__all__
    assert all(hasattr(imquota, name) for name in imquota.__all__)


def test_the_benchmark_runs(sidecar, tcp_app, tmp_path):
    printed = run(sys.executable, CLIENT / "bench.py", sidecar.unix, "--app", tcp_app.id,
                  "--seconds", "0.05", "--rounds", "1", cwd=tmp_path,
                  PYTHONPATH=os.pathsep.join(sys.path))
    rows = [line.split("|")[1:3] for line in printed.splitlines()[2:]]
    kinds = ("stub", "client", "client, pipeline")
    assert rows == [[f" {callers} ", f" {kind} "] for callers in (
        "threads: 1", "threads: 8", "tasks: 64") for kind in kinds]
