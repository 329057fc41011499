"""Purchases, refunds and reads: idempotent by request id, and refused by state."""

import hashlib
import json
import struct
import subprocess

import grpc

from app import App, names
from details import bad_fields, error_of, violations
from sidecar import binary, clean_environment
from stubs import admin_pb, common_pb, metering_pb


def test_a_purchase_is_made_once_for_a_request_id(tcp_app):
    buy = {"edition_id": "professional", "months": 2, "request_id": "order 1"}
    tcp_app.register()
    first = tcp_app.admin("PurchaseEdition", **buy)
    assert first.purchase.price_fen == 2 * 99_900
    assert tcp_app.admin("PurchaseEdition", **buy).purchase == first.purchase
    error = error_of(lambda: tcp_app.admin("PurchaseEdition", **{**buy, "months": 3}))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert list(tcp_app.admin("GetApp").app.purchases) == [first.purchase]


def test_a_purchase_that_the_state_forbids_is_a_failed_precondition(tcp_app):
    def refused(rpc: str, **fields) -> None:
        error = error_of(lambda: tcp_app.admin(rpc, **fields))
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, (rpc, error)
        assert error.details()

    tcp_app.register()
    refused("GrantAddOn", add_on_id="members-2000", months=1)
    refused("RenewEdition", months=1)
    tcp_app.admin("PurchaseEdition", edition_id="professional", months=1)
    refused("PurchaseEdition", edition_id="professional", months=1)
    tcp_app.buy("members-2000")
    refused("GrantAddOn", add_on_id="members-6000", months=1)
    end = tcp_app.admin("GetApp").app.purchases[0].valid_until.seconds
    renewed = tcp_app.admin("RenewEdition", months=1).purchase
    assert renewed.renewal and renewed.valid_from.seconds == end
    assert 28 * 86_400 <= renewed.valid_until.seconds - end <= 31 * 86_400


def test_an_unknown_id_is_refused_with_each_known_id_once(tcp_app):
    tcp_app.upgrade()
    first = tcp_app.admin("GetApp").app.purchases[0].request_id
    add_ons = ("members-2000", "members-6000", "groups-per-user-400", "groups-per-user-700",
               "groups-per-user-1000", "av-chat-rooms-unlimited")
    sample = metering_pb.BandwidthSample(region="mars", kbps=1)
    for call, known in (
        (lambda: tcp_app.admin("PurchaseEdition", edition_id="gold", months=1), ["professional"]),
        (lambda: tcp_app.admin("GrantAddOn", add_on_id="members-1", months=1), add_ons),
        (lambda: tcp_app.admin("RefundPurchase", purchase_request_id="nonesuch"), [first]),
        (lambda: tcp_app.admin("ListAuditEvents", action="Nonesuch"), ["CreateBackup"]),
        (lambda: tcp_app.create_group("g", "Nonesuch"), ["Private", "BChatRoom"]),
        (lambda: tcp_app.meter("ReportBandwidth", samples=[sample] * 2), ["mainland", "overseas"]),
    ):
        error = error_of(call)
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
        told = " ".join(violation.description for violation in violations(error))
        assert [told.count(f'"{name}"') for name in known] == [1] * len(known), told
        # The default edition is not for sale.
        assert '"trial"' not in told


def test_a_refund_names_its_figures_and_ends_the_purchase(tcp_app):
    tcp_app.upgrade()
    bought = tcp_app.admin("GetApp").app.purchases[0].request_id
    answer = tcp_app.admin("RefundPurchase", purchase_request_id=bought, request_id="back")
    assert (answer.value.refund_fen, answer.value.price_fen) == (99_900, 99_900)
    assert answer.value.in_full and answer.value.days_used == 1
    assert answer.purchase.refund.refund_fen == 99_900
    assert tcp_app.admin("RefundPurchase", purchase_request_id=bought, request_id="back") == answer
    app = tcp_app.admin("GetApp").app
    assert app.entitlement.state == admin_pb.SERVICE_STATE_STOPPED and not app.pending
    error = error_of(lambda: tcp_app.admin("RefundPurchase", purchase_request_id=bought))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "refunded by request \"back\"" in error.details()
    error = error_of(lambda: tcp_app.admin("RefundPurchase", purchase_request_id="nonesuch"))
    assert list(bad_fields(error)) == ["purchase_request_id"]


def test_apps_are_listed_page_by_page(sidecar):
    ids = sorted(App(sidecar, sidecar.tcp).register().id for _ in range(5))
    stub, seen, token = App(sidecar, sidecar.tcp).administration, [], ""
    while True:
        answer = stub.ListApps(admin_pb.ListAppsRequest(page_size=2, page_token=token))
        seen += [app.app_id for app in answer.apps]
        assert len(answer.apps) <= 2
        token = answer.next_page_token
        if not token:
            break
    assert seen == sorted(seen) and set(ids) <= set(seen)


def test_the_audit_log_names_the_caller_of_each_change_and_verifies(tcp_app):
    tcp_app.upgrade()
    answer = tcp_app.admin("ListAuditEvents", request_id="")
    assert [event.action for event in answer.events] == ["CreateApp", "PurchaseEdition"]
    made = answer.events[1]
    assert made.actor and made.app_id == tcp_app.id
    assert json.loads(made.request) == {"edition_id": "professional", "months": 1}
    assert json.loads(made.before)["edition"] == "trial"
    assert json.loads(made.after)["edition"] == "professional"
    # Recomputed here: the hash over the fields with their lengths.
    texts = [made.previous_hash, made.actor, getattr(made, "from"), made.action, made.request,
             made.app_id, made.request_id, made.before, made.after]
    millis = made.made_at.seconds * 1000 + made.made_at.nanos // 1_000_000
    content = b"imquota audit 1" + struct.pack(">Qq", made.number, millis)
    content += b"".join(struct.pack(">Q", len(it.encode())) + it.encode() for it in texts)
    assert hashlib.sha256(content).hexdigest() == made.hash
    assert made.previous_hash == answer.events[0].hash or made.number > 2


def test_the_audit_log_is_verified_by_a_command(sidecar, tcp_app):
    tcp_app.upgrade()

    def verify(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [binary(), "admin", "audit", "verify", "--address", sidecar.admin, *arguments],
            capture_output=True, text=True, env=clean_environment(), check=False)

    done = verify()
    assert done.returncode == 0 and "none changed or removed; head " in done.stdout, done
    head = done.stdout.split()[-1]
    assert verify("--head", head).returncode == 0
    number, digest = head.split(":")
    # A head that is not in the log is most often mistyped, so the error names it first.
    for missing, why in ((f"{number}:{digest[::-1]}", f"entry {number} has another hash"),
                         (f"{int(number) + 1}:{digest}", f"the log ends with entry {number}")):
        other = verify("--head", missing)
        assert other.returncode == 1, other
        assert other.stderr.startswith(f"error: --head {missing} is not in the log"), other
        assert why in other.stderr, other


def test_a_preview_changes_nothing_and_lists_subjects_over_their_limits(tcp_app):
    tcp_app.upgrade()
    before = tcp_app.admin("GetApp").app
    edition = admin_pb.PreviewedAddOn(add_on_id="groups-per-user-400", months=3)
    shown = tcp_app.admin("PreviewEntitlement", grant_add_on=edition)
    assert shown.price_fen == 150_000 and list(shown.then.add_on_ids) == ["groups-per-user-400"]
    assert not shown.overruns
    assert tcp_app.admin("GetApp").app.purchases == before.purchases


def test_a_preview_counts_all_subjects_over_their_limits(sidecar, tcp_app):
    tcp_app.upgrade()
    tcp_app.buy("members-2000")
    add_on = tcp_app.admin("GetApp").app.purchases[1]
    for group, members in (("large", 300), ("larger", 400), ("small", 200)):
        tcp_app.create_group(group, members=names("u", members))
    tcp_app.create_group("capped", "ChatRoom", members=names("u", 30))
    tcp_app.set_max_members("capped", 20)
    refund = {"refund_purchase_request_id": add_on.request_id}
    silent = tcp_app.admin("PreviewEntitlement", **refund)
    assert not silent.everybody and not silent.overrun_counts
    shown = tcp_app.admin("PreviewEntitlement", **refund, everybody=True)
    own, sold = shown.overrun_counts
    assert shown.everybody and (own.limit_id, own.group_type) == ("members_per_group", "ChatRoom")
    assert (own.limit, own.subjects, own.highest_used) == (20, 1, 30)
    assert (own.source, own.source_id) == (common_pb.LIMIT_SOURCE_GROUP, "")
    assert (sold.limit, sold.subjects, sold.highest_used) == (200, 2, 400)
    assert (sold.group_type, sold.source_id) == ("Public", "professional")
    after = tcp_app.admin("PreviewEntitlement", at=add_on.valid_until, everybody=True)
    assert after.overrun_counts == shown.overrun_counts
    now = tcp_app.admin("PreviewEntitlement", everybody=True)
    assert list(now.overrun_counts) == [own]

    def preview(*arguments: str) -> str:
        return subprocess.run(
            [binary(), "admin", "preview", tcp_app.id, "--address", sidecar.admin, *arguments],
            capture_output=True, text=True, env=clean_environment(), check=True).stdout

    change = ("--refund-purchase", add_on.request_id, "--everybody")
    assert preview(*change).endswith("""
OVER      WHAT               GROUP TYPE  HIGHEST  LIMIT  SOURCE
1 group   members_per_group  ChatRoom         30     20  group
2 groups  members_per_group  Public          400    200  edition professional
""")
    told = json.loads(preview(*change, "--output", "json"))
    assert [it["subjects"] for it in told["overrun_counts"]] == [1, 2]
    tcp_app.dissolve("capped")
    assert preview("--everybody").endswith("\nno user or group is over a limit\n")


def test_the_catalog_is_shown(tcp_app):
    shown = tcp_app.administration.GetCatalog(admin_pb.GetCatalogRequest())
    assert [edition.edition_id for edition in shown.editions] == ["trial", "professional"]
    assert shown.full_refund_days == 5 and len(shown.group_types) == 5
    assert [edition.postpaid_allowed for edition in shown.editions] == [False, True]
    metering = shown.metering
    tiers = [(it.free, it.unit, it.price_fen_per_unit)
             for it in (metering.dau, metering.groups, metering.history)]
    unit = 100_000
    assert tiers == [(unit, unit, 1_000_000), (unit, unit, 100_000), (0, unit, 50_000)]
    assert (metering.final_day, metering.groups_first_day) == (3, 4)
    assert (metering.history_free_days, metering.history_days_max) == (7, 360)
    prices = [(it.region, it.price_fen_per_mbps_day, it.HasField("price_fen_per_mbps_day"))
              for it in metering.regions]
    assert prices == [("mainland", 200, True), ("overseas", 0, False)]
