//! The C interface of tenure. `include/tenure.h` is its documentation: it is made of the comments here.
//!
//! Every function catches panics, checks its pointers, and returns 0 or a negative [`tenure_status`]. The pointers to
//! objects that C gets are numbers that `registry.rs` checks; none is ever dereferenced.
//!
//! The library is called `tenure_capi` in cargo's folders; `bindings/c/install` installs it as `libtenure`.

#![allow(
    non_camel_case_types,
    reason = "names as C spells them, so that both sides can be searched for them"
)]

mod abi;
mod condvar;
mod descriptor;
mod error;
mod guard;
mod handle;
mod local;
mod map;
mod member;
mod names;
mod object;
mod permits;
mod process;
mod queue;
mod registry;
mod rwlock;
mod scratch;
mod slots;
mod space;
mod thread;
mod values;
mod wait_set;
mod waiting;
mod word;

pub use abi::*;
pub use condvar::*;
pub use descriptor::*;
pub use error::{tenure_last_error, tenure_status, tenure_strerror};
pub use handle::*;
pub use local::{tenure_local_close, tenure_local_open, tenure_local_open_unbound};
pub use map::*;
pub use member::*;
pub use names::*;
pub use object::{
    tenure_object_close, tenure_object_kind_of, tenure_object_open, tenure_object_open_named,
    tenure_object_token,
};
pub use permits::*;
pub use process::*;
pub use queue::*;
pub use rwlock::*;
pub use scratch::*;
pub use slots::*;
pub use space::*;
pub use values::*;
pub use wait_set::*;
pub use waiting::*;
pub use word::*;
