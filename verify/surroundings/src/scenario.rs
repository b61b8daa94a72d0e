//! One short life of a space, in Rust; `programs/` has the same in C and Python. A handle with a block and a mutex are created, a
//! second process opens both, allocates, and is killed while it owns the mutex. The mutex must come back as an abandoned one.

use std::alloc::Layout;
use std::error::Error;
use std::io::{Read, Write, pipe};
use std::time::Duration;

use tenure::{Backend, Kind, Space, Token, error::WaitError, sync::Mutex};

const KIND: Kind = Kind::raw(7);
const SIZE: usize = 100_000;
/// How the scenario ended: the exit status, and the line that says why.
type End = (i32, String);

/// Runs the scenario; returns the exit status.
pub(crate) fn play(name: &str) -> i32 {
    let (status, line) = match parent(name) {
        Ok(()) => return 0,
        Err(end) => end,
    };
    if !line.is_empty() {
        println!("{line}");
    }
    status
}

/// The library refused, and says why.
fn refused(error: impl Error) -> End {
    let mut text = format!("error: {error}");
    let mut source = error.source();
    while let Some(inner) = source {
        text += &format!(": {inner}");
        source = inner.source();
    }
    (1, text)
}

fn holds(is_so: bool, what: &str) -> Result<(), End> {
    if is_so { Ok(()) } else { Err((2, format!("wrong: {what}"))) }
}

fn lock_memory(when: &str) -> Result<(), End> {
    let wanted = std::env::var("SCENARIO_LOCK").is_ok_and(|wanted| wanted == when);
    // SAFETY: no memory of ours is changed.
    if wanted && unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE) } != 0 {
        return Err((77, "SKIPPED: mlockall is refused here".into()));
    }
    Ok(())
}

fn partner(name: &str, token: Token, mut said: impl Write) -> Result<(), End> {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let space = Space::options().attach(name).map_err(refused)?;
    let me = space.join().map_err(refused)?;
    let handle = me.open_raw(KIND, token).map_err(refused)?;
    let bytes = handle.get().map_err(refused)?;
    holds(bytes.len() == SIZE && bytes[SIZE - 1] == 3, "the partner reads what was written")?;
    let mutex = Mutex::create_or_open(&me, "lock").map_err(refused)?.into_inner();
    mutex.acquire(None).map_err(refused)?;
    let mut block = me.alloc(Layout::new::<[u8; SIZE]>()).map_err(refused)?;
    block.fill(4);
    let _ = said.write_all(b"x");
    loop {
        std::thread::park();
    }
}

fn resident_kib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

fn parent(name: &str) -> Result<(), End> {
    lock_memory("before")?;
    let space = Space::options().open(name).map_err(refused)?;
    let me = space.join().map_err(refused)?;
    let handle = me.create_raw(KIND, &[3; SIZE]).map_err(refused)?;
    let mutex = Mutex::create_or_open(&me, "lock").map_err(refused)?.into_inner();
    lock_memory("after")?;
    let Ok((mut listen, said)) = pipe() else {
        return Err((77, "SKIPPED: no pipe is to be had here".into()));
    };
    // SAFETY: the child calls what works in forked children of programs without other threads than the library's, and ends here.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(listen);
        let (status, line) = partner(name, handle.token(), said).err().unwrap_or_default();
        println!("{line}");
        // SAFETY: ends the process.
        unsafe { libc::_exit(status) };
    }
    if child < 0 {
        return Err((77, "SKIPPED: no process can be started here".into()));
    }
    drop(said);
    let spoke = listen.read_exact(&mut [0]).is_ok();
    let mut state = 0;
    // SAFETY: our child, which is not reaped yet.
    let reaped = unsafe {
        if spoke {
            libc::kill(child, libc::SIGKILL);
        }
        libc::waitpid(child, &raw mut state, 0) == child
    };
    if !spoke {
        // It has said why, unless it was killed.
        holds(!reaped || libc::WIFEXITED(state), "the partner was killed")?;
        return Err((if reaped { libc::WEXITSTATUS(state) } else { 1 }, String::new()));
    }
    let abandoned = match mutex.acquire(Some(Duration::from_secs(20))) {
        Err(WaitError::TimedOut) => return holds(false, "the death is not heard of within 20 s"),
        waited => waited.map_err(refused)?,
    };
    holds(abandoned, "the mutex of the dead is not abandoned")?;
    drop(mutex.adopt().map_err(refused)?);
    me.recover().map_err(refused)?;
    let stats = space.stats();
    let found = (stats.members_live, stats.handles_live, stats.blocks_leased);
    holds(found == (1, 2, 0), "the dead holds something")?;
    holds(space.check().is_clean(), "check finds violations")?;
    if std::env::var_os("SCENARIO_LOCK").is_some() {
        holds(resident_kib() <= 64 << 10, "locked memory costs more than 64 MiB")?;
    }
    drop((mutex, handle));
    me.trim().map_err(refused)?;
    me.leave().map_err(refused)?;
    drop(space);
    Space::remove(Backend::Shm, name, false).map_err(refused)?;
    Ok(())
}
