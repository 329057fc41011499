//! The stored format of conditions of sale: JSON, in catalogs, in terms and in purchases.
//!
//! What is as it was in versions without conditions is not stored, so that records and hashes of
//! catalogs stay as they were.

use serde::{Deserialize, Serialize};

use crate::domain::calendar::LastDay;
use crate::domain::selling::{Conditions, FeeRule, RefundRule, Selling};

/// Conditions of sale of an item.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub struct StoredSelling {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    not_for_sale: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    months_max: Option<u32>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    once_per_app: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    price_of_months: Vec<(u32, i64)>,
}

/// Rules of a catalog for periods and prices.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub struct StoredRules {
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_day: StoredLastDay,
    #[serde(default, skip_serializing_if = "is_default")]
    pub refund: StoredRefundRule,
    #[serde(default, skip_serializing_if = "is_default")]
    pub fee: StoredFeeRule,
}

/// Conditions of one purchase.
#[derive(Default, PartialEq, Serialize, Deserialize)]
pub struct StoredConditions {
    #[serde(default, skip_serializing_if = "is_default")]
    last_day: StoredLastDay,
    #[serde(default, skip_serializing_if = "is_default")]
    fee: StoredFeeRule,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    price_agreed: bool,
}

/// The last valid day.
#[derive(Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredLastDay {
    #[default]
    Before,
    Same,
}

/// The part that a refund pays back.
#[derive(Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredRefundRule {
    #[default]
    Days,
    None,
}

/// The computation of a price.
#[derive(Default, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoredFeeRule {
    #[default]
    Months,
    CalendarDays,
}

/// Returns whether a value is that of versions which did not store it.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl From<&Selling> for StoredSelling {
    fn from(selling: &Selling) -> Self {
        Self {
            not_for_sale: !selling.is_for_sale,
            months_max: selling.months_max,
            once_per_app: selling.is_once_per_app,
            price_of_months: selling.price_of_months.clone(),
        }
    }
}

impl From<StoredSelling> for Selling {
    fn from(stored: StoredSelling) -> Self {
        Self {
            is_for_sale: !stored.not_for_sale,
            months_max: stored.months_max,
            is_once_per_app: stored.once_per_app,
            price_of_months: stored.price_of_months,
        }
    }
}

impl From<&Conditions> for StoredConditions {
    fn from(conditions: &Conditions) -> Self {
        let Conditions { last_day, fee, is_price_agreed } = *conditions;
        Self { last_day: last_day.into(), fee: fee.into(), price_agreed: is_price_agreed }
    }
}

impl From<StoredConditions> for Conditions {
    fn from(stored: StoredConditions) -> Self {
        let StoredConditions { last_day, fee, price_agreed } = stored;
        Self { last_day: last_day.into(), fee: fee.into(), is_price_agreed: price_agreed }
    }
}

macro_rules! stored_as {
    ($($stored:ident = $rule:ident { $($here:ident = $there:ident),* })*) => {$(
        impl From<$rule> for $stored {
            fn from(rule: $rule) -> Self {
                match rule {$( $rule::$there => Self::$here, )*}
            }
        }

        impl From<$stored> for $rule {
            fn from(stored: $stored) -> Self {
                match stored {$( $stored::$here => Self::$there, )*}
            }
        }
    )*};
}

stored_as! {
    StoredLastDay = LastDay { Before = Before, Same = Same }
    StoredRefundRule = RefundRule { Days = Days, None = Nothing }
    StoredFeeRule = FeeRule { Months = Months, CalendarDays = CalendarDays }
}
