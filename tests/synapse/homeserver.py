"""Starts a Matrix Synapse with the module, and drives it over its public HTTP API.

Synapse lives in a virtual environment of its own, which `tests/run` makes; `SYNAPSE_PYTHON` names
its Python.
"""

import http.client
import json
import os
import sqlite3
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sidecar import free_ports, wait_until
from stubs import REPOSITORY

EXAMPLE = REPOSITORY / "deploy" / "examples" / "synapse"
SERVER = "imquota.test"
STARTS_WITHIN_S = 60
HTTP_TIMEOUT_S = 60
NO_LIMIT = {"per_second": 100_000, "burst_count": 100_000}


def python() -> str:
    """The Python of Synapse's virtual environment."""
    named = os.environ.get("SYNAPSE_PYTHON")
    path = Path(named) if named else REPOSITORY / ".venv-synapse" / "bin" / "python"
    assert path.exists(), f"no {path}: tests/run makes it, or set SYNAPSE_PYTHON"
    return str(path)


class Refused(Exception):
    """Synapse answered with an error."""

    def __init__(self, status: int, body: dict[str, Any]):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body

    @property
    def im_error_code(self) -> int | None:
        """imquota's code, if a limit is reached."""
        return self.body.get("dev.imquota.im_error_code")


class Homeserver:
    """One Synapse process with a SQLite database."""

    def __init__(self, folder: Path, addresses: list[str], **module: Any):
        self.folder = folder
        self.database = folder / "homeserver.db"
        self.log = folder / "homeserver.log"
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen | None = None
        self._configure({"addresses": addresses, **module})

    def _configure(self, module: dict[str, Any]) -> None:
        limits = ["message", "registration", "admin_redaction", "joins_per_room", "room_creation"]
        config = {
            "server_name": SERVER,
            "pid_file": str(self.folder / "homeserver.pid"),
            "listeners": [{"port": self.port, "bind_addresses": ["127.0.0.1"], "type": "http",
                           "tls": False, "resources": [{"names": ["client"]}]}],
            "database": {"name": "sqlite3", "args": {"database": str(self.database)}},
            "log_config": str(self.folder / "log.yaml"),
            "media_store_path": str(self.folder / "media"),
            "signing_key_path": str(self.folder / "signing.key"),
            "macaroon_secret_key": "a secret of the test",
            "form_secret": "another one",
            "report_stats": False,
            "trusted_key_servers": [],
            "bcrypt_rounds": 4,
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "presence": {"enabled": False},
            **{f"rc_{name}": NO_LIMIT for name in limits},
            "rc_login": dict.fromkeys(("address", "account", "failed_attempts"), NO_LIMIT),
            "rc_joins": dict.fromkeys(("local", "remote"), NO_LIMIT),
            "rc_invites": dict.fromkeys(("per_room", "per_user", "per_issuer"), NO_LIMIT),
            "modules": [{"module": "imquota_synapse.Module", "config": module}],
        }
        # JSON is YAML.
        (self.folder / "homeserver.yaml").write_text(json.dumps(config, indent=1))
        (self.folder / "log.yaml").write_text(json.dumps({
            "version": 1, "disable_existing_loggers": False,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {"file": {"class": "logging.FileHandler", "filename": str(self.log),
                                  "formatter": "line"}},
            "root": {"level": "WARNING", "handlers": ["file"]},
            # Synapse warns of itself at each event that a module listens to.
            "loggers": {"synapse.logging.context": {"level": "ERROR"},
                        "imquota_synapse": {"level": "INFO"}, "imquota": {"level": "INFO"}},
        }))

    def start(self) -> "Homeserver":
        """Starts the process and waits until it answers."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [python(), "-m", "synapse.app.homeserver", "--generate-keys", "--config-path",
                 "homeserver.yaml"], cwd=self.folder, stdout=output, stderr=output)
            assert self.process.wait(STARTS_WITHIN_S) == 0, self.read_log()
            self.process = subprocess.Popen(
                [python(), "-m", "synapse.app.homeserver", "--config-path", "homeserver.yaml"],
                cwd=self.folder, stdout=output, stderr=output)
        wait_until(self._answers_or_ended, STARTS_WITHIN_S, "synapse answers")
        assert self.process.poll() is None, self.read_log()
        return self

    def _answers_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        try:
            return self.call("GET", "/_matrix/client/versions")["versions"] is not None
        except OSError:
            return False

    def read_log(self) -> str:
        """What the process has printed and logged."""
        files = [self.folder / "output", self.log]
        return "".join(each.read_text(errors="replace") for each in files if each.exists())

    def call(self, method: str, path: str, body: Any = None, token: str = "") -> dict[str, Any]:
        """One request of the client-server API; raises `Refused`."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HTTP_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            if token:
                headers["Authorization"] = f"Bearer {token}"
            connection.request(method, path, json.dumps(body or {}), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise Refused(response.status, answer)
        return answer

    def register(self, name: str) -> "User":
        """Registers a user."""
        answer = self.call("POST", "/_matrix/client/v3/register", {
            "username": name, "password": f"password of {name}", "auth": {"type": "m.login.dummy"}})
        return User(self, answer["user_id"], answer["access_token"])

    def query(self, sql: str, *values: Any) -> list[tuple]:
        """Rows of Synapse's database, read beside it."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=30)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def accounts(self) -> set[str]:
        """The accounts in the database."""
        return {user for (user,) in self.query("SELECT name FROM users WHERE deactivated = 0")}

    def members(self) -> dict[str, set[str]]:
        """The members of each room in the database."""
        members: dict[str, set[str]] = {}
        for room, user in self.query(
                "SELECT room_id, state_key FROM current_state_events"
                " WHERE type = 'm.room.member' AND membership = 'join'"):
            members.setdefault(room, set()).add(user)
        return members

    def stop(self) -> None:
        """Ends the process with SIGTERM."""
        self.process.terminate()
        assert self.process.wait(30) == 0, self.read_log()

    def __enter__(self) -> "Homeserver":
        return self.start()

    def __exit__(self, *_error) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class User:
    """A user with an access token."""

    def __init__(self, server: Homeserver, id: str, token: str):
        self.server = server
        self.id = id
        self._token = token

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """One request as this user."""
        return self.server.call(method, f"/_matrix/client/v3/{path}", body, self._token)

    def create_room(self, **fields: Any) -> str:
        """Creates a room; returns its id."""
        return self.call("POST", "createRoom", {"preset": "public_chat", **fields})["room_id"]

    def upgrade_room(self, room: str, version: str) -> str:
        """Replaces a room by one of another version; returns its id."""
        return self.call("POST", f"rooms/{quote(room)}/upgrade", {
            "new_version": version})["replacement_room"]

    def join(self, room: str) -> None:
        """Joins a room."""
        self.call("POST", f"rooms/{quote(room)}/join")

    def leave(self, room: str) -> None:
        """Leaves a room, or rejects an invitation."""
        self.call("POST", f"rooms/{quote(room)}/leave")

    def invite(self, room: str, user: "User") -> None:
        """Invites a user."""
        self.call("POST", f"rooms/{quote(room)}/invite", {"user_id": user.id})

    def kick(self, room: str, user: "User") -> None:
        """Removes a user, or takes an invitation back."""
        self.call("POST", f"rooms/{quote(room)}/kick", {"user_id": user.id})

    def deactivate(self) -> None:
        """Deactivates the user's own account."""
        name = self.id[1:].partition(":")[0]
        self.call("POST", "account/deactivate", {"auth": {
            "type": "m.login.password", "password": f"password of {name}",
            "identifier": {"type": "m.id.user", "user": self.id}}})


def together(calls: list) -> list[Exception | None]:
    """Makes calls at once, a thread each; returns the error of each, or nothing."""
    errors: list[Exception | None] = [None] * len(calls)

    def run(number: int) -> None:
        try:
            calls[number]()
        except (Refused, OSError) as error:
            errors[number] = error

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return errors
