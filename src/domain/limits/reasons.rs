//! The table of reasons of denials, with their names and IM codes.

/// The source of the code of a denial for IM clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImCodeKey {
    /// The catalog's under that key.
    Of(&'static str),
    /// That of the group's type; without one, the catalog's under that key.
    OfTypeOr(&'static str),
    /// The catalog's under the first key; without it, under the second one.
    OfOr(&'static str, &'static str),
}

/// A row of the table of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReasonRow {
    /// The name in capitals, as in error details, events and protobuf.
    pub name: &'static str,
    /// The name in metrics.
    pub label: &'static str,
    /// The code for IM clients.
    pub im_code: ImCodeKey,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident = $name:literal, $label:literal, $im_code:expr;)*) => {
        /// Reason of a denial, in the order in which denials are listed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason {$( $(#[$doc])* $reason, )*}

        /// The table of reasons, in the order of [`Reason`].
        pub static REASONS: [ReasonRow; Reason::ALL.len()] = [$(
            ReasonRow { name: $name, label: $label, im_code: $im_code },
        )*];

        impl Reason {
            /// Every reason, in order.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$reason),*];
        }
    };
}

reasons! {
    /// The edition expired and its grace is over.
    ServiceStopped = "SERVICE_STOPPED", "service_stopped", ImCodeKey::Of("service_stopped");
    /// Accounts per app.
    AccountsPerApp = "ACCOUNTS_PER_APP", "accounts_per_app", ImCodeKey::Of("accounts_per_app");
    /// Friends of the user who adds.
    MyFriends = "MY_FRIENDS", "my_friends", ImCodeKey::Of("my_friends");
    /// Friends of the user who is added.
    PeerFriends = "PEER_FRIENDS", "peer_friends", ImCodeKey::Of("peer_friends");
    /// Groups of the owner, joining or invited user.
    GroupsPerUser = "GROUPS_PER_USER", "groups_per_user", ImCodeKey::Of("groups_per_user");
    /// Groups of a type that exist at the same time.
    GroupsPerApp = "GROUPS_PER_APP", "groups_per_app", ImCodeKey::OfTypeOr("groups_per_day");
    /// Net-new groups in a day.
    GroupsPerDay = "GROUPS_PER_DAY", "groups_per_day", ImCodeKey::Of("groups_per_day");
    /// Members of the group, at a join or add.
    MembersPerGroup = "MEMBERS_PER_GROUP", "members_per_group", ImCodeKey::Of("members_per_group");
    /// Members of the group, in the list given at creation.
    MembersAtCreation =
        "MEMBERS_AT_CREATION", "members_at_creation", ImCodeKey::Of("members_at_creation");
    /// Groups of all types that exist at the same time, beyond the free number, on an edition
    /// without postpaid.
    GroupsAllowance = "GROUPS_ALLOWANCE", "groups_allowance", ImCodeKey::Of("groups_per_day");
    /// A limit that has no reason of its own: its id says which.
    Limit = "LIMIT", "limit", ImCodeKey::OfOr("limit", "groups_per_day");
}

impl Reason {
    /// Returns the row of the reason.
    #[must_use]
    pub const fn row(self) -> &'static ReasonRow {
        &REASONS[self as usize]
    }

    /// The name in capitals, as in error details and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().name
    }
}
