//! The children of a crowd: victims, which do random operations until they are killed, and recoverers, which do one
//! action at a signal and may be killed or stopped during it.

use std::alloc::Layout;

use tenure::{Member, Token, error::OpenHandleError, raw::RawBlock};

use crate::pattern::{self, combine};

use super::super::chance::{Act, Choice};
use super::super::hands::{Hands, KIND, Room, must};
use super::super::member::Home;
use super::board::{Board, KNOWN, OWN, Slot, Stand};
use super::clock::{Alarm, now_ns, spin_until};
use super::script::{Blow, Deed, Finish, Recoverer, Round, Victim};
use super::steps::{self, SlowMotion};
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};

/// Time to set a timer, in ns.
const ARM_NS: u64 = 5_000;

/// The parameters of a child.
pub(super) struct Cue<'a> {
    pub(super) board: &'a Board,
    /// Index of its slot on the board.
    pub(super) slot: usize,
    /// The slots of this round's victims.
    pub(super) victims: &'a [usize],
    /// The signal at which the victims may be killed; the first wave waits for the signal after it.
    pub(super) signal: u32,
    /// Number of recoverers that begin at the same time.
    pub(super) together: u32,
    /// Typical duration of a recovery, in ns.
    pub(super) typical_ns: u64,
    /// Whether recoverers run in slow motion and are killed in it.
    pub(super) is_slow: bool,
}

impl Cue<'_> {
    fn slot(&self) -> &Slot {
        self.board.slot(self.slot)
    }

    fn join(&self, home: &Home) -> Result<Member, Trouble> {
        let member = must("join", home.spaces[0].join())?;
        self.slot().set_lease(member.lease().index);
        Ok(member)
    }
}

/// Does random operations until it is killed.
pub(super) fn play_victim(
    mut home: Home,
    cue: &Cue<'_>,
    round: &Round,
    part: &Victim,
) -> Result<(), Trouble> {
    let strike = |time_ns: u64| must("set a timer", Alarm::at(time_ns, libc::SIGKILL));
    let mut alarm = part.early_ns.map(|delay| strike(now_ns() + delay)).transpose()?;
    let member = cue.join(&home)?;
    home.members.push(member);
    let mut hands = Hands::new(&home, 0);
    let mut operations = 0;
    for number in 0.. {
        let choice = Choice::of(part.stream, number);
        if !round.allows(choice.act, part, operations) {
            continue;
        }
        if matches!(choice.act, Act::Pin | Act::Unpin) {
            cue.slot().begin_pinning();
        }
        hands.perform(choice)?;
        cue.slot().set_pins(hands.pins.len());
        operations += 1;
        cue.slot().set_operations(operations);
        if operations == part.operations {
            make_known(&mut hands, cue.slot(), part.stream);
            cue.slot().set_stand(Stand::Ready);
        }
        if operations >= part.operations && alarm.is_none() && cue.board.is_given(cue.signal) {
            alarm = Some(strike(now_ns() + part.late_ns)?);
        }
    }
    Ok(())
}

fn make_known(hands: &mut Hands<'_>, slot: &Slot, key: u64) {
    for at in 0..KNOWN {
        if let Some((token, identity)) = hands.any_token(combine(&[key, at as u64]), 0) {
            slot.make_known(at, token.into(), identity);
        }
    }
}

/// Waits for the signal, executes its action, and ends as planned.
pub(super) fn play_recoverer(home: &Home, cue: &Cue<'_>, part: &Recoverer) -> Result<(), Trouble> {
    let mut member = if part.deed == Deed::Join { None } else { Some(cue.join(home)?) };
    if let Some(member) = member.as_ref().filter(|_| part.laden) {
        load(home, cue, member, part)?;
    }
    cue.slot().set_stand(Stand::Ready);
    cue.board.await_signal(cue.signal.wrapping_add(part.wave));
    // A child that wakes late begins late.
    let begin_ns = cue.board.gather(cue.together).max(now_ns() + ARM_NS);
    let alarm = strike(cue, part, begin_ns)?;
    let slow = member.as_ref().filter(|_| cue.is_slow).map(|member| slow_down(member, part)).transpose()?;
    spin_until(begin_ns);
    cue.slot().set_stand(Stand::AtIt);
    match (&member, part.deed) {
        (Some(member), Deed::Open) => open_known(cue, member, part.key)?,
        (Some(member), _) => recover(cue.slot(), member)?,
        (None, _) => member = Some(cue.join(home)?),
    }
    drop((alarm, slow));
    cue.slot().set_stand(Stand::Done);
    end(member, part.finish)
}

fn recover(slot: &Slot, member: &Member) -> Result<(), Trouble> {
    let began_ns = now_ns();
    // A call without a dead member to recover is faster than the ones that the kills are timed for: do not record it.
    if must("recover", member.recover())? > 0 {
        slot.set_took_ns(now_ns() - began_ns);
    }
    Ok(())
}

/// Sets the timer that kills or stops a recoverer that begins at `begin_ns`.
fn strike(cue: &Cue<'_>, part: &Recoverer, begin_ns: u64) -> Result<Option<Alarm>, Trouble> {
    let signal = match part.blow {
        Blow::Kill if !cue.is_slow => libc::SIGKILL,
        Blow::Stop => libc::SIGSTOP,
        _ => return Ok(None),
    };
    let alarm = Alarm::at(begin_ns + part.permille * cue.typical_ns / 1000, signal);
    must("set a timer", alarm).map(Some)
}

fn slow_down(member: &Member, part: &Recoverer) -> Result<SlowMotion, Trouble> {
    let payloads = member.local().address(RawBlock { offset: 0, len: 0 });
    let last = (part.blow == Blow::Kill).then_some(1 + part.key % steps::STEPS_MAX);
    must("slow down", SlowMotion::begin(payloads, last))
}

fn end(member: Option<Member>, finish: Finish) -> Result<(), Trouble> {
    match (finish, member) {
        (Finish::Leave, Some(member)) => must("leave", member.leave()),
        (Finish::Stay, _) => loop {
            // In any case, sleep again.
            let _ = rustix::thread::nanosleep(&rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 });
        },
        _ => Ok(()),
    }
}

/// Opens handles of the victims, and creates some handles and blocks; all of them go into the books.
fn load(home: &Home, cue: &Cue<'_>, member: &Member, part: &Recoverer) -> Result<(), Trouble> {
    open_known(cue, member, part.key)?;
    for at in 0..OWN as u64 {
        let identity = combine(&[part.key, at]);
        create(home, cue.slot(), member, identity)?;
        alloc(home, cue.slot(), member, identity)?;
    }
    // No handle stays claimed ahead.
    must("trim", member.trim()).map(drop)
}

/// Opens the handles that the victims published. Each is live or free: if it opens, it is held and has its contents.
fn open_known(cue: &Cue<'_>, member: &Member, key: u64) -> Result<(), Trouble> {
    let mut local = member.local();
    let known = cue.victims.iter().flat_map(|victim| cue.board.slot(*victim).known());
    for (at, (token, identity)) in known.enumerate() {
        let token = must("read a token", Token::try_from(token))?;
        let held = match local.open(KIND, token) {
            Ok(held) => held,
            Err(OpenHandleError::Stale { .. }) => continue,
            Err(error) => {
                return Err((Wrong::Refused, format!("expected {token:?} or stale, found {error}")));
            }
        };
        // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
        let payload = must("get", unsafe { local.get(&held) })?;
        pattern::check_payload(identity, payload).map_err(|text| (Wrong::MixedUp, text))?;
        let is_kept = combine(&[key, at as u64]).is_multiple_of(2);
        let is_booked = cue.slot().handles().any(|(booked, _)| booked == u64::from(token));
        if !is_kept || is_booked || !cue.slot().book_handle(token.into(), identity) {
            // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
            must("close", unsafe { local.close(held) })?;
        }
    }
    Ok(())
}

fn create(home: &Home, slot: &Slot, member: &Member, identity: u64) -> Result<(), Trouble> {
    let mut payload = Vec::new();
    pattern::payload(identity, &mut payload);
    let mut local = member.local();
    let held = match local.create(KIND, &payload) {
        Ok(held) => held,
        Err(error) if error.is_full() => return Ok(()),
        Err(error) => return Err((Wrong::Refused, format!("cannot create: {error}"))),
    };
    let token = local.token(&held).into();
    match home.orders.negative_control {
        Some(NegativeControl::Keep) => return Ok(()),
        // SAFETY: we own the reference as a raw value, and no slice of the payload is used any more.
        Some(NegativeControl::Lose) => must("close", unsafe { local.close(held) })?,
        Some(NegativeControl::Crash) => std::process::abort(),
        _ => {}
    }
    slot.book_handle(token, identity);
    Ok(())
}

fn alloc(home: &Home, slot: &Slot, member: &Member, key: u64) -> Result<(), Trouble> {
    let mut local = member.local();
    let key = key | 1;
    let block = match local.alloc(must("lay out", Layout::from_size_align(block_bytes(key), 1))?) {
        Ok(block) => block,
        Err(error) if error.is_full() => return Ok(()),
        Err(error) => return Err((Wrong::Refused, format!("cannot alloc: {error}"))),
    };
    // SAFETY: the block was just allocated, is ours alone and has that many bytes.
    unsafe { pattern::fill(local.address(block), block.len, key) };
    if home.orders.negative_control != Some(NegativeControl::Hoard) {
        slot.book_block(block.offset, key);
    }
    Ok(())
}

/// The size in bytes of a recoverer's block.
pub(super) fn block_bytes(key: u64) -> usize {
    1 + (key % (6 << 10)) as usize
}
