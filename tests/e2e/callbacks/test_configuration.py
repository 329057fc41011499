"""Settings of callbacks: those that are refused at the start, all at once, and those that start."""

import json
import subprocess

import pytest

import callbacks
from app import App, names
from callbacks import WOULD_REFUSE, CallbackSidecar, settings_file
from openim import OpenIm, refuses
from sidecar import binary, clean_environment, free_ports
from tencent import TencentIm, friend_codes, refused_members
from tencent import refuses as tencent_refuses

TIMEOUT_S = 20
FAILED = 1
LOOPBACK, ANYWHERE = "127.0.0.1", "0.0.0.0"

DOCUMENTED = """
callback_listen = "LISTEN"
[[callback]]
protocol = "openim"
path = "/openim/3f9c0e51"
app_id = "demo"
group_types = { "2" = "Public" }
codes = { 10014 = 20014, 10037 = 20037, 10038 = 20038, 10036 = 20036, 10006 = 20006, \
70398 = 20398, 30010 = 23010, 30014 = 23014, 60020 = 26020, unavailable = 20999 }
unavailable = "refuse"
budget_ms = 2000
[[callback]]
protocol = "tencent"
path = "/tencent/8a11d7c2"
apps = { "1400000001" = "demo-im" }
token_file = "TOKEN"
group_types = { Work = "Private", Meeting = "ChatRoom", Private = "Private", Public = "Public", \
ChatRoom = "ChatRoom", AVChatRoom = "AVChatRoom", BChatRoom = "BChatRoom" }
codes = { 10014 = 10114, 10037 = 10137, 10038 = 10138, 10036 = 10136, 10006 = 10106, \
60020 = 10160, 30010 = 38010, 30014 = 38014, unavailable = 10199 }
unavailable = "allow"
budget_ms = 1200
shadow = false
"""
"""The documented example."""


def mistakes(folder, *settings: dict, host: str = LOOPBACK, **more) -> list[str]:
    """The errors of a start with these callbacks, which fails."""
    (port,) = free_ports(1)
    file = settings_file(folder, f"{host}:{port}", settings, log_format="json", **more)
    done = subprocess.run(
        [binary(), "serve", "--store", "memory", "--management-listen", "off", "--listen",
         f"unix:{folder}/s", "--admin-listen", f"unix:{folder}/a", "--config", str(file)],
        capture_output=True, text=True, cwd=folder, timeout=TIMEOUT_S, env=clean_environment())
    assert done.returncode == FAILED, done.stderr
    records = [json.loads(line) for line in done.stderr.splitlines()]
    errors = [record for record in records if record["level"] == "ERROR"]
    for callback in settings:
        secret = callback.get("path", "").rsplit("/", 1)[-1]
        assert len(secret) < 8 or secret not in done.stderr, "a secret is logged"
    return [f"{record.get('origin', '')} {record.get('error', '')}" for record in errors]


def code(of, number: str, value) -> dict:
    """The settings of a callback with one more code."""
    codes = callbacks.OPENIM_CODES if of is callbacks.openim else callbacks.TENCENT_CODES
    return of(codes={**codes, number: value})


@pytest.mark.parametrize(("callback", "parts"), [
    (callbacks.openim(protocol="matrix"), ["matrix"]),
    (callbacks.openim(protocol=None), ["protocol"]),
    (callbacks.openim(path=None), ["path"]),
    (callbacks.openim(path="openim/3f9c0e51x"), ["path"]),
    (callbacks.openim(path=""), ["path"]),
    (callbacks.openim(path="/"), ["path"]),
    (callbacks.openim(app_id=None), ["app_id"]),
    (callbacks.openim(app_id="no app"), ["app_id"]),
    (callbacks.openim(group_types={"2": "Guild"}), ["Guild"]),
    (callbacks.openim(group_types={"two": "Public"}), ["two"]),
    (callbacks.openim(default_group_type="Guild"), ["Guild"]),
    (callbacks.tencent(group_types={"Work": "Guild"}), ["Guild"]),
    (callbacks.openim(unavailable="maybe"), ["maybe"]),
    (callbacks.openim(budget_ms=0), ["budget_ms"]),
    (callbacks.openim(budget_ms="2s"), ["budget_ms"]),
    (callbacks.openim(shadow="yes"), ["shadow"]),
    (callbacks.openim(shadov=True), ["shadov", "shadow"]),
    (callbacks.openim(apps={"1": "a"}), ["apps"]),
    (callbacks.openim(token_file="/tmp/token"), ["token_file"]),
    (callbacks.tencent(app_id="demo"), ["app_id"]),
    (callbacks.tencent(apps={"1400000001": "no app"}), ["no app"]),
    (callbacks.tencent(token_file="/does/not/exist"), ["/does/not/exist"]),
    *[(code(callbacks.openim, "10014", value), [str(value)])
      for value in (0, 10014, 20000, 30000, 40000, -1)],
    (code(callbacks.openim, "10014", "20014"), ["10014"]),
    (code(callbacks.openim, "unavailable", 20000), ["20000"]),
    (code(callbacks.openim, "unavailble", 20001), ["unavailble"]),
    *[(code(callbacks.tencent, "10014", value), [str(value)])
      for value in (0, 1, 10016, 10099, 10201, 37999, 39001, 20014)],
], ids=lambda value: None if isinstance(value, dict) else "-".join(value))
def test_a_mistake_is_refused_with_its_name(tmp_path, callback, parts):
    errors = mistakes(tmp_path, callback)
    for part in parts:
        assert any(part in error for error in errors), errors


@pytest.mark.parametrize(("of", "values"), [
    (callbacks.openim, (20001, 29999)), (callbacks.tencent, (10100, 10200, 38000, 39000)),
])
def test_the_ends_of_the_ranges_of_codes_are_codes(of, values):
    with CallbackSidecar(*(code(of, "10014", value) for value in values), store="memory"):
        pass


def test_all_mistakes_are_reported_at_once(tmp_path):
    errors = mistakes(
        tmp_path,
        callbacks.openim(path="/openim/twice-the-same", group_types={"2": "Guild"}),
        callbacks.tencent(path="/openim/twice-the-same", unavailable="maybe"),
        code(callbacks.openim, "10037", 10037),
        code(callbacks.tencent, "10037", 30000),
        callbacks.openim(budget_ms=0, app_id="no app"),
        callbacks.tencent(path="/tencent/short12"),
        callbacks.openim(path="/openim/short1"),
        host=ANYWHERE, listn="x", tls_cert="/x/cert", tls_key="/x/key")
    text = "\n".join(errors)
    for part in ("Guild", "maybe", "10037", "30000", "budget_ms", "app_id", "listn"):
        assert part in text, (part, text)
    assert len(errors) >= 9, text


def test_two_paths_alike_are_refused(tmp_path):
    one, other = callbacks.openim(), callbacks.openim()
    errors = mistakes(tmp_path, one, {**other, "path": one["path"]})
    assert len(errors) == 1 and "path" in errors[0], errors


@pytest.mark.parametrize("of", [callbacks.openim, callbacks.tencent])
@pytest.mark.parametrize("secret", ["1234567", "x"])
def test_a_short_secret_is_for_a_loopback_listener_alone(tmp_path, of, secret):
    short = of(path=f"/im/{secret}")
    if of is callbacks.tencent:
        file = tmp_path / "token"
        file.write_text("xxxxyyyy\n")
        file.chmod(0o600)
        short["token_file"] = str(file)
    errors = mistakes(tmp_path, short, host=ANYWHERE)
    assert len(errors) == 1 and "path" in errors[0], errors
    assert f"/{secret}" not in errors[0]
    with CallbackSidecar(short, store="memory"):
        pass
    with CallbackSidecar(short, store="memory", unix=True):
        pass
    with CallbackSidecar({**short, "path": "/im/12345678"}, store="memory", host=ANYWHERE):
        pass


def test_tencent_needs_a_token_or_client_certificates_beyond_loopback(tmp_path):
    errors = mistakes(tmp_path, callbacks.tencent(), host=ANYWHERE)
    assert len(errors) == 1 and "token_file" in errors[0], errors
    with CallbackSidecar(callbacks.tencent(), store="memory"):
        pass


@pytest.mark.parametrize("content", ["", "\n", None])
def test_a_token_file_without_a_token_is_refused(tmp_path, content):
    file = tmp_path / "token"
    if content is None:
        file.mkdir()
    else:
        file.write_text(content)
    errors = mistakes(tmp_path, callbacks.tencent(token_file=str(file)))
    assert any(str(file) in error for error in errors), errors


def test_callbacks_need_a_listener(tmp_path):
    file = settings_file(tmp_path, None, [callbacks.openim()])
    done = subprocess.run(
        [binary(), "serve", "--store", "memory", "--management-listen", "off", "--listen",
         f"unix:{tmp_path}/s", "--admin-listen", f"unix:{tmp_path}/a", "--config", str(file)],
        capture_output=True, text=True, timeout=TIMEOUT_S, env=clean_environment())
    assert done.returncode == FAILED and "callback_listen" in done.stderr, done.stderr


class Documented(CallbackSidecar):
    """A sidecar with the documented example as its settings."""

    def arguments(self) -> list[str]:
        arguments = super().arguments()
        token = self.folder / "token"
        token.write_text("xxxxyyyy\n")
        token.chmod(0o600)
        text = DOCUMENTED.replace("LISTEN", f"127.0.0.1:{self.callback_port}")
        (self.folder / "imquota.toml").write_text(text.replace("TOKEN", str(token)))
        return arguments


def test_the_documented_example_starts_and_answers():
    with Documented(store="memory") as sidecar:
        callback = {"path": "/openim/3f9c0e51"}
        with OpenIm(sidecar, callback) as im, App(sidecar, app_id="demo") as app:
            group, answer = im.create("alice", ["bob"], group_type=2)
            assert not refuses(answer) and app.members(group) == 2
        callback = {"path": "/tencent/8a11d7c2"}
        with TencentIm(sidecar, callback, "1400000001", "xxxxyyyy") as im:
            im.friend_add(("alice", "bob"))
            with App(sidecar, app_id="demo-im") as app:
                assert app.friends("alice") == 1


def test_a_group_without_any_type_is_decided_by_the_setting_for_no_decision():
    refusing = callbacks.openim(default_group_type=None)
    allowing = callbacks.openim(default_group_type=None, unavailable="allow")
    with CallbackSidecar(refusing, allowing, store="memory") as sidecar:
        for callback, refused in ((refusing, True), (allowing, False)):
            with OpenIm(sidecar, callback) as im:
                assert refuses(im.members_join("never-seen", "alice")) == refused
                _, answer = im.create("alice", group_type=0)
                assert not refuses(answer)


# Shadow mode.


def test_shadow_mode_refuses_nothing_and_counts_what_it_would_have_refused():
    settings = [callbacks.openim(shadow=True), callbacks.tencent(shadow=True)]
    with CallbackSidecar(*settings, store="memory") as sidecar:
        with OpenIm(sidecar, settings[0]) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("g", "Public", "owner", names("m", 19))
            assert not refuses(im.members_join("g", "first"))
            assert sidecar.counted(protocol="openim", answer=WOULD_REFUSE) == 1
            assert not refuses(im.members_join("g", "m0"))
            assert sidecar.counted(protocol="openim", answer=WOULD_REFUSE) == 1
            assert app.members("g") == 21
            assert not refuses(im.register(*names("u", 120)))
            assert app.accounts() == 120
            assert not refuses(im.before_join("g", "x"))
            assert sidecar.counted(protocol="openim", answer=WOULD_REFUSE) == 3
            app.add_friends("full", *names("f", 20), one_way=True)
            answer = im.import_friends("full", "a", "b")
            assert not refuses(answer)
            assert answer.json.get("friendUserIDs") in (None, [], ["a", "b"])
            assert app.friends("full") == 22
        with TencentIm(sidecar, settings[1]) as im, App(sidecar, app_id=im.app_id) as app:
            app.create_group("g", "Public", "owner", names("m", 19))
            answer = im.before_invite("g", ["a", "b"])
            assert not tencent_refuses(answer) and not refused_members(answer)
            assert not tencent_refuses(im.before_create("owner", names("n", 30)))
            im.after_create("@TGS#1", "owner", names("n", 30))
            assert (app.members("g"), app.members("@TGS#1")) == (22, 31)
            app.add_friends("full", *names("f", 20), one_way=True)
            assert friend_codes(im.prev_friend_add("full", ["x"])) == [("x", 0)]
            assert friend_codes(im.prev_friend_response("full", ["y"])) == [("y", 0)]
            assert sidecar.counted(protocol="tencent", answer=WOULD_REFUSE) == 4

