//! Determines whether a server is a master from the views of several nodes of its cluster: pure.

use std::collections::HashMap;

/// The masters from the view of one node, read from its reply to `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    /// The masters, by id.
    masters: HashMap<String, Master>,
    /// The id of the node itself.
    myself: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    epoch: u64,
    is_failing: bool,
    /// True if it serves slots, which gives it a vote.
    serves: bool,
}

impl View {
    /// Parses the reply; lines that are malformed name no master.
    pub(super) fn read(nodes: &str) -> Self {
        let mut view = Self::default();
        for line in nodes.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [id, _, flags, _, _, _, epoch, _, slots @ ..] = &fields[..] else { continue };
            let has = |flag: &str| flags.split(',').any(|it| it == flag);
            if has("myself") {
                (*id).clone_into(&mut view.myself);
            }
            // Slots in brackets are migrating to or from another node.
            let serves = slots.iter().any(|slot| !slot.starts_with('['));
            if let Ok(epoch) = epoch.parse()
                && has("master")
            {
                let is_failing = has("fail") || has("fail?");
                view.masters.insert((*id).to_owned(), Master { epoch, is_failing, serves });
            }
        }
        view
    }

    /// Returns the number of masters that have a vote.
    fn voters(&self) -> usize {
        self.masters.values().filter(|master| master.serves).count()
    }
}

/// Checks whether a majority of the masters agrees with the node of `own` that it is a master;
/// returns the reason if not. `others`: the views of other nodes.
pub(super) fn majority_agrees(own: &View, others: &[View]) -> Result<(), String> {
    let Some(own_entry) = own.masters.get(&own.myself) else {
        return Err("it is no master".to_owned());
    };
    let all = || std::iter::once(own).chain(others);
    let of = all().map(View::voters).max().unwrap_or(0);
    let mut agreeing = 0;
    let mut voters = Vec::new();
    for view in all() {
        match view.masters.get(&own.myself) {
            Some(seen) if seen.epoch == own_entry.epoch && !seen.is_failing => {}
            _ => return Err("a node of the cluster does not list it as a master".to_owned()),
        }
        // Replicas do not vote, and a node that is queried at two addresses votes once.
        let is_voter = view.masters.get(&view.myself).is_some_and(|master| master.serves);
        if is_voter && !voters.contains(&&view.myself) {
            voters.push(&view.myself);
            agreeing += 1;
        }
    }
    if agreeing > of / 2 {
        Ok(())
    } else {
        Err(format!("{agreeing} of {of} masters of the cluster answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three masters and a replica in the reply of one of them; `changed` replaces texts.
    fn nodes(myself: &str, changed: &[(&str, &str)]) -> View {
        let mut text = "a 10.0.0.1:1@11 master - 0 0 1 connected 0-5460\n\
                        b 10.0.0.2:1@11,host master - 0 0 2 connected 5461-10922\n\
                        c 10.0.0.3:1@11 master - 0 0 3 connected 10923-16383 [5-<-a]\n\
                        r 10.0.0.4:1@11 slave a 0 0 1 connected\n"
            .to_owned();
        for (from, to) in changed {
            assert!(text.contains(from));
            text = text.replace(from, to);
        }
        let line = text.find(&format!("{myself} 10")).expect("a node");
        let address = text[line + 2..].find(' ').expect("flags follow");
        text.insert_str(line + 2 + address + 1, "myself,");
        View::read(&text)
    }

    fn empty(mut view: View) -> View {
        view.masters.get_mut("a").expect("a master").serves = false;
        view
    }

    #[test]
    fn a_master_is_confirmed_by_a_majority() {
        let own = || nodes("a", &[]);
        let (b, c, r) = (nodes("b", &[]), nodes("c", &[]), nodes("r", &[]));
        let promoted = [
            (
                "a 10.0.0.1:1@11 master - 0 0 1 connected 0-5460",
                "a 10.0.0.1:1@11 slave r 0 0 4 connected",
            ),
            ("slave a 0 0 1 connected", "master - 0 0 4 connected 0-5460"),
        ];
        let failing = [("1@11 master - 0 0 1", "1@11 master,fail? - 0 0 1")];
        let newer = [("0 0 1 connected 0-5460", "0 0 9 connected 0-5460")];
        for (own, others, is_master) in [
            (own(), vec![b.clone(), c.clone()], true),
            (own(), vec![b.clone()], true),
            (own(), vec![], false),
            // A replica has no vote, and no node has two.
            (own(), vec![r], false),
            (own(), vec![own()], false),
            (own(), vec![b.clone(), nodes("c", &promoted)], false),
            (own(), vec![b.clone(), nodes("c", &failing)], false),
            (own(), vec![b.clone(), nodes("c", &newer)], false),
            (nodes("a", &promoted), vec![b.clone(), c.clone()], false),
            // A master that serves no slots yet has no vote.
            (empty(nodes("a", &[])), vec![empty(b.clone()), empty(c.clone())], true),
            (empty(nodes("a", &[])), vec![empty(b)], false),
        ] {
            assert_eq!(majority_agrees(&own, &others).is_ok(), is_master, "{own:?} {others:?}");
        }
    }
}
