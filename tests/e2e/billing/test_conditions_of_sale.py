"""Conditions of sale in a catalog: what is retired, sold once, for few months, or at the price of
a year. Amounts were computed by hand."""

import pytest

from app import App, denial_of, names
from details import bad_fields, error_info, error_of
from price_lists import BUILTIN, install
from sidecar import Sidecar, wait_until
from stubs import admin_pb, common_pb

FOLLOWED_WITHIN_S = 30
PRICE = "price_fen_per_month = 99900\n"
TRIAL = """
[[editions]]
id = "pro-trial"
label = "Professional on trial"
free = true
months_max = 1
once_per_app = true
add_ons_allowed = false
postpaid_allowed = false

[editions.limits]
accounts_per_app = "unlimited"
friends_per_user = 3000
groups_per_user = 500
members_per_group = 200
"groups_per_app/AVChatRoom" = 50

# Add-ons, in the order"""


def catalog(version: str, conditions: str, validity: str = "") -> str:
    """The built-in catalog with conditions of its edition, and with a trial that ends."""
    text = BUILTIN.read_text(encoding="utf-8")
    text = text.replace('version = "2019-08-09"', f'version = "{version}"')
    assert text.count(PRICE) == 1
    text = text.replace(PRICE, PRICE + conditions)
    assert text.count("[validity]\n") == 1
    text = text.replace("[validity]\n", f"[validity]\n{validity}")
    assert text.count("\n# Add-ons, in the order") == 1
    return text.replace("\n# Add-ons, in the order", TRIAL)


YEARLY = catalog("yearly", "months_max = 12\nprice_of_months = { 12 = 999000 }\n")
RETIRED = catalog("retired", "for_sale = false\n", 'last_day = "same"\n')


@pytest.fixture
def world(tmp_path):
    """A sidecar with the catalog of yearly prices, and a function that changes it."""
    file = tmp_path / "catalog.toml"
    install(file, YEARLY)
    with Sidecar("--catalog", str(file)) as sidecar:
        def change(text: str, version: str) -> None:
            install(file, text)
            with App(sidecar) as app:
                wait_until(lambda: answer(app).version == version, FOLLOWED_WITHIN_S, version)
        yield sidecar, change


def answer(app: App) -> admin_pb.GetCatalogResponse:
    """The catalog in force."""
    return app.administration.GetCatalog(admin_pb.GetCatalogRequest(), timeout=20)


def refused(call, reason: str, field: str) -> str:
    """The message of a refusal, which names a field of the request."""
    error = error_of(call)
    assert (error_info(error).reason, bad_fields(error)) == (reason, [field])
    return error.details()


def test_a_year_has_its_price_in_sale_preview_and_statement(world):
    sidecar, _ = world
    with App(sidecar) as app:
        app.register()
        planned = app.admin("PreviewEntitlement",
                            purchase_edition={"edition_id": "professional", "months": 12})
        assert planned.price_fen == 999_000
        refused(lambda: app.admin("PurchaseEdition", edition_id="professional", months=13),
                "MONTHS_ABOVE_MAX", "months")
        sold = app.admin("PurchaseEdition", edition_id="professional", months=12)
        assert sold.purchase.price_fen == 999_000
        assert app.admin("RenewEdition", months=2).purchase.price_fen == 199_800
        year, months = app.statement().lines[:2]
        assert (year.quantity, year.unit_price_fen, year.amount_fen) == (1, 999_000, 999_000)
        assert year.formula == "the price of 12 months"
        assert (months.quantity, months.unit_price_fen) == (2, 99_900)


def test_a_trial_that_ends_is_free_once_for_a_month_and_never_offered(world):
    sidecar, _ = world
    with App(sidecar) as app:
        app.register()
        app.create_groups(names("g", 50), owner="alice")
        # It is cheaper than what is offered.
        denial = denial_of(app.create_group("one-more", owner="alice").group, "GROUPS_PER_USER")
        assert [offer.edition_id for offer in denial.upgrades] == ["professional"]
        refused(lambda: app.admin("PurchaseEdition", edition_id="pro-trial", months=2),
                "MONTHS_ABOVE_MAX", "months")
        sold = app.admin("PurchaseEdition", edition_id="pro-trial", months=1)
        assert sold.purchase.price_fen == 0
        refused(lambda: app.admin("RenewEdition", months=1), "SOLD_ONCE", "app_id")
        app.admin("RefundPurchase", purchase_request_id=sold.purchase.request_id)
        message = refused(
            lambda: app.admin("PurchaseEdition", edition_id="pro-trial", months=1),
            "SOLD_ONCE", "edition_id")
        assert sold.purchase.request_id in message


def test_a_retired_edition_stays_for_those_who_have_it(world):
    sidecar, change = world
    with App(sidecar) as app, App(sidecar) as other:
        app.upgrade()
        before = app.admin("GetApp").app.purchases[0]
        other.register()
        other.create_groups(names("g", 50), owner="alice")
        change(RETIRED, "retired")
        found = answer(app)
        (professional,) = [it for it in found.editions if it.edition_id == "professional"]
        assert professional.selling.not_for_sale
        assert found.last_day == admin_pb.LAST_DAY_SAME
        limits = {it.limit_id: it for it in app.admin("GetApp").app.entitlement.limits}
        assert limits["groups_per_user"].limit == 200
        # A purchase keeps the last day by which it was sold.
        assert app.admin("GetApp").app.purchases[0].valid_until == before.valid_until
        assert app.admin("RenewEdition", months=1).purchase.price_fen == 99_900
        message = refused(
            lambda: other.admin("PurchaseEdition", edition_id="professional", months=1),
            "ITEM_NOT_FOR_SALE", "edition_id")
        assert "pro-trial" in message
        denial = denial_of(other.create_group("more", owner="alice").group, "GROUPS_PER_USER")
        assert not denial.upgrades
        assert denial.reason == common_pb.DENIAL_REASON_GROUPS_PER_USER
        # Once it is refunded, it has stopped, and cannot be renewed.
        for purchase in reversed(app.admin("GetApp").app.purchases):
            app.admin("RefundPurchase", purchase_request_id=purchase.request_id)
        refused(lambda: app.admin("RenewEdition", months=1), "ITEM_NOT_FOR_SALE", "app_id")
