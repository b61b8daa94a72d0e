//! Two operations at once, over the same objects. The survivor's preparation, and the dead members, belong to both.

use super::members::{join, leave, leave_holding, only_recover, recover};
use super::{blocks, files, handles, map, monitors, names, processes, queues, slots, waiting};
use crate::case::Script;
use crate::pair::Pair;
use crate::survivor::Survivor;

/// Shared steps of creating with a name after which the handle is in the pending slot, and no slot names it yet.
const ENTERED: u32 = 11;

/// Every pair.
pub(crate) fn all() -> Vec<Pair> {
    [
        recoveries(),
        of_handles(),
        of_names(),
        slots::pairs(),
        map::pairs(),
        queues::pairs(),
        of_blocks(),
        of_objects(),
        of_files(),
        of_monitors(),
    ]
    .concat()
}

/// Two dead: one in the middle of a creation, with an entry that is INIT and a block; one in the middle of a last close.
fn dead(name: &'static str, first: Script, second: Script) -> Pair {
    Pair::new(name, first, second)
        .assist_first(|_| {})
        .half("create with a block, claiming", 30)
        .half("close, last", 1)
}

/// Another process than the survivor was the only holder of the posted handle, and is dead.
fn dead_holder(name: &'static str, first: Script, second: Script) -> Pair {
    Pair::new(name, first, second)
        .before(handles::create_to_give_up)
        .half("close, last, of another's block", 0)
}

fn recoveries() -> Vec<Pair> {
    vec![
        dead("recover | recover", only_recover, only_recover),
        dead("recover | join", recover, join),
        dead("recover | leave", recover, leave_holding),
        dead_holder("recover | recover, of a holder", only_recover, only_recover),
        dead_holder("recover | close, beside the dead", recover, handles::close_anothers),
        dead_holder("recover | open, of the dead's", recover, handles::open_given_up),
        Pair::new("recover | recover, of spans", only_recover, only_recover)
            .half("alloc, new span of several units", 4)
            .half("alloc, large", 2),
        Pair::new("recover | alloc, of spans", recover, blocks::alloc_several)
            .half("alloc, new span of several units", 4)
            .half("alloc, large", 2),
    ]
}

fn of_handles() -> Vec<Pair> {
    let posted = |name, first, second| Pair::new(name, first, second).before(handles::create_to_give_up);
    vec![
        posted("close | close", handles::close_anothers, handles::close_anothers)
            .assist_second(Survivor::close_last),
        posted("close | open", handles::close_anothers, handles::open_given_up)
            .assist_first(Survivor::close_last),
        posted("open | open", handles::open_given_up, handles::open_given_up).meanwhile(Survivor::close_last),
        Pair::new("close, private | open", handles::close_private_posted, handles::open_given_up),
        Pair::new("create | create", handles::create_claiming, handles::create_claiming),
        Pair::new(
            "create | create, with blocks",
            handles::create_block_claiming,
            handles::create_block_claiming,
        ),
    ]
}

fn of_names() -> Vec<Pair> {
    let warm = |name, first, second| Pair::new(name, first, second).before(names::warm);
    vec![
        warm("create or open | create or open", names::create_or_open, names::create_or_open),
        warm("create named | create named", names::create, names::create),
        warm("create or open | create a neighbour", names::create_or_open, names::create_neighbour)
            .meanwhile(names::take_only_neighbour),
        warm(
            "create or open | create a neighbour, reused meanwhile",
            names::create_or_open,
            names::create_neighbour,
        )
        .meanwhile(names::take_if_free),
        warm("close, of a name | create or open", names::close, names::create_or_open),
        warm("recover | create or open", recover, names::create_or_open).half("create named", ENTERED),
        warm(
            "create a neighbour | create or open, of what the dead entered",
            names::create_neighbour,
            names::create_or_open,
        )
        .half("create named", ENTERED),
    ]
}

fn of_blocks() -> Vec<Pair> {
    vec![
        Pair::new("alloc | alloc, new spans", blocks::alloc_several, blocks::alloc_several),
        Pair::new("alloc | alloc, large", blocks::alloc_several, blocks::alloc_large),
        Pair::new("alloc | alloc, adopting", blocks::alloc_several, blocks::alloc_several)
            .before(blocks::abandon_spans),
        Pair::new("trim | alloc", blocks::trim, blocks::alloc_if_any).uses_up(),
        Pair::new("trim | alloc, adopting", blocks::trim, blocks::alloc_if_any)
            .before(blocks::abandon_spans)
            .uses_up(),
        Pair::new(
            "alloc, collecting | free, of another member",
            blocks::alloc_collecting_posted,
            blocks::free_posted,
        ),
        Pair::new("recover | alloc, adopting", recover, blocks::alloc_several)
            .before(blocks::abandon_spans)
            .half("alloc, adopting several units", 3),
    ]
}

fn of_objects() -> Vec<Pair> {
    let pair = |name, first, second| {
        Pair::new(name, first, second).before(waiting::provide).after(waiting::all_is_well)
    };
    let signalled = |name, first, second| pair(name, first, second).before(waiting::signal_all);
    let process = |name, first, second| Pair::new(name, first, second).after(processes::all_is_told);
    vec![
        signalled("wait all | wait all", waiting::all_or_none, waiting::all_or_none),
        signalled("wait all | lock", waiting::all_or_none, waiting::try_lock),
        signalled("wait all | recover, of one who takes several", waiting::all_or_none, recover)
            .half("wait all, taking", waiting::RESERVED),
        signalled("recover | recover, of one who takes several", only_recover, only_recover)
            .half("wait all, taking", waiting::RESERVED),
        pair("recover | recover, of an owner with a waiter", only_recover, only_recover)
            .after(waiting::see_one_told)
            .half("unlock, with a waiter", 0),
        pair("recover | recover, of a pending value", only_recover, only_recover)
            .after(waiting::see_manual)
            .half("set, with a waiter", 1),
        pair("set | set, with a waiter", waiting::set_with_waiter, waiting::set_with_waiter)
            .before(waiting::manual_sleeper)
            .after(waiting::see_manual),
        pair("set | set, automatic, with a waiter", waiting::set_auto, waiting::set_auto)
            .before(waiting::auto_sleeper)
            .after(waiting::see_auto),
        pair("release | release, with a waiter", waiting::release_with_waiter, waiting::release_with_waiter)
            .before(waiting::semaphore_sleeper)
            .after(waiting::see_semaphore),
        process("look | look, at one that has ended", processes::look, processes::look)
            .before(processes::ended_with_mark),
        process("look | say how it ended", processes::look, processes::reaped)
            .before(processes::gone_with_mark),
    ]
}

fn of_files() -> Vec<Pair> {
    let file = |name, first, second| {
        Pair::new(name, first, second).before(files::have_a_file).meanwhile(files::exclude)
    };
    vec![
        file("file share, enter | enter", files::enter_alone, files::enter_alone),
        file("file share, enter | leave", files::enter_alone, files::leave),
        file("file share, recover | enter", recover, files::enter_alone).half("file share, leave", 0),
        file("file share, enter | enter, beside the dead's", files::enter_alone, files::enter_alone)
            .half("file share, leave", 0),
        Pair::new("descriptor, close | open", files::close_kept, files::open).before(files::keep_ready),
        Pair::new("descriptor, open | open", files::open, files::open)
            .before(files::have_one)
            .meanwhile(files::close_and_reuse),
    ]
}

fn of_monitors() -> Vec<Pair> {
    let witnessed = |name, first, second| {
        Pair::new(name, first, second)
            .guarded()
            .before(monitors::bring_witness)
            .meanwhile(monitors::witness_goes_on)
            .after(monitors::see_next_owners)
    };
    vec![
        witnessed("observe | observe, and recover the dead", monitors::observe, monitors::observe)
            .half("leave, holding everything", 0),
        witnessed("observe | leave, withdrawing notifications", monitors::observe, leave).half("lock", 1),
    ]
}
