//! Names.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort, Thing};
use crate::program::Program;
use crate::stage::{Stage, Target};
use crate::wishes::{KIND, raw};
use tenure_testkit::eventually;

const MANY: Sizes = Sizes { handles: 1024, ..Sizes::USUAL };
const RAW: Sort = Sort::Raw(KIND);

pub(super) const ROWS: &[Row] = &[
    ("what was created with a name is opened by it, and is the same handle", Sizes::USUAL, open_by_name),
    (
        "of many who create or open a name at once one creates and all have the same handle",
        Sizes::USUAL,
        one_creator,
    ),
    ("a name that is taken is refused, and the first keeps it", Sizes::USUAL, taken),
    ("a name that nothing has is refused", Sizes::USUAL, nothing),
    ("a name tells the token without opening anything", Sizes::USUAL, look_up),
    ("a name ends with the last holder, and may be used again", Sizes::USUAL, ends),
    ("a name stays while anybody holds what has it, also without its creator", Sizes::USUAL, stays),
    ("the names of a program that was killed end", Sizes::USUAL, of_the_dead),
    ("a name stays when one of its holders was killed", Sizes::USUAL, one_killed),
    ("names differ by case, and byte by byte", Sizes::USUAL, case),
    ("a name has 1 to 255 bytes; others are refused", Sizes::USUAL, lengths),
    ("all names are listed, with their tokens", Sizes::USUAL, listed),
    ("500 names are all found", MANY, hundreds),
    ("a name that belongs to another kind is refused", Sizes::USUAL, other_kind),
    ("a handle with a name and many bytes keeps both", Sizes::USUAL, large),
    ("a value has a name", Sizes::USUAL, value),
    ("mutexes, events and semaphores have names", Sizes::USUAL, objects),
    ("processes, threads and descriptors have names", Sizes::USUAL, processes),
    (
        "of many who enter themselves under a name at once one does, and all know which",
        Sizes::USUAL,
        one_entered,
    ),
    (
        "of many who put their own file under a name at once one does, and all have that one",
        Sizes::USUAL,
        one_file,
    ),
    ("a forked child finds no names until it joins", Sizes::USUAL, forked_child),
];

fn open_by_name(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mine = a.create_named("tea", raw(b"pot"))?;
    let theirs = b.open_named("tea", RAW)?;
    assert_eq!(theirs.token, mine.token);
    assert_eq!(b.get(theirs)?, b"pot");
    let by_token = b.open(mine.token)?;
    assert_eq!(b.get(by_token)?, b"pot");
    Ok(())
}

fn four(stage: &Stage) -> Result<[Program; 4], Fault> {
    Ok([stage.program()?, stage.program()?, stage.program()?, stage.program()?])
}

fn one_creator(stage: &Stage) -> Result<(), Fault> {
    let mut programs = four(stage)?;
    for round in 0..10 {
        let new = [0, 1, 2, 3].map(|index| raw(&[index]));
        let (creator, things) = one_of(&mut programs, &format!("round {round}"), &new)?;
        for (program, thing) in programs.iter_mut().zip(things) {
            assert_eq!(program.get(thing)?, [creator as u8]);
        }
    }
    Ok(())
}

fn one_entered(stage: &Stage) -> Result<(), Fault> {
    let mut programs = four(stage)?;
    for round in 0..10 {
        let new = [0, 1, 2, 3].map(|index: usize| New::Thread(programs[index].tid() as u32));
        let (creator, things) = one_of(&mut programs, &format!("thread {round}"), &new)?;
        let expected = programs[creator].tid();
        for (program, thing) in programs.iter_mut().zip(things) {
            assert_eq!(program.number_of(thing)?, expected);
        }
    }
    if stage.has_processes() {
        let mut new = Vec::new();
        for program in &programs {
            new.push(New::Process(program.pid()?));
        }
        let (creator, things) = one_of(&mut programs, "process", &new)?;
        let expected = u64::from(programs[creator].pid()?);
        for (program, thing) in programs.iter_mut().zip(things) {
            assert_eq!(program.number_of(thing)?, expected);
        }
    }
    Ok(())
}

fn one_file(stage: &Stage) -> Result<(), Fault> {
    let mut programs = four(stage)?;
    for round in 0..5 {
        let path = |index: usize| stage.path(&format!("file {round} {index}"));
        let mut new = Vec::new();
        for (index, program) in programs.iter_mut().enumerate() {
            new.push(New::Descriptor(program.open_file(&path(index))?));
        }
        let (creator, things) = one_of(&mut programs, &format!("file {round}"), &new)?;
        for (program, thing) in programs.iter_mut().zip(things) {
            let fd = program.duplicate(thing)?;
            program.write_to(fd, b"x")?;
            program.close_fd(fd)?;
        }
        for index in 0..programs.len() {
            let written = if index == creator { "xxxx" } else { "" };
            assert_eq!(std::fs::read_to_string(path(index))?, written, "{index} of {creator}");
        }
    }
    Ok(())
}

/// The object that all of them have, and the index of its creator.
fn one_of(programs: &mut [Program], name: &str, new: &[New]) -> Result<(usize, Vec<Thing>), Fault> {
    for (program, new) in programs.iter_mut().zip(new) {
        program.begin(Order::CreateOrOpen { name: name.into(), new: new.clone() });
    }
    let (mut things, mut creators) = (Vec::new(), Vec::new());
    for (index, program) in programs.iter_mut().enumerate() {
        let Answer::CreatedOrOpened(thing, created) = program.answer()? else { panic!("no handle") };
        things.push(thing);
        creators.extend(created.then_some(index));
    }
    assert_eq!(creators.len(), 1, "creators: {creators:?}");
    assert!(things.iter().all(|thing| thing.token == things[0].token), "{things:?}");
    Ok((creators[0], things))
}

fn taken(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let first = a.create_named("tea", raw(b"first"))?;
    assert_eq!(b.create_named("tea", raw(b"second")), Err(Fault::NameTaken));
    assert_eq!(a.create_named("tea", raw(b"third")), Err(Fault::NameTaken));
    assert_eq!(b.look_up("tea")?, first.token);
    assert_eq!(stage.in_use().handles, 1);
    Ok(())
}

fn nothing(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    a.create_named("tea", raw(b"pot"))?;
    for name in ["coffee", "te", "teas", "tea "] {
        assert_eq!(a.open_named(name, RAW), Err(Fault::NoSuchName), "{name:?}");
    }
    Ok(())
}

fn look_up(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mine = a.create_named("tea", raw(b"pot"))?;
    assert_eq!(b.look_up("tea")?, mine.token);
    a.close(mine)?;
    assert_eq!(b.look_up("tea"), Err(Fault::NoSuchName));
    Ok(())
}

fn ends(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for round in 0..20_u8 {
        let mine = a.create_named("tea", raw(&[round]))?;
        let theirs = b.open_named("tea", RAW)?;
        assert_eq!(b.get(theirs)?, [round]);
        a.close(mine)?;
        b.close(theirs)?;
        assert_eq!(a.open_named("tea", RAW), Err(Fault::NoSuchName));
        std::mem::swap(&mut a, &mut b);
    }
    Ok(())
}

fn stays(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mine = a.create_named("tea", raw(b"pot"))?;
    let by_token = b.open(mine.token)?;
    a.leave()?;
    let mut c = stage.program()?;
    let found = c.open_named("tea", RAW)?;
    b.close(by_token)?;
    assert_eq!(c.get(found)?, b"pot");
    assert_eq!(b.create_named("tea", raw(b"other")), Err(Fault::NameTaken));
    Ok(())
}

fn of_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    a.create_named("tea", raw(b"pot"))?;
    a.create_named("coffee", raw(b"cup"))?;
    a.kill()?;
    b.recover()?;
    eventually("the names of the dead end", || b.look_up("tea") == Err(Fault::NoSuchName));
    eventually("the names of the dead end", || b.look_up("coffee") == Err(Fault::NoSuchName));
    let (mine, created) = b.create_or_open("tea", raw(b"new"))?;
    assert!(created);
    assert_eq!(b.get(mine)?, b"new");
    Ok(())
}

fn one_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let mine = a.create_named("tea", raw(b"pot"))?;
    b.open_named("tea", RAW)?;
    a.kill()?;
    b.recover()?;
    let mut c = stage.program()?;
    assert_eq!(c.open_named("tea", RAW)?.token, mine.token);
    Ok(())
}

fn case(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    // The last two look the same: one letter, or two code points.
    let names = ["tea", "Tea", "TEA", "tea ", "th\u{e9}", "the\u{301}"];
    for (index, name) in names.iter().enumerate() {
        a.create_named(name, raw(&[index as u8]))?;
    }
    for (index, name) in names.iter().enumerate() {
        let found = a.open_named(name, RAW)?;
        assert_eq!(a.get(found)?, [index as u8], "{name:?}");
    }
    Ok(())
}

fn lengths(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for name in ["x".to_owned(), "y".repeat(255), "🫖".repeat(63)] {
        let mine = a.create_named(&name, raw(b"in"))?;
        assert_eq!(b.look_up(&name)?, mine.token);
    }
    for name in [String::new(), "z".repeat(256)] {
        assert_eq!(a.create_named(&name, raw(b"out")), Err(Fault::BadName), "{} bytes", name.len());
    }
    assert_eq!(stage.in_use().handles, 3);
    Ok(())
}

fn listed(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    assert_eq!(a.names()?, []);
    let tea = a.create_named("tea", raw(b"pot"))?;
    let coffee = b.create_named("coffee", raw(b"cup"))?;
    a.create(b"nameless")?;
    let expected = vec![("coffee".to_owned(), coffee.token), ("tea".to_owned(), tea.token)];
    for program in [&mut a, &mut b] {
        let mut found = program.names()?;
        found.sort();
        assert_eq!(found, expected);
    }
    a.close(tea)?;
    assert_eq!(b.names()?, expected[..1]);
    Ok(())
}

fn hundreds(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mut tokens = Vec::new();
    for number in 0..500 {
        tokens.push(a.create_named(&format!("name {number}"), raw(b"x"))?.token);
    }
    for (number, token) in tokens.iter().enumerate() {
        assert_eq!(b.look_up(&format!("name {number}"))?, *token);
    }
    assert_eq!(b.names()?.len(), 500);
    assert_eq!(b.look_up("name 500"), Err(Fault::NoSuchName));
    Ok(())
}

fn other_kind(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    a.create_named("tea", raw(b"pot"))?;
    assert_eq!(b.open_named("tea", Sort::Raw(KIND + 1)), Err(Fault::ForeignKind));
    let other = New::Raw { kind: KIND + 1, bytes: Vec::new() };
    assert_eq!(b.create_or_open("tea", other.clone()), Err(Fault::ForeignKind));
    assert_eq!(b.create_named("tea", other), Err(Fault::NameTaken));
    Ok(())
}

fn large(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let name = "n".repeat(255);
    for len in [0, 31, 32, 33, 10_000] {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mine = a.create_named(&name, raw(&bytes))?;
        let theirs = b.open_named(&name, RAW)?;
        assert!(b.get(theirs)? == bytes, "{len} bytes");
        a.close(mine)?;
        b.close(theirs)?;
    }
    assert_eq!(stage.in_use().attached, 0);
    Ok(())
}

fn value(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let lines = vec!["Earl".to_owned(), "Grey".to_owned()];
    a.create_named("tea", New::Typed { id: 7, lines: lines.clone() })?;
    let theirs = b.open_named("tea", Sort::Typed)?;
    assert_eq!(b.get_typed(theirs)?, (7, lines));
    assert_eq!(b.open_named("tea", RAW), Err(Fault::ForeignKind));
    Ok(())
}

fn objects(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let kinds = [
        ("mutex", New::Mutex { recursive: false }, Sort::Mutex),
        ("manual", New::Event { manual: true, signalled: true }, Sort::Event),
        ("automatic", New::Event { manual: false, signalled: true }, Sort::Event),
        ("semaphore", New::Semaphore { count: 1, maximum: 1 }, Sort::Semaphore),
    ];
    let (mut mine, mut theirs) = (Vec::new(), Vec::new());
    for (name, new, sort) in kinds {
        let (thing, created) = a.create_or_open(name, new.clone())?;
        assert!(created);
        assert_eq!(b.create_named(name, new.clone()), Err(Fault::NameTaken));
        let (other, created) = b.create_or_open(name, new)?;
        assert!(!created);
        let opened = b.open_named(name, sort)?;
        assert_eq!((other.token, opened.token), (thing.token, thing.token));
        mine.push(thing);
        theirs.push(opened);
    }
    assert_eq!(b.take_all(&theirs, None)?, [0; 0]);
    assert_eq!(a.take_any(&[mine[0], mine[2], mine[3]], Some(0)), Err(Fault::TimedOut));
    b.unlock(theirs[0])?;
    assert_eq!(a.names()?.len(), 4);
    Ok(())
}

fn processes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (target, another) = (Target::start("exit 0")?, Target::start("exit 0")?);
    let files = [a.open_file(&stage.path("one"))?, b.open_file(&stage.path("another"))?];
    let threads = [a.tid(), b.tid()].map(|tid| New::Thread(tid as u32));
    let [of_a, of_b] = threads;
    let kinds = [
        ("process", New::Process(target.pid()), New::Process(another.pid()), Sort::Process),
        ("thread", of_a, of_b, Sort::Thread),
        ("file", New::Descriptor(files[0]), New::Descriptor(files[1]), Sort::Descriptor),
    ];
    for (name, new, theirs, sort) in kinds {
        let (thing, created) = a.create_or_open(name, new)?;
        assert!(created);
        let wrong = if sort == Sort::Process { Sort::Thread } else { Sort::Process };
        assert_eq!(b.open_named(name, wrong), Err(Fault::ForeignKind));
        let opened = b.open_named(name, sort)?;
        // Opens the same object; the arguments for creation are ignored.
        let (other, created) = b.create_or_open(name, theirs)?;
        assert!(!created);
        assert_eq!((other.token, opened.token), (thing.token, thing.token));
        assert_eq!(b.look_up(name)?, thing.token);
    }
    assert_eq!(b.create_named("process", New::Process(another.pid())), Err(Fault::NameTaken));
    let own = New::Thread(b.tid() as u32);
    assert_eq!(b.create_named("thread", own.clone()), Err(Fault::NameTaken));
    assert_eq!(b.create_or_open("process", own), Err(Fault::ForeignKind));
    let named = a.names()?.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(named, ["file", "process", "thread"]);
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let mine = a.create_named("tea", raw(b"pot"))?;
    let look = || Order::LookUp("tea".into());
    let create = Order::CreateNamed { name: "coffee".into(), new: raw(b"x") };
    let answers = a.fork(&[look(), create, Order::Join, look(), Order::Leave])?;
    assert_eq!(answers[..2], [Err(Fault::Forked), Err(Fault::Forked)]);
    assert_eq!(answers[3], Ok(Answer::Number(mine.token)));
    Ok(())
}
