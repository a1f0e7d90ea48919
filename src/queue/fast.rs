//! The result of the fast path of a push or a pop.

/// The outcome of a call that tried the fast path. `T` is the result of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fast<T> {
    /// The call is complete.
    Done(T),
    /// The message was copied. `after_fast` of the handle completes the call.
    NeedsAfter(T),
    /// The fast path does not apply, and nothing has changed: take the slow path.
    Slow,
}
