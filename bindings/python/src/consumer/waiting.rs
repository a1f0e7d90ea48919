//! Consumers that wait, one or several.

use super::Consumer;
use crate::errors;
use crate::handle::{self, Timeout, Waiting};
use ipcq::__binding::{consumer_ask, consumer_awake, Ticket};
use ipcq::Pop;
use pyo3::prelude::*;

impl Consumer {
    /// Whether there is a message, without consuming it.
    pub(super) fn there(&self, py: Python<'_>) -> PyResult<Option<()>> {
        match self.with(py, |i| i.queue.as_mut().map(|q| q.peek_raw()))? {
            (Pop::Message(_), _) => Ok(Some(())),
            (pop, _) => self.none_because(py, pop, 0).map(|()| None),
        }
    }
}

impl Waiting for Consumer {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        let ticket = self.with(py, |i| i.queue.as_mut().map(|q| Ok(consumer_ask(q))))?;
        Ok(vec![ticket])
    }

    fn awake(&self, py: Python<'_>) {
        // If it was closed meanwhile, there is nothing to be said.
        let _ = self.with(py, |i| {
            i.queue.as_ref().map(|q| {
                consumer_awake(q);
                Ok(())
            })
        });
    }
}

/// Waits for more messages: asks to be woken only for the first.
pub(super) struct Lingering<'a>(pub(super) &'a Consumer);

impl Waiting for Lingering<'_> {
    fn ask(&self, py: Python<'_>) -> PyResult<Vec<Ticket>> {
        match self.0.there(py)? {
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

impl Waiting for Several<'_, '_> {
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

/// So many of several queues are named in an error, as in C.
const SHOWN: usize = 4;

/// Several consumers, for messages.
fn shown(consumers: &[PyRef<'_, Consumer>]) -> String {
    let shown: Vec<_> = consumers
        .iter()
        .take(SHOWN)
        .map(|consumer| consumer.name.display().to_string())
        .collect();
    match consumers.len() - shown.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Waits until one of several consumers has a message, or is at its end, at most timeout seconds
/// (None: for ever), and returns its index, the first that is so. To be fair to all, take what each
/// has before waiting again.
///
/// At most 128. Raises Empty when the time is over, UsageError for none, too many or one that is
/// closed. Ctrl-C ends the wait.
#[pyfunction]
#[pyo3(signature = (consumers, timeout=None))]
pub fn wait_any(
    py: Python<'_>,
    consumers: Vec<PyRef<'_, Consumer>>,
    timeout: Option<f64>,
) -> PyResult<usize> {
    let timeout = Timeout::seconds(py, timeout)?;
    if consumers.is_empty() || consumers.len() > ipcq::WAIT_ANY_MAX {
        return Err(errors::usage(
            py,
            format!(
                "{} consumers to wait for: from 1 to {}",
                consumers.len(),
                ipcq::WAIT_ANY_MAX
            ),
        ));
    }
    let first = || {
        for (i, consumer) in consumers.iter().enumerate() {
            // Whatever a pop would raise is for that to raise.
            let is_empty = |q: &mut ipcq::Consumer| matches!(q.peek_raw(), Ok((Pop::Empty, _)));
            if !consumer.with(py, |i| i.queue.as_mut().map(|q| Ok(is_empty(q))))? {
                return Ok(Some(i));
            }
        }
        Ok(None)
    };
    match handle::wait_for(py, timeout, &Several(&consumers), first)? {
        Some(i) => Ok(i),
        None => Err(errors::empty(
            py,
            format!("{}: the queues have no new message", shown(&consumers)),
        )),
    }
}
