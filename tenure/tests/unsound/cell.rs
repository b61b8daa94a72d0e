//! A value whose archive belongs to one thread, as a `Cell` does, would be shared by many.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;

use rkyv::{Archive, Serialize};
use tenure::Space;

#[derive(Archive, Serialize)]
struct Own {
    number: u32,
    of_one_thread: PhantomData<Cell<u32>>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let handle = me.create(&Own { number: 7, of_one_thread: PhantomData })?;
    std::thread::scope(|scope| {
        scope.spawn(|| handle.get().is_ok());
    });
    Ok(())
}
