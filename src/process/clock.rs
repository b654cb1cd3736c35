//! The clocks of the kernel.

use rustix::time::clock_gettime;

use crate::event::Nanos;

pub(crate) use rustix::time::ClockId;

/// The one clock of all events.
pub fn now() -> Nanos {
    read(ClockId::Monotonic)
}

pub(crate) fn read(clock: ClockId) -> Nanos {
    let time = clock_gettime(clock);
    Nanos(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}
