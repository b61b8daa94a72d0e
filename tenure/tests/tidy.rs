//! Checks of the workspace: crate edges against `cargo metadata`, layout texts against docs/layout.md, arguments of
//! unsafe code, and retired words.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand, Package};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All packages of this repository: those of the workspace and the fuzz targets.
fn packages() -> Vec<Package> {
    let of = |manifest: &str| {
        let manifest = root().join(manifest);
        MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap().packages
    };
    [of("Cargo.toml"), of("verify/fuzz/Cargo.toml")].concat()
}

/// docs/architecture.md, "Map": the packages of this repository that each package depends on, also in its tests and its
/// build script.
const EDGES: &[(&str, &[&str])] = &[
    ("tenure-core", &[]),
    ("tenure-segment", &["tenure-core", "tenure-testkit"]),
    ("tenure-slab", &["tenure-core", "tenure-testkit"]),
    ("tenure-scratch-alloc", &["tenure-core", "tenure-testkit"]),
    ("tenure-wait", &["tenure-core", "tenure-testkit"]),
    (
        "tenure",
        &[
            "tenure-core",
            "tenure-segment",
            "tenure-slab",
            "tenure-scratch-alloc",
            "tenure-wait",
            "tenure-testkit",
        ],
    ),
    ("tenure-malloc", &["tenure-core", "tenure-scratch-alloc"]),
    ("tenure-capi", &["tenure", "tenure-testkit"]),
    ("tenure-tools", &["tenure", "tenure-testkit"]),
    ("tenure-traces", &[]),
    ("tenure-subjects", &["tenure", "tenure-capi"]),
    ("tenure-bench", &["tenure", "tenure-malloc", "tenure-subjects", "tenure-traces"]),
    ("tenure-conformance", &["tenure", "tenure-capi", "tenure-testkit"]),
    ("tenure-fuzz", &["tenure"]),
    ("tenure-proof", &["tenure"]),
    ("tenure-surroundings", &["tenure", "tenure-capi", "tenure-malloc"]),
    ("tenure-testkit", &[]),
    ("tenure-torture", &["tenure", "tenure-subjects", "tenure-tools", "tenure-traces", "tenure-testkit"]),
];

/// Only the segment talks to the operating system.
const OS: &[&str] = &["libc", "rustix", "nix"];

#[test]
fn packages_depend_on_whom_the_map_says() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(ours, EDGES.iter().map(|(from, _)| *from).collect());
    for package in &packages {
        let name = package.name.as_str();
        let to = package.dependencies.iter().map(|dependency| dependency.name.as_str());
        let to: BTreeSet<&str> = to.filter(|to| ours.contains(to)).collect();
        let (_, allowed) = EDGES.iter().find(|(from, _)| *from == name).unwrap();
        assert_eq!(
            to,
            allowed.iter().copied().collect(),
            "{name} depends on the left, the map says the right"
        );
        let pure =
            ["tenure-core", "tenure-slab", "tenure-scratch-alloc", "tenure-wait", "tenure"].contains(&name);
        for dependency in package.dependencies.iter().filter(|it| pure && it.kind == DependencyKind::Normal) {
            let to = dependency.name.as_str();
            assert!(!OS.contains(&to), "{name} must not talk to the OS through {to}");
        }
    }
}

/// The tests of all packages use `testkit`, which uses none of them; nothing but tests and what is in `verify` does.
#[test]
fn the_testkit_is_for_tests_and_knows_nobody() {
    for package in packages().iter().filter(|package| !package.manifest_path.as_str().contains("/verify/")) {
        let uses = package.dependencies.iter().filter(|dependency| dependency.name == "tenure-testkit");
        for dependency in uses {
            assert_eq!(dependency.kind, DependencyKind::Development, "{}", package.name);
        }
    }
}

/// A folder uses another one if a package in it depends on a package there, or takes a module from a file there. `verify/testkit`
/// counts as a folder: the tests of every folder use it.
#[test]
fn no_folders_use_each_other_in_a_circle() {
    let folder = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap();
        let first = path.components().next().unwrap().as_os_str().to_str().unwrap();
        if path.starts_with("verify/testkit") { "verify/testkit".to_owned() } else { first.to_owned() }
    };
    let mut edges = BTreeSet::new();
    for package in packages() {
        let from = folder(package.manifest_path.as_std_path());
        let to = package.dependencies.iter().filter_map(|dependency| dependency.path.as_ref());
        edges.extend(to.map(|to| (from.clone(), folder(to.as_std_path()))));
    }
    for (file, text) in texts() {
        let modules = text.lines().filter_map(|line| line.trim_start().strip_prefix("#[path = \""));
        for module in modules.filter_map(|rest| rest.split('"').next()) {
            let module = file.parent().unwrap().join(module).canonicalize().unwrap();
            edges.insert((folder(&file), folder(&module)));
        }
    }
    edges.retain(|(from, to)| from != to);
    let mut folders: BTreeSet<String> =
        edges.iter().flat_map(|(from, to)| [from.clone(), to.clone()]).collect();
    assert_eq!(folders.len(), 11, "{folders:?}");
    // A folder that depends on no other folder is in no cycle; nor is one that depends only on such folders.
    while let Some(free) =
        folders.iter().find(|folder| edges.iter().all(|(from, _)| from != *folder)).cloned()
    {
        folders.remove(&free);
        edges.retain(|(_, to)| *to != free);
    }
    assert!(folders.is_empty(), "a circle is among {edges:?}");
}

/// The packages of the released product.
const PRODUCT: &[&str] = &[
    "tenure-core",
    "tenure-segment",
    "tenure-slab",
    "tenure-scratch-alloc",
    "tenure-wait",
    "tenure",
    "tenure-capi",
    "tenure-malloc",
];

/// Cargo unifies features over all packages that it builds: a product feature that a test or another package enables is
/// in every release build of the whole workspace. So no package enables one, neither in a dependency nor by default. A
/// build that needs a feature is started by a command line that names it, in a separate target folder.
#[test]
fn nobody_switches_on_a_feature_of_the_product() {
    let packages = packages();
    let is_product = |name: &str| PRODUCT.contains(&name);
    assert!(PRODUCT.iter().all(|name| packages.iter().any(|package| package.name.as_str() == *name)));
    for package in &packages {
        for dependency in package.dependencies.iter().filter(|dependency| is_product(&dependency.name)) {
            assert!(
                dependency.features.is_empty(),
                "{} switches on {:?} of {} ({:?})",
                package.name,
                dependency.features,
                dependency.name,
                dependency.kind
            );
        }
        // All features that the default features enable.
        let mut reached = vec!["default".to_owned()];
        let mut at = 0;
        while let Some(feature) = reached.get(at).cloned() {
            at += 1;
            if let Some((of, what)) = feature.split_once('/') {
                assert!(!is_product(of.trim_end_matches('?')), "{} switches on {what} of {of}", package.name);
            }
            let next = package.features.get(&feature).into_iter().flatten().cloned();
            let new: Vec<_> = next.filter(|feature| !reached.contains(feature)).collect();
            reached.extend(new);
        }
    }
}

/// What users depend on can be published: each package has what a registry asks for, and depends on published ones only, but in its tests.
#[test]
fn the_product_can_be_published() {
    let packages = packages();
    let published: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package.publish.is_none())
        .map(|package| package.name.as_str())
        .collect();
    assert_eq!(published, PRODUCT.iter().copied().chain(["tenure-tools"]).collect());
    for package in packages.iter().filter(|package| published.contains(package.name.as_str())) {
        let name = &package.name;
        assert!(package.description.is_some() && !package.categories.is_empty(), "{name}");
        assert!((1..=5).contains(&package.keywords.len()), "{name}: {:?}", package.keywords);
        assert!(package.keywords.iter().all(|word| word.len() <= 20), "{name}: {:?}", package.keywords);
        assert!(package.metadata["docs"]["rs"].is_object(), "{name}: nothing is said for the documentation");
        let folder = package.manifest_path.parent().unwrap();
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(file).is_file(), "{name} has no {file}");
        }
        for to in package.dependencies.iter().filter(|to| to.path.is_some()) {
            // In the published manifest the version takes the place of the path; a dependency of tests without one is left out.
            let is_published = published.contains(to.name.as_str());
            assert!(is_published || to.kind == DependencyKind::Development, "{name}: {}", to.name);
            let expected = if is_published { format!("^{}", package.version) } else { "*".to_owned() };
            assert_eq!(to.req.to_string(), expected, "{name}: the version of {}", to.name);
        }
    }
}

/// `cargo run` without a name runs the demo only as long as no other package has a default program.
#[test]
fn one_program_runs_by_default() {
    let defaults: Vec<_> = packages().into_iter().filter_map(|package| package.default_run).collect();
    assert_eq!(defaults, ["torture"]);
}

#[test]
fn layout_texts_are_documented_verbatim() {
    let text = std::fs::read_to_string(root().join("docs/layout.md")).unwrap();
    for layout in [
        tenure_segment::layout::LAYOUT,
        tenure_slab::LAYOUT,
        tenure_slab::NAMES_LAYOUT,
        tenure_scratch_alloc::LAYOUT,
        tenure::testing::FILES_LAYOUT,
        tenure::testing::OBJECTS_LAYOUT,
    ] {
        assert!(text.contains(layout), "docs/layout.md lacks:\n{layout}");
    }
}

#[test]
fn the_readme_shows_the_example() {
    let [readme, example] = ["README.md", "tenure/examples/hello.rs"]
        .map(|file| std::fs::read_to_string(root().join(file)).unwrap());
    let (_, code) = example.split_once("\n\n").unwrap();
    assert!(readme.contains(&format!("```rust\n{code}```\n")), "README.md lacks:\n{code}");
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut folders: Vec<_> = [
        "core",
        "segment",
        "slab",
        "scratch-alloc",
        "wait",
        "tenure",
        "tools",
        "verify/torture",
        "bench/traces",
    ]
    .map(|name| root().join(name).join("src"))
    .into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 40);
    found
}

/// Subjects of the invariants in docs/architecture.md: `[slab-...]`. Axioms are numbered: `[A3]`.
const SUBJECTS: &[&str] = &["lease-", "slab-", "names-", "files-", "exit-", "scratch-", "wait-"];

#[test]
fn invariants_and_axioms_that_are_cited_exist() {
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut cited = BTreeSet::new();
    for (path, text) in sources() {
        for (at, _) in text.match_indices(['[']) {
            let Some(citation) = text[at..].split_inclusive(']').next() else { continue };
            let label = &citation[1..citation.len().saturating_sub(1)];
            let is_word = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            let is_invariant = is_word && SUBJECTS.iter().any(|subject| label.starts_with(subject));
            let is_axiom = label.len() >= 2
                && label.starts_with('A')
                && label[1..].bytes().all(|byte| byte.is_ascii_digit());
            if is_invariant || is_axiom {
                let defined = map.contains(&format!("**{citation}**"));
                assert!(defined, "{}: {citation} is not defined", path.display());
                cited.insert(citation.to_owned());
            }
        }
    }
    assert!(cited.len() > 20, "only {cited:?} are cited");
}

/// The edges of the map, as docs/architecture.md shows them.
#[test]
fn the_map_in_the_documents_is_that_of_cargo() {
    let mut lines = String::from("```text\n");
    for (from, to) in EDGES {
        let to: Vec<_> = to.iter().map(|to| to.trim_start_matches("tenure-")).collect();
        lines += &format!("{:15}{}\n", from.trim_start_matches("tenure-"), to.join(", "));
    }
    let lines = lines.lines().map(str::trim_end).collect::<Vec<_>>().join("\n") + "\n```\n";
    let map = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    assert!(map.contains(&lines), "docs/architecture.md lacks:\n{lines}");
}

#[test]
fn product_crates_keep_no_globals_and_read_no_environment() {
    for (path, text) in sources() {
        // Tools may; hooks of the unit tests, faults, older kernels, weakened orderings and step-by-step explorations
        // exist in test builds only. `fork_lock.rs` and `fork_flag.rs` concern the whole process; `thread_id.rs`, one thread;
        // `screen.rs`, the terminal, which the handler of a signal gives back.
        let exempt = [
            "thread_id.rs",
            "screen.rs",
            "fork_flag.rs",
            "fork_lock.rs",
            "torture",
            "explore",
            "explore.rs",
            "mutant.rs",
            "older.rs",
            "weak.rs",
            "testing.rs",
        ];
        if path.iter().any(|part| exempt.iter().any(|exempt| part == *exempt)) {
            continue;
        }
        for line in text.lines().map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let global = line.starts_with("static ")
                || line.starts_with("pub static ")
                || line.contains("thread_local!");
            assert!(!global && !line.contains("env::var"), "{}: {line}", path.display());
        }
    }
}

/// Retired words and their standard replacements, in lower case; and words that contain a retired one but mean
/// something else.
const RETIRED: &[(&str, &str, &[&str])] = &[
    ("epoch", "incarnation", &["unix_epoch", "time_since_epoch", "crossbeam-epoch", "epoch-based"]),
    ("guardian", "monitor", &[]),
    ("undertaker", "reaper", &[]),
    ("bury", "recover", &[]),
    ("buried", "recovered", &[]),
    ("scribbl", "corrupted", &[]),
    ("crash point", "kill point", &[]),
    ("crash_point", "kill point", &[]),
    ("sabotage", "negative control", &[]),
    ("holdings", "reference counts", &[]),
    ("doorbell", "monitor or death notification", &[]),
    (" bells", "notifications", &["locks and bells"]),
    ("footing", "member mapping", &[]),
    ("looker", "reader", &[]),
    ("carve", "extend", &[]),
    (
        "intake",
        "pending slot",
        &["`intake`", "slot the intake", "words each: intake, 7", "intake      { state"],
    ),
    ("kick", "abort", &["3 kicked", "aborted kicked", "settled, kicked"]),
    (
        "withdrawn",
        "FAILED or made to fail",
        &["3 withdrawn", "taken, withdrawn", "taken and withdrawn", "armed, observed and withdrawn"],
    ),
    ("staged", "pending", &[]),
    ("automatic event", "auto-reset event", &["3 automatic event", "manual, automatic event"]),
    ("manual event", "manual-reset event", &["2 manual event"]),
    ("reset::automatic", "Reset::Auto", &[]),
    ("punch", "decommit", &["punch_hole", "punch a hole", "punches a hole", "punched a hole"]),
];

#[test]
fn retired_words_stay_retired() {
    let mut found = Vec::new();
    let mut files = 0;
    for (path, text) in texts() {
        files += 1;
        for (number, line) in text.lines().enumerate() {
            let line = line.to_lowercase();
            for (word, instead, others) in RETIRED {
                let rest = others.iter().fold(line.clone(), |line, other| line.replace(other, ""));
                if rest.contains(word) {
                    found.push(format!("{}:{}: say {instead}, not {word}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(files > 300, "only {files} files were read");
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Links between files of the repository; links to other hosts and within a page are not checked.
#[test]
fn links_in_documents_lead_somewhere() {
    let mut seen = 0;
    for (path, text) in
        texts().filter(|(path, _)| path.extension().is_some_and(|extension| extension == "md"))
    {
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', '#']).next().unwrap_or_default();
            if link.is_empty() || link.contains("://") || link.contains(['\n', ' ', '`']) {
                continue;
            }
            seen += 1;
            assert!(path.with_file_name(link).exists(), "{}: no file {link}", path.display());
        }
    }
    assert!(seen > 20, "only {seen} links were read");
}

/// Every text file of the repository, once, except this one, the changelog, which lists the renamed items, and old reports.
fn texts() -> impl Iterator<Item = (PathBuf, String)> {
    let apart = ["target", ".git", "perf-reports", "CHANGELOG.md", "tidy.rs"].map(|name| name.to_owned());
    let mut folders = vec![root()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if apart.contains(&name) || name.ends_with(".lock") || path.is_symlink() {
            } else if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.into_iter().filter_map(|path| std::fs::read_to_string(&path).ok().map(|text| (path, text)))
}
