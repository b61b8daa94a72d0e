//! The backends: how the memory is created and opened. Each makes an `Attachment`; none is silently replaced by another.

pub(crate) mod anonymous;
pub(crate) mod file;
pub(crate) mod memfd;
pub(crate) mod named;
pub(crate) mod private;
pub(crate) mod sysv;

use std::io;
use std::os::fd::AsFd;

use rustix::fs::FallocateFlags;
use rustix::process::Resource;

use crate::control::Control;
use crate::data_area::DataArea;
use crate::error::OpenError;
use crate::header::Header;
use crate::mapping::Mapping;
use crate::segment::Spec;

/// A creation: the header, the ranges to reserve, and the function that fills the data area.
pub(crate) struct Creation<'a> {
    pub(crate) header: Header,
    pub(crate) spec: &'a Spec,
    pub(crate) init: &'a mut dyn FnMut(DataArea<'_>),
}

impl Creation<'_> {
    /// Sets the length of `fd` and reserves the ranges that are committed at creation, so that accesses do not fault later [A7].
    pub(crate) fn reserve(&self, fd: impl AsFd, place: &str) -> Result<(), OpenError> {
        let total = self.header.plan.total_bytes();
        check_file_size(total)?;
        rustix::fs::ftruncate(&fd, total).map_err(|e| refusal(e.into(), "size the segment", total, place))?;
        for (offset, bytes) in self.ranges() {
            rustix::fs::fallocate(&fd, FallocateFlags::empty(), offset, bytes)
                .map_err(|e| refusal(e.into(), "reserve memory", self.wanted(), place))?;
        }
        Ok(())
    }

    /// As `reserve`, by populating the pages, for memory without a file.
    pub(crate) fn populate(&self, memory: &Mapping, place: &str) -> Result<(), OpenError> {
        let page = rustix::param::page_size() as u64;
        for (offset, bytes) in self.ranges() {
            let start = offset / page * page;
            let bytes = offset + bytes - start;
            memory
                .advise(start as usize, bytes as usize, rustix::mm::Advice::LinuxPopulateWrite)
                .map_err(|e| refusal(e, "reserve memory", self.wanted(), place))?;
        }
        Ok(())
    }

    /// Writes the header and fills the data area.
    pub(crate) fn fill(&mut self, memory: &Mapping, place: &str) -> Result<(), OpenError> {
        // SAFETY: the mapping is page aligned, has the plan's length, and no other code uses it yet.
        unsafe { self.header.write(memory.base()) }.map_err(|source| OpenError::Os {
            what: "write the header",
            place: place.to_owned(),
            source,
        })?;
        // SAFETY: as above; the view ends with this call.
        let control = unsafe { Control::over(memory.base(), self.header.plan) };
        (self.init)(control.data_area());
        Ok(())
    }

    /// The ranges to reserve: the bytes before the data area, then those that its owner requests. Offset and length in the segment.
    fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        let data_area = self.header.plan.data_area_offset;
        let wanted = self.spec.commit.iter().filter(|range| range.start < range.end);
        std::iter::once((0, data_area))
            .chain(wanted.map(move |range| (data_area + range.start, range.end - range.start)))
    }

    fn wanted(&self) -> u64 {
        self.ranges().map(|(_, bytes)| bytes).sum()
    }
}

/// Whether this process may have a file of `total` bytes. Beyond the limit the system does not only refuse: it sends a signal that ends
/// the process.
pub(crate) fn check_file_size(total: u64) -> Result<(), OpenError> {
    match rustix::process::getrlimit(Resource::Fsize).current {
        Some(limit) if limit < total => {
            let what = "the file size in bytes, under this process's RLIMIT_FSIZE,";
            Err(OpenError::Geometry { what, found: total, limit })
        }
        _ => Ok(()),
    }
}

/// The error for a refused reservation: `NoSpace` if memory or disk is full, else the system's error.
pub(crate) fn refusal(source: io::Error, what: &'static str, wanted: u64, place: &str) -> OpenError {
    let place = place.to_owned();
    match source.raw_os_error() {
        // Of the address space, which RLIMIT_AS may limit, and not of the memory.
        Some(libc::ENOMEM) if what.starts_with("map") => OpenError::Os { what, place, source },
        // MADV_POPULATE fails with EFAULT if an access would have faulted.
        Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EFAULT | libc::EFBIG) => {
            OpenError::NoSpace { wanted, place }
        }
        _ => OpenError::Os { what, place, source },
    }
}
