//! A `Handle` is closed by its token while the payload is borrowed.
#![forbid(unsafe_code)]

use tenure::{Kind, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let handle = me.create_raw(Kind::raw(1), &[1; 100])?;
    let slice = handle.get()?;
    me.local().close_token(handle.token())?;
    println!("{slice:?}");
    Ok(())
}
