//! Panic hook: logs each panic as one line at ERROR, and counts it.
//!
//! A panic ends a call, a task of the process, or a thread that writes a file, depending on where
//! it happens. The section "Panics" of docs/operations.md has the list.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{LazyLock, Once};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::{Level, error};

/// Number of panics; static, because a process has one panic hook.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Installs the hook, which logs and counts every later panic. If the log does not include errors,
/// the default hook prints the panic.
pub fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let default_hook = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.inc();
            if tracing::enabled!(Level::ERROR) {
                log(panic);
            } else {
                default_hook(panic);
            }
        }));
    });
}

fn log(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    let text = panic.payload().downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.payload().downcast_ref::<&str>().copied());
    let message = text.unwrap_or("not a text");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        error!(thread, location, cause = message, %backtrace, "panicked");
    } else {
        error!(thread, location, cause = message, "panicked");
    }
}

pub(super) fn register(registry: &mut Registry) {
    let help = "Panics of the process: each is a bug; an ERROR line of the log has the location";
    registry.register("panics", help, PANICS.clone());
}
