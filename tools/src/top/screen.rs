//! The terminal as a screen of our own, and its return: at the end, at a panic and at a signal that ends the process.

use std::io::{self, Write as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, enable_raw_mode};

/// The settings of the terminal before we changed them.
static BEFORE: OnceLock<libc::termios> = OnceLock::new();
/// Whether the terminal is ours at the moment.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// Signals that end a process and that somebody may send, or a bug cause. SIGBUS has a handler of its own, which gives the screen back as well.
const SIGNALS: [libc::c_int; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGABRT,
    libc::SIGSEGV,
    libc::SIGILL,
    libc::SIGFPE,
];

/// The terminal, as long as it is ours. Dropping it gives it back.
pub(crate) struct Screen(());

impl Screen {
    /// Takes the terminal of standard input and output.
    pub(crate) fn take() -> io::Result<Self> {
        // SAFETY: all zero is a value of plain integers, which the call fills.
        let mut now: libc::termios = unsafe { std::mem::zeroed() };
        // SAFETY: our descriptor, and room for the settings.
        if unsafe { libc::tcgetattr(libc::STDIN_FILENO, &raw mut now) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let _ = BEFORE.set(now);
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        for signal in SIGNALS {
            // SAFETY: a handler that calls what handlers may call; all zero is an action with an empty mask. SA_RESETHAND: the signal has its
            // usual effect when the handler raises it again.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = end as extern "C" fn(libc::c_int) as usize;
                // On the stack of its own that the standard library has for a thread that overflows its stack.
                action.sa_flags = libc::SA_RESETHAND | libc::SA_NODEFER | libc::SA_ONSTACK;
                libc::sigaction(signal, &raw const action, std::ptr::null_mut());
            }
        }
        // Relaxed: read by this thread and by handlers; each may find either value while the next two calls run, and give back what was not
        // taken, which changes nothing.
        IS_TAKEN.store(true, Ordering::Relaxed);
        let screen = Self(());
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Clear(ClearType::All))?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = io::stdout().flush();
        give_back();
    }
}

/// Gives the terminal back, once. May be called in a handler of a signal.
pub(crate) fn give_back() {
    // The usual colours, the cursor, and the screen of before.
    const TEXT: &[u8] = b"\x1b[0m\x1b[?25h\x1b[?1049l";
    // Relaxed: as in `take`; of several calls one does it.
    if IS_TAKEN.swap(false, Ordering::Relaxed)
        && let Some(before) = BEFORE.get()
    {
        // SAFETY: both may be called in a handler; text and settings live as long as the program.
        unsafe {
            libc::write(libc::STDOUT_FILENO, TEXT.as_ptr().cast(), TEXT.len());
            libc::tcsetattr(libc::STDIN_FILENO, libc::TCSANOW, before);
        }
    }
}

extern "C" fn end(signal: libc::c_int) {
    give_back();
    // SAFETY: may be called in a handler; the signal has its usual effect from now on.
    unsafe { libc::raise(signal) };
}

#[cfg(test)]
pub(crate) use tests::child;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::{FromRawFd as _, OwnedFd};

    use super::*;

    /// In a process of its own: takes the screen and ends as it is told.
    pub(crate) fn child(how: &str) {
        let _screen = Screen::take().unwrap();
        // SAFETY: no memory is involved.
        let _ = unsafe {
            match how {
                "panic" => panic!("on purpose"),
                "signal" => libc::raise(libc::SIGTERM),
                "fault" => libc::raise(libc::SIGSEGV),
                _ => 0,
            }
        };
    }

    fn settings(of: &File) -> (libc::tcflag_t, libc::tcflag_t, libc::tcflag_t) {
        use std::os::fd::AsRawFd as _;
        // SAFETY: plain integers, which the call fills; a descriptor of ours.
        unsafe {
            let mut now: libc::termios = std::mem::zeroed();
            assert_eq!(libc::tcgetattr(of.as_raw_fd(), &raw mut now), 0);
            (now.c_iflag, now.c_oflag, now.c_lflag)
        }
    }

    #[test]
    fn the_terminal_is_given_back_however_the_process_ends() {
        for how in ["end", "panic", "signal", "fault"] {
            let (mut ours, mut theirs) = (0, 0);
            let null = std::ptr::null_mut();
            // SAFETY: room for two descriptors; neither name nor settings.
            let opened =
                unsafe { libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), null.cast()) };
            assert_eq!(opened, 0);
            // SAFETY: new descriptors, which nobody else closes.
            let (mut ours, theirs) =
                unsafe { (File::from_raw_fd(ours), File::from(OwnedFd::from_raw_fd(theirs))) };
            let before = settings(&theirs);
            let mut command = tenure_testkit::in_role(&["screen", how]);
            let mut child = command
                .stdin(theirs.try_clone().unwrap())
                .stdout(theirs.try_clone().unwrap())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            drop(command);
            let status = tenure_testkit::end_of(&mut child);
            assert_eq!(settings(&theirs), before, "{how}");
            drop(theirs);
            let mut said = Vec::new();
            // The end of a terminal is an error.
            let _ = ours.read_to_end(&mut said);
            let said = String::from_utf8_lossy(&said).into_owned();
            let (taken, given) = (said.find("\x1b[?1049h"), said.rfind("\x1b[?1049l"));
            assert!(taken.is_some() && taken < given, "{how}: {said:?}");
            use std::os::unix::process::ExitStatusExt as _;
            let signal = match how {
                "signal" => Some(libc::SIGTERM),
                "fault" => Some(libc::SIGSEGV),
                _ => None,
            };
            assert_eq!(status.signal(), signal, "{how}: {status}");
        }
    }
}
