/* ipcq: a queue between processes on one Linux host, through shared memory.
   SPDX-License-Identifier: MIT OR Apache-2.0

   One process produces, any number consume. Every consumer sees every message and keeps its own
   position. A slow consumer of a lossy queue loses the oldest messages and learns how many; in a
   lossless queue it makes the producer wait. Push and pop make no system call unless the other side
   is asleep. If a process is killed, the others continue.

   Details: docs/semantics.md, docs/limits.md, docs/troubleshooting.md. C++17: ipcq.hpp.
   Build: cc ticks.c -o ticks $(pkg-config --cflags --libs ipcq)
   Run:   ./ticks receive & ./ticks

#include <errno.h>
#include <ipcq.h>
#include <stdio.h>

struct tick { uint64_t time_ns; double price; };

static int send(void) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.message_size = sizeof(struct tick);
  ipcq_queue *q;
  struct tick tick = {1700000000, 9.5};
  int rc = ipcq_open(&q, "ticks", IPCQ_PRODUCER, &options);
  if (rc == 0)
    rc = ipcq_push(q, &tick, sizeof tick);
  ipcq_close(q); // consumers drain the queue, then get -EPIPE
  return rc;
}

static int receive(void) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.open_timeout_ns = -1; // wait for the queue to appear
  ipcq_queue *q;
  struct tick tick;
  ipcq_info info;
  int64_t n;
  while ((n = ipcq_open(&q, "ticks", IPCQ_CONSUMER, &options)) == -EINTR) {}
  while (n >= 0 || n == -EINTR) { // -EINTR: a signal handler has run
    n = ipcq_pop_wait(q, &tick, sizeof tick, &info, -1); // -1: no limit
    if (n >= 0)
      printf("%.2f, %llu lost before\n", tick.price, (unsigned long long)info.lost);
  }
  ipcq_close(q);
  return n == -EPIPE ? 0 : (int)n; // -EPIPE: the producer has closed
}

int main(int argc, char **argv) {
  (void)argv;
  int rc = argc > 1 ? receive() : send();
  if (rc < 0)
    fprintf(stderr, "%s\n", ipcq_errmsg());
  return rc < 0;
}
*/

#ifndef IPCQ_H
#define IPCQ_H

/* Generated from src/ffi by build.rs. `make header` refreshes it. */

#include <stddef.h>
#include <stdint.h>

// The version of this header.
#define IPCQ_VERSION_MAJOR 0
#define IPCQ_VERSION_MINOR 1
#define IPCQ_VERSION_PATCH 0
#define IPCQ_VERSION_NUMBER \
  (IPCQ_VERSION_MAJOR * 10000 + IPCQ_VERSION_MINOR * 100 + IPCQ_VERSION_PATCH)

#if defined(__GNUC__)
#define IPCQ_API __attribute__((visibility("default")))
#define IPCQ_CHECKED IPCQ_API __attribute__((warn_unused_result))
#else
#define IPCQ_API
#define IPCQ_CHECKED
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Rules ----

   Names     "ticks" is the file /dev/shm/ipcq.ticks ($IPCQ_DIR/ipcq.ticks if set). A name with '/'
             is a path. The control file, NAME.ctl, and NAME.lock are beside it. Never truncate
             these files (docs/limits.md).
   Timeouts  are in nanoseconds. 0: do not wait. Negative: no limit.
   Threads   Use a handle in one thread at a time.
   Signals   A wait returns -EINTR when a handler has run: call again. To notice a flag that a
             handler sets, also use a timeout. Handlers must not call the library.
   Fork      In the child, producers return -EBADF. A consumer is copied, and attaches at its
             first pop, peek or wait.
   Cancel    No function is a cancellation point. Do not use asynchronous cancellation.
   Memory    The library keeps no pointer to options, fields or names. */

/* ---- Errors ----

   A function that fails returns a negated errno, so strerror(-rc) works. It pushed and consumed
   nothing, and the handle is unchanged (but see ipcq_release). "Errors" below omits -EBADF,
   -EBADMSG and -EINVAL, which any function may return.

   -E2BIG            options of a newer version
   -EACCES           file permissions
   -EAGAIN           no message, or no room
   -EBADF            wrong role, such as a consumer that pushes
   -EBADMSG          not a queue, or damaged
   -EBUSY            another live producer
   -EEXIST           the queue exists
   -EINTR            a signal handler has run
   -EINVAL           invalid argument, or the queue differs from the options
   -EMSGSIZE         wrong length of message or buffer
   -ENOENT           no such queue
   -ENOSPC           no space on the file system
   -ENOTRECOVERABLE  internal error
   -EPIPE            closed by the producer, and drained
   -EPROTONOSUPPORT  another file format version
   -EPROTOTYPE       other record fields
   -ERANGE           beyond the end of shared memory
   -ESTALE           overwritten while peeked at, or the queue was replaced
   -ETIMEDOUT        the timeout has expired
   -EUSERS           too many consumers
   and those of open(2) and mmap(2) */

// This thread's last error in words: which file, what failed, what to do. Valid until the next
// error.
IPCQ_API const char *ipcq_errmsg(void);

// A short text for a return value.
IPCQ_API const char *ipcq_strerror(int rc);

/* ---- Open and close ---- */

// A producer or a consumer.
typedef struct ipcq_queue ipcq_queue;

typedef struct ipcq_options ipcq_options;

// Opens a queue as IPCQ_PRODUCER (| IPCQ_EXCL | IPCQ_REPLACE) or IPCQ_CONSUMER (| IPCQ_OBSERVER).
// `options` may be NULL. On failure `*out` is NULL.
// Errors: -EACCES, -EBUSY, -EEXIST, -EINTR, -ENOENT, -ENOSPC, -EPROTONOSUPPORT, -EPROTOTYPE,
// -EUSERS.
IPCQ_CHECKED int ipcq_open(ipcq_queue **out, const char *name, uint32_t flags,
    const ipcq_options *options);

// Closes a handle. NULL is allowed. When a producer closes, consumers drain the queue and then get
// -EPIPE, until a producer opens it again.
IPCQ_API void ipcq_close(ipcq_queue *q);

// Closes a producer but not its queue: consumers wait for the next producer, which continues the
// sequence.
IPCQ_API int ipcq_detach(ipcq_queue *q);

// Removes the queue's files. Open handles keep working, but no new one can join them.
// Errors: -EACCES, -EBUSY, -ENOENT.
IPCQ_API int ipcq_unlink(const char *name);

enum {
  // Creates the queue, or continues the one that exists.
  IPCQ_PRODUCER = 0x01,
  IPCQ_CONSUMER = 0x02,
  // Producer: fail with -EEXIST if the queue exists.
  IPCQ_EXCL = 0x04,
  // Producer: replace a queue that differs or is damaged. Its consumers drain it, then get -ESTALE.
  IPCQ_REPLACE = 0x08,
  // Consumer: never make the producer wait, and lose messages instead.
  IPCQ_OBSERVER = 0x10,
};

enum {
  // Delivery: overwrite the oldest messages.
  IPCQ_LOSSY = 0,
  // Delivery: never overwrite what an attached consumer has not consumed. In a full queue, a push
  // fails or waits. Consumers need write permission on the control file (docs/limits.md).
  IPCQ_LOSSLESS = 1,
};

enum {
  // Start: the oldest message retained.
  IPCQ_OLDEST = 0,
  // Start: the newest message.
  IPCQ_NEWEST = 1,
  // Start: the next message pushed.
  IPCQ_NEXT = 2,
  // Start: start_sequence. Messages that are no longer retained count as lost.
  IPCQ_AT = 3,
};

typedef struct ipcq_field ipcq_field;

// Zero means the default or, to the producer of an existing queue, the queue's value. Others must
// match it. message_size and delivery must match even if 0. evict_after_ns is not stored. Without
// options (NULL), the producer takes all values from the queue.
struct ipcq_options {
  // -- Both --
  // Set by IPCQ_OPTIONS_INIT.
  uint32_t struct_size;
  // Bytes of each message. Producer: 0 makes a variable queue, in which lengths differ.
  // Consumer: 0 accepts any. If fields are given, 0 means the size of their struct.
  uint32_t message_size;
  // See Record schemas.
  const ipcq_field *fields;
  uint32_t field_count;

  // -- Producer --
  // IPCQ_LOSSY or IPCQ_LOSSLESS.
  uint32_t delivery;
  // Messages, or bytes of a variable queue. Default: about 4 MiB.
  uint64_t capacity;
  // Mode bits of the data file, which consumers read. Default: 0600.
  uint32_t permissions;
  // Mode bits of the control file (docs/limits.md). Default: permissions.
  uint32_t control_permissions;
  // Default: 32.
  uint32_t max_consumers;
  // Lossless: the first overwrite ever waits until this many consumers are attached.
  uint32_t min_consumers;
  // Lossless: evict a consumer that blocks the producer for this long without progress. It may
  // continue, and loses what was overwritten. Default: never. Lossy: -EINVAL.
  int64_t evict_after_ns;

  // -- Consumer --
  // IPCQ_OLDEST, IPCQ_NEWEST, IPCQ_NEXT or IPCQ_AT.
  uint32_t start;
  uint32_t reserved;
  uint64_t start_sequence;
  // How long to wait for the queue to appear, before -ENOENT.
  int64_t open_timeout_ns;
  // Shown by ipcq_get_consumers.
  const char *consumer_name;
};

#define IPCQ_OPTIONS_INIT {sizeof(ipcq_options),0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}

// IPCQ_OPTIONS_INIT for other languages. `size`: sizeof(ipcq_options).
IPCQ_API void ipcq_options_init(ipcq_options *options, size_t size);

/* ---- Send ---- */

// Pushes one message: message_size bytes, or, in a variable queue, up to an eighth of the
// capacity. Never sleeps, but spins for about 1 us if a lossless queue is full.
// Errors: -EAGAIN, -EMSGSIZE.
IPCQ_CHECKED int ipcq_push(ipcq_queue *q, const void *data, size_t length);

// As ipcq_push, but sleeps until there is room.
// Errors: -EINTR, -EMSGSIZE, -ETIMEDOUT.
IPCQ_CHECKED int ipcq_push_wait(ipcq_queue *q, const void *data, size_t length, int64_t timeout_ns);

// Pushes `count` messages, `stride` bytes apart. In a variable queue, each has `stride` bytes.
// Returns how many it pushed: fewer than `count` if a lossless queue becomes full.
// Errors: -EAGAIN, -EMSGSIZE.
IPCQ_CHECKED int64_t ipcq_push_many(ipcq_queue *q, const void *data, size_t stride, size_t count);

/* ---- Receive ---- */

// The metadata of a message.
typedef struct ipcq_info {
  // Counts all messages of the queue from 0.
  uint64_t sequence;
  // Messages lost since this consumer's previous message.
  uint64_t lost;
  uint32_t length;
  uint32_t reserved;
} ipcq_info;

// Copies the next message to `buffer`, consumes it and returns its length. `info` may be NULL.
// Errors: -EAGAIN, -EMSGSIZE (info->length says what is needed), -EPIPE, -ESTALE.
IPCQ_CHECKED int64_t ipcq_pop(ipcq_queue *q, void *buffer, size_t size, ipcq_info *info);

// As ipcq_pop, but sleeps until there is a message.
// Errors: -EINTR, -EMSGSIZE, -EPIPE, -ESTALE, -ETIMEDOUT.
IPCQ_CHECKED int64_t ipcq_pop_wait(ipcq_queue *q, void *buffer, size_t size, ipcq_info *info,
    int64_t timeout_ns);

// Copies and consumes up to `count` consecutive messages, `stride` bytes apart. Returns how many.
// `info` describes the first. In a variable queue, all have info->length bytes.
// Errors: as ipcq_pop.
IPCQ_CHECKED int64_t ipcq_pop_many(ipcq_queue *q, void *buffer, size_t stride, size_t count,
    ipcq_info *info);

// Sets the sequence of the next message. Messages that are no longer retained count as lost. The
// counts in ipcq_stats start again.
IPCQ_API int ipcq_seek(ipcq_queue *q, uint64_t sequence);

/* ---- Zero copy ---- */

// Sets `*slot` to room for a message of up to `length` bytes. Write it, then call ipcq_commit or
// ipcq_abort. The slot still holds old bytes.
// Errors: as ipcq_push.
IPCQ_CHECKED int ipcq_claim(ipcq_queue *q, size_t length, void **slot);

// Publishes `length` bytes: message_size or, in a variable queue, at most the claimed length.
// Errors: -EMSGSIZE (the claim stays).
IPCQ_CHECKED int ipcq_commit(ipcq_queue *q, size_t length);

// Drops the claim.
IPCQ_API int ipcq_abort(ipcq_queue *q);

// A message in place.
typedef struct ipcq_view {
  // Aligned to 8 bytes, or to 16 in a variable queue.
  const void *data;
  // As in ipcq_info.
  uint64_t sequence;
  uint64_t lost;
  uint32_t length;
  uint32_t reserved;
} ipcq_view;

// Shows the next message in place. A lossy producer may overwrite it, so do not act on the data
// before ipcq_release returns 0. Another pop, peek or seek invalidates the view.
// Errors: as ipcq_pop.
IPCQ_CHECKED int ipcq_peek(ipcq_queue *q, ipcq_view *view);

// Consumes the message of the latest peek.
// Errors: -ESTALE (overwritten, lost and skipped: discard the results).
IPCQ_CHECKED int ipcq_release(ipcq_queue *q, const ipcq_view *view);

/* ---- Wait on many ---- */

// As ipcq_pop_wait, but consumes nothing.
IPCQ_API int ipcq_wait(ipcq_queue *q, int64_t timeout_ns);

// Waits until one of up to 128 consumers has a message or its queue has ended, and returns the
// lowest such index. To be fair, pop from each before waiting again.
// Errors: -EINTR, -ETIMEDOUT.
IPCQ_CHECKED int ipcq_wait_any(ipcq_queue *const *queues, size_t count, int64_t timeout_ns);

// A descriptor for poll, epoll or select, which the handle owns. When it is readable, pop until
// -EAGAIN, then poll again. The first call starts a thread (docs/semantics.md).
// Errors: -EMFILE, -ENFILE, -ENOMEM.
IPCQ_CHECKED int ipcq_fd(ipcq_queue *q);

/* ---- Inspect ---- */

// For a consumer, at every moment: received + lost + lag = pushed - start sequence.
typedef struct ipcq_stats {
  uint32_t struct_size;
  // IPCQ_PRODUCER or IPCQ_CONSUMER.
  uint32_t role;
  // Messages pushed so far. The next one has this sequence.
  uint64_t pushed;
  // Consumer: messages received, lost, and not yet received.
  uint64_t received;
  uint64_t lost;
  uint64_t lag;
  // The oldest sequence retained.
  uint64_t oldest;
  // As in ipcq_options.
  uint64_t capacity;
  uint32_t message_size;
  uint32_t delivery;
  // How many producers have attached so far.
  uint32_t epoch;
  // As listed by ipcq_get_consumers.
  uint32_t consumers;
  // Whether a producer is attached.
  uint32_t producer_alive;
  // Whether the producer has closed the queue.
  uint32_t closed;
  // The consumer with the greatest lag.
  uint64_t slowest_lag;
  uint32_t slowest_pid;
  // Whether the name is gone or another queue's. Nothing can open this queue.
  uint32_t unlinked;
  char slowest_name[64];
  // Identifies the queue. A new queue of the same name has another id.
  uint64_t id;
} ipcq_stats;

#define IPCQ_STATS_INIT {sizeof(ipcq_stats),0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,{0},0}

// IPCQ_STATS_INIT for other languages. `size`: sizeof(ipcq_stats).
IPCQ_API void ipcq_stats_init(ipcq_stats *stats, size_t size);

// Fills `*stats`, which must be initialised.
IPCQ_CHECKED int ipcq_get_stats(const ipcq_queue *q, ipcq_stats *stats);

// An attached consumer.
typedef struct ipcq_consumer {
  char name[64];
  // The sequence of its next message, as last published: up to 64 messages behind.
  uint64_t sequence;
  uint64_t lag;
  uint64_t lost;
  // For information: the pid may have been reused.
  uint32_t pid;
  // Whether it sleeps in a wait.
  uint32_t asleep;
} ipcq_consumer;

// Fills `list` with up to `count` attached consumers, the slowest first. Returns the total, which
// may exceed `count`. `size`: sizeof(ipcq_consumer). Not listed: observers, and consumers that
// cannot write the control file.
IPCQ_CHECKED int64_t ipcq_get_consumers(const ipcq_queue *q, ipcq_consumer *list, size_t size,
    size_t count);

// Sets the log function of the process, or none if `fn` is NULL. It may run on any thread, but
// never inside a push or a pop.
IPCQ_API void ipcq_set_log(void (*fn)(int level, const char *message, void *user), void *user);

enum {
  // Level: internal error.
  IPCQ_LOG_ERROR = 1,
  // Level: something was repaired or replaced.
  IPCQ_LOG_WARNING = 2,
  // Level: a queue was created, continued, closed or detached.
  IPCQ_LOG_INFO = 3,
};

// The version of the library: "major.minor.patch".
IPCQ_API const char *ipcq_version(void);

// The same as a number, like IPCQ_VERSION_NUMBER.
IPCQ_API uint32_t ipcq_version_number(void);

/* ---- Record schemas ----

   A producer can declare the fields of its messages (docs/records.md). Python receives them as
   records. A consumer that declares other fields gets -EPROTOTYPE.

     static const ipcq_field fields[] = {IPCQ_FIELD_TIME(struct tick, time_ns, 'M', "ns"),
                                         IPCQ_FIELD(struct tick, price)};
     options.fields = fields;
     options.field_count = sizeof fields / sizeof fields[0]; */

// A field of a record. Use the macros below.
struct ipcq_field {
  // "from.x" is member x of the struct "from", which is earlier in the list.
  const char *name;
  // Bytes from the start of the message.
  uint32_t offset;
  // Bytes of one element.
  uint32_t size;
  // 'u' unsigned, 'i' signed, 'f' float, 'b' bool, 'S' string, 'M' time since 1970, 'm'
  // duration, 'V' struct or raw bytes, 'c' complex, 'U' UTF-32.
  uint32_t kind;
  // Elements of an array, or 1.
  uint32_t count;
  // Unit of 'M' and 'm': "ns" (default), "us", "25us", "ms", "s" or another of numpy.
  char unit[8];
};

// Writes the schema to `buffer` as JSON of a numpy dtype, truncated to `size` and NUL-terminated.
// Returns its full length without the NUL, as snprintf does, or 0 if the queue has no schema.
IPCQ_API int64_t ipcq_schema(const ipcq_queue *q, char *buffer, size_t size);

// IPCQ_FIELD: an integer, enum, float, bool, string (char[]), or an array of them. C11; C++ has it
// in ipcq.hpp. Other members do not compile.
// IPCQ_FIELD_AS: any member, with its kind and the type of one element. A struct has kind 'V', and
// its own fields follow:
//   IPCQ_FIELD_AS(struct tick, legs, 'V', struct leg), IPCQ_FIELD(struct tick, legs[0].price)
// IPCQ_FIELD_TIME: an int64_t of kind 'M' or 'm', with its unit.
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
// The address keeps an array from decaying to a pointer. T (*)[] matches an array of any length.
#define IPCQ_ONE_(T, kind) T *: sizeof(T) << 8 | (kind), T (*)[]: sizeof(T) << 8 | (kind)
#define IPCQ_INT_(T) IPCQ_ONE_(T, 'i'), IPCQ_ONE_(unsigned T, 'u')
#define IPCQ_TYPE_(address) _Generic((address), \
  IPCQ_ONE_(_Bool, 'b'), IPCQ_ONE_(char, 'S'), \
  IPCQ_ONE_(signed char, 'i'), IPCQ_ONE_(unsigned char, 'u'), \
  IPCQ_INT_(short), IPCQ_INT_(int), IPCQ_INT_(long), IPCQ_INT_(long long), IPCQ_FLOAT16_ \
  IPCQ_ONE_(float, 'f'), IPCQ_ONE_(double, 'f'), IPCQ_ONE_(long double, 'f'))
#ifdef __FLT16_MAX__
__extension__ typedef _Float16 ipcq_float16_;
#define IPCQ_FLOAT16_ IPCQ_ONE_(ipcq_float16_, 'f'),
#else
#define IPCQ_FLOAT16_
#endif
#endif

/* ---- Plain shared memory ---- */

// Memory without a queue: the processes agree on what the bytes mean.
typedef struct ipcq_shm ipcq_shm;

// Creates or opens writable memory of `size` bytes, which are zero at first. `permissions`: mode
// bits, default 0600.
// Errors: -EACCES, -EBUSY (another writer), -ENOSPC.
IPCQ_CHECKED int ipcq_shm_create(ipcq_shm **out, const char *name, size_t size,
    uint32_t permissions);

// Opens memory to read.
// Errors: -EACCES, -ENOENT.
IPCQ_CHECKED int ipcq_shm_open(ipcq_shm **out, const char *name);

// Copies bytes in. A reader may see a part of the write.
// Errors: -ERANGE.
IPCQ_CHECKED int ipcq_shm_write(ipcq_shm *shm, size_t offset, const void *data, size_t length);

// Copies bytes out.
// Errors: -ERANGE.
IPCQ_CHECKED int ipcq_shm_read(const ipcq_shm *shm, size_t offset, void *buffer, size_t length);

// The bytes, to write. NULL for a reader.
IPCQ_API void *ipcq_shm_data(ipcq_shm *shm);

// The bytes, to read.
IPCQ_API const void *ipcq_shm_cdata(const ipcq_shm *shm);

// The size in bytes. 0 for NULL.
IPCQ_API size_t ipcq_shm_size(const ipcq_shm *shm);

// Closes a handle. NULL is allowed.
IPCQ_API void ipcq_shm_close(ipcq_shm *shm);

// Removes the name. Open handles keep the memory.
IPCQ_API int ipcq_shm_unlink(const char *name);

#ifdef __cplusplus
} // extern "C"
#endif

#endif /* IPCQ_H */
