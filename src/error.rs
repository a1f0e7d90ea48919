//! The error type of the library. Each error of the C interface is a negated errno.

use std::fmt;
use std::sync::Arc;

/// The text of an error. It is shared, so that a frequent error ([`Error::Full`]) costs no copy.
pub type Text = Arc<str>;

/// Every way in which a call of this crate can fail.
///
/// The text of an error names the queue, the cause and the remedy. [`Error::code`] is the value
/// that the C interface returns for it.
///
/// ```
/// use ipcq::{Consumer, Error};
/// # ipcq::__example!();
/// match Consumer::options().open("numbers") {
///     Err(Error::NotFound(text)) => println!("{text}"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// `ENOENT`: the queue does not exist.
    NotFound(Text),
    /// `EEXIST`: the queue exists, and only a new one was requested.
    Exists(Text),
    /// `EACCES`: the file permissions do not allow the call.
    PermissionDenied(Text),
    /// `EBUSY`: another live producer holds the queue.
    ProducerExists(Text),
    /// `EBADF`: the handle cannot do this. It is a consumer that was asked to push, a producer that
    /// was asked to pop, a read-only memory that was asked to write, or a producer of the process
    /// from which this one was forked.
    WrongRole(Text),
    /// `EINVAL`: an argument is outside its range.
    Invalid(Text),
    /// `EINVAL`: the queue exists, and differs from what was requested.
    Geometry(Text),
    /// `EMSGSIZE`: the message is too long or too short for this queue, or for the buffer or type
    /// that receives it.
    MessageSize(Text),
    /// `EAGAIN`: the ring is full of messages that an attached consumer has not consumed yet.
    Full(Text),
    /// `ETIMEDOUT`: the time limit of the call was reached.
    TimedOut(Text),
    /// `EPIPE`: the producer has closed the queue, and this consumer has consumed every message.
    Closed(Text),
    /// `ESTALE`: the queue was replaced or removed, and this consumer has consumed every message.
    /// The name belongs to another queue now, or to none.
    Replaced(Text),
    /// `ESTALE`: messages were overwritten while a consumer looked at them in place.
    Overrun(Text),
    /// `EBADMSG`: the file is not a queue, or it is damaged.
    Damaged(Text),
    /// `EPROTONOSUPPORT`: the file has another layout version.
    Version(Text),
    /// `EPROTOTYPE`: the record schemas of producer and consumer differ.
    SchemaMismatch(Text),
    /// `EUSERS`: every consumer slot of the queue is taken.
    RegistryFull(Text),
    /// `ENOSPC`: the file system (or a limit) has no room for the queue.
    NoSpace(Text),
    /// `ERANGE`: an access beyond the end of a shared memory or of a message.
    OutOfRange(Text),
    /// `EINTR`: a signal arrived during the call.
    Interrupted(Text),
    /// `ENOTRECOVERABLE`: a bug in this library. Close the handle, and report the text.
    Internal(Text),
    /// Any other error of the operating system: its errno (positive) and what was tried.
    ///
    /// [`Error::code`] gives the errno, unless that stands for a state of a queue. Then it gives
    /// `ENOMEM` (for `EAGAIN`, which the system returns when a limit is reached) or `EIO`.
    Os(i32, Text),
}

/// The result of most functions here.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The negated errno that the C interface returns for this error.
    ///
    /// ```
    /// let error = ipcq::Error::Closed("numbers: closed".into());
    /// assert_eq!(error.code(), -libc::EPIPE);
    /// ```
    #[must_use]
    pub fn code(&self) -> i32 {
        -match self {
            Error::NotFound(_) => libc::ENOENT,
            Error::Exists(_) => libc::EEXIST,
            Error::PermissionDenied(_) => libc::EACCES,
            Error::ProducerExists(_) => libc::EBUSY,
            Error::WrongRole(_) => libc::EBADF,
            Error::Invalid(_) | Error::Geometry(_) => libc::EINVAL,
            Error::MessageSize(_) => libc::EMSGSIZE,
            Error::Full(_) => libc::EAGAIN,
            Error::TimedOut(_) => libc::ETIMEDOUT,
            Error::Closed(_) => libc::EPIPE,
            Error::Replaced(_) | Error::Overrun(_) => libc::ESTALE,
            Error::Damaged(_) => libc::EBADMSG,
            Error::Version(_) => libc::EPROTONOSUPPORT,
            Error::SchemaMismatch(_) => libc::EPROTOTYPE,
            Error::RegistryFull(_) => libc::EUSERS,
            Error::NoSpace(_) => libc::ENOSPC,
            Error::OutOfRange(_) => libc::ERANGE,
            Error::Interrupted(_) => libc::EINTR,
            Error::Internal(_) => libc::ENOTRECOVERABLE,
            Error::Os(errno, _) => system_code(*errno),
        }
    }

    /// An error of the operating system, with what was tried on which file.
    ///
    /// Only four kinds have a variant of their own. Every other errno becomes [`Error::Os`],
    /// because the system's `EAGAIN`, `EPIPE` or `ESTALE` says nothing about the state of a queue.
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

    /// The text of the error.
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
            | Error::Full(t)
            | Error::TimedOut(t)
            | Error::Closed(t)
            | Error::Replaced(t)
            | Error::Overrun(t)
            | Error::Damaged(t)
            | Error::Version(t)
            | Error::SchemaMismatch(t)
            | Error::RegistryFull(t)
            | Error::NoSpace(t)
            | Error::OutOfRange(t)
            | Error::Interrupted(t)
            | Error::Internal(t)
            | Error::Os(_, t) => t,
        }
    }
}

/// The code for an errno of the operating system. An errno that stands for a state of a queue, or
/// for a mistake of the caller, is replaced. The text names the original.
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

    /// The codes that stand for a state of a queue, or for a mistake of the caller.
    const STATES: [i32; 17] = [
        libc::EEXIST,
        libc::EBUSY,
        libc::EBADF,
        libc::EINVAL,
        libc::EMSGSIZE,
        libc::EAGAIN,
        libc::ETIMEDOUT,
        libc::EPIPE,
        libc::ESTALE,
        libc::EBADMSG,
        libc::EPROTONOSUPPORT,
        libc::EPROTOTYPE,
        libc::EUSERS,
        libc::E2BIG,
        libc::ERANGE,
        libc::ENOTRECOVERABLE,
        libc::ENOENT,
    ];

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
            assert!(own || !STATES.contains(&-error.code()), "errno {errno}");
        }
    }

    #[test]
    fn an_error_of_io_keeps_kind_and_text() {
        let error = std::io::Error::from(Error::NotFound("no queue ticks".into()));
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        assert_eq!(error.to_string(), "no queue ticks");
    }
}
