"""The packages of `tests/e2e/connect/node`, as `tests/run` installs them beside the virtual
environment, and what the client there prints."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from stubs import REPOSITORY

SOURCES = REPOSITORY / "tests" / "e2e" / "connect" / "node"
INSTALLED = Path(os.environ.get("IMQUOTA_NODE", REPOSITORY / ".node"))
TIMEOUT_S = 60
INSTALL_TIMEOUT_S = 300


def installed() -> Path:
    """The folder with the packages of the lock and with the client; installs what is missing."""
    assert shutil.which("node") and shutil.which("npm"), "apt-get install nodejs npm"
    INSTALLED.mkdir(exist_ok=True)
    wanted = [(SOURCES / name).read_bytes() for name in ("package.json", "package-lock.json")]
    stamp = INSTALLED / "installed"
    if not stamp.exists() or stamp.read_bytes() != b"".join(wanted):
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, INSTALLED)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=INSTALLED, check=True,
                       capture_output=True, timeout=INSTALL_TIMEOUT_S)
        stamp.write_bytes(b"".join(wanted))
    # Node finds packages beside the file that names them.
    shutil.copy(SOURCES / "client.mjs", INSTALLED)
    return INSTALLED


def run(*arguments: str) -> dict:
    """What the client prints."""
    ran = subprocess.run(["node", "client.mjs", *arguments], cwd=installed(), text=True,
                         capture_output=True, timeout=TIMEOUT_S, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
