//! Creates a handle and opens it by its token: `cargo run -p tenure --example hello`. README.md shows the same lines.

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Order {
    id: u64,
    lines: Vec<String>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let space = tenure::Space::options().anonymous()?; // `open("myapp")` for processes that are not our children
    let me = space.join()?; // takes a lease; dropping it gives everything back
    let handle = me.create(&Order { id: 7, lines: vec!["tea".into()] })?;
    let token = handle.token(); // 64 bits, passed by any means
    let other = space.join()?; // usually in another process
    let opened = other.open::<Order>(token)?; // the bytes are validated here, once
    drop(handle); // the other member still holds it
    assert_eq!(opened.get()?.lines[0].as_str(), "tea"); // read in place
    drop(opened);
    assert!(other.open::<Order>(token).is_err()); // stale: nobody held it any more
    Ok(())
}
