//! redis and memcached, over a Unix socket: a request and its reply for each operation.

use super::{Cache, Key, Value, key};
use crate::servers::{MemcachedClient, RedisClient, Reply, number};
use crate::subject::{Failed, Outcome};

/// Requests that are sent together while a map is filled.
const BATCH: u32 = 64;

impl Cache for RedisClient {
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        to.clear();
        let reply = self.ask(&[b"GET", key])?;
        Ok(reply.last().is_some_and(|value| {
            to.extend_from_slice(value);
            true
        }))
    }

    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        match self.ask(&[b"SET", key, value])? {
            Reply::Status => Ok(()),
            _ => Err(Failed::of("redis", "not stored")),
        }
    }

    fn fill(&mut self, keys: u32, value: &Value) -> Outcome<()> {
        let numbers: Vec<u32> = (0..keys).collect();
        for batch in numbers.chunks(BATCH as usize) {
            batch.iter().for_each(|number| self.request(&[b"SET", &key(*number), value]));
            self.link.send()?;
            for _ in batch {
                self.reply()?;
            }
        }
        Ok(())
    }
}

impl MemcachedClient {
    fn set(&mut self, key: &Key, value: &Value) {
        let out = &mut self.0.out;
        out.extend_from_slice(b"set ");
        out.extend_from_slice(key);
        out.extend_from_slice(format!(" 0 0 {}\r\n", value.len()).as_bytes());
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    fn stored(&mut self) -> Outcome<()> {
        match self.0.line()? {
            b"STORED" => Ok(()),
            _ => Err(Failed::of("memcached", "not stored")),
        }
    }
}

impl Cache for MemcachedClient {
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        to.clear();
        self.0.out.extend_from_slice(b"get ");
        self.0.out.extend_from_slice(key);
        self.0.out.extend_from_slice(b"\r\n");
        self.0.send()?;
        // `VALUE key flags bytes`, the value, and `END`; or `END` alone.
        let line = self.0.line()?;
        if line == b"END" {
            return Ok(false);
        }
        let bytes = number(line).and_then(|bytes| usize::try_from(bytes).ok());
        self.0.body(bytes.ok_or_else(|| Failed::of("memcached", "a value without a length"))?, to)?;
        match self.0.line()? {
            b"END" => Ok(true),
            _ => Err(Failed::of("memcached", "a reply without an end")),
        }
    }

    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        self.set(key, value);
        self.0.send()?;
        self.stored()
    }

    fn fill(&mut self, keys: u32, value: &Value) -> Outcome<()> {
        let numbers: Vec<u32> = (0..keys).collect();
        for batch in numbers.chunks(BATCH as usize) {
            batch.iter().for_each(|number| self.set(&key(*number), value));
            self.0.send()?;
            for _ in batch {
                self.stored()?;
            }
        }
        Ok(())
    }
}
