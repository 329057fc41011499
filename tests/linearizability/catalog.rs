//! A catalog with limits for which a few clients contend, and whose groups stay when empty.

use serde_json::{Value, json};

/// The file, as `--catalog` reads it.
pub const TEXT: &str = r#"
schema = 1
version = "history"
time_zone = "Asia/Shanghai"
default_edition = "trial"

[validity]
edition_grace_days = 7
add_on_grace_days = 0
after_grace = "stop"
full_refund_days = 5
full_refunds_per_app = 1

[groups]
per_day = 1000000

[batch]
accounts_max = 100
members_max = 500
friends_max = 1000

[failure]
accounts_per_app = "closed"
friends_per_user = "open"
groups_per_user = "open"
members_per_group = "open"
groups_per_app = "closed"
groups_per_day = "open"
per_user_max = 10
per_group_max = 50
per_app_max = 10000

[metering]
final_day = 3

[metering.dau]
free = 0
unit = 1
price_fen_per_unit = 1

[metering.groups]
first_day = 4
free = 1000000
unit = 1
price_fen_per_unit = 1

[metering.message_history]
free_days = 7
days_max = 7
unit = 1
price_fen_per_unit = 1

[[metering.bandwidth]]
region = "mainland"
label = "Mainland"
price_fen_per_mbps_day = 1

[im_codes]
service_stopped = 60020
accounts_per_app = 70398
my_friends = 30010
peer_friends = 30014
groups_per_user = 10037
groups_per_day = 10006
members_per_group = 10014
members_at_creation = 10038
batch_of_accounts = 70206
batch_of_members = 10005

[[editions]]
id = "trial"
label = "Trial"
add_ons_allowed = false
postpaid_allowed = false

[editions.limits]
accounts_per_app = 3
friends_per_user = 2
groups_per_user = 3
members_per_group = 3
"groups_per_app/AVChatRoom" = 2

[[group_types]]
name = "Public"
label = "Public group"
member_cap = 9
members_tracked = true
counts_towards_user = true
per_app = "unlimited"
per_day = "unlimited"
reclaim_empty = false
per_app_im_code = 10006

[[group_types]]
name = "AVChatRoom"
label = "Audio-video chat room"
member_cap = "unlimited"
members_tracked = false
counts_towards_user = false
per_app = "unlimited"
per_day = "unlimited"
reclaim_empty = false
per_app_im_code = 10036
"#;

/// The limits by the checker's names.
pub fn limits() -> Value {
    json!({
        "groups_per_user": 3,
        "members_per_group": 3,
        "friends_per_user": 2,
        "rooms_per_app": 2,
        "accounts_per_app": 3,
    })
}
