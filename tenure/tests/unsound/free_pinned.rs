//! A pinned block is freed although other processes may still use its bytes.
#![forbid(unsafe_code)]

use std::alloc::Layout;

use tenure::Space;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let offset = me.alloc(Layout::new::<[u8; 100]>())?.pin()?;
    me.free_pinned(offset)?;
    Ok(())
}
