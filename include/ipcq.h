// ipcq: a queue between processes on one host, through shared memory.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// One process produces, any number of processes consume. Every consumer sees every message and keeps
// its own position; it maps the queue read-only. No call on the hot path enters the kernel.
//
//   producer                                        consumer
//
//   ipcq_options o = IPCQ_OPTIONS_INIT;             ipcq_queue *q;
//   o.message_size = sizeof(struct tick);           int rc = ipcq_open(&q, "ticks", IPCQ_CONSUMER, NULL);
//   ipcq_queue *q;                                  struct tick t;
//   int rc = ipcq_open(&q, "ticks",                 ipcq_info info;
//                      IPCQ_PRODUCER, &o);          int64_t n;
//   ...                                             while ((n = ipcq_pop_wait(q, &t, sizeof t, &info, -1)) >= 0)
//   rc = ipcq_push(q, &t, sizeof t);                  use(&t, info.sequence, info.lost);
//   ...                                             // here n is -EPIPE: closed, and all was read
//   ipcq_close(q);  // consumers drain, then -EPIPE ipcq_close(q);
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
//   -EPROTONOSUPPORT  another layout version                -ETIMEDOUT  the time is over
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
// THREADS. A handle is used by one thread at a time and may move between threads. Different handles
// are independent. After fork(), a producer belongs to the parent: in the child it only returns
// -EBADF, and closing it there does not close the queue.
//
// FILES. They belong to the library. Removing a live queue's files (ipcq_unlink, or rm) is safe:
// handles go on with the memory they have. Truncating a live queue's file is not: a process that
// touches what was cut off is ended by SIGBUS, as with any mapped file. Only who may write a file can
// do that, so a consumer trusts the owner of the queue in this one respect.
//
// MEMORY. The library never frees what the caller passes, nor the reverse. Pointers to options are
// not kept.


#ifndef IPCQ_H
#define IPCQ_H

/* Generated from src/ffi by cbindgen; `make header` refreshes it. */

#include <stddef.h>
#include <stdint.h>

// Initialisers: the size tells the library which version of a struct the caller was built with.
#define IPCQ_OPTIONS_INIT { sizeof(ipcq_options), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }
#define IPCQ_STATS_INIT { sizeof(ipcq_stats), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, { 0 } }

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
// A struct in the struct, or an array of them, is of kind 'V', and its fields come next, for an array
// those of its first element. Likewise an array of arrays. Without fields it is bytes of no meaning.
//
//   IPCQ_FIELD_AS(struct tick, from, 'V', struct place), IPCQ_FIELD(struct tick, from.x), ...
//   IPCQ_FIELD_AS(struct tick, legs, 'V', struct leg), IPCQ_FIELD(struct tick, legs[0].price), ...
//   IPCQ_FIELD_AS(struct tick, matrix, 'V', double[3]), IPCQ_FIELD(struct tick, matrix[0])
#define IPCQ_FIELD_AS(type, member, kind, element) IPCQ_MEMBER_(type, member, kind, sizeof(element))
#define IPCQ_MEMBER_(type, member, kind, size) \
  { #member, (uint32_t)offsetof(type, member), (uint32_t)(size), (char)(kind), \
    (uint32_t)(sizeof(((type *)0)->member) / (size)) }

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


// Open as the producer: creates the queue where there is none, continues it where there is.
#define IPCQ_PRODUCER 1

// Open as a consumer.
#define IPCQ_CONSUMER 2

// Producer: fail with -EEXIST if the queue exists.
#define IPCQ_EXCL 4

// Producer: if what exists does not fit (other geometry or version, or damaged), put a new queue
// in its place. Consumers of the old one drain it and then get -ESTALE.
#define IPCQ_REPLACE 8

// Consumer: never hold a producer back, also in a queue that is lossless, and lose instead. Needs no
// write permission. In a lossy queue all consumers are such. For monitors.
#define IPCQ_OBSERVER 16

// Delivery: the oldest messages are overwritten; a consumer that is too slow loses them and is told
// how many.
#define IPCQ_LOSSY 0

// Delivery: nothing is overwritten that an attached consumer has not consumed; a push into a full
// queue gives -EAGAIN, or waits. A consumer has to be able to write the control file.
//
// A consumer shows how far it is when it finds the queue empty or waits, once a block (1/64 of the
// capacity, at most 64 messages), and with each message where the ring is nearly full. One that
// stops popping in between keeps less than a block of what it has consumed from the producer: the
// queue may be full although so much less than the capacity is unread.
#define IPCQ_LOSSLESS 1

// Start at the oldest message retained.
#define IPCQ_OLDEST 0

// Start at the last message pushed.
#define IPCQ_NEWEST 1

// Start after the last message pushed: only what comes.
#define IPCQ_NEXT 2

// Start at start_sequence; if that is not retained any more, what is missing counts as lost.
#define IPCQ_AT 3

// Log level: an internal error was caught.
#define IPCQ_LOG_ERROR 1

// Log level: something was not as it should be, and was repaired or replaced.
#define IPCQ_LOG_WARNING 2

// Log level: a queue was created, continued or closed.
#define IPCQ_LOG_INFO 3

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
  // 'V' a record whose fields come next, or bytes of no meaning. (Also 'c' complex, 'U' string of
  // char32_t.) All are little-endian.
  char kind;
  // Elements of an array; 1 (or 0) if it is none.
  uint32_t count;
} ipcq_field;

// How to open a queue. Begin with IPCQ_OPTIONS_INIT; zero means the default everywhere. A
// producer that finds the queue takes what is zero from it, and what is not must fit; only
// message_size and delivery say what they say, zero included. Without options it takes all.
typedef struct {
  // Set by IPCQ_OPTIONS_INIT.
  uint32_t struct_size;
  // Producer, creating: mode bits of the data file, set exactly, with 0600 for the producer;
  // default 0600. Consumers need the read bit.
  uint32_t permissions;
  // Mode bits of the control file; default: those of the data file. A consumer that may write it is
  // woken by the producer; one that may not looks every few milliseconds while it waits. Give write
  // permission only to those who may stop the producer: they can make it wait, and by truncating the
  // file kill it.
  uint32_t control_permissions;
  // Producer: messages (fixed) or bytes (variable) that the ring holds, rounded up to a power of
  // two; default: a ring of about 4 MiB.
  uint64_t capacity;
  // Producer: bytes of every message, at most 1 GiB; 0: each has its own length, at most an
  // eighth of the capacity. With fields, also of a consumer: sizeof the struct; 0: what its fields
  // take if the compiler laid it out as usual (not packed, nor aligned to more than it needs).
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
  // Consumer: nanoseconds to wait for the queue to appear; 0: none, negative: for ever.
  int64_t open_timeout_ns;
  // Consumer: shown to monitors; may be NULL.
  const char *consumer_name;
  // Producer, lossless: nanoseconds after which a consumer that holds the producer up and consumes
  // nothing is waited for no longer; it goes on, and counts as lost what was overwritten. 0: never.
  // (One that died is dropped at once.)
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
  // The message, read-only, aligned to 8 bytes (16 in a variable queue).
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
  // Set by IPCQ_STATS_INIT.
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
  uint32_t reserved;
  char slowest_name[64];
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

// Opens a queue as its producer, IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE), or as one of its
// consumers, IPCQ_CONSUMER (| IPCQ_OBSERVER). `options` may be NULL: all defaults. The handle goes
// to `*out`, which is NULL on failure.
//
// Errors: -EBUSY, -EEXIST, -EINVAL (also another geometry: the message names both), -EPROTOTYPE
// (other records: the message shows both), -ENOSPC, -EACCES, -ENOENT (consumer, also when
// open_timeout_ns is over), -EBADMSG, -EPROTONOSUPPORT, -E2BIG, -EINTR; of a lossless queue also
// -EUSERS: max_consumers are attached.
int ipcq_open(ipcq_queue **out, const char *name, uint32_t flags, const ipcq_options *options);

// Closes a handle; NULL is fine. A producer marks the queue closed: consumers drain it and then get
// -EPIPE, until a producer opens it again.
void ipcq_close(ipcq_queue *q);

// Removes a queue's files. Handles that are open go on with it.
//
// Errors: -ENOENT, -EACCES.
int ipcq_unlink(const char *name);

// Pushes one message: of exactly message_size bytes in a fixed queue, of at most an eighth of the
// capacity in a variable one. Never sleeps, and makes no system call but to wake consumers that are
// asleep (and, when a lossless queue is full, to look for dead ones, at most every 10 ms). Where that is
// full it leaves the consumers a microsecond before it says so.
//
// Errors: -EAGAIN: lossless, and a consumer has not caught up; -EMSGSIZE; -EINVAL: a message is
// claimed; -EBADF.
int ipcq_push(ipcq_queue *q, const void *data, size_t length);

// As ipcq_push, but waits for room, asleep, at most so many nanoseconds; 0: not at all, negative: for
// ever. In a lossy queue there is always room. A consumer that has died is dropped within 100 ms.
//
// Errors: as ipcq_push, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal arrived.
int ipcq_push_wait(ipcq_queue *q, const void *data, size_t length, int64_t timeout_ns);

// Pushes `count` messages that lie `stride` bytes apart. In a fixed queue stride is at least
// message_size; in a variable one, it is the length of each. Returns how many were pushed: all, or
// fewer when a lossless queue is full.
//
// Errors: as ipcq_push.
int64_t ipcq_push_many(ipcq_queue *q, const void *data, size_t stride, size_t count);

// Makes room for one message of up to `length` bytes, to be written in place: `*slot` points to it,
// aligned to 8 bytes (16 in a variable queue). End it with ipcq_commit or ipcq_abort. The room holds
// an older message's bytes, which consumers have lost from here on.
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
// is about it. Makes no system call.
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
// Errors: as ipcq_pop, for the first message.
int64_t ipcq_pop_many(ipcq_queue *q, void *buffer, size_t stride, size_t count, ipcq_info *info);

// Gives the next message in place, without a copy, until ipcq_release. Nothing is consumed before.
// In a lossless queue the bytes do not change before that (unless the consumer is an observer, or is
// evicted): true zero-copy. In a lossy one they may be overwritten at any time, which ipcq_release
// tells: until then, compute but do not act. Any other ipcq_pop, ipcq_peek or ipcq_seek ends the look.
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

// As ipcq_pop, but waits for a message, asleep, at most so many nanoseconds; 0: not at all, negative:
// for ever.
//
// It looks a few hundred times and then sleeps, without use of the processor, until the producer
// pushes. For that it needs to write the control file; where it may not, it looks again after 0.1 to
// 4 ms, which takes some thousandths of a processor and delays a message by as much.
//
// Errors: as ipcq_pop, but -ETIMEDOUT instead of -EAGAIN; -EINTR: a signal arrived.
int64_t ipcq_pop_wait(ipcq_queue *q, void *buffer, size_t size, ipcq_info *info, int64_t timeout_ns);

// Waits until there is a message, as ipcq_pop_wait does, and consumes nothing.
//
// Errors: as ipcq_pop_wait, but -EMSGSIZE.
int ipcq_wait(ipcq_queue *q, int64_t timeout_ns);

// Waits until one of 1 to 128 consumers has a message, or is at its end, so that ipcq_pop gives
// something else than -EAGAIN. Returns the index of the first that is so: to be fair to all, pop from
// each before waiting again. Before Linux 5.16 it looks at all of them every few milliseconds.
//
// Errors: -ETIMEDOUT; -EINTR: a signal arrived; -EINVAL: no queues, or too many; -EBADF.
int ipcq_wait_any(ipcq_queue *const *queues, size_t count, int64_t timeout_ns);

// A descriptor for poll, epoll, select: it becomes readable when there is a message, or when the queue
// is at its end, and stays so until a pop (or peek, or wait) finds nothing. So pop until -EAGAIN, then
// poll. It may be readable though nothing is there.
//
// It belongs to the handle and is closed with it: only ever poll it. A thread that the handles of a
// process share watches the queues; it gets no signals. Where it may not be woken (see ipcq_pop_wait)
// it looks every few milliseconds, and before Linux 5.16 too. After a fork it is the parent's: the
// child asks for its own.
//
// Errors: -EBADF: no consumer; -EMFILE, -ENFILE, -ENOMEM: none could be made.
int ipcq_fd(ipcq_queue *q);

// Fills `*stats` with the figures of the queue and this handle. Begin with IPCQ_STATS_INIT.
//
// Errors: -EINVAL: struct_size is 0; -EBADMSG.
int ipcq_get_stats(const ipcq_queue *q, ipcq_stats *stats);

// Fills `list` with up to `count` of the consumers attached and known, the slowest first; `size` is
// sizeof(ipcq_consumer). Returns how many there are. Costs a system call for each.
//
// Errors: -EINVAL: size is too small; -EBADMSG.
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

// Has `fn` called with what goes on in the whole process (queues opened, continued after a crash,
// repaired): a level (IPCQ_LOG_ERROR, _WARNING, _INFO), a text, and `user`. NULL ends it. It may be
// called from any thread that calls the library, never on push and pop. It may call the library, this
// function too; a call that another thread has begun before may still come once this has returned.
void ipcq_set_log(void (*fn)(int level, const char *message, void *user), void *user);

// Creates `size` bytes of shared memory to write, with their space reserved; zero at first.
// `permissions` are the mode bits of the file, 0 for 0600. One that exists with this size is
// continued, its content kept.
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

// Removes its name. Handles that are open go on with it.
//
// Errors: -ENOENT, -EACCES.
int ipcq_shm_unlink(const char *name);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* IPCQ_H */
