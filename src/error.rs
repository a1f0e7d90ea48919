//! One error type for every language: each variant is one negated errno of the C interface.

use std::fmt;
use std::sync::Arc;

/// The text that goes with an error: which queue, what failed, what to do. It is shared, so that a
/// frequent error ([`Error::Full`]) costs no copy.
pub type Text = Arc<str>;

/// What an operation of this crate can fail with.
///
/// [`Error::code`] gives the value that the C function of the same name returns, and
/// [`Error::from_code`] goes back.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// `ENOENT`: there is no such queue.
    NotFound(Text),
    /// `EEXIST`: it exists, and exclusive creation was asked for.
    Exists(Text),
    /// `EACCES`: the file permissions do not allow this.
    PermissionDenied(Text),
    /// `EBUSY`: another live producer holds the queue.
    ProducerExists(Text),
    /// `EBADF`: a consumer was asked to produce, a producer to consume, or a reader to write.
    WrongRole(Text),
    /// `EINVAL`: an argument is out of its range.
    Invalid(Text),
    /// `EINVAL`: the queue exists with another geometry than the one asked for.
    Geometry(Text),
    /// `EMSGSIZE`: the message has not the size of this queue, or the buffer is too small for it.
    MessageSize(Text),
    /// `EAGAIN`: the queue has no new message.
    Empty(Text),
    /// `EAGAIN`: the ring is full of messages that an attached consumer has not consumed yet.
    Full(Text),
    /// `ETIMEDOUT`: the timeout expired.
    TimedOut(Text),
    /// `EPIPE`: the producer closed the queue, and this consumer has consumed everything in it.
    Closed(Text),
    /// `ESTALE`: a message was overwritten while it was being read, or the queue was replaced or
    /// removed.
    Stale(Text),
    /// `EBADMSG`: the file is not a queue, or it is damaged.
    Damaged(Text),
    /// `EPROTONOSUPPORT`: the file has another layout version.
    Version(Text),
    /// `EPROTOTYPE`: the record schemas of producer and consumer differ.
    SchemaMismatch(Text),
    /// `EUSERS`: as many consumers as the queue can hold are attached.
    RegistryFull(Text),
    /// `ENOSPC`: the file system (or a limit) has no room for the queue.
    NoSpace(Text),
    /// `E2BIG`: options of a newer version of the library.
    TooBig(Text),
    /// `ERANGE`: an access beyond the end of a shared memory.
    OutOfRange(Text),
    /// `EINTR`: a signal arrived during the call.
    Interrupted(Text),
    /// `ENOTRECOVERABLE`: an internal error was caught; the handle should be closed.
    Internal(Text),
    /// Any other error of the operating system: its errno (positive) and what was tried.
    ///
    /// [`Error::code`] gives the errno, unless that stands for a state of a queue: then it gives
    /// `ENOMEM` (for `EAGAIN`, which the system returns when a limit is reached) or `EIO`.
    Os(i32, Text),
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The negated errno that stands for this error in the C interface.
    pub fn code(&self) -> i32 {
        -match self {
            Error::NotFound(_) => libc::ENOENT,
            Error::Exists(_) => libc::EEXIST,
            Error::PermissionDenied(_) => libc::EACCES,
            Error::ProducerExists(_) => libc::EBUSY,
            Error::WrongRole(_) => libc::EBADF,
            Error::Invalid(_) | Error::Geometry(_) => libc::EINVAL,
            Error::MessageSize(_) => libc::EMSGSIZE,
            Error::Empty(_) | Error::Full(_) => libc::EAGAIN,
            Error::TimedOut(_) => libc::ETIMEDOUT,
            Error::Closed(_) => libc::EPIPE,
            Error::Stale(_) => libc::ESTALE,
            Error::Damaged(_) => libc::EBADMSG,
            Error::Version(_) => libc::EPROTONOSUPPORT,
            Error::SchemaMismatch(_) => libc::EPROTOTYPE,
            Error::RegistryFull(_) => libc::EUSERS,
            Error::NoSpace(_) => libc::ENOSPC,
            Error::TooBig(_) => libc::E2BIG,
            Error::OutOfRange(_) => libc::ERANGE,
            Error::Interrupted(_) => libc::EINTR,
            Error::Internal(_) => libc::ENOTRECOVERABLE,
            Error::Os(errno, _) => system_code(*errno),
        }
    }

    /// The error that a code of the C interface stands for, with a text of one's own.
    ///
    /// `EAGAIN` becomes [`Error::Empty`] and `EINVAL` [`Error::Invalid`]: the codes do not tell
    /// them from [`Error::Full`] and [`Error::Geometry`].
    pub fn from_code(code: i32, text: impl Into<Text>) -> Self {
        let text = text.into();
        match code.wrapping_neg() {
            libc::ENOENT => Error::NotFound(text),
            libc::EEXIST => Error::Exists(text),
            libc::EACCES | libc::EPERM => Error::PermissionDenied(text),
            libc::EBUSY => Error::ProducerExists(text),
            libc::EBADF => Error::WrongRole(text),
            libc::EINVAL => Error::Invalid(text),
            libc::EMSGSIZE => Error::MessageSize(text),
            libc::EAGAIN => Error::Empty(text),
            libc::ETIMEDOUT => Error::TimedOut(text),
            libc::EPIPE => Error::Closed(text),
            libc::ESTALE => Error::Stale(text),
            libc::EBADMSG => Error::Damaged(text),
            libc::EPROTONOSUPPORT => Error::Version(text),
            libc::EPROTOTYPE => Error::SchemaMismatch(text),
            libc::EUSERS => Error::RegistryFull(text),
            libc::ENOSPC | libc::EDQUOT => Error::NoSpace(text),
            libc::E2BIG => Error::TooBig(text),
            libc::ERANGE => Error::OutOfRange(text),
            libc::EINTR => Error::Interrupted(text),
            libc::ENOTRECOVERABLE => Error::Internal(text),
            errno => Error::Os(errno, text),
        }
    }

    /// An error of the operating system, with what was tried on which file.
    ///
    /// Only four kinds have a variant of their own. Every other errno stays what it is: the
    /// system's `EAGAIN`, `EPIPE` or `ESTALE` says nothing about the state of a queue.
    pub(crate) fn from_io(error: &std::io::Error, tried: impl fmt::Display) -> Self {
        let errno = match (error.raw_os_error(), error.kind()) {
            (Some(errno), _) => errno,
            (None, std::io::ErrorKind::Unsupported) => libc::ENOTSUP,
            (None, _) => libc::EIO,
        };
        let text = format!("{tried}: {error}").into();
        match errno {
            libc::ENOENT => Error::NotFound(text),
            libc::EACCES | libc::EPERM | libc::EROFS => Error::PermissionDenied(text),
            libc::ENOSPC | libc::EDQUOT => Error::NoSpace(text),
            libc::EINTR => Error::Interrupted(text),
            errno => Error::Os(errno, text),
        }
    }

    /// The text alone.
    pub(crate) fn text(&self) -> &Text {
        match self {
            Error::NotFound(t)
            | Error::Exists(t)
            | Error::PermissionDenied(t)
            | Error::ProducerExists(t)
            | Error::WrongRole(t)
            | Error::Invalid(t)
            | Error::Geometry(t)
            | Error::MessageSize(t)
            | Error::Empty(t)
            | Error::Full(t)
            | Error::TimedOut(t)
            | Error::Closed(t)
            | Error::Stale(t)
            | Error::Damaged(t)
            | Error::Version(t)
            | Error::SchemaMismatch(t)
            | Error::RegistryFull(t)
            | Error::NoSpace(t)
            | Error::TooBig(t)
            | Error::OutOfRange(t)
            | Error::Interrupted(t)
            | Error::Internal(t)
            | Error::Os(_, t) => t,
        }
    }
}

/// The code for an errno of the operating system. One that stands for a state of a queue, or for a
/// mistake of the caller, is replaced: the text says which it was.
fn system_code(errno: i32) -> i32 {
    match errno {
        libc::EAGAIN => libc::ENOMEM,
        libc::ENOENT
        | libc::EEXIST
        | libc::EBUSY
        | libc::EBADF
        | libc::EINVAL
        | libc::EMSGSIZE
        | libc::ETIMEDOUT
        | libc::EPIPE
        | libc::ESTALE
        | libc::EBADMSG
        | libc::EPROTONOSUPPORT
        | libc::EPROTOTYPE
        | libc::EUSERS
        | libc::E2BIG
        | libc::ERANGE
        | libc::ENOTRECOVERABLE => libc::EIO,
        errno => errno,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = std::io::Error::from_raw_os_error(-error.code()).kind();
        std::io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_go_both_ways() {
        for errno in 1..134 {
            let there = Error::from_code(-errno, "x");
            let again = Error::from_code(there.code(), "x");
            assert_eq!(there, again, "errno {errno}");
        }
        assert_eq!(
            Error::Full("x".into()).code(),
            Error::Empty("x".into()).code()
        );
    }

    #[test]
    fn no_error_of_the_system_is_a_state_of_a_queue() {
        for errno in 1..134 {
            let io = std::io::Error::from_raw_os_error(errno);
            let error = Error::from_io(&io, "cannot map x");
            let own = matches!(
                error,
                Error::NotFound(_)
                    | Error::PermissionDenied(_)
                    | Error::NoSpace(_)
                    | Error::Interrupted(_)
            );
            assert!(own || error.clone() == Error::Os(errno, error.text().clone()));
            // What the code stands for in the C interface is again an error of the system.
            let seen = Error::from_code(error.code(), "x");
            assert!(
                own || matches!(seen, Error::Os(..)),
                "errno {errno}: {seen:?}"
            );
        }
    }

    #[test]
    fn texts_are_kept() {
        let error = Error::from_code(-libc::ENOENT, "no queue ticks");
        assert_eq!(error.to_string(), "no queue ticks");
    }
}
