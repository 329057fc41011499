"""Builds the package: generates `imquota/v1` from the protos of the repository.

A source distribution contains a copy of the protos, so that a wheel can be built from it alone.
"""

import atexit
import shutil
import tempfile
from importlib import resources
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
COPIED = HERE / "proto"
"""The protos in an unpacked source distribution."""
OF_REPOSITORY = HERE.parents[2] / "proto"


def protos() -> Path:
    """The folder of the protos."""
    found = next((each for each in (COPIED, OF_REPOSITORY) if (each / "imquota").is_dir()), None)
    if found is None:
        raise SystemExit(f"no protos in {COPIED} nor in {OF_REPOSITORY}")
    return found


def generate(out: Path) -> list[Path]:
    """Generates modules and their types below `out`; returns the files."""
    from grpc_tools import protoc

    source = protos()
    files = sorted((source / "imquota").rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    out.mkdir(parents=True, exist_ok=True)
    arguments = ["", f"-I{source}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}",
                 f"--grpc_python_out={out}", *map(str, files)]
    if protoc.main(arguments) != 0:
        raise SystemExit(f"cannot compile {files}")
    package = out / "imquota" / "v1"
    (package / "__init__.py").write_text('"""Modules generated from the protos of imquota."""\n')
    return sorted(package.iterdir())


class BuildElsewhere(build):
    """Builds in a temporary folder: one in the tree would be a source of the next build."""

    def initialize_options(self) -> None:
        """Sets the folder."""
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="imquota-build-")
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


class BuildWithProtos(build_py):
    """Builds the modules, the generated ones too."""

    def run(self) -> None:
        """Builds them; an editable installation gets the generated ones in `src`."""
        super().run()
        generate(HERE / "src" if self.editable_mode else Path(self.build_lib))


class SdistWithProtos(sdist):
    """A source distribution with a copy of the protos."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Makes the tree, and copies the protos into it."""
        super().make_release_tree(base_dir, files)
        shutil.copytree(protos() / "imquota", Path(base_dir) / "proto" / "imquota")


setup(cmdclass={
    "build": BuildElsewhere, "build_py": BuildWithProtos, "sdist": SdistWithProtos})
