"""The protos stay compatible with those of every released version, and a change that is not fails."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from stubs import PROTO, REPOSITORY

BUF = Path(sys.executable).parent / "buf"
RELEASED = sorted((PROTO / "baseline").glob("*.binpb"))
TIMEOUT_S = 120


def breaks(protos: Path, released: Path) -> str:
    """The incompatible changes between a released version and these protos, a line each."""
    done = subprocess.run([BUF, "breaking", protos, "--against", released], capture_output=True,
                          text=True, timeout=TIMEOUT_S)
    assert done.returncode in (0, 100), done.stderr
    return done.stdout


@pytest.mark.parametrize("released", RELEASED, ids=lambda path: path.stem)
@pytest.mark.parametrize(("old", "new"), [
    ("  repeated string user_ids = 3;", "  repeated string users = 3;"),
    ("  string group_id = 2;", "  bytes group_id = 2;"),
    ("  rpc DissolveGroup(", "  rpc Dissolve("),
])
def test_a_change_that_breaks_clients_is_found(released, old, new, tmp_path):
    assert breaks(PROTO, released) == ""
    changed = tmp_path / "proto"
    shutil.copytree(PROTO, changed, ignore=shutil.ignore_patterns("baseline"))
    service = changed / "imquota" / "v1" / "quota_service.proto"
    text = service.read_text()
    assert old in text
    service.write_text(text.replace(old, new, 1))
    assert "quota_service.proto" in breaks(changed, released)


def test_the_version_of_the_crate_is_kept():
    crate = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["package"]["version"]
    assert crate in [path.stem for path in RELEASED]
    changes = (REPOSITORY / "CHANGELOG.md").read_text()
    for path in RELEASED:
        assert f"\n## {path.stem} - 20" in changes, path.stem
