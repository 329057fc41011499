"""The listener as an HTTP server: paths, bodies, connections, signatures, TLS."""

import http.client
import json
import signal
import socket
import ssl
import subprocess
import time

import pytest

import callbacks
from app import App, names
from callbacks import REJECTED, CallbackSidecar, Client
from http_port import get, metric
from openim import ALLOWED, OpenIm, operation, read, refuses
from sidecar import wait_until
from tencent import ALLOWED as TENCENT_ALLOWED
from tencent import TencentIm, new_app, sign
from tencent import read as tencent_read
from tencent import refuses as tencent_refuses

BODY_MAX = 1 << 20
TOKEN = "xxxxyyyy"
REGISTER = "callbackBeforeUserRegisterCommand"
LATE_S = 15


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """A file with the token of Tencent's callbacks."""
    file = tmp_path_factory.mktemp("tokens") / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def many(tokens):
    """A sidecar with callbacks of each kind of answer without a decision, by name."""
    named = {
        "refuse": callbacks.openim(), "allow": callbacks.openim(unavailable="allow"),
        "shadow": callbacks.openim(shadow=True),
        "tencent-refuse": callbacks.tencent(unavailable="refuse"),
        "tencent-allow": callbacks.tencent(),
        "signed": callbacks.tencent(token_file=str(tokens), apps={"1400000001": "demo-im"}),
    }
    settings = {"log_filter": "debug", "message_timeout_ms": 1000}
    with CallbackSidecar(*named.values(), store="memory", settings=settings) as sidecar:
        sidecar.named = named
        yield sidecar


@pytest.fixture
def client(many):
    """A connection."""
    with Client(many) as new:
        yield new


def body(*users: str, padding: int = 0) -> bytes:
    """A registration, with a field of that length that means nothing."""
    fields = {"callbackCommand": REGISTER, "users": [{"userID": user} for user in users]}
    return json.dumps({**fields, "padding": "x" * padding}).encode()


# Paths.


def test_a_get_of_the_path_is_for_probes(many, client):
    for callback in many.named.values():
        assert client.request("GET", callback["path"]).status == 200


@pytest.mark.parametrize("change", [
    lambda path: path[:-1], lambda path: path + "0", lambda path: path[:-1] + "~",
    lambda path: path.rsplit("/", 1)[0], lambda path: "/", lambda path: path.upper(),
    lambda path: "/" + path, lambda path: path.replace("openim", "tencent"),
])
def test_a_wrong_path_is_not_found(many, client, change):
    path = change(many.named["refuse"]["path"])
    assert client.request("GET", path).status == 404
    assert client.request("POST", f"{path}/{REGISTER}", body("unseen")).status == 404


def test_no_secret_is_logged(many, client):
    path = many.named["refuse"]["path"]
    client.request("POST", f"{path}/{REGISTER}", body("u"))
    client.request("POST", f"{path}/{REGISTER}", b"{")
    client.request("GET", path)
    client.request("POST", f"{path}-wrong-guess-4711/{REGISTER}", body("u"))
    client.request("GET", f"{path}-wrong-guess-4711")
    log, metrics = many.read_log(), get(many.management_port, "/metrics")[1]
    for callback in many.named.values():
        secret = callback["path"].rsplit("/", 1)[1]
        assert secret not in log and secret not in metrics
    assert "wrong-guess-4711" not in log
    assert TOKEN not in log


def test_names_of_commands_are_bounded_and_forge_no_line():
    callback = callbacks.openim()
    with CallbackSidecar(callback, store="memory") as sidecar, OpenIm(sidecar, callback) as im:
        for number in range(500):
            assert im.raw(f"aCommand{number}", b"{}").json == ALLOWED
        assert im.raw("a%22%7D%207%0aERROR%20forged", b"{}").json == ALLOWED
        series = get(sidecar.management_port, "/metrics")[1].count(f"\n{callbacks.METRIC}{{")
        assert series < 2000, series
        assert sidecar.counted(protocol="openim") == 501
        assert not [line for line in sidecar.read_log().splitlines() if line.startswith("ERROR")]


def test_other_methods_are_refused(many, client):
    path = many.named["refuse"]["path"]
    for method in ("PUT", "DELETE", "PATCH"):
        assert 400 <= client.request(method, f"{path}/{REGISTER}", body("u")).status < 500


# Bodies.


def test_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not(many, client):
    callback = many.named["refuse"]
    with OpenIm(many, callback, client) as im, App(many, app_id=im.app_id) as app:
        empty = len(body("large"))
        largest = body("large", padding=BODY_MAX - empty)
        assert len(largest) == BODY_MAX
        answer = im.raw(REGISTER, largest)
        assert (answer.status, answer.json) == (200, ALLOWED)
        before = app.accounts()
        larger = body("larger", padding=BODY_MAX + 1 - len(body("larger")))
        # A caller has the answer however fast it is: what follows of the body is read.
        for _ in range(20):
            with OpenIm(many, callback) as other:
                answer = other.raw(REGISTER, larger)
                assert refuses(answer) and read(answer)["errCode"] == 20999, answer
        assert app.accounts() == before
        assert im.raw(REGISTER, body("after")).json == ALLOWED


BAD = [
    b"", b"{", b"[]", b"null", b"7", b'"x"', b"\xff\xfe", b"not JSON", b'{"users":7}',
    b'{"users":[7]}', b'{"users":[{"userID":7}]}', b'{"users":"x"}',
    b'{"users":[{"userID":"' + b"u" * 300 + b'"}]}', b'{"users":[{"userID":"a\\u0000b"}]}',
    b"[" * 100_000, b'{"users":[{"userID":"\\ud800"}]}',
]


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: repr(bad[:30]))
@pytest.mark.parametrize("kind", ["refuse", "allow", "shadow"])
def test_a_body_without_a_decision_answers_as_configured(many, client, kind, bad):
    with OpenIm(many, many.named[kind], client) as im, App(many, app_id=im.app_id) as app:
        before = app.accounts()
        answer = im.raw(REGISTER, bad)
        assert refuses(answer) == (kind == "refuse"), answer
        if kind == "refuse":
            assert read(answer)["errCode"] == 20999 and read(answer)["errMsg"], answer
        assert app.accounts() == before
        # An after-command, and one that is not mapped, always go on.
        assert not refuses(im.raw("callbackAfterQuitGroupCommand", bad))
        assert not refuses(im.raw("callbackBeforeSendSingleMsgCommand", bad))


@pytest.mark.parametrize("bad", [
    b"", b"{", b"[]", b"null", b"\xff", b'{"GroupId":7}', b'{"GroupId":"g"}',
    b'{"GroupId":"g","DestinationMembers":7}', b'{"GroupId":"g","DestinationMembers":[{}]}',
    b'{"DestinationMembers":[{"Member_Account":"u"}]}', b"[" * 100_000,
])
@pytest.mark.parametrize("kind", ["tencent-refuse", "tencent-allow"])
def test_a_bad_invitation_answers_as_configured(many, client, kind, bad):
    with TencentIm(many, many.named[kind], client=client) as im:
        answer = im.raw("Group.CallbackBeforeInviteJoinGroup", bad)
        assert tencent_refuses(answer) == (kind == "tencent-refuse"), answer
        if kind == "tencent-refuse":
            assert tencent_read(answer)["ErrorCode"] == 10199
        assert not tencent_refuses(im.raw("Group.CallbackAfterMemberExit", bad))


# Connections.


def _pipelined(many, requests: list[bytes]) -> list[bytes]:
    """The bodies of the responses to requests that are sent at once."""
    path, connection = many.named["refuse"]["path"], many.connect()
    sent = b"".join(
        b"POST %s/%s HTTP/1.1\r\nHost: h\r\noperationID: %s\r\nContent-Length: %d\r\n\r\n%s"
        % (path.encode(), REGISTER.encode(), operation().encode(), len(each), each)
        for each in requests)
    with connection, connection.makefile("rb") as responses:
        connection.sendall(sent)
        bodies = []
        for _ in requests:
            assert responses.readline().startswith(b"HTTP/1.1 200"), bodies
            length = 0
            while (line := responses.readline().strip()):
                name, _, value = line.partition(b":")
                length = int(value) if name.lower() == b"content-length" else length
            bodies.append(responses.read(length))
        return bodies


def test_pipelined_requests_are_answered_in_their_order(many):
    requests = [body("p1"), b"bad", body("p2"), b"{}", body("p1", "p3")]
    answers = [json.loads(each) for each in _pipelined(many, requests)]
    refused = [answer["nextCode"] for answer in answers]
    assert refused[:3] == [0, 1, 0] and refused[4] == 0


def test_a_connection_is_kept(many, client):
    with OpenIm(many, many.named["refuse"], client) as im:
        im.register("kept")
        before = client._connection.sock
        for number in range(20):
            assert im.register(f"kept-{number % 3}").status == 200
        assert client._connection.sock is before


def test_bodies_in_chunks_are_read(many):
    path, connection = many.named["refuse"]["path"], many.connect()
    content = body("chunked")
    parts = [content[at:at + 7] for at in range(0, len(content), 7)]
    with connection:
        head = f"POST {path}/{REGISTER} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for part in parts:
            connection.sendall(b"%x\r\n%s\r\n" % (len(part), part))
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_slow_callers_hold_up_no_other_and_are_let_go(many):
    path = many.named["refuse"]["path"]
    head = f"POST {path}/{REGISTER} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n".encode()
    slow = [many.connect() for _ in range(60)]
    try:
        for number, each in enumerate(slow):
            # Without a byte, in the middle of the head, and in the middle of the body.
            each.sendall([b"", head[:40], head + b"{"][number % 3])
        with OpenIm(many, many.named["refuse"]) as im:
            for number in range(20):
                began = time.monotonic()
                assert im.register(f"fast-{number % 3}").status == 200
                assert time.monotonic() - began < 1
        ended = [each for number, each in enumerate(slow) if number % 3]
        wait_until(lambda: all(_has_ended(each) for each in ended), LATE_S, "slow callers end")
    finally:
        for each in slow:
            each.close()


def _has_ended(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_callers_who_hang_up_change_nothing(many):
    path = many.named["refuse"]["path"]
    for cut in (10, 60, 100):
        with many.connect() as connection:
            content = body("hung-up")
            head = f"POST {path}/{REGISTER} HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n\r\n"
            connection.sendall((head.encode() + content)[:cut])
    with App(many, app_id=many.named["refuse"]["app_id"]) as app:
        assert app.create_accounts("hung-up")[0].outcome == 1


def test_bytes_that_are_no_http_end_the_connection_alone(many, client):
    for noise in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                  b"GET\r\n\r\n", b"\0" * 100_000):
        with many.connect() as connection:
            connection.sendall(noise)
            wait_until(lambda: _has_ended(connection), LATE_S, "the connection ends")
    assert client.request("GET", many.named["refuse"]["path"]).status == 200


def test_a_unix_socket_serves_callbacks():
    callback = callbacks.openim(path="/openim/short")
    with CallbackSidecar(callback, store="memory", unix=True) as sidecar:
        with OpenIm(sidecar, callback) as im:
            assert im.register("alice").json == ALLOWED


# Signatures.


def test_the_signature_is_that_of_the_documented_example():
    assert sign(TOKEN, 1669872112).startswith("17773bc39a67")


@pytest.fixture
def signed(many):
    """The app behind the callback that needs a signature, and what it holds."""
    callback = many.named["signed"]
    with TencentIm(many, callback, "1400000001", TOKEN) as im, App(many, app_id="demo-im") as app:
        yield im, app


def test_a_signed_request_is_for_the_configured_app(signed):
    im, app = signed
    before = app.friends("alice")
    assert im.friend_add(("alice", f"f{before}")).json == TENCENT_ALLOWED
    assert app.friends("alice") == before + 1


@pytest.mark.parametrize("query", [
    {"Sign": None}, {"RequestTime": None}, {"Sign": None, "RequestTime": None}, {"Sign": ""},
    {"Sign": "0" * 64}, {"Sign": "17773bc39a67"}, {"RequestTime": "x"}, {"RequestTime": ""},
    {"SdkAppid": "1400000002"}, {"SdkAppid": None}, {"SdkAppid": ""}, {"SdkAppid": "demo-im"},
])
def test_a_bad_request_is_forbidden_and_does_nothing(many, signed, query):
    im, app = signed
    rejected = lambda: metric(many.management_port, REJECTED, protocol="tencent")  # noqa: E731
    before = rejected()
    answer = im.friend_add(("mallory", "bob"), **query)
    assert answer.status == 403, answer
    assert TOKEN.encode() not in answer.body
    assert app.friends("mallory") == 0
    assert rejected() == before + 1


@pytest.mark.parametrize(("off_s", "status"), [
    (-3600, 403), (-70, 403), (-50, 200), (50, 200), (70, 403), (3600, 403), (-10**9, 403),
])
def test_a_signature_is_valid_for_a_minute(signed, off_s, status):
    im, app = signed
    at = str(int(time.time()) + off_s)
    user = f"at{off_s}"
    answer = im.friend_add((user, "bob"), Sign=sign(TOKEN, at), RequestTime=at)
    assert answer.status == status
    assert app.friends(user) == (status == 200)


def test_a_time_beside_the_signed_one_is_forbidden(signed):
    im, app = signed
    at = int(time.time())
    answer = im.friend_add(("m", "bob"), Sign=sign(TOKEN, at), RequestTime=str(at + 1))
    assert answer.status == 403 and app.friends("m") == 0


def test_a_changed_token_counts_without_a_restart(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    callback = callbacks.tencent(token_file=str(file))
    with CallbackSidecar(callback, store="memory") as sidecar:
        with TencentIm(sidecar, callback, token=TOKEN) as im:
            assert im.state("alice").status == 200
            file.write_text("another-token\n")
            sidecar.signal(signal.SIGHUP)
            wait_until(lambda: im.state("alice").status == 403, LATE_S, "the old token ends")
            im.token = "another-token"
            assert im.state("alice").status == 200
            # A file without a token is refused, and the last one stays.
            file.write_text("\n")
            sidecar.signal(signal.SIGHUP)
            errors = lambda: [line for line in sidecar.read_log().splitlines()  # noqa: E731
                              if "ERROR" in line and str(file) in line]
            wait_until(errors, LATE_S, "the refusal is logged")
            assert im.state("alice").status == 200
            at = str(int(time.time()))
            assert im.state("alice", Sign=sign("", at), RequestTime=at).status == 403


def test_without_apps_the_sdk_app_id_is_the_app(many):
    sdk_app_id = new_app()
    with TencentIm(many, many.named["tencent-allow"], sdk_app_id) as im:
        assert im.friend_add(("alice", "bob")).json == TENCENT_ALLOWED
        assert im.friend_add(("alice", "carol"), SdkAppid="../x y").status in (400, 403)
    with App(many, app_id=sdk_app_id) as app:
        assert app.friends("alice") == 1


# TLS.


def _openssl(*arguments) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


def _certificates(folder, **names: str) -> None:
    """An authority, `ca.crt`, and a certificate with its key for each alternative name."""
    key = ["req", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    _openssl(*key, "-x509", "-days", 2, "-subj", "/CN=authority", "-keyout", folder / "ca.key",
             "-out", folder / "ca.crt")
    for name, alternative in names.items():
        file = folder / name
        _openssl(*key, "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}",
                 "-keyout", f"{file}.key", "-out", f"{file}.csr")
        _openssl("x509", "-req", "-in", f"{file}.csr", "-CA", folder / "ca.crt", "-CAkey",
                 folder / "ca.key", "-CAcreateserial", "-days", 2, "-copy_extensions", "copy",
                 "-out", f"{file}.crt")


@pytest.mark.parametrize("with_client_ca", [False, True])
def test_tls_and_client_certificates_are_those_of_the_data_plane(tmp_path, with_client_ca):
    _certificates(tmp_path, it="IP:127.0.0.1", im="DNS:im.example")
    callback = callbacks.openim()
    settings = {"tls_cert": str(tmp_path / "it.crt"), "tls_key": str(tmp_path / "it.key")}
    if with_client_ca:
        settings["tls_client_ca"] = str(tmp_path / "ca.crt")
    trusting = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    certified = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    certified.load_cert_chain(tmp_path / "im.crt", tmp_path / "im.key")

    def call(context) -> bool:
        try:
            with OpenIm(sidecar, callback, Client(sidecar, context)) as im:
                return im.register("alice").json == ALLOWED
        except (OSError, http.client.HTTPException):
            return False

    with TlsSidecar(callback, store="memory", settings=settings) as sidecar:
        wait_until(lambda: call(certified), LATE_S, "the store is open")
        assert call(trusting) == (not with_client_ca)
        assert not call(None)


def test_client_certificates_stand_in_for_a_token_beyond_loopback(tmp_path):
    _certificates(tmp_path, it="IP:127.0.0.1", im="DNS:im.example")
    files = {"tls_cert": "it.crt", "tls_key": "it.key", "tls_client_ca": "ca.crt"}
    settings = {key: str(tmp_path / name) for key, name in files.items()}
    context = ssl.create_default_context(cafile=tmp_path / "ca.crt")
    context.load_cert_chain(tmp_path / "im.crt", tmp_path / "im.key")
    callback = callbacks.tencent()
    with TlsSidecar(callback, store="memory", host="0.0.0.0", settings=settings) as sidecar:
        with TencentIm(sidecar, callback, client=Client(sidecar, context)) as im:
            opened = lambda: im.friend_add(("a", "b")).json == TENCENT_ALLOWED  # noqa: E731
            wait_until(opened, LATE_S, "the store is open")


class TlsSidecar(CallbackSidecar):
    """A sidecar whose listeners have TLS, which the health client of the tests does not have."""

    def _serving_or_ended(self) -> bool:
        if self.process.poll() is not None:
            return True
        try:
            self.connect().close()
        except OSError:
            return False
        return True


def test_the_answers_are_counted(many, client):
    with OpenIm(many, many.named["refuse"], client) as im:
        command = "callbackBeforeJoinGroupCommand"
        before = many.counted(command=command)
        for user in names("u", 5):
            im.before_join("g", user)
        assert many.counted(protocol="openim", command=command) == before + 5


@pytest.mark.parametrize("headers", [
    {"Origin": "http://localhost"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-origin"},
])
def test_a_request_of_a_browser_is_refused(many, client, headers):
    path = f"{many.named['refuse']['path']}/{REGISTER}"
    assert client.request("POST", path, body("u"), headers).status == 403
    assert client.request("POST", path, body("u")).json == ALLOWED
    assert "browser" in get(many.management_port, "/metrics")[1]
