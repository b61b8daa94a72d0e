//! Time in nanoseconds, and signals that the kernel sends to this process at a given time.

use std::io;
use std::ptr;

use rustix::time::{ClockId, clock_gettime};

/// The time of CLOCK_MONOTONIC in ns; it is the same in every process.
pub(super) fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Spins until `time_ns`.
pub(super) fn spin_until(time_ns: u64) {
    while now_ns() < time_ns {
        std::hint::spin_loop();
    }
}

/// A timer of this process. Dropping it disarms it.
pub(super) struct Alarm(libc::timer_t);

impl Alarm {
    /// Makes the kernel send `signal` to this process at `time_ns`, from its timer interrupt: it arrives at any
    /// instruction.
    pub(super) fn at(time_ns: u64, signal: i32) -> io::Result<Self> {
        // SAFETY: all fields are integers and pointers, for which zero is valid.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        let mut timer: libc::timer_t = ptr::null_mut();
        // SAFETY: both pointers lead to values that live across the call.
        if unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let alarm = Self(timer);
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let tv_sec = (time_ns / 1_000_000_000) as libc::time_t;
        let tv_nsec = (time_ns % 1_000_000_000) as libc::c_long;
        let spec = libc::itimerspec { it_interval: zero, it_value: libc::timespec { tv_sec, tv_nsec } };
        // SAFETY: the timer is ours, `spec` lives across the call, and a null pointer for the old value is allowed.
        if unsafe { libc::timer_settime(timer, libc::TIMER_ABSTIME, &raw const spec, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(alarm)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: the timer is ours and is not used afterwards.
        unsafe { libc::timer_delete(self.0) };
    }
}
