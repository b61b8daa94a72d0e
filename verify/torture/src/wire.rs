//! The messages between the coordinator and its workers, and their transport through a pipe.
//!
//! A frame is a length (4 bytes, little endian) and that many bytes of postcard. A worker answers tasks in the order in
//! which it received them; an incomplete frame of a killed worker counts as not written.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{self, Child, ExitStatus, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::verdict::Trouble;

/// Maximum accepted length of a frame, in bytes.
const FRAME_BYTES_MAX: u32 = 1 << 20;

/// A message to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Do these tasks in order and answer with one [`Report::Done`].
    Work(Vec<Task>),
    /// Free everything, leave the space, say [`Report::Left`], exit.
    Leave,
}

/// A task on a handle. `handle` is the coordinator's number of the handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Create it with the payload of `identity`, and read that back.
    Create {
        /// The coordinator's number.
        handle: u64,
        /// Application kind.
        kind: u32,
        /// Number from which the payload is computed.
        identity: u64,
    },
    /// Open it: one more reference; and read the payload.
    Open {
        /// The coordinator's number.
        handle: u64,
        /// Application kind.
        kind: u32,
        /// Token to open.
        token: u64,
        /// Number from which the payload is computed.
        identity: u64,
    },
    /// Read the payload and close it: one reference less. With `probe`, open the token again, which must answer stale.
    Close {
        /// The coordinator's number.
        handle: u64,
        /// Whether nobody else holds it.
        probe: bool,
    },
    /// Create and close a handle, allocate and free a block: the worker shows that nothing blocks it.
    Pulse,
}

/// A message from a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// The worker is a member now.
    Joined {
        /// Index of its lease.
        lease_index: u8,
        /// Incarnation of its lease.
        lease_incarnation: u64,
    },
    /// The answer to [`Command::Work`], one outcome per task.
    Done {
        /// Outcomes in the order of the tasks.
        outcomes: Vec<Outcome>,
        /// Counters since the worker joined.
        counters: Counters,
    },
    /// An error outside of any task, for example a block whose bytes changed.
    Wrong(Trouble),
    /// It has left the space and is about to exit.
    Left {
        /// Counters since the worker joined.
        counters: Counters,
    },
}

/// The outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The handle was created.
    Created {
        /// Its token, for other workers.
        token: u64,
    },
    /// The worker holds the handle once more.
    Opened,
    /// The token is stale.
    Stale,
    /// The worker closed the handle.
    Closed {
        /// With `probe`: whether the token still opened afterwards.
        leaked: bool,
    },
    /// The pulse was done.
    Alive,
    /// The task failed, or its result is wrong.
    Wrong(Trouble),
}

/// The counters of a worker since it joined.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Number of handle operations: create, open, get, close.
    pub handle_operations: u64,
    /// Processor time of the handle operations in ns, with making and checking payloads.
    pub handle_ns: u64,
    /// Number of block operations: alloc, realloc, free.
    pub block_operations: u64,
    /// Processor time of the block operations in ns, with filling and verifying.
    pub block_ns: u64,
    /// Number of live blocks of the worker.
    pub blocks_live: u64,
    /// Number of opens of a handle that the worker held already.
    pub second_opens: u64,
    /// Number of handles that it took back from dead members.
    pub handles_reclaimed: u64,
    /// Number of blocks that it took back from dead members.
    pub blocks_reclaimed: u64,
    /// Number of complete replays of each job (one process of an allocation recording).
    pub jobs_done: Vec<u32>,
}

/// Writes one frame with a single call.
///
/// # Errors
/// The error of the pipe; a message that is too long is `InvalidInput`.
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

/// Reads one frame; `None` when the other side is closed, also in the middle of a frame.
///
/// # Errors
/// The error of the pipe; a frame that is too long or cannot be decoded is `InvalidData`.
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

/// An event from the pipe of a process.
#[derive(Debug)]
pub enum Incoming<M> {
    /// A message.
    Message(M),
    /// The end of the pipe, with its error if there was one.
    End(Option<String>),
}

/// A process that reads and writes frames. Dropping it kills it.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a process. A thread with the given name passes its messages to `handle`, until `handle` returns false
    /// because the receiver is gone.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start<M: DeserializeOwned>(
        command: &mut process::Command,
        name: String,
        handle: impl Fn(Incoming<M>) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        // A process group of its own: an interrupt from the terminal reaches only this process.
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

    /// Sends a message to the process.
    pub fn say(&mut self, message: &impl Serialize) {
        if let Some(input) = &mut self.0.stdin {
            // A broken pipe: the process died, and the end of its output reports that too.
            let _ = send(input, message);
        }
    }

    /// Closes the input of the process.
    pub fn close_input(&mut self) {
        self.0.stdin = None;
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        // It fails only after the process is reaped; until then a dead child stays a zombie.
        let _ = kill_process(Pid::from_child(&self.0), signal);
    }

    /// Closes the input of the process and waits for its exit.
    ///
    /// # Errors
    /// The error of the system.
    pub fn reap(mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // After `reap` both have no effect; they fail only when the process has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends this process when `parent` ends.
///
/// # Errors
/// The parent has already ended.
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
