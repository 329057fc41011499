//! Panics: each is one ERROR line of the log, and counted.
//!
//! What a panic ends depends on where it happens: a call, a task of the process, or a thread that
//! writes a file. The README's section "A panic" has the list.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{LazyLock, Once};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tracing::{Level, error};

/// Panics of the whole process, since it has one hook for all of them.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

/// Logs and counts every later panic, once the log has been started. Where the log leaves errors
/// out, what Rust prints by itself is printed.
pub fn log_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let printed = take_hook();
        set_hook(Box::new(move |panic| {
            PANICS.inc();
            if tracing::enabled!(Level::ERROR) {
                log(panic);
            } else {
                printed(panic);
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
    let help = "Panics of the process: each is a bug, and an ERROR line of the log says where";
    registry.register("panics", help, PANICS.clone());
}
