"""Buying: once for a request id, and only what may be bought now."""

import grpc

from details import error_of


def test_a_purchase_is_made_once_for_a_request_id(tcp_app):
    buy = {"edition_id": "professional", "months": 2, "request_id": "order 1"}
    tcp_app.register()
    first = tcp_app.admin("PurchaseEdition", **buy)
    assert first.purchase.price_fen == 2 * 99_900
    assert tcp_app.admin("PurchaseEdition", **buy).purchase == first.purchase
    error = error_of(lambda: tcp_app.admin("PurchaseEdition", **{**buy, "months": 3}))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert list(tcp_app.admin("GetApp").app.purchases) == [first.purchase]


def test_what_cannot_be_bought_now_is_a_failed_precondition(tcp_app):
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
