//! Runs work that a stranger wrote (a template, a grammar) on a thread of its own, under watch.

use std::os::unix::thread::JoinHandleExt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::abi::{panic_text, silence_panics};
use crate::meter::Meter;
use crate::Refusal;

/// Address space, of which only what is used becomes memory. A template's macros and loops recurse on
/// it, and namespaces that hold each other nest as deep as fuel lets them and are dropped by recursion;
/// a schema is compiled by recursion.
const STACK_BYTES: usize = 128 << 20;

const WATCH_PERIOD: Duration = Duration::from_millis(10);

/// What one piece of work may use.
pub struct Job {
    /// Of the thread, at most 15 bytes.
    pub name: &'static str,
    /// Processor time.
    pub cpu_ms: u64,
    /// From the call to its return, however busy the machine is.
    pub wall_ms: u64,
    /// How many pieces may lie abandoned before more work is refused.
    pub max_stuck: usize,
}

/// Pieces of work that were left behind and have not ended.
#[derive(Default)]
pub struct Stuck(AtomicUsize);

struct Slot<T> {
    result: Option<Result<T, Refusal>>,
    abandoned: bool,
}

struct Exchange<T> {
    slot: Mutex<Slot<T>>,
    done: Condvar,
}

fn cpu_ms(thread: &JoinHandle<()>) -> u64 {
    // SAFETY: the handle is not joined yet, so the pthread_t is valid; both locals are live.
    unsafe {
        let mut clock = 0;
        let mut time: libc::timespec = std::mem::zeroed();
        if libc::pthread_getcpuclockid(thread.as_pthread_t() as libc::pthread_t, &mut clock) != 0
            || libc::clock_gettime(clock, &mut time) != 0
        {
            return 0;
        }
        time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
    }
}

/// `f()`, with its thread's allocations on `meter`, or an error when it goes over the limits. Past the
/// processor time it is asked to stop; past twice that, past the wall time, or parked by its meter, it
/// is left behind and counted in `stuck` until it ends.
pub fn within<T: Send + 'static>(
    job: &Job,
    meter: &Arc<Meter>,
    stuck: &Arc<Stuck>,
    f: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    if stuck.0.load(SeqCst) >= job.max_stuck {
        return Err(Refusal::of_limit("earlier work that went over its limits has not ended"));
    }
    silence_panics();
    let slot = Mutex::new(Slot { result: None, abandoned: false });
    let exchange = Arc::new(Exchange { slot, done: Condvar::new() });
    let (theirs, measured, counter) = (exchange.clone(), meter.clone(), stuck.clone());
    let work = move || {
        let result = measured.measure(|| {
            catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|p| Err(panic_text(&*p).into()))
        });
        let mut slot = theirs.slot.lock().unwrap_or_else(|e| e.into_inner());
        slot.result = Some(result);
        if slot.abandoned {
            counter.0.fetch_sub(1, SeqCst);
        }
        theirs.done.notify_one();
    };
    let thread = Builder::new()
        .name(job.name.into())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|e| format!("no thread for it: {e}"))?;
    watch(job, stuck, &exchange, meter, thread)
}

fn watch<T>(
    job: &Job,
    stuck: &Stuck,
    exchange: &Exchange<T>,
    meter: &Meter,
    thread: JoinHandle<()>,
) -> Result<T, Refusal> {
    let begin = Instant::now();
    let mut slot = exchange.slot.lock().unwrap_or_else(|e| e.into_inner());
    loop {
        if let Some(result) = slot.result.take() {
            drop(slot);
            let _ = thread.join();
            return result;
        }
        let used_ms = cpu_ms(&thread);
        if used_ms > job.cpu_ms {
            meter.request_stop();
        }
        let parked = meter.is_parked();
        let late = begin.elapsed() > Duration::from_millis(job.wall_ms);
        if parked || late || used_ms > 2 * job.cpu_ms {
            meter.request_stop();
            slot.abandoned = true;
            stuck.0.fetch_add(1, SeqCst);
            let what = if parked { "memory" } else { "time" };
            return Err(Refusal::of_limit(format!(
                "it takes too much {what} and could not be stopped"
            )));
        }
        slot = match exchange.done.wait_timeout(slot, WATCH_PERIOD) {
            Ok((slot, _)) => slot,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
}
