//! A typed `Handle` is closed by its token while its value, a `str`, is borrowed.
#![forbid(unsafe_code)]

use tenure::Space;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let me = Space::options().tiny().private()?.join()?;
    let handle = me.create(&String::from("a string that does not fit into the cache line of a handle"))?;
    let text: &str = handle.get()?.as_str();
    me.local().close_token(handle.token())?;
    println!("{text}");
    Ok(())
}
