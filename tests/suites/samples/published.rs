//! The published numbers, written by hand from the vendors' pages.
//!
//! A table has a column for each edition. `price` is a month's, in whole CNY or USD: `-` for the
//! default edition, which is not sold, and `request` where none is published. Below it are the
//! finite limits: `-` is unlimited, or a number that the vendor does not publish. Lines that begin
//! with `rule` are finite rules of all editions, and with `add-on` an add-on: its id, limit,
//! value and price. `charged` are the editions whose usage is charged, by each `meter`: its id,
//! what it counts, what is free, the unit and its price, in whole CNY or USD.

use std::collections::BTreeMap;

/// Each file of the folder and its table.
pub const PUBLISHED: &[(&str, &str)] = &[
    (
        "tencent-im-2019",
        "edition                    trial  professional
         price                          -           999
         accounts_per_app             100             -
         friends_per_user              20          3000
         groups_per_user               50           200
         members_per_group             20           200
         groups_per_app/AVChatRoom     10            50
         rule members_per_group/Private 200
         rule members_per_group/Public 2000
         rule members_per_group/ChatRoom 6000
         rule groups_per_app/BChatRoom 5
         rule groups_per_day/BChatRoom 5
         rule groups_per_day 10000
         add-on members-2000 members_per_group 2000 500
         add-on members-6000 members_per_group 6000 1000
         add-on groups-per-user-400 groups_per_user 400 500
         add-on groups-per-user-700 groups_per_user 700 900
         add-on groups-per-user-1000 groups_per_user 1000 1100
         add-on av-chat-rooms-unlimited groups_per_app/AVChatRoom - 1000
         charged professional",
    ),
    (
        "easemob-2023",
        "edition                    free  professional  flagship  exclusive
         price                         -           888      2888       4888
         accounts_per_app            100             -         -          -
         friends_per_user            100          3000         -          -
         groups_per_user             100           600         -          -
         members_per_group           100           300      3000       8000
         groups_per_app/chatgroup    100        100000         -          -
         groups_per_app/chatroom      10           100         -          -
         active_users_per_day        100             -         -          -
         charged professional flagship exclusive
         meter dau logins day_distinct_peak free 10000 unit 10000 down price 850",
    ),
    // The 6000 members and 3000 groups of enterprise could not be verified.
    (
        "tencent-chat-cn-2025",
        "edition                      trial  professional  flagship  enterprise
         price                            -          1499      2999     request
         friends_per_user                20          3000      3000        3000
         groups_per_user                 50           500      1000           -
         members_per_group               20           200      2000           -
         members_per_group/Community      -             -    100000      100000
         groups_per_app                 100             -         -           -
         groups_per_app/AVChatRoom       10            50         -           -
         groups_per_app/Community         0             0    100000      100000
         groups_per_day               10000         10000     10000       50000
         charged professional flagship enterprise
         meter dau logins day_distinct_peak free 10000 unit 10000 up price 1000",
    ),
    // The edition `none` is not the vendor's: it stands for an app without a trial.
    (
        "tencent-chat-intl-2025",
        "edition                   none  trial  standard   pro  pro-plus  enterprise
         price                        -   free       399   699   request     request
         accounts_per_app             1      -         -     -         -           -
         friends_per_user             0      -         -     -         -           -
         groups_per_user              0     50      1000  1000      3000        5000
         members_per_group            1     20       500  2000      5000        6000
         groups_per_app               0    100         -     -         -           -
         groups_per_app/Community     0      0         0     -         -           -
         charged trial standard pro pro-plus enterprise
         meter mau logins month_distinct free trial 100 standard 10000 pro 10000 \
           pro-plus 10000 enterprise 10000 unit 1 price 0.015",
    ),
    (
        "agora-chat-2026",
        "edition                     free  starter    pro  enterprise
         price                          -      349    699     request
         friends_per_user             100      250   1000       10000
         groups_per_user              100     1000   2000           -
         members_per_group            100      250   1000        5000
         members_per_group/chatroom   100     2000  10000           -
         groups_per_app/chatgroup     100    10000  50000           -
         active_users_per_month       500        -      -           -
         charged starter pro
         meter mau logins month_distinct free starter 5000 pro 10000 unit 1 price 0.05",
    ),
    (
        "rongcloud-2025",
        "edition            default  premium  ultimate
         price                    -      300       500
         members_per_group     3000     3000      3000",
    ),
    (
        "cometchat-2026",
        "edition           build  metered
         price                 -     free
         friends_per_user   1000     1000
         groups_per_user    2000     2000
         active_users_per_month 100      -
         rule members_per_group/group-with-receipts 300
         rule members_per_group/group 100000
         charged metered
         meter mau logins month_distinct free 0 unit 1 price 0.1
         meter connections gauge connections month_peak free 5 % of mau unit 1 price 1",
    ),
    (
        "self-hosted",
        "edition                openim  mattermost  rocket-chat
         price                       -        free         free
         accounts_per_app            -       11000           50
         members_per_group      100000           -            -
         members_per_group/team      -          50            -",
    ),
    (
        "community",
        "edition                community
         price                          -
         friends_per_user            1000
         groups_per_user              100
         groups_per_app/channel       500
         rule members_per_group/group-dm 10",
    ),
];

/// Finite limits by id.
pub type Numbers = BTreeMap<String, u64>;

/// An edition of a table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Edition {
    pub id: String,
    pub price: String,
    pub limits: Numbers,
}

/// An add-on of a table; `limit` is `None` if it is unlimited.
#[derive(Debug, PartialEq, Eq)]
pub struct AddOn {
    pub id: String,
    pub limit_id: String,
    pub limit: Option<u64>,
    pub price: String,
}

/// A table.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub editions: Vec<Edition>,
    pub rules: Numbers,
    pub add_ons: Vec<AddOn>,
    pub charged: Vec<String>,
    pub meters: Vec<String>,
}

/// A number, or `None` for `-`.
fn number(word: &str) -> Option<u64> {
    (word != "-").then(|| word.parse().unwrap_or_else(|_| panic!("{word} is no number")))
}

/// The table of a file.
pub fn of(name: &str) -> Published {
    let found = PUBLISHED.iter().find(|(of, _)| *of == name);
    let mut published = Published::default();
    for line in found.unwrap_or_else(|| panic!("{name} has no table")).1.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match *words {
            ["edition", ref ids @ ..] => {
                let edition = |id: &&str| Edition { id: (*id).to_owned(), ..Edition::default() };
                published.editions = ids.iter().map(edition).collect();
            }
            ["rule", id, limit] => {
                published.rules.insert(id.to_owned(), number(limit).expect("finite"));
            }
            ["add-on", id, limit_id, limit, price] => published.add_ons.push(AddOn {
                id: id.to_owned(),
                limit_id: limit_id.to_owned(),
                limit: number(limit),
                price: price.to_owned(),
            }),
            ["charged", ref ids @ ..] => {
                published.charged = ids.iter().map(|id| (*id).to_owned()).collect();
            }
            ["meter", ref words @ ..] => published.meters.push(words.join(" ")),
            [of, ref cells @ ..] => {
                assert_eq!(cells.len(), published.editions.len(), "{name}: {line}");
                for (edition, cell) in published.editions.iter_mut().zip(cells) {
                    if of == "price" {
                        (*cell).clone_into(&mut edition.price);
                    } else if let Some(limit) = number(cell) {
                        edition.limits.insert(of.to_owned(), limit);
                    }
                }
            }
            [] => panic!("{name}: an empty line"),
        }
    }
    published
}
