"""Start, configuration, shutdown, and the reload of the catalog."""

import queue
import re
import signal
from pathlib import Path

import grpc
import pytest

from app import ALREADY_HELD, APPLIED, App, denial_of, names, outcomes
from details import error_of
from reflection import reflect
from sidecar import (
    START_TIMEOUT_S, STOP_TIMEOUT_S, Sidecar, clean_environment, free_ports, is_serving, wait_until,
)
from stubs import REPOSITORY, quota_pb


def test_sigterm_lets_calls_in_flight_finish_and_keeps_what_they_wrote():
    with Sidecar() as sidecar:
        with App(sidecar) as app:
            app.upgrade()
            requests = (
                quota_pb.ApplyRequest(tag=tag, create_accounts=quota_pb.CreateAccountsRequest(
                    app_id=app.id, user_ids=names(f"s{tag}-", 50)))
                for tag in range(200)
            )
            stream = app.quota.Apply(requests, timeout=STOP_TIMEOUT_S)
            unary = [
                app.quota.CreateAccounts.future(
                    quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=names(f"c{call}-", 50)),
                    timeout=STOP_TIMEOUT_S)
                for call in range(50)
            ]
            unary[0].result()
            answered = [next(stream).tag]
            sidecar.signal(signal.SIGTERM)
            answered += [answer.tag for answer in stream]
            ended = [call.code() for call in unary]
            assert sidecar.wait() == 0, sidecar.read_log()
        assert sorted(answered) == list(range(200)), "the stream was in flight"
        # A call that had not reached the server when it stopped listening is refused.
        assert set(ended) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}

        sidecar.start()
        with App(sidecar, app_id=app.id) as app:
            finished = [f"c{call}" for call, code in enumerate(ended) if code.name == "OK"]
            for prefix in [*finished, *(f"s{tag}" for tag in answered)]:
                assert outcomes(app.create_accounts(*names(f"{prefix}-", 50))) == [
                    ALREADY_HELD
                ] * 50


def test_an_idle_stream_does_not_delay_the_shutdown():
    with Sidecar(store="memory") as sidecar, App(sidecar) as app:
        requests: queue.Queue = queue.Queue()
        stream = app.quota.Apply(iter(requests.get, None), timeout=60)
        create = quota_pb.CreateAccountsRequest(app_id=app.id, user_ids=["u"])
        requests.put(quota_pb.ApplyRequest(tag=1, create_accounts=create))
        assert next(stream).tag == 1
        sidecar.signal(signal.SIGTERM)
        try:
            assert sidecar.wait() == 0, sidecar.read_log()
        finally:
            requests.put(None)
        assert stream.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)


def _run(sidecar: Sidecar, *arguments: str, **environment: str) -> tuple[int, str]:
    """Runs the binary until it ends by itself; returns exit code and output."""
    other = Sidecar(folder=sidecar.folder)
    other.log = sidecar.folder / f"log-of-{len(list(sidecar.folder.iterdir()))}"
    other.launch(list(arguments), clean_environment(**environment))
    try:
        return other.wait(), other.read_log()
    finally:
        if other.process.poll() is None:
            other.kill()


def test_a_second_process_on_the_same_data_is_refused(sidecar):
    port, admin_port = free_ports(2)
    listen = ["--listen", f"127.0.0.1:{port}", "--admin-listen", f"127.0.0.1:{admin_port}"]
    code, said = _run(
        sidecar, "serve", "--store", sidecar.store, *listen, "--management-listen", "off")
    assert code != 0
    assert str(sidecar.data) in said
    assert re.search(r"in use|lock|already|another process", said, re.IGNORECASE), said
    with App(sidecar) as app:
        assert outcomes(app.create_accounts("u")) == [APPLIED], "the first process is unaffected"


def test_a_bad_configuration_is_refused_with_all_its_errors_at_once(tmp_path):
    sidecar = Sidecar(folder=tmp_path)
    code, said = _run(
        sidecar, "serve", "--store", "floppy:a", "--listen", "not-an-address",
        "--admin-listen", "127.0.0.1:99999", "--catalog", str(tmp_path / "missing.toml"),
    )
    assert code != 0
    missing = [
        value for value in ("floppy:a", "not-an-address", "127.0.0.1:99999", "missing.toml")
        if value not in said
    ]
    assert not missing, f"not named: {missing}\n{said}"


def test_the_environment_configures_as_the_command_line_does(tmp_path):
    sidecar = Sidecar(folder=tmp_path)
    sidecar.port, sidecar.admin_port = free_ports(2)
    settings = {
        "IMQUOTA_STORE": "memory", "IMQUOTA_LISTEN": sidecar.tcp,
        "IMQUOTA_ADMIN_LISTEN": sidecar.admin, "IMQUOTA_MANAGEMENT_LISTEN": "off",
        "IMQUOTA_UNKNOWN_APP": "reject",
    }
    sidecar.launch(["serve"], clean_environment(**settings))
    try:
        listeners = (sidecar.tcp, sidecar.admin)
        wait_until(lambda: all(map(is_serving, listeners)), START_TIMEOUT_S, sidecar.read_log())
        with App(sidecar) as app:
            error = error_of(lambda: app.create_accounts("u"))
            assert error.code() == grpc.StatusCode.NOT_FOUND, "unknown apps are rejected"
            app.register()
            assert outcomes(app.create_accounts("u")) == [APPLIED]
            assert error_of(
                lambda: reflect(sidecar.tcp, "v1", list_services="")
            ).code() == grpc.StatusCode.UNIMPLEMENTED, "reflection is off by default"
        sidecar.stop()
    finally:
        if sidecar.process.poll() is None:
            sidecar.kill()


# The catalog.


def _built_in_catalog() -> str:
    """The text of the built-in catalog, found by its content."""
    found = [
        text for path in sorted((REPOSITORY / "src").rglob("*.toml"))
        if "members-2000" in (text := path.read_text(encoding="utf-8"))
    ]
    assert len(found) == 1, "one built-in catalog below src/"
    return found[0]


def _with_trial_limits_of(catalog: str, limit: int) -> str:
    """The catalog with another number for the 20 members and 20 friends of Trial."""
    changed, count = re.subn(r"=\s*20\b", f"= {limit}", catalog)
    assert count >= 2, "Trial's members and friends"
    return changed


def _replace(path: Path, text: str) -> None:
    """Replaces a file atomically, like editors and deployments."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


@pytest.mark.parametrize("by", ["SIGHUP", "change"])
def test_the_catalog_is_reloaded_and_a_bad_one_leaves_the_last_good_one(tmp_path, by):
    built_in, path = _built_in_catalog(), tmp_path / "catalog.toml"
    path.write_text(built_in, encoding="utf-8")

    with Sidecar("--catalog", str(path), store="memory") as sidecar, App(sidecar) as app:
        def install(text: str) -> None:
            _replace(path, text)
            if by == "SIGHUP":
                sidecar.signal(signal.SIGHUP)

        def limit() -> int:
            return app.usages(user_id="u")["friends_per_user"].limit

        def refusals() -> int:
            return len(re.findall(r"(?i)(warn|error)[^\n]*catalog", sidecar.read_log()))

        assert limit() == 20
        install(_with_trial_limits_of(built_in, 21))
        wait_until(lambda: limit() == 21, 30, "the new limit")
        assert outcomes(app.add_friends("u", *names("f", 21))) == [APPLIED] * 21
        denial_of(app.add_friends("u", "f21")[0], "MY_FRIENDS")

        said = refusals()
        install("this = is not [a catalog\n")
        wait_until(lambda: refusals() > said, 30, "a log line on the bad catalog")
        assert limit() == 21

        install(_with_trial_limits_of(built_in, 22))
        wait_until(lambda: limit() == 22, 30, "the limit after the bad catalog")
        assert outcomes(app.add_friends("u", "f21")) == [APPLIED]
