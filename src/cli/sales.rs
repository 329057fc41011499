//! Flags of sales, and their requests.

use clap::Args;
use prost_types::Timestamp;

use super::agreed::TermArgs;
use crate::domain::limit::Limit;
use crate::grpc::pb;

/// Duration of a sale.
#[derive(Debug, Clone, Args)]
pub struct Term {
    /// Duration in whole months, 1-24
    #[arg(long, value_name = "N")]
    months: u32,
}

/// Agreed price of a sale.
#[derive(Debug, Clone, Args)]
pub struct Price {
    /// Agreed price for the whole time, in fen; requires the role owner [default: the catalog's]
    #[arg(long = "price-fen", value_name = "FEN")]
    price_fen: Option<i64>,
}

/// Highest sum to pay for an exchange.
#[derive(Debug, Clone, Args)]
pub struct MaxSum {
    /// Highest sum to pay, in fen, as the preview shows it; a higher one is refused, and a negative
    /// one is paid out
    #[arg(long = "max-sum-fen", value_name = "FEN", allow_negative_numbers = true)]
    max_sum_fen: Option<i64>,
}

/// What every change has: the app, the idempotency key and the instant.
pub struct Head {
    /// The app.
    pub app_id: String,
    /// Idempotency key.
    pub request_id: String,
    /// Instant from which the change counts; `None`: now.
    pub effective_at: Option<Timestamp>,
}

impl Head {
    /// Returns the sale of an edition.
    pub fn purchase_edition(
        self,
        edition_id: String,
        term: &Term,
        price: &Price,
    ) -> pb::PurchaseEditionRequest {
        let Self { app_id, request_id, effective_at } = self;
        let (months, price_fen) = (term.months, price.price_fen);
        pb::PurchaseEditionRequest {
            app_id,
            request_id,
            edition_id,
            months,
            effective_at,
            price_fen,
        }
    }

    /// Returns the renewal of an edition.
    pub fn renew_edition(self, term: &Term, price: &Price) -> pb::RenewEditionRequest {
        let Self { app_id, request_id, effective_at } = self;
        let (months, price_fen) = (term.months, price.price_fen);
        pb::RenewEditionRequest { app_id, request_id, months, effective_at, price_fen }
    }

    /// Returns the sale of an add-on.
    pub fn grant_add_on(
        self,
        add_on_id: String,
        term: &Term,
        price: &Price,
    ) -> pb::GrantAddOnRequest {
        let Self { app_id, request_id, effective_at } = self;
        let (months, price_fen) = (term.months, price.price_fen);
        pb::GrantAddOnRequest { app_id, request_id, add_on_id, months, effective_at, price_fen }
    }

    /// Returns the change of an edition.
    pub fn change_edition(
        self,
        edition_id: String,
        term: &Term,
        sum: &MaxSum,
        price: &Price,
    ) -> pb::ChangeEditionRequest {
        let Self { app_id, request_id, effective_at } = self;
        pb::ChangeEditionRequest {
            app_id,
            request_id,
            edition_id,
            months: term.months,
            max_sum_fen: sum.max_sum_fen,
            effective_at,
            price_fen: price.price_fen,
        }
    }

    /// Returns the exchange of the first add-on for the second one.
    pub fn exchange_add_on(
        self,
        [replaced_add_on_id, add_on_id]: [String; 2],
        term: &Term,
        sum: &MaxSum,
        price: &Price,
    ) -> pb::ExchangeAddOnRequest {
        let Self { app_id, request_id, effective_at } = self;
        pb::ExchangeAddOnRequest {
            app_id,
            request_id,
            replaced_add_on_id,
            add_on_id,
            months: term.months,
            max_sum_fen: sum.max_sum_fen,
            effective_at,
            price_fen: price.price_fen,
        }
    }

    /// Returns the grant of an agreed limit.
    pub fn grant_limit(
        self,
        limit_id: String,
        value: Limit,
        term: TermArgs,
        price_fen: Option<i64>,
        note: String,
    ) -> pb::GrantLimitRequest {
        let Self { app_id, request_id, effective_at } = self;
        pb::GrantLimitRequest {
            app_id,
            request_id,
            limit_id,
            value: Some(value.into()),
            term: term.term().map(Into::into),
            price_fen,
            note,
            effective_at,
        }
    }
}
