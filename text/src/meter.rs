//! Memory of the work that watch.rs runs, and of what it leaves behind.
//!
//! A template or a grammar can ask for any amount of memory in one step, and an allocator may neither fail (that
//! aborts the process) nor unwind. So the allocator counts for threads that carry a meter, and one
//! that reaches the hard limit is parked inside its allocation for ever: nothing it holds can be
//! dropped, but the process goes on and memory stays bounded. The checks in guard.rs stop a template
//! in good order long before, at a quarter of that; parking is for what they cannot see. A compiled
//! constraint keeps its meter, without parking: its steps run on the caller's thread.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr::null;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};

const HARD_OVER_SOFT: i64 = 4;

/// Watched from outside while its thread works. Plain counters: no data is published through them.
pub struct Meter {
    /// Allocated less freed by the thread. Below 0 when it frees what others allocated.
    live_bytes: AtomicI64,
    limit_bytes: i64,
    /// Set by the watcher: end in good order.
    stop: AtomicBool,
    may_park: AtomicBool,
    parked: AtomicBool,
}

thread_local! {
    static METER: Cell<*const Meter> = const { Cell::new(null()) };
}

impl Meter {
    pub fn new(limit_bytes: u64) -> Self {
        Meter {
            live_bytes: AtomicI64::new(0),
            limit_bytes: limit_bytes.min(i64::MAX as u64 / 8) as i64,
            stop: AtomicBool::new(false),
            may_park: AtomicBool::new(true),
            parked: AtomicBool::new(false),
        }
    }

    /// Runs `f` with this thread's allocations on the meter.
    pub fn measure<T>(&self, f: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                METER.with(|m| m.set(null()));
            }
        }
        METER.with(|m| m.set(self));
        let _reset = Reset;
        f()
    }

    pub fn request_stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn is_parked(&self) -> bool {
        self.parked.load(Relaxed)
    }

    /// From now on a thread over the hard limit goes on.
    pub fn never_park(&self) {
        self.may_park.store(false, Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.live_bytes.load(Relaxed) > self.limit_bytes
    }

    fn count(&self, bytes: i64) {
        let live = self.live_bytes.fetch_add(bytes, Relaxed) + bytes;
        let hard = self.limit_bytes * HARD_OVER_SOFT;
        if bytes > 0 && live > hard && self.may_park.load(Relaxed) {
            self.parked.store(true, Relaxed);
            loop {
                unsafe { libc::pause() };
            }
        }
    }
}

/// Why this thread should end what it does, if it should.
pub fn over_limit() -> Option<&'static str> {
    METER.with(|m| {
        // SAFETY: measure() resets the pointer before the meter it borrows can go.
        let meter = unsafe { m.get().as_ref()? };
        // Memory first: how much it takes does not depend on how busy the machine is.
        if meter.is_over() {
            Some("it takes too much memory")
        } else if meter.stop.load(Relaxed) {
            Some("it takes too long")
        } else {
            None
        }
    })
}

fn count(bytes: i64) {
    METER.with(|m| {
        // SAFETY: as above.
        if let Some(meter) = unsafe { m.get().as_ref() } {
            meter.count(bytes);
        }
    });
}

pub struct MeteredAllocator;

// SAFETY: every call goes to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for MeteredAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}
