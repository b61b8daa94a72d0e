//! `include/tenure.h` is what cbindgen makes of the sources. To bring it up to date:
//! `TENURE_WRITE_HEADER=1 cargo test -p tenure-capi --test header`.

use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// In the order in which the header has their functions.
const SOURCES: &[&str] = &[
    "abi.rs",
    "error.rs",
    "space.rs",
    "member.rs",
    "local.rs",
    "handle.rs",
    "scratch.rs",
    "word.rs",
    "names.rs",
    "object.rs",
    "waiting.rs",
    "process.rs",
    "descriptor.rs",
];

fn generate() -> String {
    let config = cbindgen::Config::from_file(folder().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(folder().join("src").join(source));
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    // Rust has a heading for what callers must see to; in C everything is.
    let text = String::from_utf8(text).unwrap().replace(" * # Safety\n *\n", "");
    let lines: Vec<_> = text.lines().collect();
    let mut at = 0;
    let mut short = String::new();
    while let Some(line) = lines.get(at) {
        // A comment of one line takes one.
        if let [open, said, close, ..] = &lines[at..]
            && (open.trim(), close.trim()) == ("/**", "*/")
            && let Some((indent, said)) = said.split_once(" * ")
        {
            short += &format!("{indent}/** {said} */\n");
            at += 3;
        } else {
            short += &format!("{line}\n");
            at += 1;
        }
    }
    short
}

#[test]
fn the_header_is_up_to_date() {
    let path = folder().join("include/tenure.h");
    let expected = generate();
    if std::env::var_os("TENURE_WRITE_HEADER").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "include/tenure.h differs from the sources, first in line {}; see the first lines of {}",
        differs.map_or_else(|| found.lines().count().min(expected.lines().count()) + 1, |at| at + 1),
        file!()
    );
}

/// What is exported is declared, and says which threads may call it, or what it is like.
#[test]
fn every_function_is_in_the_header_and_documented() {
    let header = generate();
    let (_, header) = header.split_once("#define TENURE_H").unwrap();
    let mut functions = 0;
    for source in std::fs::read_dir(folder().join("src")).unwrap().flatten() {
        let text = std::fs::read_to_string(source.path()).unwrap();
        for exported in text.split("#[unsafe(no_mangle)]\n").skip(1) {
            let name = exported.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
            let declared = header.find(&format!(" {name}(")).or_else(|| header.find(&format!("*{name}(")));
            let declared = declared.unwrap_or_else(|| panic!("{name} is not declared"));
            let comment = &header[header[..declared].rfind("/**").unwrap()..declared];
            assert_eq!(comment.matches("*/").count(), 1, "{name} has no comment of its own");
            let told = ["thread", "Threads", "s tenure_", "ee tenure_"];
            assert!(
                told.iter().any(|word| comment.contains(word)),
                "{name}: which threads may call it?\n{comment}"
            );
            functions += 1;
        }
    }
    assert!(functions >= 70, "{functions}");
}
