//! Handle recordings: creations, opens and closes of handles, by process.

use std::collections::{BTreeMap, HashMap};

use super::error::TraceError;
use super::lines::{Fields, Lines};

pub(super) const FIRST_LINE: &str = "# handle trace v1";

/// Maximum number of different kinds in one recording.
const KINDS_MAX: usize = 256;

/// A handle recording.
///
/// An `exit` appears as closes of the handles that the process still held, in the order of the recording's handle
/// numbers. The end of the recording does the same for every process that has not exited.
#[derive(Debug)]
pub struct HandleTrace {
    /// File name or name of the built-in recording.
    pub name: String,
    /// Steps in the order of the recording. For every handle: one `New`, then opens and closes; the last close is
    /// marked.
    pub steps: Vec<HandleStep>,
    /// Number of processes; they are numbered from 0.
    pub process_count: u32,
    /// Number of handles that are created; they are numbered from 0.
    pub handle_count: u32,
    /// Maximum number of handles that were held at once.
    pub peak_count: u32,
    /// Names of the kinds, indexed by [`HandleStep::kind`].
    pub kinds: Vec<String>,
}

/// One operation of a process on a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandleStep {
    /// Operation on the handle.
    pub verb: HandleVerb,
    /// Position in [`HandleTrace::kinds`].
    pub kind: u16,
    /// Number of the process.
    pub process: u32,
    /// Number of the handle: handles are numbered in order of creation, and no number is reused.
    pub handle: u32,
}

/// An operation on a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandleVerb {
    /// Create it; the creator holds it once.
    New,
    /// Open it: one more reference.
    Open,
    /// Close it: one reference less.
    Close {
        /// No process holds the handle afterwards.
        last: bool,
    },
}

struct Live {
    handle: u32,
    kind: u16,
    holds: u32,
}

struct Process {
    process: u32,
    /// Handle number in the recording -> references of this process.
    held: BTreeMap<u64, u32>,
}

#[derive(Default)]
struct Parser {
    steps: Vec<HandleStep>,
    kinds: Vec<String>,
    live: HashMap<u64, Live>,
    processes: BTreeMap<u64, Process>,
    handle_count: u32,
    peak_count: u32,
}

pub(super) fn parse(mut lines: Lines<'_>) -> Result<HandleTrace, TraceError> {
    let mut parser = Parser::default();
    while let Some(fields) = lines.next_fields()? {
        parser.line(&fields)?;
    }
    let left: Vec<u64> = parser.processes.keys().copied().collect();
    for process in left {
        parser.exit(process);
    }
    Ok(HandleTrace {
        name: lines.name().to_owned(),
        steps: parser.steps,
        process_count: parser.processes.len() as u32,
        handle_count: parser.handle_count,
        peak_count: parser.peak_count,
        kinds: parser.kinds,
    })
}

impl Parser {
    fn line(&mut self, fields: &Fields<'_>) -> Result<(), TraceError> {
        match fields.verb {
            "start" => {
                let [process] = fields.numbers("start PROCESS")?;
                self.process(process);
            }
            "fork" => {
                let [parent, child] = fields.numbers("fork PARENT CHILD")?;
                self.process(parent);
                self.process(child);
            }
            "new" => {
                const SHAPE: &str = "new PROCESS HANDLE KIND";
                let [_, _, kind] = fields.words(SHAPE)?;
                let [process, handle] = fields.leading(SHAPE)?;
                self.create(fields, process, handle, kind)?;
            }
            "open" => {
                let [process, handle] = fields.numbers("open PROCESS HANDLE")?;
                self.open(fields, process, handle)?;
            }
            "close" => {
                let [process, handle] = fields.numbers("close PROCESS HANDLE")?;
                if !self.close(process, handle) {
                    let expected = format!("a handle that process {process} holds");
                    return Err(fields.malformed(expected, fields.quoted()));
                }
            }
            "exit" => {
                let [process] = fields.numbers("exit PROCESS")?;
                self.exit(process);
            }
            _ => {
                let expected = "start, fork, new, open, close or exit";
                return Err(fields.malformed(expected, fields.quoted()));
            }
        }
        Ok(())
    }

    fn process(&mut self, process: u64) -> &mut Process {
        let next = self.processes.len() as u32;
        self.processes.entry(process).or_insert(Process { process: next, held: BTreeMap::new() })
    }

    fn create(
        &mut self,
        fields: &Fields<'_>,
        process: u64,
        handle: u64,
        kind: &str,
    ) -> Result<(), TraceError> {
        if self.live.contains_key(&handle) {
            return Err(fields.malformed("a handle number that is not in use", fields.quoted()));
        }
        let kind = match self.kinds.iter().position(|known| known == kind) {
            Some(index) => index,
            None if self.kinds.len() == KINDS_MAX => {
                return Err(fields.malformed(format!("at most {KINDS_MAX} different kinds"), "more"));
            }
            None => {
                self.kinds.push(kind.to_owned());
                self.kinds.len() - 1
            }
        };
        let live = Live { handle: self.handle_count, kind: kind as u16, holds: 0 };
        self.handle_count += 1;
        self.live.insert(handle, live);
        self.peak_count = self.peak_count.max(self.live.len() as u32);
        self.hold(process, handle, HandleVerb::New);
        Ok(())
    }

    fn open(&mut self, fields: &Fields<'_>, process: u64, handle: u64) -> Result<(), TraceError> {
        if !self.live.contains_key(&handle) {
            return Err(fields.malformed("a handle that somebody holds", fields.quoted()));
        }
        self.hold(process, handle, HandleVerb::Open);
        Ok(())
    }

    fn hold(&mut self, process: u64, number: u64, verb: HandleVerb) {
        let holder = self.process(process);
        *holder.held.entry(number).or_default() += 1;
        let process = holder.process;
        if let Some(live) = self.live.get_mut(&number) {
            live.holds += 1;
            self.steps.push(HandleStep { verb, kind: live.kind, process, handle: live.handle });
        }
    }

    /// Returns false when the process does not hold the handle.
    fn close(&mut self, process: u64, number: u64) -> bool {
        let Some(holder) = self.processes.get_mut(&process) else { return false };
        let Some(count) = holder.held.get_mut(&number) else { return false };
        *count -= 1;
        if *count == 0 {
            holder.held.remove(&number);
        }
        let process = holder.process;
        let Some(live) = self.live.get_mut(&number) else { return false };
        live.holds -= 1;
        let (last, kind, handle) = (live.holds == 0, live.kind, live.handle);
        if last {
            self.live.remove(&number);
        }
        self.steps.push(HandleStep { verb: HandleVerb::Close { last }, kind, process, handle });
        true
    }

    fn exit(&mut self, process: u64) {
        while let Some(&number) = self.processes.get(&process).and_then(|p| p.held.keys().next()) {
            self.close(process, number);
        }
    }
}
