//! The messages of a queue as a `Stream` for tokio. No thread waits: the runtime polls the
//! descriptor of the consumer.
//!
//! ```sh
//! cargo run --example stream
//! ```

use bytemuck::AnyBitPattern;
use ipcq::{Consumer, Error, Producer, Received};
use std::marker::PhantomData;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;
use tokio_stream::{Stream, StreamExt};

const NAME: &str = "example.stream";

/// Values of type `T`, until the producer closes the queue.
struct Messages<T> {
    consumer: Consumer,
    readable: AsyncFd<OwnedFd>,
    value: PhantomData<fn() -> T>,
}

impl<T> Messages<T> {
    fn new(mut consumer: Consumer) -> Result<Self, Box<dyn std::error::Error>> {
        let fd = consumer.fd()?;
        // SAFETY: an `OwnedFd` is one descriptor, and keeps it open.
        let readable = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
        Ok(Messages {
            consumer,
            readable,
            value: PhantomData,
        })
    }
}

impl<T: AnyBitPattern> Stream for Messages<T> {
    type Item = ipcq::Result<Received<T>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this.consumer.try_recv() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(message))),
                Err(Error::Closed(_)) => return Poll::Ready(None),
                Err(error) => return Poll::Ready(Some(Err(error))),
                // The descriptor is unreadable now, and becomes readable with the next message.
                Ok(None) => {}
            }
            match ready!(this.readable.poll_read_ready(cx)) {
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    let text = format!("{NAME}: cannot poll: {error}");
                    return Poll::Ready(Some(Err(Error::Os(errno, text.into()))));
                }
            }
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut out = Producer::options().message_size(8).open(NAME)?;
    let consumer = Consumer::options().open(NAME)?;

    let sender = std::thread::spawn(move || -> ipcq::Result<()> {
        for number in 0u64..10 {
            std::thread::sleep(Duration::from_millis(5));
            out.push_value(&number)?;
        }
        Ok(())
    });

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let received = runtime.block_on(async {
        let mut messages = Messages::<u64>::new(consumer)?;
        let mut received = 0;
        while let Some(message) = messages.next().await {
            println!("{}", *message?);
            received += 1;
        }
        Ok::<_, Box<dyn std::error::Error>>(received)
    })?;

    sender.join().expect("the sender does not panic")?;
    println!("received {received} numbers");
    ipcq::unlink(NAME)?;
    Ok(())
}
