//! A bridge to another host: it carries the elements of a queue through a NATS server, which stores them until they have arrived.
//!
//! A space is of one host and stays so. `out` runs on the host that sends, `in` on the host that receives:
//!
//! ```console
//! $ nats-server -js -sd DIRECTORY
//! $ cargo run --release -p tenure --example bridge -- out SPACE QUEUE SUBJECT [SERVER]
//! $ cargo run --release -p tenure --example bridge -- in SPACE QUEUE SUBJECT [SERVER]
//! ```
//!
//! Both queues exist, have names, and hold bytes of the kind `KIND`, as those of the example `jobs` do. A bridge keeps no state of its own. It
//! ends with an error when the server does not answer; start it again then, and after a kill (systemd: `Restart=always`).
//!
//! **At least once.** `out` claims an element, sends it, and acknowledges the claim after the server has stored the message. `in` pushes the
//! element, and acknowledges the message afterwards. If a bridge is killed in between, the next one repeats the step. So no element is lost when bridges, other
//! members or the server are killed; some arrive more than once. If the server's *machine* fails, messages that are not on its disk yet are
//! lost: see `sync_interval` and replicas in the manual of NATS.
//!
//! **Repetitions.** The server drops a message if it got the same message id within the last two minutes, and the id is the token of the element.
//! So what `out` sends twice arrives once. It also means that each element has to be a handle of its own, as `push` makes it: a handle that
//! is pushed again within two minutes would be dropped, too. Nobody drops what `in` pushes twice, and a server that was killed
//! delivers some acknowledged messages again. So consumers have to bear repetitions.
//!
//! **Order.** With one `out` and one `in` it is that of the queue, apart from repetitions. `in` waits while its queue is full. Meanwhile the
//! messages wait on the server's disk, without limit.
//!
//! **Limits.** An element is at most as large as the server's `max_payload`, 1 MiB by default. For TLS switch on the feature `ring` of `async-nats`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use async_nats::jetstream::{self, AckKind, Context, consumer::pull, message::PublishMessage, stream};
use futures_util::StreamExt;
use tenure::{Kind, Raw, Space, collections::Queue};

type Result = std::result::Result<(), async_nats::Error>;

/// The kind of the elements, in both queues.
const KIND: Kind = Kind::raw(1);
/// How long to wait for the server.
const PATIENCE: Duration = Duration::from_secs(2);
/// The server delivers a message again if it hears nothing about it for as long.
const REDELIVERY: Duration = Duration::from_secs(1);

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match *arguments.iter().map(|it| &**it).collect::<Vec<_>>() {
        [role @ ("out" | "in"), space, queue, subject] => run(role, space, queue, subject, "127.0.0.1"),
        [role @ ("out" | "in"), space, queue, subject, server] => run(role, space, queue, subject, server),
        _ => Err("usage: bridge out|in SPACE QUEUE SUBJECT [SERVER]".into()),
    }
}

/// Returns only with an error.
pub(crate) fn run(role: &str, space: &str, queue: &str, subject: &str, server: &str) -> Result {
    let me = Space::options().attach(space)?.join()?;
    let queue = Queue::open_raw(&me, KIND, queue)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut server = jetstream::new(async_nats::connect(server).await?);
        server.set_timeout(PATIENCE);
        let (name, subjects) = (subject.replace('.', "_"), vec![subject.to_owned()]);
        let retention = stream::RetentionPolicy::WorkQueue; // a message is deleted when it is acknowledged
        let config = stream::Config { name, subjects, retention, ..Default::default() };
        let stream = server.get_or_create_stream(config).await?;
        if role == "out" {
            send(&queue, &me.space(), &server, subject).await
        } else {
            receive(&queue, &stream).await
        }
    })
}

async fn send(queue: &Queue<Raw>, space: &Space, server: &Context, subject: &str) -> Result {
    // A token is unique within its space. Boot and inode tell the space from others, on any host, and from earlier ones of its name.
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let inode = fs::metadata(space.path().ok_or("a space without a file")?)?.ino();
    loop {
        let element = queue.claim_async().await?; // waits while the queue is empty
        let id = format!("{}-{inode}-{}", boot.trim(), element.token());
        let message = PublishMessage::build().message_id(id).payload(element.get()?.to_vec().into());
        server.send_publish(subject.to_owned(), message).await?.await?; // waits until the server has stored it
        element.ack()?; // killed before: another bridge sends it again
    }
}

async fn receive(queue: &Queue<Raw>, stream: &stream::Stream) -> Result {
    // One at a time: what was not acknowledged comes again before the next one.
    let durable_name = Some("in".to_owned());
    let config =
        pull::Config { durable_name, ack_wait: REDELIVERY, max_ack_pending: 1, ..Default::default() };
    let consumer = stream.get_or_create_consumer("in", config).await?;
    loop {
        let mut messages = consumer.batch().max_messages(1).expires(PATIENCE).messages().await?;
        while let Some(message) = messages.next().await.transpose()? {
            loop {
                // Waits while the queue is full, and tells the server so. A push that is cancelled has pushed nothing.
                match tokio::time::timeout(REDELIVERY / 4, queue.push_async(&message.payload)).await {
                    Ok(pushed) => break pushed?,
                    Err(_elapsed) => message.ack_with(AckKind::Progress).await?,
                }
            }
            message.ack().await?; // killed before: it comes again
        }
    }
}
