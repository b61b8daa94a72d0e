//! The memory of a `Block` is freed by its offset while it is borrowed, and becomes another `Block`.
#![forbid(unsafe_code)]

use std::alloc::Layout;

use tenure::{raw::RawBlock, Space};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let mut block = me.alloc(Layout::new::<[u8; 100]>())?;
    let raw = RawBlock { offset: block.offset(), len: block.len() };
    let bytes: &mut [u8] = &mut block;
    me.local().free(raw)?;
    bytes[0] = 1;
    Ok(())
}
