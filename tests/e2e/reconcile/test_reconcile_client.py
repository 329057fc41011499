"""The client side of `imquota reconcile` against a fake server: the order and sizes of messages,
checkpoints, reports and exit codes.
"""

import json
import os
import signal
import subprocess
import threading
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest

from sidecar import binary, clean_environment
from stubs import admin_grpc, admin_pb as pb

MISSING_THERE = dict(kind=pb.FACT_KIND_MEMBER, side=pb.DIFFERENCE_SIDE_MISSING_THERE)
AS_OF = "2026-12-01T00:00:00Z"
DIFFERS = 4


class MadeUp(admin_grpc.AdminServiceServicer):
    """Records requests; finds a difference in each message of facts, and at the end."""

    def __init__(self, outcome=pb.DIFFERENCE_OUTCOME_FOUND, gives_up_after=None, hangs_after=None):
        self.outcome = outcome
        self.gives_up_after = gives_up_after
        self.hangs_after = hangs_after
        self.asked: list[pb.ReconcileRequest] = []
        self.deadline = None
        self.hung, self.is_finished = threading.Event(), threading.Event()

    def TrackChanges(self, request, context):  # noqa: N802
        """Tracks from a fixed instant."""
        self.keep_for = request.keep_for.seconds
        answer = pb.TrackChangesResponse()
        answer.since.FromJsonString("2026-12-01T00:00:00.500Z")
        answer.until.FromJsonString("2026-12-02T00:00:00.500Z")
        return answer

    def Reconcile(self, requests, context):  # noqa: N802
        """Responds to each message, and to the end in three parts."""
        self.deadline = context.time_remaining()
        for request in requests:
            self.asked.append(request)
            if len(self.asked) == self.gives_up_after:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the store is away")
            if len(self.asked) == self.hangs_after:
                self.hung.set()
                self.is_finished.wait()
            if request.WhichOneof("part") == "end":
                yield self._found("last-group", "")
                yield pb.ReconcileResponse(facts_compared=1)
                yield pb.ReconcileResponse(finished=True)
            else:
                yield self._answer(request)

    def _answer(self, request):
        facts = request.facts
        if facts.account_user_ids:
            users = [pb.ResolvedUser(fingerprint="f1", user_id="resolved")]
            return pb.ReconcileResponse(resolved_users=users)
        if facts.groups:
            return self._found(facts.groups[0].group_id, "f1")
        return pb.ReconcileResponse(facts_compared=sum(len(f.friend_ids) for f in facts.friends))

    def _found(self, group: str, fingerprint: str):
        difference = pb.Difference(
            **MISSING_THERE, outcome=self.outcome, group_id=group, user_fingerprint=fingerprint,
            user_id="" if fingerprint else "u\x1b")
        count = pb.DifferenceCount(**MISSING_THERE, outcome=self.outcome, count=1)
        return pb.ReconcileResponse(counts=[count], differences=[difference], facts_compared=10)

    def parts(self) -> list[str]:
        """The section of each message, in order."""
        return [
            [field.name for field, _ in each.facts.ListFields()]
            if each.WhichOneof("part") == "facts" else [each.WhichOneof("part")]
            for each in self.asked
        ]


@contextmanager
def serving(service: MadeUp):
    """Serves a service; yields its address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    admin_grpc.add_AdminServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        service.is_finished.set()
        server.stop(None)


@pytest.fixture
def files(tmp_path):
    """An export of 3000 groups of a member each, 30 users with friends, and 3 accounts."""
    groups = "".join(f"g{number},Public,u1\n" for number in range(3000))
    friends = "".join(
        json.dumps({"user_id": f"u{number}", "friend_ids": [f"f{each}" for each in range(99)]})
        + "\n" for number in range(30))
    flags = []
    for name, content in [
        ("groups.csv", "group_id,type,member_id\n" + groups), ("friends.jsonl", friends),
        ("accounts.csv", "user_id\nu1\nu2\nu3\n"),
    ]:
        (tmp_path / name).write_text(content)
        flags += [f"--{name.split('.')[0]}", str(tmp_path / name)]
    return flags


def _command(address: str, *arguments: str) -> list[str]:
    return [binary(), "reconcile", *arguments, "--app", "demo", "--address", address]


def _run(address: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        _command(address, *arguments), capture_output=True, text=True, timeout=60,
        env=clean_environment())


def test_groups_come_first_accounts_last_and_messages_are_small(files):
    service = MadeUp()
    with serving(service) as address:
        done = _run(address, *files)
    assert done.returncode == DIFFERS, done.stderr
    assert service.parts() == [
        ["begin"], *[["groups"]] * 6, *[["friends"]] * 3, ["account_user_ids"], ["end"]]
    assert {len(each.facts.groups) for each in service.asked} == {0, 500}
    begin = service.asked[0].begin
    assert begin.mode == pb.RECONCILE_MODE_COMPARE and begin.list_differences
    assert begin.has_groups and begin.has_friends and begin.has_accounts
    assert not begin.HasField("as_of")
    assert not service.asked[1].facts.groups[0].HasField("max_members")
    assert service.deadline is None or service.deadline > 3600, "a stream has no deadline"
    assert "3041 facts compared" in done.stdout
    assert "7 differences found; this was a dry run" in done.stdout
    assert "may be among these" in done.stdout
    assert "resolved" in done.stdout and "fingerprint" not in done.stdout
    assert "\x1b" not in done.stdout and done.stderr == ""


@pytest.mark.parametrize("mode, outcome, code", [
    ("--apply", pb.DIFFERENCE_OUTCOME_REPAIRED, 0),
    ("--apply", pb.DIFFERENCE_OUTCOME_LEFT_ALONE, DIFFERS),
    ("--apply", pb.DIFFERENCE_OUTCOME_FOUND, DIFFERS),
    ("--import", pb.DIFFERENCE_OUTCOME_REPAIRED, 0),
    ("--import", pb.DIFFERENCE_OUTCOME_LEFT_ALONE, DIFFERS),
    ("--import", pb.DIFFERENCE_OUTCOME_FOUND, DIFFERS),
])
def test_the_exit_code_reports_remaining_differences(files, mode, outcome, code):
    service = MadeUp(outcome)
    with serving(service) as address:
        done = _run(address, *files, mode, "--as-of", AS_OF, "--output", "json")
    assert done.returncode == code, done.stderr
    shown = json.loads(done.stdout)
    assert shown["finished"] and shown["mode"] == mode.removeprefix("--")
    (sort,) = shown["differences"]
    assert sorted([sort["found"], sort["repaired"], sort["left_alone"]]) == [0, 0, 7]
    assert service.asked[0].begin.as_of.ToJsonString() == AS_OF
    assert service.asked[0].begin.list_differences == (mode != "--import")


def test_a_report_has_a_line_for_each_difference_and_each_late_name(files, tmp_path):
    report = tmp_path / "report"
    report.write_text("old\n")
    service = MadeUp()
    with serving(service) as address:
        refused = _run(address, *files, "--report", str(report))
        assert refused.returncode == 1 and service.asked == []
        assert refused.stderr == (
            f"error: {report} exists and is not overwritten; name another file, or remove it\n")
        assert report.read_text() == "old\n"
        report.unlink()
        _run(address, *files, "--report", str(report))
    lines = [json.loads(line) for line in report.read_text().splitlines()]
    of = {"kind": "member", "side": "missing_there", "outcome": "found"}
    assert lines[0] == {**of, "group_id": "g0", "user_fingerprint": "f1"}
    assert lines[6:] == [
        {"fingerprint": "f1", "user_id": "resolved"},
        {**of, "group_id": "last-group", "user_id": "u\x1b"},
    ]


def test_an_interrupted_run_resumes(files, tmp_path):
    checkpoint, report = tmp_path / "checkpoint", tmp_path / "report"
    flags = [*files, "--checkpoint", str(checkpoint), "--report", str(report)]
    with serving(MadeUp(gives_up_after=9)) as address:
        first = _run(address, *flags)
    assert first.returncode == 1
    assert "the store is away" in first.stderr
    assert "Run the same command again: it resumes where it stopped." in first.stderr
    kept = json.loads(checkpoint.read_text())
    # gRPC may drop responses that were in flight when the call was aborted.
    done = {each["kind"]: each["done"] for each in kept["files"]}
    assert 500 <= done["groups"] <= 3000 and done["accounts"] == 0
    found = kept["tally"]["differences"][0]["found"]
    assert found * 500 == done["groups"]

    other = _run("127.0.0.1:1", *flags, "--import")
    assert other.returncode == 1
    assert "has the mode compare, not import; delete it to start over" in other.stderr

    service = MadeUp()
    with serving(service) as address:
        second = _run(address, *flags)
    assert second.returncode == DIFFERS, second.stderr
    named = [one for each in service.asked for one in each.facts.done_group_ids]
    assert named == [f"g{number}" for number in range(done["groups"])]
    sent = [one.group_id for each in service.asked for one in each.facts.groups]
    assert sent == [f"g{number}" for number in range(done["groups"], 3000)]
    assert "7 differences found" in second.stdout
    assert not checkpoint.exists()
    differences = [line for line in report.read_text().splitlines() if "outcome" in line]
    assert len(differences) == 7


def test_a_signal_leaves_a_checkpoint(files, tmp_path):
    checkpoint = tmp_path / "checkpoint"
    service = MadeUp(hangs_after=5)
    with serving(service) as address:
        process = subprocess.Popen(
            _command(address, *files, "--checkpoint", str(checkpoint)), stderr=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=clean_environment())
        assert service.hung.wait(30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "stopped by a signal" in said
    # Responses that were in flight at the signal may be missing.
    if checkpoint.exists():
        assert json.loads(checkpoint.read_text())["files"][0]["done"] in {500, 1000, 1500}
        assert "resumes where it stopped" in said


def test_without_a_checkpoint_a_run_starts_over(files, tmp_path):
    with serving(MadeUp(gives_up_after=3)) as address:
        done = _run(address, *files)
    assert done.returncode == 1
    assert "Run the same command again: it starts over, which is safe" in done.stderr
    report = tmp_path / "report"
    # Without a response the report is empty, and the same command can be run again.
    for _ in range(2):
        done = _run("127.0.0.1:1", *files, "--report", str(report))
        assert done.returncode == 1 and "cannot connect" in done.stderr, done.stderr
        assert not report.exists()


def test_a_refusal_of_the_sidecar_is_printed_and_leaves_no_checkpoint(files, tmp_path):
    class Refuses(MadeUp):
        def Reconcile(self, requests, context):  # noqa: N802
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "changes are not tracked")

    checkpoint = tmp_path / "checkpoint"
    with serving(Refuses()) as address:
        done = _run(address, *files, "--checkpoint", str(checkpoint))
    assert done.returncode == 1
    assert done.stderr == "error: FAILED_PRECONDITION: changes are not tracked\n"
    assert not checkpoint.exists()


def test_a_file_that_cannot_be_written_ends_the_run_before_anything_is_sent(files, tmp_path):
    service = MadeUp()
    with serving(service) as address:
        for flag in ["--report", "--checkpoint"]:
            done = _run(address, *files, flag, os.path.join(tmp_path, "no", "such"))
            assert done.returncode == 1 and "cannot write" in done.stderr, done.stderr
    assert service.asked == []


def test_begin_prints_the_next_step():
    service = MadeUp()
    with serving(service) as address:
        done = _run(address, "begin", "--keep-for", "90m")
    assert done.returncode == 0, done.stderr
    assert service.keep_for == 90 * 60
    assert "since    2026-12-01T00:00:00+00:00" in done.stdout
    assert "Wait until 2026-12-01T00:00:11+00:00" in done.stdout
