//! Waiting for the messages of one consumer, or of several.

use super::Consumer;
use crate::errors;
use crate::handle::{self, seconds_or_none, Timeout, Waker};
use ipcq::__binding::{consumer_ask, consumer_awake, Ticket};
use ipcq::Pop;
use pyo3::prelude::*;

impl Consumer {
    /// Whether there is a message. Does not consume it.
    pub(super) fn ready(&self, py: Python<'_>) -> PyResult<Option<()>> {
        self.with(py, |inner| {
            let (pop, _) = inner.queue()?.peek_raw()?;
            Ok(inner.found(pop, 0)?.map(|_| ()))
        })
    }
}

impl Waker for Consumer {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        self.with(py, |inner| Ok(vec![consumer_ask(inner.queue()?)]))
    }

    fn awake(&self, py: Python<'_>) {
        // If the handle was closed during the wait, the error does not matter.
        let _ = self.with(py, |inner| {
            consumer_awake(inner.queue()?);
            Ok(())
        });
    }
}

/// Waits for more messages than one. It asks to be woken for the first message only.
pub(super) struct Linger<'a>(pub(super) &'a Consumer);

impl Waker for Linger<'_> {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        match self.0.ready(py)? {
            Some(()) => Ok(Vec::new()),
            None => self.0.ask(py),
        }
    }

    fn awake(&self, py: Python<'_>) {
        self.0.awake(py);
    }
}

/// Waits for several consumers.
struct Several<'a, 'py>(&'a [PyRef<'py, Consumer>]);

impl Waker for Several<'_, '_> {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        let mut tickets = Vec::with_capacity(self.0.len());
        for consumer in self.0 {
            tickets.append(&mut consumer.ask(py)?);
        }
        Ok(tickets)
    }

    fn awake(&self, py: Python<'_>) {
        self.0.iter().for_each(|consumer| consumer.awake(py));
    }
}

/// The number of queues that an error names. The same as in C.
const NAMED: usize = 4;

/// The names of several consumers, for an error.
fn names(consumers: &[PyRef<'_, Consumer>]) -> String {
    let names: Vec<_> = consumers
        .iter()
        .take(NAMED)
        .map(|consumer| consumer.name.display().to_string())
        .collect();
    match consumers.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Waits until one of several consumers has a message or is at the end of its queue, and returns
/// the index of the first such consumer.
///
/// It waits at most timeout seconds, or without a limit if timeout is None. To be fair to all
/// queues, take what each of them has before you wait again.
///
/// Raises Empty when the time is over, UsageError for no consumer, for more than 128 of them, or
/// for one that is closed. Ctrl-C ends the wait.
#[pyfunction]
#[pyo3(signature = (consumers, timeout=None))]
pub fn wait_any(
    py: Python<'_>,
    consumers: Vec<PyRef<'_, Consumer>>,
    #[pyo3(from_py_with = seconds_or_none)] timeout: Option<f64>,
) -> PyResult<usize> {
    let timeout = Timeout::seconds(py, timeout)?;
    if consumers.is_empty() || consumers.len() > ipcq::WAIT_ANY_MAX {
        return Err(errors::usage(
            py,
            format!(
                "wait_any: {} consumers were given, but it takes from 1 to {}",
                consumers.len(),
                ipcq::WAIT_ANY_MAX
            ),
        ));
    }
    let first = || {
        for (i, consumer) in consumers.iter().enumerate() {
            // An error counts as ready: a pop is to raise it.
            let empty = consumer.with(py, |inner| {
                Ok(matches!(inner.queue()?.peek_raw(), Ok((Pop::Empty, _))))
            })?;
            if !empty {
                return Ok(Some(i));
            }
        }
        Ok(None)
    };
    match handle::wait_for(py, timeout, &Several(&consumers), first)? {
        Some(i) => Ok(i),
        None => Err(errors::empty(
            py,
            format!("{}: the queues have no new message", names(&consumers)),
        )),
    }
}
