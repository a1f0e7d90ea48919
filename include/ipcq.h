// ipcq: a queue between processes on one host, through shared memory.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One process produces, any number of processes consume. Every consumer sees every message and keeps
// its own position; it maps the queue read-only. Push and pop make no system call unless the other
// side is asleep: then they wake it.
//
//   producer                                        consumer
//
//   ipcq_options o = IPCQ_OPTIONS_INIT;             ipcq_queue *q;
//   o.message_size = sizeof(struct tick);           int rc = ipcq_open(&q, "ticks", IPCQ_CONSUMER, NULL);
//   ipcq_queue *q;                                  struct tick t;
//   int rc = ipcq_open(&q, "ticks",                 ipcq_info info;
//                      IPCQ_PRODUCER, &o);          for (;;) {
//   ...                                               int64_t n = ipcq_pop_wait(q, &t, sizeof t, &info, -1);
//   rc = ipcq_push(q, &t, sizeof t);                  if (n == -EINTR) continue; // SIGNALS, below
//   ...                                               if (n < 0) break; // -EPIPE: closed, and all was read
//   ipcq_close(q); // consumers drain, then -EPIPE    use(&t, info.sequence, info.lost);
//                                                   }
//                                                   ipcq_close(q);
//
// Link with: cc main.c $(pkg-config --cflags --libs ipcq)
//
// RETURN VALUES. Every function that can fail returns a negated errno, so strerror(-rc) is right, and
// ipcq_errmsg() says in words which file, what failed and what to do. When a function fails, nothing
// was pushed or consumed, and the handle is as before.
//
//   -EAGAIN     nothing to pop, or no room to push          -EACCES    file permissions
//   -EPIPE      closed by the producer, and drained         -ENOENT    no such queue
//   -EMSGSIZE   a message or buffer of the wrong size       -EEXIST    it exists (IPCQ_EXCL)
//   -ESTALE     overwritten while peeked at, or the queue   -EBUSY     another live producer
//               was replaced by another                     -ENOSPC    no room on the file system
//   -EBADF      the wrong role: a consumer that pushes ...  -EINTR     a signal came while waiting
//   -EINVAL     an argument, or another geometry            -ERANGE    beyond a shared memory's end
//   -EBADMSG    not a queue, or damaged                     -E2BIG     options of a newer version
//   -EPROTONOSUPPORT  another layout version                -ETIMEDOUT  it did not come in time
//   -EPROTOTYPE records of other fields                     -ENOTRECOVERABLE  an internal error
//   -EUSERS     too many consumers of a lossless queue
//   and what open(2) and mmap(2) return
//
// RECORDS. A producer may say once what its messages are: the queue keeps it (ipcq_schema), Python
// programs get records, and a consumer that says so too gets -EPROTOTYPE from ipcq_open if it means
// anything else, with both, field by field, in ipcq_errmsg().
//
//   struct tick { uint64_t time_ns; double price; char symbol[8]; };
//   const ipcq_field fields[] = {IPCQ_FIELD(struct tick, time_ns), IPCQ_FIELD(struct tick, price),
//                                IPCQ_FIELD(struct tick, symbol)};
//   options.message_size = sizeof(struct tick);
//   options.fields = fields;
//   options.field_count = sizeof fields / sizeof fields[0];
//
// NAMES. A name without '/' is the file /dev/shm/ipcq.NAME ($IPCQ_DIR/ipcq.NAME where that variable
// is set); a name with '/' is a path on any file system. Beside it lie NAME.ctl and NAME.lock.
//
// THREADS. A handle is used by one thread at a time and may move between threads; different handles
// are independent. The library has one thread of its own, which the first ipcq_fd of a process starts.
// It blocks all signals, and has the default scheduling policy and all processors, whatever the
// caller of ipcq_fd has.
//
// FORK. After fork(), a producer belongs to the parent: in the child it only returns -EBADF, and
// closing it there does not close the queue. The child's copy of a consumer is a consumer of its own,
// which continues from the same position; it gets its own descriptor from ipcq_fd.
//
// SIGNALS. A call that waits returns -EINTR when a signal handler has run, also with SA_RESTART.
// Nothing was pushed or consumed: look at a flag of your own if the handler sets one, and call again.
// A handler that runs just before the sleep begins, or just as its time ends, does not end the call,
// so a program that has to notice its flag waits with a timeout. No function may be called from a
// signal handler.
//
// CANCELLATION. No function is a cancellation point: pthread_cancel takes effect after the call. To
// end a wait of another thread, send it a signal whose handler returns (-EINTR), or wait with a
// timeout and look at a flag in between. Never close a handle that another thread waits on. Threads
// that use asynchronous cancellation (PTHREAD_CANCEL_ASYNCHRONOUS) must not call the library.
//
// FILES. They belong to the library. Removing a live queue's files (ipcq_unlink, or rm) is safe:
// handles keep the memory they have. (Without its .ctl file, a lossless queue takes no new consumers
// and no new producer until it is unlinked.) Truncating a live queue's file is not: a process that
// touches what was cut off is ended by SIGBUS, as with any mapped file. That takes permission to write
// the file, so a consumer trusts the owner of the queue in this one respect.
//
// MEMORY. The library never frees what the caller passes, nor the reverse. Pointers to options are
// not kept.


#ifndef IPCQ_H
#define IPCQ_H

/* Generated from src/ffi by cbindgen; `make header` refreshes it. */

#include <stddef.h>
#include <stdint.h>

// Initialisers: the size tells the library which version of a struct the caller was built with.
// (ipcq_options_init and ipcq_stats_init are for languages that cannot use a macro.)
#define IPCQ_OPTIONS_INIT { sizeof(ipcq_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define IPCQ_STATS_INIT { sizeof(ipcq_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, { 0 }, 0 }

// An ipcq_field for a member of a struct, of which the compiler knows the rest: an integer, an enum, a
// float, a bool, or an array of them. A char or an array of char is a string. Any other type does not
// compile: a pointer means nothing to another process, and the rest takes IPCQ_FIELD_AS. In C from C11
// on; C++ has it in ipcq.hpp.
//
//   IPCQ_FIELD(struct tick, price)
//
// The same for any compiler and any member, given the kind and the type of one element:
//
//   IPCQ_FIELD_AS(struct tick, price, 'f', double)
//   IPCQ_FIELD_AS(struct tick, names, 'S', char[8])      // char names[4][8]: four strings
//
// An int64_t (or an array of them) that is a point in time, counted from 1970 in UTC, or a span of
// time, and its unit (see ipcq_field). Python then gets datetime64 and timedelta64.
//
//   IPCQ_FIELD_TIME(struct tick, time_ns, 'M', "ns")     // "<M8[ns]"
//   IPCQ_FIELD_TIME(struct tick, delay, 'm', "ms")       // "<m8[ms]"
//
// A struct in the struct, or an array of them, is of kind 'V', and its fields come next, for an array
// those of its first element. Likewise an array of arrays. Without fields it is bytes of no meaning.
//
//   IPCQ_FIELD_AS(struct tick, from, 'V', struct place), IPCQ_FIELD(struct tick, from.x), ...
//   IPCQ_FIELD_AS(struct tick, legs, 'V', struct leg), IPCQ_FIELD(struct tick, legs[0].price), ...
//   IPCQ_FIELD_AS(struct tick, matrix, 'V', double[3]), IPCQ_FIELD(struct tick, matrix[0])
#define IPCQ_FIELD_AS(type, member, kind, element) IPCQ_MEMBER_(type, member, kind, sizeof(element))
#define IPCQ_FIELD_TIME(type, member, kind, unit) IPCQ_UNIT_(type, member, kind, 8, unit)
#define IPCQ_MEMBER_(type, member, kind, size) IPCQ_UNIT_(type, member, kind, size, "")
#define IPCQ_UNIT_(type, member, kind, size, unit) \
  { #member, (uint32_t)offsetof(type, member), (uint32_t)(size), (uint32_t)(kind), \
    (uint32_t)(sizeof(((type *)0)->member) / (size)), unit }

#if !defined(__cplusplus) && defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define IPCQ_FIELD(type, member) \
  IPCQ_MEMBER_(type, member, IPCQ_KIND_(type, member), IPCQ_SIZE_(type, member))
#define IPCQ_KIND_(type, member) (IPCQ_TYPE_(&((type *)0)->member) & 255)
#define IPCQ_SIZE_(type, member) \
  (IPCQ_KIND_(type, member) == 'S' ? sizeof(((type *)0)->member) \
                                   : IPCQ_TYPE_(&((type *)0)->member) >> 8)
// By its address, an array is not taken for a pointer; T (*)[] stands for an array of any length.
#define IPCQ_ONE_(T, kind) T *: sizeof(T) << 8 | (kind), T (*)[]: sizeof(T) << 8 | (kind)
#define IPCQ_TYPE_(address) _Generic((address), \
  IPCQ_ONE_(_Bool, 'b'), IPCQ_ONE_(char, 'S'), \
  IPCQ_ONE_(signed char, 'i'), IPCQ_ONE_(unsigned char, 'u'), \
  IPCQ_ONE_(short, 'i'), IPCQ_ONE_(unsigned short, 'u'), \
  IPCQ_ONE_(int, 'i'), IPCQ_ONE_(unsigned int, 'u'), \
  IPCQ_ONE_(long, 'i'), IPCQ_ONE_(unsigned long, 'u'), \
  IPCQ_ONE_(long long, 'i'), IPCQ_ONE_(unsigned long long, 'u'), IPCQ_FLOAT16_ \
  IPCQ_ONE_(float, 'f'), IPCQ_ONE_(double, 'f'), IPCQ_ONE_(long double, 'f'))
#ifdef __FLT16_MAX__
__extension__ typedef _Float16 ipcq_float16_;
#define IPCQ_FLOAT16_ IPCQ_ONE_(ipcq_float16_, 'f'),
#else
#define IPCQ_FLOAT16_
#endif
#endif


enum {
  // Open as the producer: creates the queue where there is none, continues it where there is.
  IPCQ_PRODUCER = 1,

  // Open as a consumer.
  IPCQ_CONSUMER = 2,

  // Producer: fail with -EEXIST if the queue exists.
  IPCQ_EXCL = 4,

  // Producer: if what exists does not fit (other geometry or version, or damaged), put a new queue
  // in its place. Consumers of the old one drain it and then get -ESTALE.
  IPCQ_REPLACE = 8,

  // Consumer: never hold a producer back, also in a queue that is lossless, and lose instead. Needs no
  // write permission. In a lossy queue all consumers are such. For monitors.
  IPCQ_OBSERVER = 16,

  // Delivery: the oldest messages are overwritten; a consumer that is too slow loses them and is told
  // how many.
  IPCQ_LOSSY = 0,

  // Delivery: nothing is overwritten that an attached consumer has not consumed; a push into a full
  // queue gives -EAGAIN, or waits. A consumer has to be able to write the control file.
  //
  // A consumer reports its position when it finds the queue empty, when it waits, at least after every
  // 64 messages (in a ring of fewer than 4096 messages after every capacity / 64), and with each
  // message while the ring is nearly full. If it stops popping in between, up to that many consumed
  // messages still count as unread: the queue can be full that much earlier.
  IPCQ_LOSSLESS = 1,

  // Start at the oldest message retained.
  IPCQ_OLDEST = 0,

  // Start at the last message pushed.
  IPCQ_NEWEST = 1,

  // Start after the last message pushed: only what comes.
  IPCQ_NEXT = 2,

  // Start at start_sequence; if that is not retained any more, what is missing counts as lost.
  IPCQ_AT = 3,

  // Log level: an internal error was caught.
  IPCQ_LOG_ERROR = 1,

  // Log level: something was not as it should be, and was repaired or replaced.
  IPCQ_LOG_WARNING = 2,

  // Log level: a queue was created, continued, closed or detached.
  IPCQ_LOG_INFO = 3,
};

// A producer or a consumer of one queue.
typedef struct ipcq_queue ipcq_queue;

// Shared memory by itself.
typedef struct ipcq_shm ipcq_shm;

// One field of a record: see IPCQ_FIELD, which fills it in. Fields may be in any order and may
// overlap, as those of a union do.
typedef struct {
  // UTF-8, up to 255 bytes. "from.x" is the field x of the record from, which comes before it.
  const char *name;
  // Bytes from the start of the message.
  uint32_t offset;
  // Bytes of one element; of a string, all that it has room for.
  uint32_t size;
  // 'u' unsigned and 'i' signed integer, 'f' float, 'b' bool, 'S' string (filled up with zeroes),
  // 'M' point in time and 'm' span of time (int64_t, in `unit`), 'V' a record whose fields come
  // next, or bytes of no meaning. (Also 'c' complex, 'U' string of char32_t.) All are little-endian.
  uint32_t kind;
  // Elements of an array; 1 (or 0) if it is none.
  uint32_t count;
  // Of kinds 'M' and 'm': "Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs" or "as",
  // also with a number in front ("25us"); empty for nanoseconds. Of other kinds: empty.
  char unit[8];
} ipcq_field;

// How to open a queue. Start with IPCQ_OPTIONS_INIT; zero means the default everywhere. If the
// queue exists, its producer takes over what is zero here, and the rest must fit the queue. But
// message_size and delivery mean what they say, zero included, and evict_after_ns is this producer's
// alone: the queue does not keep it. Without options (NULL) the producer takes over everything.
typedef struct {
  // Set by IPCQ_OPTIONS_INIT or ipcq_options_init.
  uint32_t struct_size;
  // Producer, creating: mode bits of the data file, set exactly, with 0600 for the producer;
  // default 0600. Consumers need the read bit.
  uint32_t permissions;
  // Mode bits of the control file; default: those of the data file. A consumer that may write it is
  // woken by the producer; one that may not looks every few milliseconds while it waits. Give write
  // permission only to those who may stop the producer: they can make it wait, and by truncating the
  // file kill it.
  uint32_t control_permissions;
  // Zero.
  uint32_t reserved;
  // Producer: messages (fixed) or bytes (variable) that the ring holds, rounded up to a power of
  // two; default: a ring of about 4 MiB.
  uint64_t capacity;
  // Producer: bytes of every message, at most 1 GiB; 0: each has its own length, at most an
  // eighth of the capacity. Consumer: if not 0, the queue must have messages of this size
  // (-EINVAL). With fields: sizeof the struct; 0: what its fields take if the compiler laid the
  // struct out as usual (not packed, nor aligned to more than it needs).
  uint32_t message_size;
  // Producer: IPCQ_LOSSY or IPCQ_LOSSLESS.
  uint32_t delivery;
  // Producer: places for consumers, at most 4096; default 32. No more can attach to a lossless
  // queue; in a lossy one, more are not listed.
  uint32_t max_consumers;
  // Producer, lossless: how many must be attached at once before anything is overwritten for the
  // first time; 0: with nobody attached, the producer runs on.
  uint32_t min_consumers;
  // What the messages are, or NULL and 0. Producer: kept in the queue; one that exists has to have
  // these. Consumer: if the queue has others, or none, it is -EPROTOTYPE. Not kept by the library.
  const ipcq_field *fields;
  uint32_t field_count;
  // Consumer: IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT.
  uint32_t start;
  // Consumer: with IPCQ_AT, at most what was pushed.
  uint64_t start_sequence;
  // Consumer: nanoseconds to wait for the queue to appear; 0: none, negative: without end.
  int64_t open_timeout_ns;
  // Consumer: shown to monitors; may be NULL.
  const char *consumer_name;
  // Producer, lossless: a consumer that holds the producer up and consumes nothing for so many
  // nanoseconds is evicted. It may go on, and counts as lost what was overwritten. 0: no consumer is
  // evicted. (A consumer that died is dropped at once.)
  int64_t evict_after_ns;
} ipcq_options;

// About one popped message.
typedef struct {
  // Its number, from 0, in the order of pushing.
  uint64_t sequence;
  // Messages lost between the last one this consumer consumed and this one.
  uint64_t lost;
  // Bytes.
  uint32_t length;
  uint32_t reserved;
} ipcq_info;

// One message in place.
typedef struct {
  // The message, read-only. It is aligned to 8 bytes, and to 16 in a variable queue or if the
  // producer declared a field that needs that (a long double): a type that needs more must be
  // copied out.
  const void *data;
  // Its number, from 0, in the order of pushing.
  uint64_t sequence;
  // Messages lost between the last one this consumer consumed and this one.
  uint64_t lost;
  // Bytes.
  uint32_t length;
  uint32_t reserved;
} ipcq_view;

// Figures of a queue and of the handle that was asked. For a consumer, at every moment:
// received + lost + lag = pushed - start sequence.
typedef struct {
  // Set by IPCQ_STATS_INIT or ipcq_stats_init.
  uint32_t struct_size;
  // IPCQ_PRODUCER or IPCQ_CONSUMER.
  uint32_t role;
  // Messages ever pushed, which is the sequence of the next one.
  uint64_t pushed;
  // Consumer: messages received, lost, and not yet either.
  uint64_t received;
  uint64_t lost;
  uint64_t lag;
  // The oldest sequence retained.
  uint64_t oldest;
  // As in the options.
  uint64_t capacity;
  uint32_t message_size;
  uint32_t delivery;
  // How often a producer has been attached.
  uint32_t epoch;
  // Consumers attached and known: all of a lossless queue, of a lossy one those that may write
  // its control file; but no observers. See ipcq_get_consumers.
  uint32_t consumers;
  // Whether a producer is attached at this moment.
  uint32_t producer_alive;
  // Whether the producer has closed the queue.
  uint32_t closed;
  // The consumer with the greatest lag, which is the one a full lossless queue waits for: its lag,
  // process (for information) and name; zero and empty if there is none.
  uint64_t slowest_lag;
  uint32_t slowest_pid;
  // Whether the queue's file has lost its name (unlinked, removed otherwise, or replaced): nobody
  // can open this queue any more.
  uint32_t unlinked;
  char slowest_name[64];
  // Identifies the queue. Another number under the same name means that the queue was made anew,
  // and that its sequences count other messages.
  uint64_t id;
} ipcq_stats;

// One attached consumer.
typedef struct {
  // Its consumer_name, at most 63 bytes of it.
  char name[64];
  // The sequence it wants next, as of its last look at an empty ring, or up to 64 messages ago.
  uint64_t sequence;
  // Messages pushed and not consumed, by that sequence.
  uint64_t lag;
  // Messages it lost since it attached.
  uint64_t lost;
  // Its process, for information: a pid may be another's by now.
  uint32_t pid;
  // Whether it sleeps until a message comes.
  uint32_t asleep;
} ipcq_consumer;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// Sets `*options` to what IPCQ_OPTIONS_INIT says, for languages that cannot use the macro; `size` is
// sizeof(ipcq_options). NULL is fine.
void ipcq_options_init(ipcq_options *options, size_t size);

// Opens a queue as its producer, IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE), or as one of its
// consumers, IPCQ_CONSUMER (| IPCQ_OBSERVER). `options` may be NULL: all defaults. The handle goes
// to `*out`, which is NULL on failure.
//
// Errors: -EBUSY: another live producer; -EEXIST; -EINVAL: an argument, or another geometry (the text
// names both); -EPROTOTYPE: other records (the text shows both); -ENOSPC; -EACCES; -ENOENT: no such
// queue, also when open_timeout_ns is over; -EBADMSG; -EPROTONOSUPPORT; -E2BIG: the options set what
// this version does not know; -EINTR: a signal arrived while waiting; -EUSERS: max_consumers are
// attached to the lossless queue already.
int ipcq_open(ipcq_queue **out, const char *name, uint32_t flags, const ipcq_options *options);

// Closes a handle; NULL is fine. A producer marks the queue closed: consumers drain it and then get
// -EPIPE, until a producer opens it again (ipcq_detach does not mark it).
void ipcq_close(ipcq_queue *q);

// Gives a producer's handle up without closing the queue: consumers keep waiting, and the next
// producer, of another process perhaps, opens the queue and continues its sequence. A message that
// is claimed is given up. The handle is gone unless this fails.
//
// Errors: -EINVAL: NULL; -EBADF: a consumer.
int ipcq_detach(ipcq_queue *q);

// Removes a queue's files, also if a producer has it open. Handles that are open keep working with the
// memory they have: a producer that does not look at the stats (unlinked) pushes into a queue that no
// consumer can open any more. Until that producer ends, opening the name as a producer is -EBUSY.
//
// Errors: -ENOENT; -EACCES: also a queue of another user; -EBUSY: another process has been opening or
// removing the queue for a second.
int ipcq_unlink(const char *name);

// Pushes one message: of exactly message_size bytes in a fixed queue, of at most an eighth of the
// capacity in a variable one. Never sleeps, and makes a system call only to wake consumers that are
// asleep, or, if a lossless queue is full, to look for dead consumers (at most every 10 ms). In that
// case it gives the consumers a microsecond before it returns -EAGAIN.
//
// Errors: -EAGAIN: lossless, and a consumer has not caught up; -EMSGSIZE; -EINVAL: a message is
// claimed; -EBADF.
int ipcq_push(ipcq_queue *q, const void *data, size_t length);

// As ipcq_push, but sleeps until there is room, for at most `timeout_ns` nanoseconds; 0: not at all,
// negative: without end. In a lossy queue there is always room. A consumer that has died is dropped
// within 100 ms.
//
// Errors: as ipcq_push, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal handler has run, and
// nothing was pushed.
int ipcq_push_wait(ipcq_queue *q, const void *data, size_t length, int64_t timeout_ns);

// Pushes `count` messages that lie `stride` bytes apart. In a fixed queue stride is at least
// message_size; in a variable one, it is the length of each. Returns how many were pushed: all, or
// fewer when a lossless queue is full.
//
// Errors: as ipcq_push; -EINVAL: `count` times `stride` is more than memory can hold.
int64_t ipcq_push_many(ipcq_queue *q, const void *data, size_t stride, size_t count);

// Makes room for one message of up to `length` bytes, to be written in place: `*slot` points to it,
// aligned as ipcq_view says, so a type that needs more must be copied in. End the claim with
// ipcq_commit or ipcq_abort. The room still holds the bytes of an older message, which consumers have
// lost from here on.
//
// Errors: as ipcq_push.
int ipcq_claim(ipcq_queue *q, size_t length, void **slot);

// Publishes the message claimed, of which the first `length` bytes were written: in a fixed queue
// message_size, in a variable one at most what was claimed.
//
// Errors: -EINVAL: none is claimed; -EMSGSIZE: the claim stands; -EBADF.
int ipcq_commit(ipcq_queue *q, size_t length);

// Gives the claim up; nothing was pushed.
//
// Errors: -EINVAL: none is claimed; -EBADF.
int ipcq_abort(ipcq_queue *q);

// Copies the next message into `buffer` and consumes it. Returns its length; `*info` (may be NULL)
// is about it. Makes no system call unless the producer of a lossless queue sleeps until there is
// room: then it wakes that producer. (After ipcq_fd, a pop that finds nothing resets the descriptor;
// the first pop in a forked child attaches the child's consumer.)
//
// Errors: -EAGAIN: none yet; -EPIPE: the producer has closed and all is consumed (a producer may
// open the queue again); -EMSGSIZE: the buffer is smaller than info->length, nothing is consumed;
// -ESTALE: the queue was replaced; -EBADMSG; -EBADF.
int64_t ipcq_pop(ipcq_queue *q, void *buffer, size_t size, ipcq_info *info);

// Copies up to `count` messages out, each `stride` bytes after the last, and consumes them. Returns
// how many; `*info` (may be NULL) is about the first, and info->lost counts what was lost before it.
// They follow each other without a gap: a batch ends where messages were lost, and in a variable
// queue where the length changes, so that info->length is that of all.
//
// Errors: as ipcq_pop, for the first message; -EINVAL: `count` times `stride` is more than memory can
// hold.
int64_t ipcq_pop_many(ipcq_queue *q, void *buffer, size_t stride, size_t count, ipcq_info *info);

// Gives the next message in place, without a copy, until ipcq_release consumes it. In a lossless
// queue the bytes do not change before that (unless the consumer is an observer, or is evicted). In a
// lossy one the producer may overwrite them at any time, and ipcq_release says whether it did: until
// then, compute but do not act. Any other ipcq_pop, ipcq_peek or ipcq_seek ends the look.
//
// Errors: as ipcq_pop.
int ipcq_peek(ipcq_queue *q, ipcq_view *view);

// Consumes the message peeked at.
//
// Errors: -ESTALE: it was overwritten meanwhile. Discard what was computed from it; it counts as
// lost in the next info. -EINVAL: the view is not of the message being peeked at.
int ipcq_release(ipcq_queue *q, const ipcq_view *view);

// Goes to a sequence, at most the one pushed next. One that is not retained any more becomes the
// oldest that is, and what lies between counts as lost. The counts in the stats begin anew.
//
// Errors: -EINVAL: it lies beyond what was pushed; -EBADMSG; -EBADF.
int ipcq_seek(ipcq_queue *q, uint64_t sequence);

// As ipcq_pop, but sleeps until there is a message, for at most `timeout_ns` nanoseconds; 0: not at
// all, negative: without end.
//
// It looks a few hundred times and then sleeps, without use of the processor, until the producer
// pushes. To be woken, the consumer needs write permission on the control file; without it, the call
// looks again after 0.1 to 4 ms, which takes some thousandths of a processor and delays a message by
// as much.
//
// Errors: as ipcq_pop, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal handler has run, and
// nothing was consumed.
int64_t ipcq_pop_wait(ipcq_queue *q, void *buffer, size_t size, ipcq_info *info, int64_t timeout_ns);

// Waits until there is a message, as ipcq_pop_wait does, and consumes nothing.
//
// Errors: as ipcq_pop_wait, but -EMSGSIZE.
int ipcq_wait(ipcq_queue *q, int64_t timeout_ns);

// Waits until one of 1 to 128 consumers has a message, or is at its end, so that ipcq_pop returns
// something other than -EAGAIN. Returns the index of the first such consumer: to be fair to all, pop
// from each before waiting again. Before Linux 5.16 it looks at all of them every few milliseconds.
//
// Errors: -ETIMEDOUT; -EINTR: a signal handler has run; -EINVAL: no queues, or too many; -EBADF.
int ipcq_wait_any(ipcq_queue *const *queues, size_t count, int64_t timeout_ns);

// A descriptor for poll, epoll, select: it becomes readable when there is a message, or when the queue
// is at its end, and stays so until a pop (or peek, or wait) finds nothing. So pop until -EAGAIN, then
// poll. It may be readable although there is nothing to pop.
//
// It belongs to the handle and is closed with it: only ever poll it. One thread for all handles of the
// process watches the queues (see THREADS). Where it cannot be woken (see ipcq_pop_wait), and before
// Linux 5.16, it looks every few milliseconds. After a fork the descriptor is the parent's, and the
// child asks for its own.
//
// Errors: -EBADF: not a consumer; -EMFILE, -ENFILE, -ENOMEM: no descriptor, or no thread, could be made.
int ipcq_fd(ipcq_queue *q);

// Sets `*stats` to what IPCQ_STATS_INIT says, for languages that cannot use the macro; `size` is
// sizeof(ipcq_stats). NULL is fine.
void ipcq_stats_init(ipcq_stats *stats, size_t size);

// Fills `*stats` with the figures of the queue and of this handle. Start with IPCQ_STATS_INIT.
// Makes some system calls: it asks whether the producer lives, and whether the file has its name.
//
// Errors: -EINVAL: NULL, or the stats are not initialised; -EBADMSG.
int ipcq_get_stats(const ipcq_queue *q, ipcq_stats *stats);

// Fills `list` with up to `count` of the consumers that are attached and known, the slowest first;
// `size` is sizeof(ipcq_consumer). Returns how many there are. Makes a system call for each.
//
// Errors: -EINVAL: NULL, or `size` is smaller than the struct; -EBADMSG.
int64_t ipcq_get_consumers(const ipcq_queue *q, ipcq_consumer *list, size_t size, size_t count);

// Writes what records the messages are to `buffer`, as much as there is room for, with a zero at the
// end; returns the length of all of it without that, so that NULL and 0 tell what is needed. 0: the
// queue does not say. It is the JSON of a numpy dtype: {"names":["price"],"formats":["<f8"],
// "offsets":[0],"itemsize":8}; a format is also "(2,3)<f8" for an array, such an object for a record
// in the record, and [object,[2,3]] for an array of these.
//
// Errors: -EINVAL: NULL.
int64_t ipcq_schema(const ipcq_queue *q, char *buffer, size_t size);

// This thread's last error in words: which file, what failed, what to do. Never NULL; the text is
// replaced by the thread's next error.
const char *ipcq_errmsg(void);

// What a return value means in general. Never NULL.
const char *ipcq_strerror(int rc);

// The version of the library that runs, "major.minor.patch".
const char *ipcq_version(void);

// The same as a number: major * 10000 + minor * 100 + patch.
uint32_t ipcq_version_number(void);

// Sets the log function of the whole process. The library calls `fn` when a queue is opened, closed,
// continued after a crash, or repaired, with a level (IPCQ_LOG_ERROR, IPCQ_LOG_WARNING or
// IPCQ_LOG_INFO), a text, and `user`. NULL ends it.
//
// The library calls it from any thread that calls the library, but never inside a push or a pop. The
// function may call the library, ipcq_set_log too. After ipcq_set_log has returned, a call of
// the former function that another thread had begun may still be running.
void ipcq_set_log(void (*fn)(int level, const char *message, void *user), void *user);

// Creates `size` bytes of shared memory to write, with their space reserved; zero at first.
// `permissions` are the mode bits of the file, 0 for 0600. Memory of that name and size that exists
// already is opened, with its content.
//
// Errors: -EBUSY: another writer lives; -EINVAL: it exists with another size; -ENOSPC; -EACCES.
int ipcq_shm_create(ipcq_shm **out, const char *name, size_t size, uint32_t permissions);

// Opens shared memory to read; it is mapped read-only.
//
// Errors: -ENOENT, -EACCES, -EBADMSG.
int ipcq_shm_open(ipcq_shm **out, const char *name);

// Copies bytes in. Readers may see any part of them at any time.
//
// Errors: -EBADF: a reader's handle; -ERANGE: beyond the end. Nothing is written then.
int ipcq_shm_write(ipcq_shm *shm, size_t offset, const void *data, size_t length);

// Copies bytes out.
//
// Errors: -ERANGE: beyond the end.
int ipcq_shm_read(const ipcq_shm *shm, size_t offset, void *buffer, size_t length);

// The first byte, to write; NULL for a reader.
void *ipcq_shm_data(ipcq_shm *shm);

// The first byte, to read.
const void *ipcq_shm_cdata(const ipcq_shm *shm);

// Its size in bytes; 0 for NULL.
size_t ipcq_shm_size(const ipcq_shm *shm);

// Closes a handle; NULL is fine. The memory stays until it is unlinked.
void ipcq_shm_close(ipcq_shm *shm);

// Removes its name. Handles that are open keep the memory.
//
// Errors: as ipcq_unlink.
int ipcq_shm_unlink(const char *name);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* IPCQ_H */
