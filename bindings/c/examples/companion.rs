//! The companion of `bindings/dotnet/tests/Together.cs`: shares a mutex and two events with a C# program, which made them, and
//! is killed while it has the mutex.
//!
//! Started with the name of a space; ends when its input does, or when it is killed.

use std::error::Error;
use std::io::stdin;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{
    Kind, Space,
    sync::{Event, Mutex, Reset},
};

const COUNTER: Kind = Kind::raw(1);
const ROUNDS: u32 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("expected the name of a space")?;
    let space = Space::options().attach(&name)?;
    let me = space.join()?;
    // The first process creates it.
    let mutex = Mutex::create_or_open(&me, "lock")?.into_inner();
    let answer = Event::create_or_open(&me, "answer", Reset::Auto)?.into_inner();
    let question = Event::open(&me, "question")?;
    let mut local = me.local();
    let counter = local.open_named("counter", COUNTER)?;
    // SAFETY: 8 bytes, aligned to 8, mapped while we are a member, which holds the handle; all programs change them by
    // atomic operations only.
    let count = unsafe { AtomicU64::from_ptr(local.payload(&counter)?.as_ptr().cast()) };

    for _ in 0..ROUNDS {
        let _locked = mutex.lock()?;
        // Not one operation: it is the mutex that makes the sum right.
        // Relaxed, both: ordered by the mutex.
        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }
    answer.set()?;
    question.wait(None)?;
    let locked = mutex.lock()?;
    answer.set()?;
    // To be killed.
    let _ = stdin().read_line(&mut String::new());
    drop(locked);
    Ok(())
}
