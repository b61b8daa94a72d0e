//! The events for `tracing`: what a program sees that subscribes to them.
#![cfg(feature = "tracing")]

mod common;

use std::fmt::{Debug, Write as _};
use std::sync::mpsc::{self, Receiver, Sender};

use common::{Name, Process, listen, returns, role, say};
use tenure::error::CreateError;
use tenure::{Kind, Options, Space};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Sends each event as text.
struct Sending(Sender<String>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Sending {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "tenure"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(event.metadata().level().to_string());
        event.record(&mut text);
        let _ = self.0.send(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn options() -> Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = options().attach(&role[0]).unwrap().join().unwrap();
    let _held = me.create_raw(Kind::raw(1), &[1; 100]).unwrap();
    say("holds", "");
    listen();
}

#[track_caller]
fn expect(events: &Receiver<String>, words: &[&str]) {
    let text = returns("an event", || events.recv().unwrap());
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn what_happens_to_a_space_and_a_member_is_an_event() {
    let name = Name::new("events");
    let (send, events) = mpsc::channel();
    tracing::subscriber::with_default(Sending(send), || {
        let space = name.open(options());
        expect(&events, &["INFO", "space created", &name.0]);
        let again = options().attach(&name.0).unwrap();
        expect(&events, &["DEBUG", "space opened", &name.0]);
        let me = space.join().unwrap();
        expect(&events, &["INFO", "member joined", "lease=0"]);

        let mut process = Process::start(&[&name.0]);
        process.receive("holds").unwrap();
        let pid = format!("pid={}", process.id());
        process.kill();
        expect(&events, &["WARN", "death recovered", "lease=1", &pid, "blocks=1", "locks=0"]);

        let mut held = Vec::new();
        let error = loop {
            match me.create_raw(Kind::raw(1), b"tea") {
                Ok(handle) => held.push(handle),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, CreateError::Exhausted { .. }), "{error}");
        expect(&events, &["WARN", "exhausted", "handles"]);
        drop(held);
        me.leave().unwrap();
        expect(&events, &["INFO", "member leaves", "lease=0"]);
        drop((space, again));
        assert!(events.try_recv().is_err());
    });
}
