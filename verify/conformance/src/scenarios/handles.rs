//! Handles of bytes and of values.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort};
use crate::stage::Stage;
use crate::wishes::{KIND, raw};
use tenure_testkit::eventually;

const FEW: Sizes = Sizes { handles: 32, ..Sizes::USUAL };
const SHORT_GENERATIONS: Sizes = Sizes { handles: 1, generation_bits: 4, ..Sizes::USUAL };

pub(super) const ROWS: &[Row] = &[
    ("what was created has the bytes that it was given", Sizes::USUAL, create_get_close),
    ("payloads of 0, 1, 31, 32, 33, 4096 and 100000 bytes come back whole", Sizes::USUAL, sizes),
    ("another program opens the token and reads the same bytes", Sizes::USUAL, open_elsewhere),
    ("a program that was not there at the creation opens it as well", Sizes::USUAL, open_by_latecomer),
    ("the creator may close first: who else holds it keeps it", Sizes::USUAL, creator_closes_first),
    ("the last one to close ends it, whoever that is", Sizes::USUAL, last_closer_ends_it),
    ("a program that holds it twice has to close it twice", Sizes::USUAL, held_twice),
    ("closing twice what was held once is told, and harms nobody", Sizes::USUAL, closed_twice),
    ("a token that everybody closed is stale", Sizes::USUAL, stale),
    ("a token that was never issued is forged", Sizes::USUAL, forged),
    ("nonsense instead of a token is refused", Sizes::USUAL, nonsense),
    ("a token of another space is refused", Sizes::USUAL, foreign_space),
    ("a token of another kind is refused, and nothing is held", Sizes::USUAL, foreign_kind),
    ("a used index has another token; the old one stays stale", FEW, reuse),
    ("an index whose generations are used up is not used again", SHORT_GENERATIONS, generations_end),
    ("handles used up are a clear error, and fine again after a close", FEW, handles_exhausted),
    ("of handles used up everybody may close some for everybody", FEW, handles_exhausted_elsewhere),
    ("a payload that does not fit is a clear error, and nothing is created", Sizes::USUAL, payload_too_large),
    ("the block of a large payload is freed with the handle", Sizes::USUAL, block_ends_with_handle),
    ("a block becomes a handle's payload without a copy", Sizes::USUAL, create_with_block),
    ("a value comes back as a value", Sizes::USUAL, typed),
    ("a value is not opened as bytes, nor bytes as a value", Sizes::USUAL, typed_is_not_raw),
    ("a holder was killed: others keep it", Sizes::USUAL, holder_killed),
    ("the last holder was killed: it ends", Sizes::USUAL, last_holder_killed),
    ("a holder is stopped: it keeps what it holds, and nobody waits for it", Sizes::USUAL, holder_stopped),
    ("a hundred handles of a program that was killed end together", Sizes::USUAL, many_of_the_dead),
];

fn create_get_close(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let handle = a.create(b"tea")?;
    assert_eq!(a.get(handle)?, b"tea");
    a.close(handle)?;
    assert_eq!(a.open(handle.token), Err(Fault::Stale));
    Ok(())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + len) as u8).collect()
}

fn sizes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for len in [0, 1, 31, 32, 33, 4096, 100_000] {
        let handle = a.create(&pattern(len))?;
        let opened = b.open(handle.token)?;
        assert!(a.get(handle)? == pattern(len), "{len} bytes");
        a.close(handle)?;
        assert!(b.get(opened)? == pattern(len), "{len} bytes, elsewhere");
        b.close(opened)?;
    }
    Ok(())
}

fn open_elsewhere(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(b"shared")?;
    let opened = b.open(handle.token)?;
    assert_eq!(opened.token, handle.token);
    assert_eq!(b.get(opened)?, b"shared");
    Ok(())
}

fn open_by_latecomer(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let handle = a.create(b"early")?;
    let mut b = stage.program()?;
    let opened = b.open(handle.token)?;
    drop(a);
    let mut c = stage.program()?;
    let again = c.open(opened.token)?;
    assert_eq!(c.get(again)?, b"early");
    Ok(())
}

fn creator_closes_first(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(b"kept")?;
    let opened = b.open(handle.token)?;
    a.close(handle)?;
    assert_eq!(b.get(opened)?, b"kept");
    let again = a.open(opened.token)?;
    assert_eq!(a.get(again)?, b"kept");
    Ok(())
}

fn last_closer_ends_it(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for creator_last in [false, true] {
        let mine = a.create(b"short")?;
        let theirs = b.open(mine.token)?;
        if creator_last {
            b.close(theirs)?;
            a.close(mine)?;
        } else {
            a.close(mine)?;
            b.close(theirs)?;
        }
        assert_eq!(a.open(mine.token), Err(Fault::Stale));
        assert_eq!(b.open(mine.token), Err(Fault::Stale));
    }
    Ok(())
}

fn held_twice(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let first = a.create(b"twice")?;
    let second = a.try_clone(first)?;
    let third = a.open(first.token)?;
    a.close(first)?;
    a.close(third)?;
    assert_eq!(a.get(second)?, b"twice");
    let opened = b.open(second.token)?;
    b.close(opened)?;
    a.close(second)?;
    assert_eq!(b.open(second.token), Err(Fault::Stale));
    Ok(())
}

fn closed_twice(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mine = a.create(b"once")?;
    let theirs = b.open(mine.token)?;
    a.close(mine)?;
    assert_eq!(a.close(mine), Err(Fault::Stale));
    assert_eq!(b.get(theirs)?, b"once");
    Ok(())
}

fn stale(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(b"gone")?;
    a.close(handle)?;
    assert_eq!(b.open(handle.token), Err(Fault::Stale));
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

/// Bits of a token's index.
const INDEX_BITS: u32 = 20;

fn forged(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let handle = a.create(b"real")?;
    // A later generation, and an index that was not used yet.
    for token in [handle.token + (1 << INDEX_BITS), (handle.token >> INDEX_BITS << INDEX_BITS) + 127] {
        let found = a.open(token);
        assert!(matches!(found, Err(Fault::Forged)), "{token:x}: {found:?}");
    }
    assert_eq!(a.get(handle)?, b"real");
    Ok(())
}

fn nonsense(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let handle = a.create(b"real")?;
    let out_of_range = handle.token | ((1 << INDEX_BITS) - 1);
    for token in [0, 1, u64::MAX, out_of_range, !handle.token] {
        let found = a.open(token);
        assert!(matches!(found, Err(Fault::Forged | Fault::ForeignSpace)), "{token:x}: {found:?}");
    }
    assert_eq!(stage.in_use().handles, 1);
    Ok(())
}

fn foreign_space(stage: &Stage) -> Result<(), Fault> {
    let token = stage.foreign_token()?;
    let mut a = stage.program()?;
    assert_eq!(a.open(token), Err(Fault::ForeignSpace));
    Ok(())
}

fn foreign_kind(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(b"apple")?;
    assert_eq!(b.open_as(Sort::Raw(KIND + 1), handle.token), Err(Fault::ForeignKind));
    a.close(handle)?;
    assert_eq!(b.open(handle.token), Err(Fault::Stale));
    Ok(())
}

fn reuse(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mut seen = Vec::new();
    for _ in 0..100 {
        let handle = a.create(b"again")?;
        assert!(!seen.contains(&handle.token), "a token is issued again");
        seen.push(handle.token);
        let opened = b.open(handle.token)?;
        a.close(handle)?;
        b.close(opened)?;
    }
    // A hundred tokens over 32 indices: some were used again.
    for token in seen {
        assert_eq!(b.open(token), Err(Fault::Stale));
    }
    Ok(())
}

fn generations_end(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut tokens = Vec::new();
    let end = loop {
        match a.create(b"one of few") {
            Ok(handle) => {
                assert!(!tokens.contains(&handle.token));
                tokens.push(handle.token);
                a.close(handle)?;
            }
            Err(fault) => break fault,
        }
        assert!(tokens.len() <= 16, "more than 4 bits of generations");
    };
    assert_eq!(end, Fault::Exhausted);
    for token in tokens {
        assert_eq!(a.open(token), Err(Fault::Stale));
    }
    Ok(())
}

fn handles_exhausted(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (handles, fault) = a.create_many(raw(b"many"), 1000)?;
    assert_eq!((handles.len(), fault), (32, Some(Fault::Exhausted)));
    assert_eq!(a.create(b"one more"), Err(Fault::Exhausted));
    a.close(handles[17])?;
    let one_more = a.create(b"one more")?;
    assert_eq!(a.get(one_more)?, b"one more");
    assert_eq!(a.get(handles[31])?, b"many");
    a.close_many(&handles[..17])?;
    let (again, fault) = a.create_many(raw(b"again"), 17)?;
    assert_eq!((again.len(), fault), (17, None));
    Ok(())
}

fn handles_exhausted_elsewhere(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (handles, _) = a.create_many(raw(b"many"), 1000)?;
    assert_eq!(b.create(b"mine"), Err(Fault::Exhausted));
    a.close_many(&handles)?;
    // A closed handle's entry may still be claimed ahead by the member that closed it, until that member leaves.
    a.leave()?;
    let (again, fault) = b.create_many(raw(b"again"), 32)?;
    assert_eq!((again.len(), fault), (32, None));
    Ok(())
}

fn payload_too_large(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let kept = a.create(b"kept")?;
    let fault = a.create(&vec![7; 4 << 20]);
    assert!(matches!(fault, Err(Fault::Exhausted | Fault::TooLarge)), "{fault:?}");
    let stats = stage.in_use();
    assert_eq!((stats.handles, stats.attached, stats.leased), (1, 0, 0));
    assert_eq!(a.get(kept)?, b"kept");
    Ok(())
}

fn block_ends_with_handle(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(&pattern(5000))?;
    let opened = b.open(handle.token)?;
    assert_eq!(stage.in_use().attached, 1);
    a.close(handle)?;
    assert_eq!(stage.in_use().attached, 1);
    assert_eq!(b.get(opened)?, pattern(5000));
    b.close(opened)?;
    assert_eq!(stage.in_use().attached, 0);
    Ok(())
}

fn create_with_block(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let block = a.alloc(64, 16)?;
    a.poke(block, &pattern(64))?;
    let handle = a.create_with(block, 64)?;
    let stats = stage.in_use();
    assert_eq!((stats.attached, stats.leased), (1, 0));
    let opened = b.open(handle.token)?;
    assert_eq!(b.get(opened)?, pattern(64));
    // It belongs to the handle now.
    let fault = a.free(block);
    assert_eq!(fault, Err(Fault::WrongOwner));
    a.close(handle)?;
    assert_eq!(b.get(opened)?, pattern(64));
    b.close(opened)?;
    assert_eq!(stage.in_use().attached, 0);
    Ok(())
}

fn typed(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let lines = vec!["tea".to_owned(), String::new(), "🫖 and more".repeat(100)];
    let handle = a.make(New::Typed { id: 7, lines: lines.clone() })?;
    let opened = b.open_as(Sort::Typed, handle.token)?;
    a.close(handle)?;
    assert_eq!(b.get_typed(opened)?, (7, lines));
    Ok(())
}

fn typed_is_not_raw(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let value = a.make(New::Typed { id: 7, lines: Vec::new() })?;
    let bytes = a.create(b"bytes")?;
    assert_eq!(a.open(value.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Typed, bytes.token), Err(Fault::ForeignKind));
    Ok(())
}

fn holder_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(&pattern(1000))?;
    let opened = b.open(handle.token)?;
    a.kill()?;
    b.recover()?;
    assert_eq!(b.get(opened)?, pattern(1000));
    let mut c = stage.program()?;
    let again = c.open(handle.token)?;
    b.close(opened)?;
    assert_eq!(c.get(again)?, pattern(1000));
    Ok(())
}

fn last_holder_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(&pattern(1000))?;
    let shared = a.create(b"both")?;
    let theirs = b.open(shared.token)?;
    b.close(theirs)?;
    a.kill()?;
    b.recover()?;
    eventually("the handles of the dead end", || b.open(handle.token) == Err(Fault::Stale));
    eventually("the handles of the dead end", || b.open(shared.token) == Err(Fault::Stale));
    eventually("nothing is left of them", || stage.in_use().handles + stage.in_use().attached == 0);
    Ok(())
}

fn holder_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let mine = a.create(b"kept")?;
    let theirs = b.create(b"kept too")?;
    let both = a.open(theirs.token)?;
    a.stop()?;
    let opened = b.open(mine.token)?;
    b.close(opened)?;
    b.close(theirs)?;
    b.recover()?;
    let again = b.open(both.token)?;
    assert_eq!(b.get(again)?, b"kept too");
    b.close(again)?;
    a.resume()?;
    assert_eq!(a.get(mine)?, b"kept");
    assert_eq!(a.get(both)?, b"kept too");
    Ok(())
}

fn many_of_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (handles, fault) = a.create_many(raw(&pattern(100)), 100)?;
    assert_eq!((handles.len(), fault), (100, None));
    let kept = b.open(handles[50].token)?;
    a.begin_and_sleep(Order::Stats);
    assert!(matches!(a.answer(), Ok(Answer::InUse(_))));
    a.kill()?;
    b.recover()?;
    eventually("one handle is left", || stage.in_use().handles == 1);
    assert_eq!(b.get(kept)?, pattern(100));
    let (again, fault) = b.create_many(raw(b"again"), 120)?;
    assert_eq!((again.len(), fault), (120, None));
    Ok(())
}
