//! The partner of `bindings/dotnet/OnTenure.cs`: opens what a C# program made, counts with it, and answers by a token.
//!
//! Started with the name of a space and the token of a counter. It reads the token of a text from its input and writes
//! the token of its answer to its output. Then it waits until its input ends, or until it is killed.

use std::alloc::Layout;
use std::error::Error;
use std::io::{BufRead, stdin};
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{Kind, Space};

const COUNTER: Kind = Kind::raw(1);
const GREETING: Kind = Kind::raw(2);
const ROUNDS: u32 = 100_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, name, token] = &arguments[..] else {
        return Err("expected the name of a space and a token".into());
    };
    let space = Space::options().attach(name)?;
    let me = space.join()?;
    let mut local = me.local();

    let counter = local.open(COUNTER, token.parse()?)?;
    let memory = local.payload(&counter)?;
    if memory.len() != 8 {
        return Err(format!("counter: expected 8 bytes, found {}", memory.len()).into());
    }
    // SAFETY: 8 bytes, aligned to 8, that are mapped while we hold the handle and that all programs change by atomic
    // operations only.
    let count = unsafe { AtomicU64::from_ptr(memory.as_ptr().cast()) };
    for _ in 0..ROUNDS {
        count.fetch_add(1, Ordering::SeqCst);
    }

    let mut lines = stdin().lock().lines();
    let token = lines.next().ok_or("expected a token, found the end")??;
    let text = me.open_raw(GREETING, token.trim().parse::<tenure::Token>()?)?;
    // Until the other one is done as well.
    while count.load(Ordering::SeqCst) < 2 * u64::from(ROUNDS) {
        std::thread::yield_now();
    }
    let answer = format!("the partner in Rust read: {}", std::str::from_utf8(text.get()?)?);
    let answer = me.create_raw(GREETING, answer.as_bytes())?;
    let _blocks =
        [100, 1000, 10_000].map(|bytes| me.alloc(Layout::from_size_align(bytes, 16).expect("a layout")));
    println!("{}", answer.token());
    for line in lines {
        line?;
    }
    Ok(())
}
