//! Creating, attaching, refusing, removing. Method: make segments, change bytes of their files, open them again.

mod common;

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use common::*;
use tenure_segment::layout::{HEADER_BYTES, VERSION, mixed_hash};
use tenure_segment::{
    Backend, DataArea, JoinError, NameState, OpenError, Permissions, Place, RemoveError, Segment, Spec,
};

#[test]
fn child() {
    enter(&[
        ("racer", racer),
        ("small", small_tmpfs),
        ("overlay", overlay),
        ("stranger", stranger),
        ("other boot", other_boot),
        ("forker", forker),
        ("former", former),
        ("parent", parent),
        ("creator", creator),
        ("peer", peer),
        ("server", server),
        ("container", container),
    ]);
}

fn check_fresh(segment: &Segment, backend: Backend) {
    assert!(segment.created());
    assert_eq!(segment.backend(), backend);
    assert_eq!(segment.members(), MEMBERS);
    assert_eq!(segment.geometry(), spec().geometry);
    assert_eq!(segment.data_area_bytes(), 16384);
    assert_eq!(segment.data_area().len(), 16384);
    assert_eq!(segment.data_area().base() as usize % 4096, 0);
    assert_eq!(segment.layout_hash(), mixed_hash(HASH));
    assert!(is_marked(segment.data_area()));
    assert_eq!(segment.leases().len(), 8);
    assert!(segment.leases().iter().all(|lease| !lease.live && lease.incarnation == 0));
}

#[test]
fn named_segments_are_created_once_and_found_by_others() {
    for backend in [Backend::Shm, Backend::File, Backend::SysV] {
        let name = Name::new(backend, "named");
        let _alone = while_nobody_starts();
        assert!(matches!(
            Segment::open(name.place(), HASH, Permissions::default()),
            Err(OpenError::NotFound { .. })
        ));
        let first = name.segment();
        check_fresh(&first, backend);
        let second = name.segment();
        let reader = Segment::open(name.place(), HASH, Permissions::default()).unwrap();
        for other in [&second, &reader] {
            assert!(!other.created());
            assert_eq!(other.creation_id(), first.creation_id());
            assert_eq!(other.geometry(), first.geometry());
            assert!(is_marked(other.data_area()));
        }
        let lease = join(&second, ALONE);
        assert!(held(first.data_area(), lease.id().index), "{backend}: one memory, two mappings");
        let metadata = std::fs::metadata(first.path().unwrap()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        drop(lease);
        Segment::remove(&name.place(), false).unwrap();
        assert!(!first.path().unwrap().exists());
        assert!(matches!(Segment::remove(&name.place(), false), Err(RemoveError::NotFound { .. })));
    }
}

#[test]
fn the_creator_of_a_later_segment_makes_another_one() {
    let name = Name::shm("again");
    let first = name.segment().creation_id();
    assert_eq!(name.segment().creation_id(), first);
    Segment::remove(&name.place(), false).unwrap();
    assert_ne!(name.segment().creation_id(), first);
}

#[test]
fn memfd_is_sealed_and_travels_as_a_descriptor() {
    let segment = open_or_create(Place::Memfd(None), &spec());
    check_fresh(&segment, Backend::Memfd);
    let passed = segment.fd().unwrap().try_clone_to_owned().unwrap();
    let other = open_or_create(Place::Memfd(Some(passed)), &spec());
    assert!(!other.created());
    assert_eq!(other.creation_id(), segment.creation_id());
    let lease = join(&other, ALONE);
    assert!(held(segment.data_area(), lease.id().index));
    assert_eq!(segment.leases()[0].held, Some(true));

    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&segment.fd().unwrap()));
    let file = OpenOptions::new().write(true).open(path).unwrap();
    assert_eq!(file.set_len(0).unwrap_err().raw_os_error(), Some(libc::EPERM));
}

#[test]
fn an_unsealed_descriptor_is_refused() {
    let name = Name::shm("unsealed");
    let segment = name.segment();
    let file = std::fs::File::open(segment.path().unwrap()).unwrap();
    let refused =
        Segment::open(Place::Memfd(Some(OwnedFd::from(file))), HASH, Permissions::default()).unwrap_err();
    assert!(matches!(refused, OpenError::NotSealed { expected: 7, .. }), "{refused}");
}

#[test]
fn anonymous_and_private_have_no_name() {
    for place in [Place::Anonymous, Place::Private] {
        let backend = place.backend();
        let segment = open_or_create(place, &spec());
        check_fresh(&segment, backend);
        assert_eq!((segment.name(), segment.path()), (None, None));
        assert!(segment.fd().is_none());
        let lease = join(&segment, GUARDED);
        assert!(held(segment.data_area(), lease.id().index));
    }
    for place in [Place::Anonymous, Place::Private, Place::Memfd(None)] {
        assert!(matches!(Segment::remove(&place, true), Err(RemoveError::Nameless { .. })));
        assert!(matches!(
            Segment::open(place, HASH, Permissions::default()),
            Err(OpenError::Nameless { .. })
        ));
    }
}

#[test]
fn a_reopened_descriptor_is_not_the_one_that_was_passed() {
    let segment = open_or_create(Place::Memfd(None), &spec());
    let passed = segment.fd().unwrap().try_clone_to_owned().unwrap();
    let other = Segment::open(
        Place::Memfd(Some(passed.as_fd().try_clone_to_owned().unwrap())),
        HASH,
        Permissions::default(),
    )
    .unwrap();
    drop(passed);
    let lease = join(&other, ALONE);
    assert_eq!(other.leases()[usize::from(lease.id().index)].held, Some(true));
}

fn racer(stage: &Stage) {
    stage.say("ready");
    stage.listen();
    let segment = Segment::open_or_create(stage.place(0), &spec(), &mut mark).unwrap();
    assert!(is_marked(segment.data_area()));
    stage.say(format!("{} {}", segment.created(), segment.creation_id()));
    stage.listen();
}

#[test]
fn eight_racing_creators_share_the_winners_segment() {
    for backend in [Backend::Shm, Backend::SysV] {
        let name = Name::new(backend, "race");
        let backend = backend.to_string();
        let mut racers: Vec<_> = (0..8).map(|_| Process::start(&["racer", &backend, &name.text])).collect();
        racers.iter().for_each(|racer| racer.expect("ready"));
        racers.iter_mut().for_each(|racer| racer.tell("go"));
        let said: Vec<_> = racers.iter().map(Process::hear).collect();
        let winners = said.iter().filter(|said| said.starts_with("true")).count();
        assert_eq!(winners, 1, "{said:?}");
        let ids: HashSet<_> = said.iter().map(|said| said.split_once(' ').unwrap().1).collect();
        assert_eq!(ids.len(), 1, "{said:?}");
    }
}

/// A segment whose file is changed before it is opened again.
fn altered(tag: &str, change: impl FnOnce(&std::fs::File)) -> OpenError {
    let name = Name::shm(tag);
    let path = name.segment().path().unwrap().to_owned();
    change(&OpenOptions::new().read(true).write(true).open(path).unwrap());
    let looking = Segment::open(name.place(), HASH, Permissions::default()).unwrap_err();
    let creating = Segment::open_or_create(name.place(), &spec(), &mut mark).unwrap_err();
    assert_eq!(looking.to_string(), creating.to_string());
    looking
}

fn with_word(tag: &str, offset: u64, value: u64) -> OpenError {
    altered(tag, |file| file.write_all_at(&value.to_le_bytes(), offset).unwrap())
}

#[test]
fn foreign_segments_are_refused_by_name() {
    use OpenError as E;
    let error = altered("short", |file| file.set_len(8192).unwrap());
    assert!(matches!(error, E::Truncated { expected: 20480, found: 8192, .. }), "{error}");
    let error = altered("stub", |file| file.set_len(100).unwrap());
    assert!(matches!(error, E::Truncated { expected: HEADER_BYTES, found: 100, .. }), "{error}");
    let error = altered("empty", |file| file.set_len(0).unwrap());
    assert!(matches!(error, E::Truncated { expected: HEADER_BYTES, found: 0, .. }), "{error}");
    let error = altered("garbage", |file| file.write_all_at(&[0xA5; 4096], 0).unwrap());
    assert!(matches!(error, E::NotASegment { found: 0xA5A5_A5A5_A5A5_A5A5, .. }), "{error}");
    let error = with_word("version", 8, 0);
    assert!(matches!(error, E::Version { expected: VERSION, found: 0, .. }), "{error}");
    let error = with_word("hash", 16, 1);
    assert!(matches!(error, E::LayoutHash { found: 1, .. }), "{error}");
    let error = with_word("members", 32, 0);
    assert!(matches!(error, E::Geometry { what: "members", .. }), "{error}");
    let error = with_word("data-area", 48, u64::MAX - 100);
    assert!(matches!(error, E::Geometry { what: "data area bytes", .. }), "{error}");
    let error = with_word("boot", 128, 1);
    assert!(matches!(error, E::Boot { .. }), "{error}");
    let error = with_word("page", 160, 512);
    assert!(matches!(error, E::PageBytes { found: 512, .. }), "{error}");
    let error = with_word("order", 168, 1);
    assert!(matches!(error, E::ByteOrder { found: 1, .. }), "{error}");
    let error = with_word("backend", 176, 2);
    assert!(matches!(error, E::OtherBackend { expected: Backend::Shm, found: 2, .. }), "{error}");
    if is_root() {
        let error = altered("chown", |file| std::os::unix::fs::fchown(file, Some(65534), None).unwrap());
        assert!(matches!(error, E::Owner { found: 65534, .. }), "{error}");
    } else {
        println!("SKIPPED: the foreign inode needs root");
    }
}

/// Opens root's segment as the user nobody.
fn stranger(stage: &Stage) {
    // SAFETY: drops privileges of this process only.
    assert_eq!(unsafe { libc::setuid(65534) }, 0);
    let error = stage.attach().unwrap_err();
    assert!(matches!(error, OpenError::Owner { expected: 65534, found: 0, .. }), "{error}");
    stage.say("refused");
}

#[test]
fn a_stranger_is_told_whose_it_is() {
    if !is_root() {
        println!("SKIPPED: becoming somebody else needs root");
        return;
    }
    let name = Name::shm("stranger");
    let _segment = name.segment();
    Process::start(&["stranger", "shm", &name.text]).expect("refused");
}

#[test]
fn another_data_area_layout_is_refused() {
    let name = Name::shm("other-hash");
    let _segment = name.segment();
    let other = Segment::open(name.place(), HASH + 1, Permissions::default()).unwrap_err();
    let (ours, theirs) = (mixed_hash(HASH + 1), mixed_hash(HASH));
    assert!(
        matches!(other, OpenError::LayoutHash { expected, found, .. } if (expected, found) == (ours, theirs))
    );
}

#[test]
fn a_link_or_a_directory_of_that_name_is_refused() {
    let name = Name::shm("link");
    let path = name.segment().path().unwrap().to_owned();
    let moved = path.with_extension("moved");
    std::fs::rename(&path, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &path).unwrap();
    let error = Segment::open(name.place(), HASH, Permissions::default()).unwrap_err();
    std::fs::remove_file(&moved).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(error, OpenError::Os { .. }), "{error}");
    std::fs::create_dir(&path).unwrap();
    let error = Segment::open(name.place(), HASH, Permissions::default()).unwrap_err();
    std::fs::remove_dir(&path).unwrap();
    assert!(matches!(error, OpenError::NotASegment { .. }), "{error}");
}

#[test]
fn impossible_wishes_are_refused_before_anything_is_made() {
    let name = Name::shm("wishes");
    let whole = std::iter::once(0..20000_u64).collect();
    for wish in [
        members(0),
        members(257),
        Spec { data_area_bytes: 0, ..spec() },
        Spec { data_area_bytes: u64::MAX, ..spec() },
        Spec { commit: whole, ..spec() },
    ] {
        let error = Segment::open_or_create(name.place(), &wish, &mut mark).unwrap_err();
        assert!(matches!(error, OpenError::Geometry { .. }), "{error}");
    }
    assert!(matches!(
        Segment::open(name.place(), HASH, Permissions::default()),
        Err(OpenError::NotFound { .. })
    ));
    for bad in ["", "a/b", ".a"] {
        let error = Segment::open(Place::Shm(bad.into()), HASH, Permissions::default()).unwrap_err();
        assert!(matches!(error, OpenError::InvalidName { .. }), "{error}");
    }
}

fn page() -> u64 {
    // SAFETY: a number.
    unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 }
}

/// What so many bytes from the start of a segment take.
fn in_pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(page())
}

#[test]
fn a_tiny_segment_takes_less_than_32_kib() {
    let name = Name::shm("tiny");
    let tiny = Spec { data_area_bytes: 24 << 10, commit: Vec::new(), ..spec() };
    let segment = Segment::open_or_create(name.place(), &tiny, &mut |_| ()).unwrap();
    assert!(segment.total_bytes() < 32 << 10);
    assert_eq!(std::fs::metadata(segment.path().unwrap()).unwrap().size(), segment.total_bytes());
    assert_eq!(segment.committed_bytes(), Some(in_pages(4096)), "only header and tables");
    let lease = segment.join(ALONE, std::sync::Arc::new(Clear)).unwrap();
    lease.commit(0..24 << 10).unwrap();
    assert_eq!(segment.committed_bytes(), Some(in_pages(28 << 10)));
}

#[test]
fn a_huge_segment_costs_what_is_committed() {
    let name = Name::shm("huge");
    let huge = Spec { data_area_bytes: 64 << 30, ..spec() };
    let segment = open_or_create(name.place(), &huge);
    assert_eq!(segment.committed_bytes(), Some(in_pages(4096 + 16384)));
    join(&segment, ALONE);
}

#[test]
fn sysv_memory_goes_with_its_last_user_and_the_husk_is_replaced() {
    let name = Name::new(Backend::SysV, "husk");
    let first = name.segment();
    let id = first.creation_id();
    let path = first.path().unwrap().to_owned();
    drop(first);
    assert!(path.exists(), "the lock file stays");
    // A child that another test of this process has forked, and that has not called exec yet, has the memory attached as well.
    eventually("the memory is gone", || {
        matches!(Segment::open(name.place(), HASH, Permissions::default()), Err(OpenError::NotFound { .. }))
    });
    let second = name.segment();
    assert!(second.created());
    assert_ne!(second.creation_id(), id);
    assert_eq!(name.segment().creation_id(), second.creation_id());
}

#[test]
fn what_is_listed_is_what_exists() {
    let shm = Name::shm("listed");
    let sysv = Name::new(Backend::SysV, "listed");
    let broken = Name::shm("broken");
    let segments = [shm.segment(), sysv.segment()];
    let path = broken.segment().path().unwrap().to_owned();
    std::fs::write(&path, b"no segment").unwrap();
    let list = Segment::list().unwrap();
    let find = |name: &Name| list.iter().find(|l| l.name == name.text && l.backend == name.backend).unwrap();
    assert_eq!((find(&shm).bytes, &find(&shm).error), (segments[0].total_bytes(), &None));
    assert_eq!(find(&sysv).error, None);
    assert_eq!(find(&broken).error.as_deref(), Some("not a segment"));
    drop(segments);
    let (gone, place) = (shm.text.clone(), shm.place());
    Segment::remove(&place, false).unwrap();
    assert!(
        Segment::list().unwrap().iter().all(|listed| listed.name != gone || listed.backend == Backend::SysV)
    );
}

#[test]
fn remove_refuses_while_a_lease_is_held() {
    let name = Name::shm("held");
    let _alone = while_nobody_starts();
    let segment = name.segment();
    let lease = join(&segment, ALONE);
    let refused = Segment::remove(&name.place(), false).unwrap_err();
    assert!(matches!(refused, RemoveError::Held { lease: 0, .. }), "{refused}");
    Segment::remove(&name.place(), true).unwrap();
    assert!(
        segment.join(ALONE, std::sync::Arc::new(Clear)).is_err(),
        "nobody else would find the new member"
    );
    lease.check().unwrap();
    lease.commit(0..4096).unwrap();
    let permit = segment.path().unwrap().with_file_name(format!(".tenure-{}.tenure-removed", name.text));
    assert!(permit.exists());
    lease.leave().unwrap();
    assert!(!permit.exists(), "the last member takes it along");
}

/// Runs `body` in a forked child with its own mount namespace; false if that is not possible here.
fn in_namespace(body: impl FnOnce() -> i32) -> bool {
    let code = in_fork(|| {
        // SAFETY: no arguments.
        let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
        // SAFETY: the forked child has one thread.
        let unshare = |flags| unsafe { libc::unshare(flags) == 0 };
        let write = |file: &str, text: String| std::fs::write(format!("/proc/self/{file}"), text).is_ok();
        let entered = unshare(libc::CLONE_NEWNS)
            || (unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)
                && write("setgroups", "deny".into())
                && write("uid_map", format!("{uid} {uid} 1"))
                && write("gid_map", format!("{gid} {gid} 1")));
        let private = entered && mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "");
        if private { body() } else { 77 }
    });
    assert!(code == 0 || code == 77, "in the namespace: {code}");
    code == 0
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> bool {
    let c = |text: &str| std::ffi::CString::new(text).unwrap();
    let (source, target, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: four strings that outlive the call.
    unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) == 0 }
}

fn small_tmpfs(stage: &Stage) {
    let directory = PathBuf::from(&stage.arguments[0]);
    let ran = in_namespace(|| {
        if !mount("tmpfs", directory.to_str().unwrap(), "tmpfs", 0, &format!("size={}", 16 * page())) {
            return 77;
        }
        let file = directory.join("x");
        let bytes = 256 * page();
        let big = Spec { data_area_bytes: bytes, commit: std::iter::once(0..bytes).collect(), ..spec() };
        let error = Segment::open_or_create(Place::File(file.clone()), &big, &mut mark).unwrap_err();
        assert!(matches!(error, OpenError::NoSpace { wanted, .. } if wanted == bytes + 4096), "{error}");
        let entries = || std::fs::read_dir(&directory).unwrap().count();
        assert_eq!(entries(), 0, "nothing is left behind");

        let sparse = Spec { commit: Vec::new(), ..big };
        let segment = Segment::open_or_create(Place::File(file), &sparse, &mut |_| ()).unwrap();
        let lease = segment.join(GUARDED, std::sync::Arc::new(Clear)).unwrap();
        let before = segment.committed_bytes();
        // The data area begins at 4096, within a page where pages are larger.
        let from = page() - 4096;
        let full = lease.commit(from..from + bytes / 2).unwrap_err();
        assert!(
            matches!(full, tenure_segment::CommitError::NoSpace { wanted } if wanted == bytes / 2),
            "{full}"
        );
        assert_eq!(segment.committed_bytes(), before, "nothing is reserved by a failure");
        lease.commit(from..from + 8 * page()).unwrap();
        lease.decommit(from..from + 8 * page()).unwrap();
        assert_eq!(segment.committed_bytes(), before);
        assert_eq!(entries(), 1);
        0
    });
    stage.say(if ran { "ok" } else { "skipped" });
}

#[test]
fn a_full_tmpfs_is_no_space_and_nothing_is_left() {
    let directory = tempfile::tempdir().unwrap();
    let child = Process::start(&["small", directory.path().to_str().unwrap()]);
    if child.hear() == "skipped" {
        println!("SKIPPED: no mount namespace to be had here");
    }
    assert!(child.wait().success());
}

fn overlay(stage: &Stage) {
    let directory = PathBuf::from(&stage.arguments[0]);
    let ran = in_namespace(|| {
        let base = directory.to_str().unwrap();
        if !mount("tmpfs", base, "tmpfs", 0, "") {
            return 77;
        }
        for sub in ["lower", "upper", "work", "merged"] {
            std::fs::create_dir(directory.join(sub)).unwrap();
        }
        let data = format!("lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work");
        if !mount("overlay", &format!("{base}/merged"), "overlay", 0, &data) {
            return 77;
        }
        let place = Place::File(directory.join("merged/x"));
        let error = Segment::open_or_create(place, &spec(), &mut mark).unwrap_err();
        assert!(
            matches!(&error, OpenError::FileSystem { found, .. } if found.contains("overlayfs")),
            "{error}"
        );
        0
    });
    stage.say(if ran { "ok" } else { "skipped" });
}

#[test]
fn an_unwelcome_file_system_is_refused_by_name() {
    let error = Segment::open_or_create(Place::File("/proc/x".into()), &spec(), &mut mark).unwrap_err();
    assert!(matches!(&error, OpenError::FileSystem { found, .. } if found.contains("0x9fa0")), "{error}");
    let directory = tempfile::tempdir().unwrap();
    let child = Process::start(&["overlay", directory.path().to_str().unwrap()]);
    if child.hear() == "skipped" {
        println!("SKIPPED: no overlayfs to be had here");
    }
    assert!(child.wait().success());
}

#[test]
fn a_creator_removes_what_the_name_was_on_another_boot() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let old = directory.path().join("x.00000000");
    let name = directory.path().join("x");
    let first = open_or_create(Place::File(name.clone()), &spec());
    std::fs::copy(first.path().unwrap(), &old).unwrap();
    Segment::remove(&Place::File(name.clone()), false).unwrap();
    assert!(!old.exists(), "removing does");
    std::fs::write(&old, b"TENURESG").unwrap();
    open_or_create(Place::File(name), &spec());
    assert!(!old.exists(), "creating does");
}

const NAMED: [Backend; 3] = [Backend::Shm, Backend::File, Backend::SysV];

fn try_create(name: &Name) -> Result<Segment, OpenError> {
    open_or_refuse(name.place())
}

/// As systemd's RemoveIPC= does, or an administrator: the file goes, the members stay.
#[test]
fn a_name_that_is_removed_under_members_makes_no_second_world() {
    for backend in NAMED {
        for how in [GUARDED, ALONE] {
            let name = Name::new(backend, "unlinked");
            let _alone = while_nobody_starts();
            let first = name.segment();
            let lease = join(&first, how);
            assert_eq!(first.name_state(), NameState::Current);
            std::fs::remove_file(first.path().unwrap()).unwrap();
            assert_eq!(first.name_state(), NameState::Removed, "{backend}");
            let refused = try_create(&name).unwrap_err();
            assert!(matches!(refused, OpenError::Removed { .. }), "{backend}: {refused}");
            let refused = Segment::open(name.place(), HASH, Permissions::default()).unwrap_err();
            assert!(matches!(refused, OpenError::Removed { .. }), "{backend}: {refused}");
            let refused = first.join(ALONE, std::sync::Arc::new(Clear)).unwrap_err();
            assert!(matches!(refused, JoinError::Removed { .. }), "{backend}: {refused}");
            lease.leave().unwrap();
            let second = name.segment();
            assert!(second.created(), "{backend}: nobody is in the first world any more");
            assert_eq!((first.name_state(), second.name_state()), (NameState::Replaced, NameState::Current));
        }
    }
}

#[test]
fn a_removal_with_force_makes_room_once() {
    for backend in NAMED {
        let name = Name::new(backend, "permitted");
        let _alone = while_nobody_starts();
        let first = name.segment();
        let lease = join(&first, GUARDED);
        Segment::remove(&name.place(), true).unwrap();
        let second = name.segment();
        assert!(second.created());
        assert_eq!((first.name_state(), second.name_state()), (NameState::Replaced, NameState::Contested));
        // The permit was for that one only.
        std::fs::remove_file(second.path().unwrap()).unwrap();
        assert!(matches!(try_create(&name), Err(OpenError::Removed { .. })), "{backend}");
        let refused = Segment::remove(&name.place(), false).unwrap_err();
        assert!(matches!(refused, RemoveError::Unnamed { .. }), "{backend}: {refused}");
        Segment::remove(&name.place(), true).unwrap();
        let third = name.segment();
        assert_eq!((third.created(), third.name_state()), (true, NameState::Contested));
        drop(lease);
        assert_eq!(third.name_state(), NameState::Current);
        let folder = third.path().unwrap().parent().unwrap();
        let ours = |entry: &std::fs::DirEntry| entry.file_name().to_str().unwrap().contains(&name.text);
        let left = std::fs::read_dir(folder).unwrap().flatten().filter(ours).count();
        assert_eq!(left, 1, "{backend}: the permit is gone");
    }
}

#[test]
fn a_permit_that_killed_members_left_goes_with_the_next_creation() {
    let (killed, kept, other) = (Name::shm("killed"), Name::shm("kept"), Name::shm("other"));
    let _alone = while_nobody_starts();
    let permit = |name: &Name| PathBuf::from(format!("/dev/shm/.tenure-{}.tenure-removed", name.text));
    let first = kept.segment();
    let _lease = join(&first, GUARDED);
    Segment::remove(&kept.place(), true).unwrap();
    // As after a removal with force, once the members are killed.
    std::fs::write(permit(&killed), "").unwrap();
    let _segment = other.segment();
    assert!(!permit(&killed).exists());
    assert!(permit(&kept).exists(), "its member lives");
}

/// A member without a monitor has its lock of the folder in the descriptor table that its children inherit.
fn forker(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let lease = join(&segment, ALONE);
    // SAFETY: the child only sleeps until it is killed.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        loop {
            // SAFETY: as above.
            unsafe { libc::pause() };
        }
    }
    lease.leave().unwrap();
    Segment::remove(&stage.place(0), false).unwrap();
    let second = open_or_create(stage.place(0), &spec());
    // Before the answer: the test ends this process when it has it, and then nobody would end the child.
    // SAFETY: our child.
    unsafe { libc::kill(child, libc::SIGKILL) };
    reap(child);
    stage.say(second.created());
}

#[test]
fn a_forked_child_of_a_former_member_keeps_nobody_from_creating() {
    for backend in NAMED {
        let name = Name::new(backend, "forker");
        let _segment = name.segment();
        Process::start(&["forker", &backend.to_string(), &name.text]).expect("true");
    }
}

/// The permit of a name, if there is one.
fn permit_of(path: &Path) -> Option<PathBuf> {
    let file_name = path.file_name().unwrap().to_str().unwrap();
    let stem = file_name.split_once('.').unwrap().0;
    let is_permit = |file: &Path| {
        let file = file.file_name().unwrap().to_str().unwrap();
        file.starts_with(&format!(".{stem}.")) && file.ends_with("removed")
    };
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().flatten();
    entries.map(|entry| entry.path()).find(|file| is_permit(file))
}

#[test]
fn a_refused_removal_permits_nothing() {
    for backend in NAMED {
        let name = Name::new(backend, "refused");
        let segment = name.segment();
        let lease = join(&segment, ALONE);
        let refused = Segment::remove(&name.place(), false).unwrap_err();
        assert!(matches!(refused, RemoveError::Held { lease: 0, .. }), "{refused}");
        assert_eq!(permit_of(segment.path().unwrap()), None, "{backend}");
        std::fs::remove_file(segment.path().unwrap()).unwrap();
        assert!(matches!(try_create(&name), Err(OpenError::Removed { .. })), "{backend}");
        drop(lease);
    }
}

/// As if the second creator were killed between the name and the end of the permit.
#[test]
fn a_permit_that_a_killed_creator_left_is_for_no_third_world() {
    for backend in NAMED {
        let name = Name::new(backend, "third");
        let _alone = while_nobody_starts();
        let first = name.segment();
        let _former = join(&first, ALONE);
        Segment::remove(&name.place(), true).unwrap();
        let permit = permit_of(first.path().unwrap()).unwrap();
        let contents = std::fs::read(&permit).unwrap();
        let second = name.segment();
        assert!(second.created() && !permit.exists());
        let lease = join(&second, ALONE);
        std::fs::write(&permit, contents).unwrap();
        std::fs::remove_file(second.path().unwrap()).unwrap();
        assert!(matches!(try_create(&name), Err(OpenError::Removed { .. })), "{backend}");
        // Only a second removal with force permits it.
        Segment::remove(&name.place(), true).unwrap();
        assert!(name.segment().created(), "{backend}");
        drop(lease);
    }
}

#[test]
fn a_file_that_only_looks_like_a_permit_permits_nothing_and_stays() {
    for file in [".a.removed", ".a.tenure-removed"] {
        for contents in ["", "somebody's"] {
            let directory = tempfile::tempdir_in("/dev/shm").unwrap();
            let _alone = while_nobody_starts();
            let place = || Place::File(directory.path().join("a"));
            let segment = open_or_create(place(), &spec());
            let lease = join(&segment, ALONE);
            std::fs::remove_file(segment.path().unwrap()).unwrap();
            let stranger = directory.path().join(file);
            std::fs::write(&stranger, contents).unwrap();
            let created = open_or_refuse(place());
            assert!(matches!(created, Err(OpenError::Removed { .. })), "{file} {contents:?}");
            drop(lease);
            open_or_create(place(), &spec());
            let is_ours = file == ".a.tenure-removed" && contents.is_empty();
            assert_eq!(stranger.exists(), !is_ours, "{file} {contents:?}");
        }
    }
}

#[test]
fn a_permit_that_would_not_count_is_an_error() {
    if !is_root() {
        return println!("SKIPPED: the file of another user needs root");
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let place = || Place::File(directory.path().join("a"));
    let segment = open_or_create(place(), &spec());
    let _lease = join(&segment, ALONE);
    std::fs::remove_file(segment.path().unwrap()).unwrap();
    for file in [".a.removed", ".a.tenure-removed"] {
        let foreign = directory.path().join(file);
        std::fs::write(&foreign, "").unwrap();
        std::os::unix::fs::chown(&foreign, Some(1234), None).unwrap();
    }
    let refused = Segment::remove(&place(), true).unwrap_err();
    assert!(matches!(refused, RemoveError::Os { .. }), "{refused}");
}

/// The folder is out of reach when the monitor looks for it.
#[test]
fn a_member_whose_monitor_finds_no_folder_is_noticed_nevertheless() {
    struct Hide(PathBuf, PathBuf);
    impl tenure_segment::Reclaim for Hide {
        fn reclaim(&self, _: DataArea<'_>, recovery: &tenure_core::Recovery) {
            // For the former owner of the slot: before the monitor starts.
            if self.0.exists() && recovery.by() == recovery.dead().index {
                std::fs::rename(&self.0, &self.1).unwrap();
            }
        }
    }
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let (folder, hidden) = (directory.path().join("folder"), directory.path().join("hidden"));
    std::fs::create_dir(&folder).unwrap();
    let place = || Place::File(folder.join("a"));
    // With one slot the join takes that of the dead.
    let segment = open_or_create(place(), &members(1));
    let former = Process::start(&["former", folder.join("a").to_str().unwrap()]);
    former.expect("joined");
    former.kill();
    let lease = segment.join(GUARDED, std::sync::Arc::new(Hide(folder.clone(), hidden.clone()))).unwrap();
    assert_eq!(lease.monitor_state(), tenure_segment::MonitorState::Running);
    std::fs::rename(&hidden, &folder).unwrap();
    std::fs::remove_file(segment.path().unwrap()).unwrap();
    let created = Segment::open_or_create(place(), &members(1), &mut mark);
    assert!(matches!(created, Err(OpenError::Removed { .. })), "{created:?}");
    drop(lease);
}

fn former(stage: &Stage) {
    let place = Place::File(PathBuf::from(&stage.arguments[0]));
    let _lease = join(&Segment::open(place, HASH, Permissions::default()).unwrap(), ALONE);
    stage.say("joined");
    stage.listen();
}

/// Forks a child that outlives it.
fn parent(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let _lease = join(&segment, ALONE);
    // SAFETY: the child only speaks, and waits for the end of its input.
    if unsafe { libc::fork() } == 0 {
        // Its parent may be killed before the child runs at all; then the child has the lock until it does.
        stage.say("forked");
    }
    stage.listen();
    unreachable!("nothing is said");
}

#[test]
fn a_forked_child_does_not_pass_for_its_parent() {
    for backend in NAMED {
        let name = Name::new(backend, "orphan");
        let segment = name.segment();
        let mut parent = Process::start(&["parent", &backend.to_string(), &name.text]);
        parent.expect("forked");
        parent.kill_only();
        eventually("the parent is gone", || !parent.is_running());
        // The child still lives: `parent` keeps its input open.
        let _alone = while_nobody_starts();
        std::fs::remove_file(segment.path().unwrap()).unwrap();
        let second = try_create(&name);
        assert!(second.is_ok_and(|second| second.created()), "{backend}");
    }
}

/// As in a container with a boot id of its own that shares the folder.
fn other_boot(stage: &Stage) {
    let boot_id = "/proc/sys/kernel/random/boot_id";
    let fake = &stage.arguments[2];
    std::fs::write(fake, "11111111-2222-3333-4444-555555555555\n").unwrap();
    let ran = in_namespace(|| {
        if !mount(fake, boot_id, "", libc::MS_BIND, "") {
            return 77;
        }
        for refused in [stage.attach().unwrap_err(), open_or_refuse(stage.place(0)).unwrap_err()] {
            assert!(matches!(refused, OpenError::OtherBootId { lease: 0, .. }), "{refused}");
        }
        0
    });
    stage.say(if ran { "ok" } else { "skipped" });
}

fn open_or_refuse(place: Place) -> Result<Segment, OpenError> {
    Segment::open_or_create(place, &spec(), &mut mark)
}

#[test]
fn another_boot_id_in_the_same_kernel_is_told_from_another_boot() {
    for backend in NAMED {
        let name = Name::new(backend, "boot");
        let segment = name.segment();
        let _lease = join(&segment, ALONE);
        let folder = tempfile::tempdir().unwrap();
        let fake = folder.path().join("boot_id");
        let child = Process::start(&["other boot", &backend.to_string(), &name.text, fake.to_str().unwrap()]);
        if child.hear() == "skipped" {
            return println!("SKIPPED: no mount namespace to be had here");
        }
        assert!(child.wait().success());
        assert_eq!(segment.name_state(), NameState::Current);
    }
}

const SHARED: Permissions = Permissions { mode: Some(0o660), owner: None, group: Some(4242) };

fn become_user(uid: u32, gid: u32) {
    // SAFETY: changes the rights of this process only.
    let done = unsafe {
        libc::setgroups(0, std::ptr::null()) == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0
    };
    assert!(done, "{}", std::io::Error::last_os_error());
}

/// Creates under a umask that would take everything away.
fn creator(stage: &Stage) {
    // SAFETY: a number.
    unsafe { libc::umask(0o777) };
    let shared = Spec { permissions: SHARED, ..spec() };
    let segment = open_or_create(stage.place(0), &shared);
    let lease = join(&segment, GUARDED);
    stage.say("created");
    stage.listen();
    drop(lease);
}

/// Joins as another user. Arguments: backend, name, uid, gid, whether it asks for a shared segment.
fn peer(stage: &Stage) {
    let number = |at: usize| stage.arguments[at].parse().unwrap();
    become_user(number(2), number(3));
    let asked = if stage.arguments[4] == "shared" { SHARED } else { Permissions::default() };
    match Segment::open(stage.place(0), HASH, asked) {
        Ok(segment) => {
            let lease = join(&segment, GUARDED);
            stage.say(format!("joined {}", lease.id().index));
            stage.listen();
        }
        Err(OpenError::Owner { found: 0, group: 4242, mode: 0o660, .. }) => stage.say("refused"),
        Err(other) => stage.say(other),
    }
}

#[test]
fn a_segment_for_a_group_lets_in_the_group_and_nobody_else() {
    if !is_root() {
        return println!("SKIPPED: other users need root");
    }
    for backend in NAMED {
        let name = Name::new(backend, "group");
        let creator = Process::start(&["creator", &backend.to_string(), &name.text]);
        creator.expect("created");
        let peer = |uid: &str, gid: &str, how: &str| {
            Process::start(&["peer", &backend.to_string(), &name.text, uid, gid, how])
        };
        peer("1234", "1234", "shared").expect("refused");
        peer("1234", "4242", "alone").expect("refused");
        let inside = peer("1234", "4242", "shared");
        inside.expect("joined 1");
        let reader = Segment::open(name.place(), HASH, SHARED).unwrap();
        let path = reader.path().unwrap();
        let metadata = std::fs::metadata(path).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid(), metadata.gid()), (0o660, 0, 4242));
        // Across users a death is heard and recovered.
        inside.kill();
        eventually(&format!("{backend}: the other user is recovered"), || !reader.leases()[1].live);
        // Whoever asks for less, or for more, is not given something else.
        for asked in [0o600, 0o666] {
            let asked = Permissions { mode: Some(asked), ..SHARED };
            let refused = Segment::open(name.place(), HASH, asked).unwrap_err();
            assert!(matches!(refused, OpenError::Owner { mode: 0o660, .. }), "{refused}");
        }
        let other_owner = Permissions { owner: Some(1234), ..Permissions::default() };
        let refused = Segment::open(name.place(), HASH, other_owner).unwrap_err();
        assert!(matches!(refused, OpenError::Owner { found: 0, .. }), "{refused}");
    }
}

/// A default ACL of the folder gives another user rights to new files, as far as the group has them.
#[test]
fn the_acl_of_a_folder_lets_nobody_in() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let entry =
        |tag: u16, id: u32| [&tag.to_le_bytes()[..], &7_u16.to_le_bytes(), &id.to_le_bytes()].concat();
    // The user, another user, the group, the mask, all others.
    let entries = [(1, u32::MAX), (2, 1234), (4, u32::MAX), (16, u32::MAX), (32, u32::MAX)];
    let entries: Vec<u8> = entries.into_iter().flat_map(|(tag, id)| entry(tag, id)).collect();
    let acl = [&2_u32.to_le_bytes()[..], &entries].concat();
    let flags = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(directory.path(), "system.posix_acl_default", &acl, flags).is_err() {
        return println!("SKIPPED: no ACLs to be had here");
    }
    let plain = directory.path().join("plain");
    std::fs::write(&plain, "").unwrap();
    let has_acl = |path: &Path| rustix::fs::getxattr(path, "system.posix_acl_access", &mut [0; 100]).is_ok();
    assert!(has_acl(&plain));
    let spec = Spec { permissions: Permissions { mode: Some(0o660), ..Permissions::default() }, ..spec() };
    let segment = open_or_create(Place::File(directory.path().join("a")), &spec);
    assert!(!has_acl(segment.path().unwrap()));
    assert_eq!(std::fs::metadata(segment.path().unwrap()).unwrap().mode() & 0o777, 0o660);
}

#[test]
fn impossible_modes_are_refused() {
    for mode in [0, 0o060, 0o400, 0o670, 0o1660, u32::MAX] {
        let permissions = Permissions { mode: Some(mode), ..Permissions::default() };
        let spec = Spec { permissions, ..spec() };
        let name = Name::shm("modes");
        let refused = Segment::open_or_create(name.place(), &spec, &mut mark).unwrap_err();
        assert!(matches!(refused, OpenError::Geometry { .. }), "{refused}");
    }
}

/// Root opens, its forked workers become nobody and join. Arguments: backend and name, or a place without a name; how.
fn server(stage: &Stage) {
    const NOBODY: u32 = 65534;
    let how = stage.arguments[2].as_str();
    let permissions = match how {
        "owner" => Permissions { owner: Some(NOBODY), ..Permissions::default() },
        "group" => Permissions { mode: Some(0o660), group: Some(NOBODY), owner: None },
        _ => Permissions::default(),
    };
    let place = match stage.arguments[0].as_str() {
        "memfd" => Place::Memfd(None),
        "anonymous" => Place::Anonymous,
        _ => stage.place(0),
    };
    let segment = open_or_create(place, &Spec { permissions, ..spec() });
    let lease = join(&segment, GUARDED);
    let code = in_fork(|| {
        become_user(NOBODY, NOBODY);
        match segment.join(GUARDED, std::sync::Arc::new(Clear)) {
            Ok(_) => 0,
            Err(JoinError::Denied { owner: 0, mode: 0o600, uid: 65534, .. }) => 1,
            Err(error) => panic!("{error}"),
        }
    });
    assert!(lease.check().is_ok());
    stage.say(["joined", "denied"].get(code as usize).unwrap_or(&"failed"));
}

#[test]
fn workers_of_a_server_join_after_they_gave_up_rights() {
    if !is_root() {
        return println!("SKIPPED: giving up rights needs root");
    }
    for backend in ["shm", "file", "sysv", "memfd", "anonymous"] {
        for how in ["owner", "group", "unchanged"] {
            let is_named = !matches!(backend, "memfd" | "anonymous");
            let name = Name::new(if is_named { backend.parse().unwrap() } else { Backend::Shm }, "server");
            let server = Process::start(&["server", backend, &name.text, how]);
            let expected = if how == "unchanged" && is_named { "denied" } else { "joined" };
            assert_eq!(server.hear(), expected, "{backend}, {how}");
        }
    }
}

/// A user without rights creates a segment, and joins it from a user namespace and pid namespace of its own, in which it is root. Two
/// rootless containers of one user that share the folder are like that.
fn container(stage: &Stage) {
    become_user(1234, 1234);
    // SAFETY: a number. Without it the files of /proc/self belong to root after the change of user.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 1) };
    let segment = open_or_create(stage.place(0), &spec());
    let lease = join(&segment, GUARDED);
    let code = in_fork(|| {
        let write = |file: &str, text: &str| std::fs::write(format!("/proc/self/{file}"), text).is_ok();
        // SAFETY: the forked child has one thread.
        let entered = unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) == 0 }
            && write("setgroups", "deny")
            && write("uid_map", "0 1234 1")
            && write("gid_map", "0 1234 1");
        if !entered {
            return 77;
        }
        // The first child is process 1 of the new namespace.
        in_fork(|| {
            assert_eq!((std::process::id(), is_root()), (1, true));
            let inside = stage.attach().unwrap();
            assert_eq!(inside.creation_id(), segment.creation_id());
            let own = join(&inside, GUARDED);
            assert_eq!(own.monitor_state(), tenure_segment::MonitorState::Running);
            assert_eq!(inside.leases().iter().filter(|lease| lease.held == Some(true)).count(), 2);
            std::mem::forget(own);
            5
        })
    });
    if code == 77 {
        return stage.say("skipped");
    }
    assert_eq!(code, 5);
    eventually("the member outside recovers the one inside", || !segment.leases()[1].live);
    assert!(lease.check().is_ok());
    stage.say("ok");
}

#[test]
fn a_rootless_container_joins_a_segment_of_its_user() {
    if !is_root() {
        return println!("SKIPPED: becoming another user needs root");
    }
    for backend in NAMED {
        let name = Name::new(backend, "rootless");
        let container = Process::start(&["container", &backend.to_string(), &name.text]);
        match container.hear().as_str() {
            "skipped" => println!("SKIPPED: rootless: no unprivileged user namespace to be had here"),
            said => assert_eq!(said, "ok", "{backend}"),
        }
    }
}
