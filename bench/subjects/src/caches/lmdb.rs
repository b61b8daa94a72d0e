//! LMDB, through the crate heed: a tree of pages in a mapped file, here in memory and never synced. One writer at a time; a transaction for each
//! operation.

use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};

use super::{Cache, Key, Value, key};
use crate::servers::Folder;
use crate::subject::{Failed, Outcome, Subject};

/// A folder with the file.
pub struct Lmdb {
    folder: Folder,
    bytes: usize,
}

/// A process that has the file open.
pub struct LmdbMember {
    env: &'static Env,
    database: Database<'static, Bytes, Bytes>,
}

impl From<heed::Error> for Failed {
    #[cold]
    fn from(error: heed::Error) -> Self {
        Self::of("LMDB", error)
    }
}

impl Lmdb {
    /// With room for so many pairs.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn new(keys: u32) -> Outcome<Self> {
        // The file may not be open in a process that forks.
        Ok(Self { folder: Folder::new("lmdb")?, bytes: keys as usize * 1024 + (16 << 20) })
    }
}

impl Subject for Lmdb {
    type Member = LmdbMember;

    fn join(&self) -> Outcome<LmdbMember> {
        let mut options = EnvOpenOptions::new();
        options.map_size(self.bytes);
        // SAFETY: without syncs the file may be damaged if the machine stops, and it is of use to nobody then. Nobody else writes to it.
        let env = unsafe {
            options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC | EnvFlags::WRITE_MAP);
            options.open(&self.folder.path)?
        };
        // For as long as the process lives: the database refers to it.
        let env: &'static Env = Box::leak(Box::new(env));
        let transaction = env.write_txn()?;
        let database = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                opener.create_database::<Bytes, Bytes>(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(LmdbMember { env, database })
    }

    fn settle(&self) {
        self.folder.remove();
    }
}

impl Cache for LmdbMember {
    #[inline]
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        let transaction = self.env.read_txn()?;
        to.clear();
        Ok(self.database.get(&transaction, key)?.is_some_and(|value| {
            to.extend_from_slice(value);
            true
        }))
    }

    #[inline]
    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        self.database.put(&mut transaction, key, value)?;
        transaction.commit()?;
        Ok(())
    }

    fn fill(&mut self, keys: u32, value: &Value) -> Outcome<()> {
        let mut transaction = self.env.write_txn()?;
        for number in 0..keys {
            self.database.put(&mut transaction, &key(number), value)?;
        }
        transaction.commit()?;
        Ok(())
    }
}
