//! Values and times of agreed limits, which grants and previews have in the same form.

use super::pb;
use crate::domain::limit::Limit;

/// The time for which a limit is agreed; unchecked.
pub(crate) enum AgreedTerm {
    /// Whole months.
    Months(u32),
    /// Through a day.
    Until(String),
}

macro_rules! agreed_in {
    ($($message:ident)*) => {$(
        impl From<Limit> for pb::$message::Value {
            fn from(limit: Limit) -> Self {
                match limit {
                    Limit::Finite(number) => Self::Limit(number),
                    Limit::Unlimited => Self::Unlimited(true),
                }
            }
        }

        impl pb::$message::Value {
            /// Returns the value; `None` if it is neither a number nor unlimited.
            pub(crate) fn agreed(&self) -> Option<Limit> {
                match *self {
                    Self::Limit(number) => Some(Limit::Finite(number)),
                    Self::Unlimited(is_unlimited) => is_unlimited.then_some(Limit::Unlimited),
                }
            }
        }

        impl From<AgreedTerm> for pb::$message::Term {
            fn from(term: AgreedTerm) -> Self {
                match term {
                    AgreedTerm::Months(months) => Self::Months(months),
                    AgreedTerm::Until(day) => Self::UntilDate(day),
                }
            }
        }

        impl From<pb::$message::Term> for AgreedTerm {
            fn from(term: pb::$message::Term) -> Self {
                match term {
                    pb::$message::Term::Months(months) => Self::Months(months),
                    pb::$message::Term::UntilDate(day) => Self::Until(day),
                }
            }
        }
    )*};
}

agreed_in! { grant_limit_request previewed_limit }
