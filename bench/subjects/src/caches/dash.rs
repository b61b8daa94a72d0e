//! `dashmap`, between threads: nothing of it survives or can be recovered.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use dashmap::DashMap;

use super::{Cache, Key, Value};
use crate::subject::{Failed, Outcome, Subject};

/// A map from `K` to `V`: boxed bytes, of any length as in the other maps, or arrays.
pub struct Dash<K, V>(Arc<DashMap<K, V>>);

/// A thread of [`Dash`].
pub struct DashMember<K, V>(Arc<DashMap<K, V>>);

impl<K: Eq + Hash, V> Dash<K, V> {
    /// With room for so many pairs.
    ///
    /// # Errors
    /// None.
    pub fn new(keys: u32) -> Outcome<Self> {
        Ok(Self(Arc::new(DashMap::with_capacity(keys as usize))))
    }
}

impl<K, V> Subject for Dash<K, V> {
    type Member = DashMember<K, V>;

    fn join(&self) -> Outcome<DashMember<K, V>> {
        Ok(DashMember(Arc::clone(&self.0)))
    }
}

impl<K, V> Cache for DashMember<K, V>
where
    K: Eq + Hash + Borrow<[u8]> + for<'b> TryFrom<&'b [u8]>,
    V: Borrow<[u8]> + for<'b> TryFrom<&'b [u8]>,
{
    #[inline]
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        to.clear();
        let found = self.0.get(&key[..]);
        Ok(found.is_some_and(|value| {
            to.extend_from_slice((*value).borrow());
            true
        }))
    }

    #[inline]
    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        match (K::try_from(key), V::try_from(value)) {
            (Ok(key), Ok(value)) => {
                self.0.insert(key, value);
                Ok(())
            }
            _ => Err(Failed::of("dashmap", "a value of another length")),
        }
    }
}
