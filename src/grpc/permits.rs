//! Permits of long or heavy calls: a bounded number in flight, and half of them for one caller.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tonic::Status;

use super::caller::CallerKey;
use super::status::of_too_many_calls;

/// Divisor of the number of permits for the part of one caller, rounded up.
const CALLER_PART: usize = 2;

/// The permits of some RPCs.
#[derive(Debug, Clone)]
pub struct Permits(Arc<Bounded>);

#[derive(Debug)]
struct Bounded {
    /// The RPCs, for messages.
    what: &'static str,
    most: usize,
    most_of_caller: usize,
    in_flight: Mutex<InFlight>,
}

/// Numbers of calls in flight.
#[derive(Debug, Default)]
struct InFlight {
    all: usize,
    by_caller: HashMap<CallerKey, usize>,
}

/// The permit of one call, which is in flight until this is dropped.
#[derive(Debug)]
pub struct Permit {
    bounded: Arc<Bounded>,
    caller: CallerKey,
}

impl Permits {
    /// Creates permits for at most `most` calls in flight, and half of them for one caller.
    #[must_use]
    pub fn new(what: &'static str, most: usize) -> Self {
        let (most_of_caller, in_flight) = (most.div_ceil(CALLER_PART), Mutex::default());
        Self(Arc::new(Bounded { what, most, most_of_caller, in_flight }))
    }

    /// Returns a permit for one more call, or RESOURCE_EXHAUSTED with the bound that is reached.
    pub fn try_acquire(&self, caller: &CallerKey) -> Result<Permit, Status> {
        let Bounded { what, most, most_of_caller, .. } = &*self.0;
        let mut in_flight = self.0.in_flight();
        if in_flight.all >= *most {
            return Err(of_too_many_calls(what, *most, None));
        }
        let of_caller = in_flight.by_caller.entry(caller.clone()).or_default();
        if *of_caller >= *most_of_caller {
            return Err(of_too_many_calls(what, *most_of_caller, Some(caller.name())));
        }
        *of_caller += 1;
        in_flight.all += 1;
        Ok(Permit { bounded: self.0.clone(), caller: caller.clone() })
    }
}

impl Bounded {
    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.in_flight.lock()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut in_flight = self.bounded.in_flight();
        in_flight.all -= 1;
        if let Entry::Occupied(mut of_caller) = in_flight.by_caller.entry(self.caller.clone()) {
            *of_caller.get_mut() -= 1;
            if *of_caller.get() == 0 {
                of_caller.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    fn refusal(permits: &Permits, caller: &CallerKey) -> (String, HashMap<String, String>) {
        let status = permits.try_acquire(caller).expect_err("all permits are taken");
        assert_eq!(status.code(), Code::ResourceExhausted);
        let info = status.get_details_error_info().expect("it has a reason");
        assert_eq!(info.reason, "TOO_MANY_CALLS");
        (status.message().to_owned(), info.metadata)
    }

    #[test]
    fn one_caller_has_half_and_all_have_no_more_than_there_are() {
        let permits = Permits::new("WatchEvents", 4);
        let [ann, bob, eve] = ["ann", "bob", "eve"].map(|name| CallerKey::of(name, ""));
        let mut of_ann =
            vec![permits.try_acquire(&ann).unwrap(), permits.try_acquire(&ann).unwrap()];
        let (message, bound) = refusal(&permits, &ann);
        assert_eq!(
            message,
            "\"ann\" has 2 calls of WatchEvents in flight, the most for one caller; end \
             one of them first"
        );
        assert_eq!((bound["max"].as_str(), bound["caller"].as_str()), ("2", "ann"));
        let of_others = [permits.try_acquire(&bob).unwrap(), permits.try_acquire(&eve).unwrap()];
        let (message, bound) = refusal(&permits, &bob);
        assert!(
            message.starts_with("4 calls of WatchEvents are in flight, the most for all callers")
        );
        assert_eq!(bound.get("caller"), None);
        of_ann.pop();
        let again = permits.try_acquire(&bob).unwrap();
        drop((of_ann, of_others, again));
        let in_flight = permits.0.in_flight();
        assert_eq!((in_flight.all, in_flight.by_caller.len()), (0, 0), "nothing stays counted");
    }

    #[test]
    fn a_single_permit_is_for_any_caller() {
        let permits = Permits::new("CreateBackup", 1);
        let ann = CallerKey::of("ann", "");
        let _permit = permits.try_acquire(&ann).unwrap();
        assert!(refusal(&permits, &ann).0.starts_with("1 call of CreateBackup is in flight"));
    }
}
