//! What the coordinator and its workers say to each other, and how it goes through a pipe.
//!
//! A frame is a length (4 bytes, little endian) and that many bytes of postcard. A worker answers tasks in the order
//! it got them; a frame that a killed worker had not finished writing counts as not written.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::verdict::Trouble;

/// The longest frame that is accepted.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// To a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Do these in order and answer with one [`Report::Done`].
    Work(Vec<Task>),
    /// Free everything, leave the space, say [`Report::Left`], exit.
    Leave,
}

/// One thing to do with a handle. `handle` is the coordinator's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Create it with the payload of `identity`, and read that back.
    Create {
        /// Coordinator's number.
        handle: u64,
        /// Application kind.
        kind: u32,
        /// What the payload follows from.
        identity: u64,
    },
    /// Hold it once more, and read the payload.
    Open {
        /// Coordinator's number.
        handle: u64,
        /// Application kind.
        kind: u32,
        /// What to open.
        token: u64,
        /// What the payload follows from.
        identity: u64,
    },
    /// Read the payload and let go once. With `probe`, open the token again, which has to answer stale.
    Close {
        /// Coordinator's number.
        handle: u64,
        /// Nobody else holds it.
        probe: bool,
    },
    /// Create and close a handle, allocate and free a block: a sign that nobody is in the way.
    Pulse,
}

/// From a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// It is a member now.
    Joined {
        /// Index of its lease.
        lease_index: u8,
        /// Incarnation of its lease.
        lease_incarnation: u64,
    },
    /// The answer to [`Command::Work`], one outcome per task.
    Done {
        /// In the order of the tasks.
        outcomes: Vec<Outcome>,
        /// Since it joined.
        counters: Counters,
    },
    /// Something is wrong that no task asked about, for example a block whose bytes changed.
    Wrong(Trouble),
    /// It has left the space and is about to exit.
    Left {
        /// Since it joined.
        counters: Counters,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The handle exists.
    Created {
        /// To be passed on.
        token: u64,
    },
    /// It is held once more.
    Opened,
    /// The token is stale.
    Stale,
    /// It is let go.
    Closed {
        /// With `probe`: the token still opened afterwards.
        leaked: bool,
    },
    /// The pulse is done.
    Alive,
    /// It did not go as it has to.
    Wrong(Trouble),
}

/// What a worker did since it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Handle operations: create, open, get, close.
    pub handle_operations: u64,
    /// Processor time they took, with making and checking payloads.
    pub handle_ns: u64,
    /// Block operations: alloc, realloc, free.
    pub block_operations: u64,
    /// Processor time they took, with filling and verifying.
    pub block_ns: u64,
    /// Blocks it has now.
    pub blocks_live: u64,
    /// Opens of a handle that the worker held already.
    pub second_opens: u64,
    /// What it took back from the dead.
    pub handles_reclaimed: u64,
    /// What it took back from the dead.
    pub blocks_reclaimed: u64,
    /// How often each job (one process of an allocation recording) was replayed to its end.
    pub jobs_done: Vec<u32>,
}

/// Writes one frame with a single call.
///
/// # Errors
/// What the pipe says; a message that does not fit is `InvalidInput`.
pub fn send(output: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let frame = postcard::to_extend(message, vec![0; 4]).map_err(invalid)?;
    let body_bytes = u32::try_from(frame.len() - 4).ok().filter(|&bytes| bytes <= FRAME_BYTES_MAX);
    let Some(body_bytes) = body_bytes else {
        let text = format!("expected a frame of at most {FRAME_BYTES_MAX} bytes, found {}", frame.len() - 4);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    };
    let mut frame = frame;
    frame[..4].copy_from_slice(&body_bytes.to_le_bytes());
    output.write_all(&frame)?;
    output.flush()
}

/// Reads one frame; `None` when the other side is gone, also in the middle of a frame.
///
/// # Errors
/// What the pipe says; a frame that is too long or means nothing is `InvalidData`.
pub fn receive<M: DeserializeOwned>(input: &mut impl Read) -> io::Result<Option<M>> {
    let mut length = [0; 4];
    if !read_or_end(input, &mut length)? {
        return Ok(None);
    }
    let body_bytes = u32::from_le_bytes(length);
    if body_bytes > FRAME_BYTES_MAX {
        let text = format!("expected a frame of at most {FRAME_BYTES_MAX} bytes, found {body_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut body = vec![0; body_bytes as usize];
    if !read_or_end(input, &mut body)? {
        return Ok(None);
    }
    postcard::from_bytes(&body).map(Some).map_err(invalid)
}

/// What comes through a process's pipe.
#[derive(Debug)]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// Nothing any more: it is gone, or the pipe says why.
    End(Option<String>),
}

/// A process that reads and writes frames. Dropping it kills it.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts one. A thread of that name passes on what it sends, until `handle` answers false: nobody listens any more.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start<M: DeserializeOwned>(
        command: &mut process::Command,
        name: String,
        handle: impl Fn(Incoming<M>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        // A group of its own: an interrupt from the terminal is for us alone.
        let child = command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut process = Self(child);
        let Some(mut output) = process.0.stdout.take() else {
            return Err(io::Error::other("expected pipes to the process, found none"));
        };
        thread::Builder::new().name(name).spawn(move || {
            loop {
                let incoming = match receive(&mut output) {
                    Ok(Some(message)) => Incoming::Message(message),
                    Ok(None) => Incoming::End(None),
                    Err(error) => Incoming::End(Some(error.to_string())),
                };
                let is_end = matches!(incoming, Incoming::End(_));
                if !handle(incoming) || is_end {
                    break;
                }
            }
        })?;
        Ok(process)
    }

    /// Sends it a message.
    pub fn say(&mut self, message: &impl Serialize) {
        if let Some(input) = &mut self.0.stdin {
            // A broken pipe: the process died, and its end of output says so too.
            let _ = send(input, message);
        }
    }

    /// Ends its input.
    pub fn close_input(&mut self) {
        self.0.stdin = None;
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        // It fails only for a process that is gone; ours stays a zombie until it is reaped.
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    /// Ends its input, and waits for its end.
    ///
    /// # Errors
    /// What the system says.
    pub fn reap(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both do nothing after `reap`, and fail only when the process is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends this process when `parent` ends.
///
/// # Errors
/// It has ended already.
pub fn die_with(parent: u32) -> Result<(), &'static str> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|_| "no signal comes when the parent ends")?;
    let is_parent = |pid: Pid| pid.as_raw_nonzero().get() as u32 == parent;
    if getppid().is_some_and(is_parent) { Ok(()) } else { Err("the parent is gone") }
}

fn read_or_end(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn invalid(error: postcard::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_and_half_a_frame_is_the_end() {
        let task = Task::Open { handle: 1, kind: 2, token: u64::MAX, identity: 3 };
        let command = Command::Work(vec![task, Task::Pulse]);
        let mut pipe = Vec::new();
        send(&mut pipe, &command).unwrap();
        assert_eq!(receive::<Command>(&mut &pipe[..]).unwrap(), Some(command));
        for cut in 0..pipe.len() {
            assert_eq!(receive::<Command>(&mut &pipe[..cut]).unwrap(), None);
        }
    }

    #[test]
    fn overlong_and_meaningless_frames_are_refused() {
        assert!(receive::<Command>(&mut &[0xff; 8][..]).is_err());
        assert!(receive::<Command>(&mut &[1, 0, 0, 0, 99][..]).is_err());
    }
}
