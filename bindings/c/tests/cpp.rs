//! The C++ classes, `bindings/cpp`: compiled as C++17 without a warning by each compiler that is here, against both libraries and by CMake, and
//! run. The programs check themselves.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Installed, Name, folder, has, succeed};

const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-O1", "-g"];

fn source(name: &str) -> PathBuf {
    folder().join("../cpp").join(name)
}

/// Compiles against what is installed; the arguments `more` come last.
fn compile(installed: &Installed, compiler: &str, source: &Path, name: &str, more: &[String]) -> PathBuf {
    let program = installed.path(name);
    let mut command = Command::new(compiler);
    command.arg("-std=c++17").args(WARNINGS).arg("-pthread").arg(source).arg("-o").arg(&program);
    succeed(command.arg(format!("-I{}", installed.path("include").display())).args(more));
    program
}

fn shared(installed: &Installed) -> Vec<String> {
    let library = installed.path("lib").display().to_string();
    vec![format!("-L{library}"), "-ltenure".to_owned(), format!("-Wl,-rpath,{library}")]
}

fn alone(installed: &Installed) -> Vec<String> {
    let archive = installed.path("lib/libtenure.a").display().to_string();
    [archive.as_str(), "-Wl,-z,nodelete", "-lpthread", "-ldl", "-lm", "-lrt"].map(str::to_owned).to_vec()
}

/// Whether a compiler can make a program with these arguments that runs here.
fn works(installed: &Installed, compiler: &str, more: &[&str]) -> bool {
    let (source, program) = (installed.path("nothing.cpp"), installed.path("nothing"));
    std::fs::write(&source, "#include <memory_resource>\nint main() {}\n").unwrap();
    let mut command = Command::new(compiler);
    command.arg("-std=c++17").args(more).arg(&source).arg("-o").arg(&program);
    command.output().is_ok_and(|output| output.status.success())
        && Command::new(&program).output().is_ok_and(|output| output.status.success())
}

#[test]
fn every_class_in_one_process_and_between_several() {
    let installed = Installed::new();
    for (compiler, name, more) in [
        ("g++", "whole-gcc", &[][..]),
        ("g++", "whole-static", &[]),
        ("g++", "whole-asan", &["-fsanitize=address,undefined"]),
        ("clang++", "whole-clang", &[]),
    ] {
        if !works(&installed, compiler, more) {
            println!("SKIPPED: whole.cpp as {name}: {compiler} {} cannot", more.join(" "));
            continue;
        }
        let mut arguments = if name == "whole-static" { alone(&installed) } else { shared(&installed) };
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let program = compile(&installed, compiler, &source("tests/whole.cpp"), name, &arguments);
        let space = Name::new(name);
        assert_eq!(succeed(Command::new(program).arg(&space.0)), "whole: ok\n", "{name}");
    }
}

#[test]
fn the_example_says_hello() {
    if !has("c++") {
        println!("SKIPPED: hello.cpp: no C++ compiler (c++)");
        return;
    }
    let installed = Installed::new();
    let program = compile(&installed, "c++", &source("examples/hello.cpp"), "hello", &shared(&installed));
    common::says_hello(&program, "not found");
}

/// A project with a program in C and one in C++ finds both libraries, in folders with a blank and an ampersand, and refuses other versions.
#[test]
fn cmake_finds_it() {
    if !has("cmake") || !has("c++") {
        println!("SKIPPED: the CMake package: no cmake or no C++ compiler (Debian: cmake, g++)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (prefix, project) = (folder.path().join("a & b"), folder.path().join("project"));
    let mut install = Command::new(common::folder().join("install"));
    install.arg("--prefix").arg(&prefix).arg("--from").arg(common::built());
    succeed(install.arg("--includedir").arg(prefix.join("include/of tenure")));
    std::fs::create_dir(&project).unwrap();
    let write = |name: &str, text: &str| std::fs::write(project.join(name), text).unwrap();
    write(
        "one.c",
        "#include <tenure.h>\nint main(void) { return tenure_abi_version() != TENURE_ABI_VERSION; }\n",
    );
    write("two.cpp", "#include <tenure.hpp>\nint main() { (void)tenure::space::anonymous().join(); }\n");
    let configure = |version: &str| {
        let text = format!(
            "cmake_minimum_required(VERSION 3.13)\n\
             project(user C CXX)\n\
             set(CMAKE_CXX_STANDARD 17)\n\
             find_package(tenure {version} REQUIRED)\n\
             add_executable(one one.c)\n\
             target_link_libraries(one tenure::static)\n\
             add_executable(two two.cpp)\n\
             target_link_libraries(two tenure::tenure)\n"
        );
        write("CMakeLists.txt", &text);
        let mut cmake = Command::new("cmake");
        cmake.arg("-S").arg(&project).arg("-B").arg(folder.path().join("build"));
        cmake.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display()));
        cmake
    };
    let ours = env!("CARGO_PKG_VERSION");
    for version in ["", "0.1", ours, &format!("{ours} EXACT")] {
        succeed(&mut configure(version));
    }
    succeed(Command::new("cmake").arg("--build").arg(folder.path().join("build")));
    for program in ["one", "two"] {
        succeed(&mut Command::new(folder.path().join("build").join(program)));
    }
    for version in ["0.0", "0.2", "1.0", "0.1.9999"] {
        let refused = configure(version).output().unwrap();
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && errors.contains("compatible"), "{version}: {errors}");
    }
}
