//! The book with small histories: its new wishes, the answers it accepts either way, and the answers it reports as
//! lost.

use rand::SeedableRng;

use super::*;

const HANDLE: u64 = 5;

fn book() -> Book {
    Book::new(1, 3, StdRng::seed_from_u64(1))
}

fn step(seat: usize, wish: Wish) -> Step {
    Step { handle: HANDLE, seat, kind: 1, wish }
}

fn hold(seat: usize) -> Step {
    step(seat, Wish::Hold)
}

fn release(seat: usize, last: bool) -> Step {
    step(seat, Wish::Release { last })
}

fn send(book: &mut Book, step: Step) -> Task {
    assert!(book.is_ready(&step, true), "{step:?}");
    book.send(&step, true)
}

/// Seat 0 creates, seat 1 opens.
fn shared() -> Book {
    let mut book = book();
    for step in [hold(0), hold(1)] {
        book.plan(&step);
    }
    assert!(matches!(send(&mut book, hold(0)), Task::Create { .. }));
    assert!(!book.is_ready(&hold(1), true), "its token is not known yet");
    assert_eq!(book.held(&hold(0), true, Some(77)), Finding::Good);
    assert!(matches!(send(&mut book, hold(1)), Task::Open { token: 77, .. }));
    book
}

fn suspect(book: &Book) -> Suspect {
    let identity = book.entries[&HANDLE].identity;
    Suspect { handle: HANDLE, token: 77, kind: 1, identity }
}

#[test]
fn a_handle_lives_from_the_first_hold_to_the_last_release() {
    let mut book = shared();
    assert_eq!(book.expected(&suspect(&book)), Expected::NotYet);
    assert_eq!(book.held(&hold(1), true, None), Finding::Good);
    assert_eq!(book.expected(&suspect(&book)), Expected::Alive);
    let suspect = suspect(&book);
    for (step, probe) in [(release(0, false), false), (release(1, true), true)] {
        book.plan(&step);
        assert_eq!(send(&mut book, step), Task::Close { handle: HANDLE, probe });
        book.released(&step, true);
    }
    assert_eq!(book.expected(&suspect), Expected::Stale);
    assert!(book.entries.is_empty() && book.tokens.is_empty());
}

#[test]
fn a_release_may_follow_a_creation_at_once_but_not_an_opening() {
    let mut book = book();
    for step in [hold(0), release(0, true)] {
        book.plan(&step);
    }
    send(&mut book, hold(0));
    assert!(book.is_ready(&release(0, true), true));
    let mut book = shared();
    book.plan(&release(1, false));
    assert!(!book.is_ready(&release(1, false), true), "it may have been stale");
}

#[test]
fn stale_with_a_living_holder_is_lost() {
    let mut book = shared();
    assert!(matches!(book.stale(&hold(1), true), Finding::Lost(text) if text.contains("held by [0]")));
}

#[test]
fn stale_with_a_dying_or_dead_holder_is_wished_again() {
    let mut dying = shared();
    dying.killed(0);
    assert_eq!(dying.stale(&hold(1), true), Finding::Again);
    let mut dead = shared();
    dead.killed(0);
    dead.died(0, 9);
    assert_eq!(dead.stale(&hold(1), true), Finding::Again);
    assert!(matches!(send(&mut dead, hold(1)), Task::Create { .. }));
}

#[test]
fn what_the_dead_held_is_haunted_until_they_are_reclaimed() {
    let mut book = shared();
    assert_eq!(book.held(&hold(1), true, None), Finding::Good);
    let suspect = suspect(&book);
    book.killed(1);
    assert_eq!(book.expected(&suspect), Expected::Haunted);
    assert_eq!(book.died(1, 4), [hold(1)]);
    assert_eq!(book.expected(&suspect), Expected::Haunted);
    book.killed(0);
    assert_eq!(book.died(0, 5), [hold(0)]);
    assert!(book.reclaimed(4).is_empty(), "the other ghost still holds it");
    let freed = book.reclaimed(5);
    assert_eq!((freed.len(), freed[0].token), (1, 77));
    assert_eq!(book.expected(&freed[0]), Expected::Stale);
    assert_eq!(book.held_count(), 0);
}

#[test]
fn what_was_not_answered_is_sent_again() {
    let mut book = shared();
    book.killed(1);
    book.unsend(&hold(1), true);
    assert!(book.died(1, 4).is_empty());
    assert!(matches!(send(&mut book, hold(1)), Task::Open { token: 77, .. }));
    assert_eq!(book.held(&hold(1), true, None), Finding::Good);
    assert_eq!(book.expected(&suspect(&book)), Expected::Alive);
}

#[test]
fn a_last_release_is_probed_unless_a_ghost_may_hold_it_too() {
    let mut book = shared();
    assert_eq!(book.held(&hold(1), true, None), Finding::Good);
    book.killed(1);
    book.died(1, 4);
    book.plan(&release(0, false));
    assert_eq!(send(&mut book, release(0, false)), Task::Close { handle: HANDLE, probe: false });
}

#[test]
fn one_token_for_two_handles_is_mixed_up() {
    let mut book = shared();
    let other = Step { handle: 6, seat: 2, kind: 1, wish: Wish::Hold };
    book.plan(&other);
    send(&mut book, other);
    assert!(matches!(book.held(&other, true, Some(77)), Finding::MixedUp(_)));
}
