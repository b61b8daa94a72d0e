//! The exit status of a program.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Text for standard output and the exit status, or an error.
pub type Answer = Result<(String, Exit), Box<dyn Error + Send + Sync>>;

/// The meaning of the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// No error was found.
    Well,
    /// A segment or a run has errors.
    Wrong,
    /// The command was refused and changed nothing.
    Refused,
    /// The user interrupted the program.
    Interrupted,
}

impl Exit {
    /// Prints the answer of `program` and returns its exit status.
    pub fn of(program: &str, answer: Answer) -> Self {
        match answer {
            Ok((text, exit)) => {
                let mut out = std::io::stdout();
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    // The reader has read enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => exit,
                    Err(error) => {
                        let _ = writeln!(std::io::stderr(), "{program}: cannot write the answer: {error}");
                        Self::Wrong
                    }
                    Ok(()) => exit,
                }
            }
            Err(error) => {
                eprintln!("{program}: {}", in_full(&*error));
                Self::Refused
            }
        }
    }
}

impl Exit {
    /// The number that the program exits with.
    #[must_use]
    pub const fn status(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Wrong => 1,
            Self::Refused => 2,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.status())
    }
}

/// The text of an error with all its sources.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// Makes a program that reads segments answer when somebody cuts a file while it reads: with a line on standard error and the status of
/// [`Exit::Refused`]. Without it the kernel ends the program by SIGBUS. For programs, not for libraries: the handler ends the process.
pub fn refuse_at_sigbus() {
    extern "C" fn cut(_: libc::c_int) {
        const TEXT: &[u8] =
            b"tenure: the file of the segment was cut, or its file system was full, while it was read\n";
        crate::top::screen::give_back();
        // SAFETY: both may be called in a handler; the text lives as long as the program.
        unsafe {
            libc::write(2, TEXT.as_ptr().cast(), TEXT.len());
            libc::_exit(2);
        }
    }
    // SAFETY: a handler that calls what handlers may call; all zero is an action without flags and with an empty mask.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = cut as extern "C" fn(libc::c_int) as usize;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd};

    use super::*;

    #[test]
    fn a_read_of_a_file_that_was_cut_is_an_answer_and_no_signal() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        // SAFETY: a new mapping of a file that is open.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        file.set_len(0).unwrap();
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors; then the child touches only memory that it has, and never returns.
        let child = unsafe {
            assert_eq!(libc::pipe(ends.as_mut_ptr()), 0);
            libc::fork()
        };
        if child == 0 {
            // SAFETY: a descriptor of ours; then a load that is what the test is about.
            unsafe {
                libc::dup2(ends[1], 2);
                refuse_at_sigbus();
                libc::_exit(at.cast::<u8>().read_volatile().into());
            }
        }
        let mut state = 0;
        // SAFETY: our child; our descriptor, which nobody else closes.
        let mut said = unsafe {
            libc::close(ends[1]);
            assert_eq!(libc::waitpid(child, &raw mut state, 0), child);
            std::fs::File::from_raw_fd(ends[0])
        };
        let text = std::io::read_to_string(&mut said).unwrap();
        assert!(libc::WIFEXITED(state) && libc::WEXITSTATUS(state) == 2, "{state:#x}");
        assert!(text.contains("was cut"), "{text}");
        // SAFETY: mapped above.
        unsafe { libc::munmap(at, 4096) };
    }
}
