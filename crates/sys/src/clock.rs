// SPDX-License-Identifier: Apache-2.0
//! The clock by which steps are timed, and the host's wall clock as its users read it.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on `CLOCK_MONOTONIC`: the same clock in every process of the machine, so steps of the client, the
/// daemon and the container's child can be put on one line (time namespaces shift it inside a container).
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A moment in the host's time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalTime {
    /// The year, such as 2026.
    pub year: i32,
    /// The month, 0 to 11.
    pub month: usize,
    /// The day of the month, 1 to 31.
    pub day: i32,
    /// The day of the year, 0 to 365.
    pub day_of_year: i32,
    /// 0 to 23.
    pub hour: i32,
    /// 0 to 59.
    pub minute: i32,
}

/// Seconds since 1970 in the host's time zone (localtime_r(3)); `None` for a year that fits in no number.
pub fn local_time(seconds: i64) -> Option<LocalTime> {
    let mut broken = std::mem::MaybeUninit::<libc::tm>::uninit();
    // SAFETY: both pointers are valid for the call, which fills the whole structure unless it returns null.
    let broken = unsafe {
        if libc::localtime_r(&raw const seconds, broken.as_mut_ptr()).is_null() {
            return None;
        }
        broken.assume_init()
    };
    Some(LocalTime {
        year: broken.tm_year + 1900,
        month: usize::try_from(broken.tm_mon).ok()?,
        day: broken.tm_mday,
        day_of_year: broken.tm_yday,
        hour: broken.tm_hour,
        minute: broken.tm_min,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn local_time_is_within_a_day_of_utc() {
        let time = super::local_time(951_782_400 + 43_200).unwrap();
        assert_eq!((time.year, time.month), (2000, if time.day == 1 { 2 } else { 1 }));
        assert!(matches!(time.day, 28 | 29 | 1) && (0..60).contains(&time.minute) && (0..24).contains(&time.hour));
    }
}
