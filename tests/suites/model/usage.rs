//! The model's counts and limits, in the form of usage readings.

use super::allowed::Allowed;
use super::calendar::day_of;
use super::counts::{count, members_of};
use super::operation::Who;
use super::rules::{FREE, Rules};
use super::state::App;

/// One count against its limit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub limit_id: String,
    pub used: i64,
    pub limit: u64,
    /// The instant of the next change, the new limit, and whether the service has stopped.
    pub change: Option<(i64, u64, bool)>,
}

/// Every count of a subject, sorted by limit; `None` if the group does not exist.
pub fn usage(app: &App, rules: &Rules, now: i64, who: Who) -> Option<Vec<Line>> {
    let reader = Reader { app, rules, now };
    let mut lines = match who {
        Who::App => reader.of_app(),
        Who::User(user) => {
            let groups = app.paid_groups_of(rules, user);
            vec![
                reader.line("friends_per_user", signed(app.friend_count(user)), |a| a.friends),
                reader.line("groups_per_user", signed(groups), |a| a.groups),
            ]
        }
        Who::Group(group) => {
            let state = app.groups.get(&group)?;
            let cap = |allowed: &Allowed| allowed.member_cap(rules, state.kind, state.max);
            vec![reader.line("members_per_group", signed(members_of(state)), cap)]
        }
    };
    lines.sort();
    Some(lines)
}

struct Reader<'a> {
    app: &'a App,
    rules: &'a Rules,
    now: i64,
}

impl Reader<'_> {
    fn of_app(&self) -> Vec<Line> {
        let (app, rules, today) = (self.app, self.rules, day_of(self.now));
        let accounts = signed(count(app.accounts.len()));
        let allowed = app.purchases.allowed(rules, self.now);
        let mut lines = vec![
            self.line("accounts_per_app", accounts, |allowed| allowed.accounts),
            self.line("groups_per_day", app.net_of_day(today), |allowed| {
                allowed.groups_per_day(rules)
            }),
        ];
        for (kind, rule) in rules.kinds.iter().enumerate() {
            let name = rule.name;
            let used = signed(app.groups_of_kind(kind));
            let at_once = |allowed: &Allowed| allowed.groups_of_kind(rules, kind);
            lines.push(self.line(&format!("groups_per_app/{name}"), used, at_once));
            let of_day = |allowed: &Allowed| allowed.groups_of_kind_per_day(rules, kind);
            if of_day(&allowed) != FREE {
                let used = app.net_of_kind(today, kind);
                lines.push(self.line(&format!("groups_per_day/{name}"), used, of_day));
            }
        }
        if allowed.qualified.all_groups != FREE {
            let used = signed(count(app.groups.len()));
            let of_all = |allowed: &Allowed| allowed.qualified.all_groups;
            lines.push(self.line("groups_per_app", used, of_all));
        }
        if allowed.all_groups != FREE {
            let used = signed(count(app.groups.len()));
            lines.push(self.line("groups_per_app", used, |allowed| allowed.all_groups));
        }
        lines
    }

    fn line(&self, limit_id: &str, used: i64, limit: impl Fn(&Allowed) -> u64) -> Line {
        let at = |instant| {
            let allowed = self.app.purchases.allowed(self.rules, instant);
            (limit(&allowed), allowed.stopped())
        };
        let now = at(self.now);
        let mut later = self.app.purchases.boundaries(self.now).into_iter();
        let change = later.find(|instant| at(*instant) != now).map(|instant| {
            let (limit, stopped) = at(instant);
            (instant, limit, stopped)
        });
        Line { limit_id: limit_id.to_owned(), used, limit: now.0, change }
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).expect("fits")
}
