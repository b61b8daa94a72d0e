//! The list of segments in `/dev/shm`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::ListError;
use crate::host::{self, BootId};
use crate::name::{Backend, SHM_DIRECTORY, parse_shm_file};

/// A segment in `/dev/shm`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name to open it by.
    pub name: String,
    /// `Shm` or `SysV`.
    pub backend: Backend,
    /// The length of the file in bytes (for SysV of the lock file).
    pub bytes: u64,
    /// The file.
    pub path: PathBuf,
    /// The error that an open by this name would return, if the file already shows it.
    pub error: Option<String>,
}

pub(crate) fn list() -> Result<Vec<Listed>, ListError> {
    let directory = PathBuf::from(SHM_DIRECTORY);
    let failed = |source| ListError { directory: directory.clone(), source };
    let boot = BootId::current().map_err(failed)?.short();
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file_name = entry.file_name();
        let Some((name, of_boot, backend)) = file_name.to_str().and_then(parse_shm_file) else { continue };
        let Ok(metadata) = entry.metadata() else { continue };
        if !metadata.is_file() || u64::from(metadata.uid()) != host::effective_uid() {
            continue;
        }
        let error =
            if of_boot == boot { fault_of(&entry.path()) } else { Some(format!("made on boot {of_boot}")) };
        let (name, bytes, path) = (name.to_owned(), metadata.len(), entry.path());
        found.push(Listed { name, backend, bytes, path, error });
    }
    found.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(found)
}

fn fault_of(path: &Path) -> Option<String> {
    use std::io::Read;
    let mut magic = [0; 8];
    match std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Ok(()) if u64::from_le_bytes(magic) == crate::header::MAGIC => None,
        Ok(()) => Some("not a segment".into()),
        Err(error) => Some(error.to_string()),
    }
}
