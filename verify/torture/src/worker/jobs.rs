//! Jobs: single processes of allocation recordings; a recording is read when it is first needed.

use std::fmt;
use std::rc::Rc;
use std::str::FromStr;

use tenure_traces::{AllocationProcess, AllocationTrace, Recording, Source};

use crate::Failed;

/// One process of one recording, as `PROCESS@RECORDING`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobName {
    /// Position in the recording.
    pub process: usize,
    /// The recording.
    pub source: Source,
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.process, self.source)
    }
}

impl FromStr for JobName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (process, source) =
            text.split_once('@').ok_or_else(|| format!("expected PROCESS@RECORDING, found {text:?}"))?;
        let process = process.parse().map_err(|_| format!("expected a process number, found {process:?}"))?;
        Ok(Self { process, source: source.parse()? })
    }
}

/// A job whose recording has been read.
#[derive(Clone)]
pub(super) struct Job {
    trace: Rc<AllocationTrace>,
    process: usize,
}

impl Job {
    pub(super) fn process(&self) -> &AllocationProcess {
        &self.trace.processes[self.process]
    }
}

/// All jobs of a worker, in an endless cycle.
pub(super) struct Jobs {
    names: Vec<JobName>,
    next: usize,
    read: Vec<(Source, Rc<AllocationTrace>)>,
}

impl Jobs {
    pub(super) fn new(names: Vec<JobName>, first: usize) -> Self {
        let next = if names.is_empty() { 0 } else { first % names.len() };
        Self { names, next, read: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The next job and its position.
    pub(super) fn next(&mut self) -> Result<(usize, Job), Failed> {
        let index = self.next;
        self.next = (index + 1) % self.names.len();
        let name = &self.names[index];
        let known = self.read.iter().find(|(source, _)| *source == name.source);
        let trace = match known {
            Some((_, trace)) => Rc::clone(trace),
            None => {
                let Recording::Allocations(trace) = name.source.read()? else {
                    return Err(format!("{}: expected an allocation recording", name.source).into());
                };
                let trace = Rc::new(trace);
                self.read.push((name.source.clone(), Rc::clone(&trace)));
                trace
            }
        };
        if name.process >= trace.processes.len() {
            return Err(format!("{name}: expected one of {} processes", trace.processes.len()).into());
        }
        Ok((index, Job { trace, process: name.process }))
    }
}
