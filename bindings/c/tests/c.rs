//! The C programs in `tests/c` and `examples`: compiled with the system's compiler as C11, as C++, with
//! AddressSanitizer and against the static library, without a warning, and run. They check themselves.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Installed, Name, folder, has, succeed};

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1", "-g"];

/// A way to compile.
struct Variant {
    name: &'static str,
    compiler: &'static str,
    arguments: &'static [&'static str],
    shared: bool,
}

const VARIANTS: &[Variant] = &[
    Variant { name: "c11", compiler: "cc", arguments: &["-std=c11"], shared: true },
    Variant { name: "static", compiler: "cc", arguments: &["-std=c11"], shared: false },
    Variant { name: "all-static", compiler: "cc", arguments: &["-std=c11", "-static"], shared: false },
    Variant { name: "cxx", compiler: "c++", arguments: &["-x", "c++", "-std=c++17"], shared: true },
    Variant { name: "asan", compiler: "cc", arguments: &["-std=c11", "-fsanitize=address"], shared: true },
];

/// The linker's arguments after the source: those of pkg-config; without pkg-config the same ones.
fn link_arguments(installed: &Installed, shared: bool) -> Vec<String> {
    let library = installed.path("lib").display().to_string();
    let include = format!("-I{}", installed.path("include").display());
    if !shared {
        let archive = installed.path("lib/libtenure.a").display().to_string();
        return [include.as_str(), &archive, "-Wl,-z,nodelete", "-lpthread", "-ldl", "-lm", "-lrt"]
            .map(str::to_owned)
            .to_vec();
    }
    let mut arguments = vec![include, format!("-L{library}"), "-ltenure".to_owned()];
    if has("pkg-config") {
        let mut ask = Command::new("pkg-config");
        ask.args(["--cflags", "--libs", "tenure"]).env("PKG_CONFIG_PATH", installed.path("lib/pkgconfig"));
        let said: Vec<_> = succeed(&mut ask).split_whitespace().map(str::to_owned).collect();
        assert_eq!(said, arguments);
        arguments = said;
    }
    arguments.push(format!("-Wl,-rpath,{library}"));
    arguments
}

fn compile(variant: &Variant, source: &Path, installed: &Installed) -> PathBuf {
    let program = installed.path(&format!("{}-{}", source.file_stem().unwrap().display(), variant.name));
    let mut compiler = Command::new(variant.compiler);
    compiler.args(variant.arguments).args(WARNINGS).arg("-pthread").arg(source).arg("-o").arg(&program);
    // Language detection by file name again.
    compiler.args(["-x", "none"]).args(link_arguments(installed, variant.shared));
    succeed(&mut compiler);
    program
}

/// Whether a variant can be compiled and run here at all, by a program that does nothing.
fn works(variant: &Variant, installed: &Installed) -> bool {
    let source = installed.path("nothing.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let program = installed.path(&format!("nothing-{}", variant.name));
    let mut compiler = Command::new(variant.compiler);
    compiler.args(variant.arguments).arg(&source).arg("-o").arg(&program);
    compiler.output().is_ok_and(|output| output.status.success())
        && Command::new(&program).output().is_ok_and(|output| output.status.success())
}

/// Runs `source` in every variant, with `arguments` after a name that nobody uses.
fn run(source: &str, said: &str) {
    if !has("cc") {
        println!("SKIPPED: {source}: no C compiler (cc)");
        return;
    }
    let installed = Installed::new();
    for variant in VARIANTS {
        if !works(variant, &installed) {
            println!("SKIPPED: {source} as {}: {} cannot", variant.name, variant.compiler);
            continue;
        }
        let program = compile(variant, &folder().join(source), &installed);
        let name = Name::new(variant.name);
        let mut program = Command::new(program);
        if source == "tests/c/forks.c" {
            // In a child the monitor's thread is missing, and allocations that only its stack refers to are lost.
            program.env("ASAN_OPTIONS", "detect_leaks=0");
        }
        let output = succeed(program.arg(&name.0));
        assert!(output.contains(said), "{source} as {}: {output}", variant.name);
    }
}

#[test]
fn everything_on_every_backend() {
    run("tests/c/whole.c", "whole: ok");
}

#[test]
fn objects_in_one_process_and_between_several() {
    run("tests/c/objects.c", "objects: ok");
}

#[test]
fn slots_and_values_in_one_process_and_between_several() {
    run("tests/c/values.c", "values: ok");
}

#[test]
fn queues_and_maps_in_one_process_and_between_several() {
    run("tests/c/collections.c", "collections: ok");
}

#[test]
fn event_loops_wait_for_objects_and_descriptors() {
    run("tests/c/wait_sets.c", "wait sets: ok");
}

#[test]
fn signals_end_interruptible_waits() {
    run("tests/c/signals.c", "signals: ok");
}

#[test]
fn bad_input_is_an_error() {
    run("tests/c/bad_input.c", "bad input: ok");
}

#[test]
fn forked_children_are_no_members() {
    run("tests/c/forks.c", "forks: ok");
}

#[test]
fn two_programs_and_a_killed_one() {
    run("tests/c/processes.c", "processes: ok");
}

#[test]
fn the_example_says_hello() {
    if !has("cc") {
        println!("SKIPPED: examples/hello.c: no C compiler (cc)");
        return;
    }
    let installed = Installed::new();
    let program = compile(&VARIANTS[0], &folder().join("examples/hello.c"), &installed);
    common::says_hello(&program, "attach to the space: not found");
}

/// A folder with a blank and an ampersand, others for the library and the header, and nothing left by `--uninstall`.
#[test]
fn it_is_installed_anywhere_and_removed_again() {
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("a & b");
    let install = |more: &[&str]| {
        let mut install = Command::new(common::folder().join("install"));
        install.arg("--prefix").arg(&prefix).arg(format!("--libdir={}/lib/multi arch", prefix.display()));
        install.arg("--includedir").arg(prefix.join("include/tenure"));
        succeed(install.args(more).arg("--from").arg(common::built()));
    };
    install(&[]);
    if has("pkg-config") && has("cc") {
        let source = folder.path().join("program.c");
        std::fs::write(&source, "#include <tenure.h>\nint main(void) { return tenure_strerror(0) == 0; }\n")
            .unwrap();
        for how in ["", "--static"] {
            // `eval`, as make and configure do: what pkg-config says is quoted for a shell.
            let line = format!(r#"eval "cc \"\$1\" -o \"\$2\" $(pkg-config --cflags --libs {how} tenure)""#);
            let mut shell = Command::new("sh");
            shell.args(["-c", &line, "sh"]).arg(&source).arg(folder.path().join("program"));
            succeed(shell.env("PKG_CONFIG_PATH", prefix.join("lib/multi arch/pkgconfig")));
            let library = prefix.join("lib/multi arch");
            succeed(Command::new(folder.path().join("program")).env("LD_LIBRARY_PATH", library));
        }
    }
    install(&["--uninstall"]);
    let mut left = vec![prefix];
    while let Some(path) = left.pop() {
        assert!(path.is_dir(), "{} is left", path.display());
        left.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
    }
}

/// Two static libraries in Rust, each with a standard library of its own, in one program.
#[test]
fn the_static_library_goes_beside_another_one_in_rust() {
    if !has("cc") || !has("rustc") {
        println!("SKIPPED: no C compiler (cc) or no rustc");
        return;
    }
    let installed = Installed::new();
    let (other, archive) = (installed.path("other.rs"), installed.path("libother.a"));
    let text = "#[unsafe(no_mangle)] pub extern \"C\" fn other() -> usize { std::panic::catch_unwind(|| format!(\"{}\", 4).len().checked_sub(2).unwrap()).map_or(1, |_| 0) }";
    std::fs::write(&other, text).unwrap();
    let mut rustc = Command::new("rustc");
    rustc.args(["--edition", "2024", "--crate-type", "staticlib", "-o"]).arg(&archive).arg(&other);
    succeed(&mut rustc);
    let (source, program) = (installed.path("both.c"), installed.path("both"));
    let text = "#include <tenure.h>\nunsigned long other(void);\n\
                int main(void) { return !(tenure_strerror(0) && other() == 1); }\n";
    std::fs::write(&source, text).unwrap();
    for first in [true, false] {
        let whole =
            ["-Wl,--whole-archive", archive.to_str().unwrap(), "-Wl,--no-whole-archive"].map(str::to_owned);
        let ours = link_arguments(&installed, false);
        let mut compiler = Command::new("cc");
        compiler.arg(&source);
        // Whole: no member is left out, so that it is not by luck that nothing is defined twice.
        if first {
            compiler.args(&whole).args(&ours);
        } else {
            compiler.args(&ours).args(&whole).args(&ours);
        }
        succeed(compiler.arg("-o").arg(&program));
        // The other library catches a panic of its own.
        succeed(&mut Command::new(&program));
    }
}
