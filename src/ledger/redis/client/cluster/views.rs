//! The state of a master as several nodes of its cluster see it: pure.

use std::collections::HashMap;

/// The masters as one node sees them, from its reply to `CLUSTER NODES`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    /// The masters, by id.
    masters: HashMap<String, Master>,
    /// The id of that node.
    myself: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Master {
    epoch: u64,
    is_failing: bool,
    /// Whether it serves slots: then it has a vote.
    serves: bool,
}

impl View {
    /// Reads the reply; lines that cannot be read name no master.
    pub(super) fn read(nodes: &str) -> Self {
        let mut view = Self::default();
        for line in nodes.lines() {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [id, _, flags, _, _, _, epoch, _, slots @ ..] = &fields[..] else { continue };
            let has = |flag: &str| flags.split(',').any(|it| it == flag);
            if has("myself") {
                (*id).clone_into(&mut view.myself);
            }
            // Slots in brackets are on their way from or to another node.
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

    /// Masters that have a vote.
    fn voters(&self) -> usize {
        self.masters.values().filter(|master| master.serves).count()
    }
}

/// Whether a majority of the masters agrees with the one that sent `own` that it is a master;
/// otherwise why not. `others`: the views of other nodes.
pub(super) fn majority_agrees(own: &View, others: &[View]) -> Result<(), String> {
    let Some(itself) = own.masters.get(&own.myself) else {
        return Err("it is no master".to_owned());
    };
    let all = || std::iter::once(own).chain(others);
    let of = all().map(View::voters).max().unwrap_or(0);
    let mut agreeing = 0;
    let mut voters = Vec::new();
    for view in all() {
        match view.masters.get(&own.myself) {
            Some(seen) if seen.epoch == itself.epoch && !seen.is_failing => {}
            _ => return Err("a node of the cluster says that it is no master".to_owned()),
        }
        // Replicas do not vote, and a node that is asked by two addresses votes once.
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

    /// Three masters and a replica as one of them says it; `changed` replaces texts.
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
    fn a_master_stays_one_by_the_word_of_a_majority() {
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
        for (own, others, is_it) in [
            (own(), vec![b.clone(), c.clone()], true),
            (own(), vec![b.clone()], true),
            (own(), vec![], false),
            // A replica has no vote, and no one has two.
            (own(), vec![r], false),
            (own(), vec![own()], false),
            (own(), vec![b.clone(), nodes("c", &promoted)], false),
            (own(), vec![b.clone(), nodes("c", &failing)], false),
            (own(), vec![b.clone(), nodes("c", &newer)], false),
            (nodes("a", &promoted), vec![b.clone(), c.clone()], false),
            // One that serves no slots yet has no vote.
            (empty(nodes("a", &[])), vec![empty(b.clone()), empty(c.clone())], true),
            (empty(nodes("a", &[])), vec![empty(b)], false),
        ] {
            assert_eq!(majority_agrees(&own, &others).is_ok(), is_it, "{own:?} {others:?}");
        }
    }
}
