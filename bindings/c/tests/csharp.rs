//! The C# class and the walk-through, compiled by mcs and run by mono where they are installed, with a partner in Rust.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Installed, Name, folder, has, succeed};

fn source(name: &str) -> PathBuf {
    folder().join("../dotnet").join(name)
}

/// Compiles into the folder where the library is installed.
fn compile(installed: &Installed, sources: &[&str]) -> PathBuf {
    let stem = Path::new(sources[0]).file_stem().unwrap().display().to_string();
    let program = installed.path(&format!("{stem}.exe"));
    let mut compiler = Command::new("mcs");
    compiler.args(["-unsafe", "-warn:4", "-warnaserror"]).arg(format!("-out:{}", program.display()));
    succeed(compiler.args(sources.iter().map(|name| source(name))));
    let config = source(&format!("{stem}.exe.config"));
    if config.exists() {
        std::fs::copy(config, installed.path(&format!("{stem}.exe.config"))).unwrap();
    }
    program
}

fn mono(installed: &Installed, program: &Path) -> Command {
    let mut mono = Command::new("mono");
    mono.arg(program).env("LD_LIBRARY_PATH", installed.path("lib"));
    mono
}

fn skipped(what: &str) -> bool {
    let skip = !(has("mono") && has("mcs"));
    if skip {
        println!("SKIPPED: {what}: no mono and mcs (Debian: mono-runtime, mono-mcs)");
    }
    skip
}

#[test]
fn the_class() {
    if skipped("Tenure.cs") {
        return;
    }
    let installed = Installed::new();
    let program = compile(&installed, &["tests/Check.cs", "Tenure.cs", "Objects.cs"]);
    let name = Name::new("csharp");
    let said = succeed(mono(&installed, &program).arg(&name.0));
    assert!(said.contains("check: ok"), "{said}");
}

/// The output of `dotnet` if it is there, without messages for people.
fn dotnet(arguments: &[&str]) -> Option<String> {
    let mut dotnet = Command::new("dotnet");
    dotnet.args(arguments).envs([("DOTNET_NOLOGO", "1"), ("DOTNET_CLI_TELEMETRY_OPTOUT", "1")]);
    let output = dotnet.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The same test on .NET, with what only .NET has: compiled by its SDK, or, where there is but a runtime, by mcs.
#[test]
fn the_class_on_dotnet() {
    let sdks = dotnet(&["--list-sdks"]).unwrap_or_default();
    let runtimes = dotnet(&["--list-runtimes"]).unwrap_or_default();
    let runtime = runtimes.lines().rfind(|line| line.starts_with("Microsoft.NETCore.App "));
    let Some((version, place)) = runtime.and_then(|line| line[22..].split_once(" [")) else {
        println!("SKIPPED: Tenure.cs on .NET: no dotnet");
        return;
    };
    let installed = Installed::new();
    let sources = ["tests/Check.cs", "Tenure.cs", "Objects.cs"].map(source);
    let program = installed.path("check/Check.dll");
    std::fs::create_dir(installed.path("check")).unwrap();
    if let Some(sdk) = sdks.lines().next_back() {
        let project = installed.path("check/Check.csproj");
        let compiled = sources
            .iter()
            .map(|path| format!("<Compile Include=\"{}\" />", path.display()))
            .collect::<String>();
        let text = format!(
            "<Project Sdk=\"Microsoft.NET.Sdk\"><PropertyGroup><OutputType>Exe</OutputType>\
             <TargetFramework>net{}.0</TargetFramework><LangVersion>7.3</LangVersion>\
             <AllowUnsafeBlocks>true</AllowUnsafeBlocks></PropertyGroup><ItemGroup>{compiled}</ItemGroup></Project>",
            sdk.split('.').next().unwrap()
        );
        std::fs::write(&project, text).unwrap();
        let mut build = Command::new("dotnet");
        succeed(build.arg("build").arg(&project).arg("-o").arg(installed.path("check")));
    } else if has("mcs") {
        println!("SKIPPED: Tenure.cs by the .NET SDK: there is a runtime only");
        let folder = Path::new(place.trim_end().trim_end_matches(']')).join(version);
        let mut compiler = Command::new("mcs");
        compiler.args(["-unsafe", "-nostdlib", "-noconfig", "-define:NETCOREAPP"]);
        for part in [
            "Private.CoreLib",
            "Runtime",
            "Collections.Concurrent",
            "Diagnostics.Process",
            "ComponentModel.Primitives",
            "Console",
            "Memory",
            "Threading",
        ] {
            compiler.arg(format!("-r:{}", folder.join(format!("System.{part}.dll")).display()));
        }
        succeed(compiler.arg(format!("-out:{}", program.display())).args(sources));
        let settings = format!(
            "{{\"runtimeOptions\":{{\"framework\":{{\"name\":\"Microsoft.NETCore.App\",\"version\":\"{version}\"}}}}}}"
        );
        std::fs::write(installed.path("check/Check.runtimeconfig.json"), settings).unwrap();
    } else {
        println!("SKIPPED: Tenure.cs on .NET: no SDK, and no mcs");
        return;
    }
    let run = || {
        let mut dotnet = Command::new("dotnet");
        dotnet.arg(&program).env("DOTNET_SYSTEM_GLOBALIZATION_INVARIANT", "1");
        dotnet
    };
    // Where the system looks, under either name; and the file that TENURE_LIBRARY names.
    let (libraries, other) = (installed.path("lib"), installed.path("other.so"));
    for step in ["libtenure.so", "libtenure.so.4", "TENURE_LIBRARY"] {
        let name = Name::new("dotnet");
        let mut check = run();
        check.arg(&name.0).env("LD_LIBRARY_PATH", &libraries);
        match step {
            "libtenure.so.4" => std::fs::remove_file(libraries.join("libtenure.so")).unwrap(),
            "TENURE_LIBRARY" => {
                std::fs::rename(libraries.join("libtenure.so.4"), &other).unwrap();
                check.env("TENURE_LIBRARY", &other);
            }
            _ => {}
        }
        let said = succeed(&mut check);
        assert!(said.contains("check: ok"), "{step}: {said}");
    }
    let lost = run().arg("nobody").output().unwrap();
    assert!(String::from_utf8_lossy(&lost.stderr).contains("DllNotFoundException"), "{lost:?}");
}

/// The package has the assembly, and the library where .NET looks for it; a program that knows only these two works.
#[test]
fn the_nuget_package() {
    if skipped("the NuGet package") {
        return;
    }
    if !has("python3") {
        println!("SKIPPED: the NuGet package: no python3");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut pack = Command::new(source("pack"));
    succeed(pack.arg("--out").arg(folder.path()).arg("--from").arg(common::built()));
    let version = env!("CARGO_PKG_VERSION");
    let package = folder.path().join(format!("Tenure.{version}.nupkg"));
    let mut extract = Command::new("python3");
    succeed(extract.args(["-m", "zipfile", "-e"]).arg(&package).arg(folder.path()));
    let inside = |path: &str| folder.path().join(path);
    let description = std::fs::read_to_string(inside("Tenure.nuspec")).unwrap();
    assert!(description.contains(&format!("<version>{version}</version>")), "{description}");
    assert!(!description.contains("><"), "an element is empty: {description}");
    for part in ["[Content_Types].xml", "_rels/.rels", "README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        assert!(inside(part).is_file(), "no {part}");
    }
    let library = inside("lib/netstandard2.0/Tenure.dll");
    let program = inside("Check.exe");
    let mut compiler = Command::new("mcs");
    compiler.arg(format!("-r:{}", library.display())).arg(format!("-out:{}", program.display()));
    succeed(compiler.args(["-unsafe", "-warn:4", "-warnaserror"]).arg(source("tests/Check.cs")));
    std::fs::copy(&library, inside("Tenure.dll")).unwrap();
    let native =
        std::fs::read_dir(inside("runtimes")).unwrap().next().unwrap().unwrap().path().join("native");
    let name = Name::new("nupkg");
    let said = succeed(Command::new("mono").arg(&program).arg(&name.0).env("LD_LIBRARY_PATH", native));
    assert!(said.contains("check: ok"), "{said}");
}

#[test]
fn the_walk_through_by_hand() {
    if skipped("ByHand.cs") {
        return;
    }
    let installed = Installed::new();
    let program = compile(&installed, &["ByHand.cs"]);
    let said = succeed(&mut mono(&installed, &program));
    assert_eq!(said, "the second process read: written from C#\ncounted by both: 200000\n");
    // The configuration is needed: where this fails, only the file beside the program makes it work.
    std::fs::remove_file(installed.path("ByHand.exe.config")).unwrap();
    let without = mono(&installed, &program).output().unwrap();
    if without.status.success() {
        println!("this libc has a librt.so: the walk-through works without its dllmap");
    } else {
        assert!(String::from_utf8_lossy(&without.stderr).contains("DllNotFoundException"), "{without:?}");
    }
}

/// An example of this package, for the other side.
fn example(name: &str) -> PathBuf {
    let program = common::built().parent().unwrap().join("examples").join(name);
    if !program.exists() {
        // Without `--test` cargo has built it.
        let mut cargo = Command::new(env!("CARGO"));
        succeed(cargo.args(["build", "-p", "tenure-capi", "--example", name]).current_dir(folder()));
    }
    program
}

#[test]
fn a_mutex_and_events_shared_with_rust() {
    if skipped("Together.cs") {
        return;
    }
    let installed = Installed::new();
    let program = compile(&installed, &["tests/Together.cs", "Tenure.cs", "Objects.cs"]);
    let name = Name::new("together");
    let said = succeed(mono(&installed, &program).arg(example("companion")).arg(&name.0));
    let expected = [
        "answered: yes",
        "counted by both: 4000",
        "it has the mutex: yes",
        "it runs: yes",
        "abandoned: yes",
        "and said to one only: yes",
        "how it ended: Killed 9",
        "violations: 0",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn the_walk_through_on_tenure() {
    if skipped("OnTenure.cs") {
        return;
    }
    let installed = Installed::new();
    // Only with the mapping does Mono find it under this name.
    std::fs::remove_file(installed.path("lib/libtenure.so")).unwrap();
    let program = compile(&installed, &["OnTenure.cs", "Tenure.cs", "Objects.cs"]);
    let partner = example("partner");
    let name = Name::new("walk");
    let said = succeed(mono(&installed, &program).arg(partner).arg(&name.0));
    let expected = [
        "the partner in Rust read: written from C#",
        "counted by both: 200000",
        "the partner holds blocks: yes",
        "killed; what only it held: 0",
        "still there: 41 bytes",
        "violations: 0",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

/// The class declares the same as the header.
#[test]
fn the_class_agrees_with_the_header() {
    let header = std::fs::read_to_string(folder().join("include/tenure.h")).unwrap();
    let class =
        ["Tenure.cs", "Objects.cs"].map(|name| std::fs::read_to_string(source(name)).unwrap()).concat();
    let plain = |name: &str| name.replace('_', "").to_uppercase();
    let statuses: BTreeMap<String, i32> = header
        .lines()
        .filter_map(|line| line.trim().strip_prefix("TENURE_ERR_")?.trim_end_matches(',').split_once(" = "))
        .map(|(name, number)| (plain(name), number.parse().unwrap()))
        .collect();
    let (_, body) = class.split_once("enum Status").unwrap();
    let ours: BTreeMap<String, i32> = body[..body.find('}').unwrap()]
        .lines()
        .filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "))
        .filter(|(name, _)| *name != "Ok")
        .map(|(name, number)| (plain(name), number.parse().unwrap()))
        .collect();
    assert!(statuses.len() > 20);
    assert_eq!(statuses, ours);

    let declared = |text: &str, name: &str| {
        let (_, after) =
            text.split_once(&format!("{name}(")).unwrap_or_else(|| panic!("{name} is not declared"));
        let arguments = after[..after.find(')').unwrap()].trim();
        if arguments.is_empty() || arguments == "void" { 0 } else { arguments.matches(',').count() + 1 }
    };
    let (_, functions) = header.split_once("extern \"C\"").unwrap();
    let names: BTreeSet<&str> = class
        .split("static extern ")
        .skip(1)
        .map(|rest| rest[..rest.find('(').unwrap()].split(' ').next_back().unwrap())
        .collect();
    assert!(names.len() > 20);
    for name in names {
        let (_, import) = class.split_once("static partial class Native").unwrap();
        assert_eq!(declared(functions, name), declared(import, name), "arguments of {name}");
    }
    let fields = |text: &str, structure: &str| -> Vec<String> {
        let (_, body) = text.split_once(structure).unwrap();
        let body = &body[..body.find("\n}").or(body.find("\n    }")).unwrap()];
        let names = body.lines().filter(|line| line.trim().ends_with(';') && !line.contains("const "));
        names
            .map(|line| plain(line.trim().trim_end_matches(';').rsplit([' ', '*']).next().unwrap()))
            .collect()
    };
    for (theirs, ours) in [
        ("struct tenure_options {", "struct Options"),
        ("struct tenure_stats {", "struct Stats"),
        ("struct tenure_exit {", "struct Exit"),
        ("struct tenure_conflict {", "struct FileUser"),
    ] {
        let (_, after) = class.split_once(ours).unwrap();
        assert_eq!(
            fields(&header, theirs),
            fields(&after[..after.find("\n    }").unwrap() + 7], ""),
            "{ours}"
        );
    }
}
