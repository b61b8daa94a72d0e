//! A raw handle is copied, and closed through another local while the slice is used.
#![forbid(unsafe_code)]

use tenure::{Kind, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let (one, mut other) = (me.local(), me.local());
    let held = other.create(Kind::raw(1), &[1; 100])?;
    let slice: &[u8] = one.get(&held)?;
    other.close(held)?;
    println!("{slice:?}");
    Ok(())
}
