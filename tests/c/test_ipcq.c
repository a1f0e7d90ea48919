// cc test_ipcq.c -o test_ipcq $(pkg-config --cflags --libs ipcq)
//
// Every function of ipcq.h and every error it can give, through the C interface.

#include "check.h"

#include <ipcq.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Fails as it must, with a text that names the queue.
#define FAILS(call, code)                                                                          \
  do {                                                                                             \
    CHECK((call) == (code));                                                                       \
    CHECK(strlen(ipcq_errmsg()) > 10);                                                             \
  } while (0)
#define FAILS_NAMING(call, code, text)                                                             \
  do {                                                                                             \
    FAILS(call, code);                                                                             \
    CHECK(strstr(ipcq_errmsg(), text));                                                            \
  } while (0)

// Compiled programs depend on the layout.
_Static_assert(sizeof(ipcq_info) == 24 && offsetof(ipcq_info, length) == 16, "ABI");
_Static_assert(sizeof(ipcq_view) == 32 && offsetof(ipcq_view, length) == 24, "ABI");
_Static_assert(sizeof(ipcq_stats) == 168 && offsetof(ipcq_stats, id) == 160, "ABI");
_Static_assert(offsetof(ipcq_stats, unlinked) == 92 && offsetof(ipcq_stats, oldest) == 40, "ABI");
_Static_assert(offsetof(ipcq_stats, message_size) == 56 && offsetof(ipcq_stats, closed) == 76, "ABI");
_Static_assert(sizeof(ipcq_field) == 32 && offsetof(ipcq_field, unit) == 24, "ABI");
_Static_assert(sizeof(ipcq_options) == 88 && offsetof(ipcq_options, message_size) == 4, "ABI");
_Static_assert(offsetof(ipcq_options, fields) == 8 && offsetof(ipcq_options, delivery) == 20, "ABI");
_Static_assert(offsetof(ipcq_options, capacity) == 24 && offsetof(ipcq_options, start) == 56, "ABI");
_Static_assert(offsetof(ipcq_options, consumer_name) == 80, "ABI");

static const char NAME[] = "c-test";

static ipcq_queue *producer(uint64_t capacity, uint32_t size) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.capacity = capacity;
  o.message_size = size;
  ipcq_queue *q;
  CHECK(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o) == 0);
  return q;
}

static ipcq_queue *consumer(uint32_t start, uint64_t sequence) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.start = start;
  o.start_sequence = sequence;
  o.consumer_name = "test";
  ipcq_queue *q;
  CHECK(ipcq_open(&q, NAME, IPCQ_CONSUMER, &o) == 0);
  return q;
}

static void push(ipcq_queue *q, uint64_t from, uint64_t to) {
  for (uint64_t n = from; n < to; n++)
    CHECK(ipcq_push(q, &n, sizeof n) == 0);
}

// Pops a message and checks that it is this one.
static void expect(ipcq_queue *q, uint64_t n, uint64_t lost) {
  uint64_t got = ~n;
  ipcq_info info;
  CHECK(ipcq_pop(q, &got, sizeof got, &info) == sizeof got);
  CHECK(got == n && info.sequence == n && info.lost == lost && info.length == sizeof got);
}

static ipcq_stats stats(const ipcq_queue *q) {
  ipcq_stats s = IPCQ_STATS_INIT;
  CHECK(ipcq_get_stats(q, &s) == 0);
  return s;
}

static void end(ipcq_queue *a, ipcq_queue *b) {
  ipcq_close(a);
  ipcq_close(b);
  CHECK(ipcq_unlink(NAME) == 0);
}

static void test_nulls(void) {
  ipcq_queue *q = NULL, *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  uint64_t n = 0;
  ipcq_info info;
  ipcq_view view;
  ipcq_stats s = IPCQ_STATS_INIT;
  void *slot;
  FAILS(ipcq_open(NULL, NAME, IPCQ_CONSUMER, NULL), -EINVAL);
  FAILS(ipcq_open(&q, NULL, IPCQ_CONSUMER, NULL), -EINVAL);
  FAILS(ipcq_unlink(NULL), -EINVAL);
  FAILS(ipcq_push(NULL, &n, 8), -EINVAL);
  FAILS(ipcq_push(out, NULL, 8), -EINVAL);
  FAILS(ipcq_push_many(NULL, &n, 8, 1), -EINVAL);
  FAILS(ipcq_push_many(out, NULL, 8, 1), -EINVAL);
  FAILS(ipcq_claim(NULL, 8, &slot), -EINVAL);
  FAILS(ipcq_claim(out, 8, NULL), -EINVAL);
  FAILS(ipcq_commit(NULL, 8), -EINVAL);
  FAILS(ipcq_abort(NULL), -EINVAL);
  FAILS(ipcq_pop(NULL, &n, 8, &info), -EINVAL);
  FAILS(ipcq_pop(in, NULL, 8, &info), -EINVAL);
  FAILS(ipcq_pop_many(NULL, &n, 8, 1, &info), -EINVAL);
  FAILS(ipcq_pop_many(in, NULL, 8, 1, &info), -EINVAL);
  FAILS(ipcq_peek(NULL, &view), -EINVAL);
  FAILS(ipcq_peek(in, NULL), -EINVAL);
  FAILS(ipcq_release(NULL, &view), -EINVAL);
  FAILS(ipcq_release(in, NULL), -EINVAL);
  FAILS(ipcq_seek(NULL, 0), -EINVAL);
  FAILS(ipcq_get_stats(NULL, &s), -EINVAL);
  FAILS(ipcq_get_stats(in, NULL), -EINVAL);
  FAILS_NAMING(ipcq_get_consumers(NULL, NULL, sizeof(ipcq_consumer), 0), -EINVAL, "the queue is NULL");
  FAILS_NAMING(ipcq_detach(NULL), -EINVAL, "the queue is NULL");
  ipcq_options_init(NULL, sizeof(ipcq_options));
  ipcq_stats_init(NULL, sizeof(ipcq_stats));
  FAILS(ipcq_shm_create(NULL, NAME, 8, 0), -EINVAL);
  FAILS(ipcq_shm_open(NULL, NAME), -EINVAL);
  FAILS(ipcq_shm_write(NULL, 0, &n, 8), -EINVAL);
  FAILS(ipcq_shm_read(NULL, 0, &n, 8), -EINVAL);
  FAILS(ipcq_shm_unlink(NULL), -EINVAL);
  CHECK(!ipcq_shm_data(NULL) && !ipcq_shm_cdata(NULL) && ipcq_shm_size(NULL) == 0);
  ipcq_close(NULL);
  ipcq_shm_close(NULL);
  push(out, 0, 1);
  expect(in, 0, 0); // none of the calls had an effect
  CHECK(ipcq_push(out, &n, 8) == 0 && ipcq_pop(in, &n, 8, NULL) == 8);
  end(out, in);
}

static void test_options(void) {
  ipcq_queue *q = (ipcq_queue *)&q;
  ipcq_options o = IPCQ_OPTIONS_INIT;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_CONSUMER, NULL), -ENOENT, NAME);
  CHECK(q == NULL);
  FAILS(ipcq_open(&q, NAME, 0, &o), -EINVAL);
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER | IPCQ_CONSUMER, &o), -EINVAL);
  FAILS(ipcq_open(&q, NAME, IPCQ_CONSUMER | IPCQ_EXCL, &o), -EINVAL);
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER | 0x100, &o), -EINVAL);
  FAILS(ipcq_open(&q, "", IPCQ_PRODUCER, &o), -EINVAL);
  FAILS(ipcq_open(&q, "x.ctl", IPCQ_PRODUCER, &o), -EINVAL);
  char name[400];
  memset(name, 'n', sizeof name);
  name[sizeof name - 1] = 0;
  FAILS(ipcq_open(&q, name, IPCQ_PRODUCER, &o), -ENAMETOOLONG);
  // Not initialised: zeroes, or random bytes of the stack.
  const uint32_t garbage[] = {0, 1, 3, 7, sizeof o + 1, 0x10000, 0x7fff0000, UINT32_MAX};
  ipcq_stats s = IPCQ_STATS_INIT;
  ipcq_queue *any = producer(64, 8);
  for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
    o.struct_size = s.struct_size = garbage[i];
    FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL, "ipcq_options is not initialised");
    CHECK(strstr(ipcq_errmsg(), "IPCQ_OPTIONS_INIT"));
    FAILS_NAMING(ipcq_get_stats(any, &s), -EINVAL, "ipcq_stats is not initialised");
    CHECK(strstr(ipcq_errmsg(), "IPCQ_STATS_INIT"));
  }
  end(any, NULL);
  o.struct_size = sizeof o;
  o.reserved = 1;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL, "reserved");
  o.reserved = 0;
  o.delivery = 7;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.delivery = IPCQ_LOSSY;
  o.min_consumers = 1;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.min_consumers = 0;
  o.evict_after_ns = -1;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.evict_after_ns = 1;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL, "evict_after_ns is for lossless queues");
  o.evict_after_ns = 0;
  o.capacity = UINT64_MAX;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.capacity = UINT64_C(1) << 40;
  o.message_size = 0;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -ENOSPC, NAME);
  o.capacity = 16;
  o.message_size = UINT32_MAX;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.message_size = 8;
  o.field_count = 1;
  FAILS(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL);
  o.field_count = 0;
  o.start = 9;
  FAILS(ipcq_open(&q, NAME, IPCQ_CONSUMER, &o), -EINVAL);
  o.start = 0;
  o.open_timeout_ns = 2000000;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_CONSUMER, &o), -ENOENT, NAME);

  // A longer struct of a newer version: accepted if its unknown part is zero.
  struct {
    ipcq_options o;
    uint64_t more;
  } newer = {IPCQ_OPTIONS_INIT, 1};
  newer.o.struct_size = sizeof newer;
  newer.o.message_size = 8;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &newer.o), -E2BIG, ipcq_version());
  CHECK(strstr(ipcq_errmsg(), "newer") && strstr(ipcq_errmsg(), "not initialised"));
  newer.more = 0;
  CHECK(ipcq_open(&q, NAME, IPCQ_PRODUCER, &newer.o) == 0);
  ipcq_close(q);
  // A shorter struct of an older version: the members that it lacks have their defaults.
  newer.o.struct_size = offsetof(ipcq_options, message_size);
  CHECK(ipcq_unlink(NAME) == 0 && ipcq_open(&q, NAME, IPCQ_PRODUCER, &newer.o) == 0);
  CHECK(stats(q).message_size == 0);
  s.struct_size = offsetof(ipcq_stats, received);
  s.received = 77;
  CHECK(ipcq_get_stats(q, &s) == 0 && s.role == IPCQ_PRODUCER && s.received == 77);
  struct {
    ipcq_stats s;
    uint64_t more;
  } more = {IPCQ_STATS_INIT, 1};
  more.s.struct_size = sizeof more; // members that this version does not know become zero
  CHECK(ipcq_get_stats(q, &more.s) == 0 && more.s.capacity != 0 && more.more == 0);
  end(q, NULL);

  // The functions do the same as the macros, for a struct of any version.
  memset(&o, 0xff, sizeof o);
  memset(&s, 0xff, sizeof s);
  ipcq_options_init(&o, sizeof o);
  ipcq_stats_init(&s, sizeof s);
  const ipcq_options same = IPCQ_OPTIONS_INIT;
  const ipcq_stats same_stats = IPCQ_STATS_INIT;
  CHECK(memcmp(&o, &same, sizeof o) == 0 && memcmp(&s, &same_stats, sizeof s) == 0);
  memset(&newer, 0xff, sizeof newer);
  ipcq_options_init(&newer.o, sizeof newer);
  CHECK(newer.o.struct_size == sizeof newer && newer.o.start == 0 && newer.more == 0);
  memset(&o, 0xff, sizeof o);
  ipcq_options_init(&o, offsetof(ipcq_options, capacity));
  CHECK(o.delivery == 0 && o.capacity == UINT64_MAX);
  FAILS_NAMING(ipcq_unlink(NAME), -ENOENT, NAME);
}

static void test_roles(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0), *q;
  uint64_t n = 0;
  ipcq_view view = {0};
  void *slot;
  FAILS(ipcq_push(in, &n, 8), -EBADF);
  FAILS(ipcq_push_many(in, &n, 8, 1), -EBADF);
  FAILS(ipcq_claim(in, 8, &slot), -EBADF);
  FAILS(ipcq_commit(in, 8), -EBADF);
  FAILS(ipcq_abort(in), -EBADF);
  FAILS(ipcq_pop(out, &n, 8, NULL), -EBADF);
  FAILS(ipcq_pop_many(out, &n, 8, 1, NULL), -EBADF);
  FAILS(ipcq_peek(out, &view), -EBADF);
  FAILS(ipcq_release(out, &view), -EBADF);
  FAILS(ipcq_seek(out, 0), -EBADF);

  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, NULL), -EBUSY, NAME);
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER | IPCQ_EXCL, NULL), -EEXIST, NAME);
  ipcq_close(out);
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.message_size = 16;
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_PRODUCER, &o), -EINVAL, "64 messages of 8 bytes");
  CHECK(strstr(ipcq_errmsg(), "a message size of 16 bytes"));
  CHECK(ipcq_open(&q, NAME, IPCQ_PRODUCER | IPCQ_REPLACE, &o) == 0);
  FAILS_NAMING(ipcq_pop(in, &n, 8, NULL), -ESTALE, NAME);
  end(q, in);
}

static void test_sizes(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  char small[8] = "", large[16] = "0123456789abcde";
  ipcq_info info = {0};
  FAILS_NAMING(ipcq_push(out, large, 7), -EMSGSIZE, NAME);
  FAILS_NAMING(ipcq_push(out, large, 9), -EMSGSIZE, NAME);
  FAILS(ipcq_push_many(out, large, 4, 2), -EMSGSIZE);
  push(out, 0, 1);
  FAILS_NAMING(ipcq_pop(in, small, 7, &info), -EMSGSIZE, NAME);
  CHECK(info.length == 8 && info.sequence == 0);
  expect(in, 0, 0);
  FAILS(ipcq_pop(in, small, 8, &info), -EAGAIN);
  end(out, in);

  out = producer(1024, 0), in = consumer(IPCQ_OLDEST, 0);
  static char big[256];
  FAILS_NAMING(ipcq_push(out, big, 129), -EMSGSIZE, "128");
  memset(big, 'b', 128);
  CHECK(ipcq_push(out, big, 128) == 0 && ipcq_push(out, NULL, 0) == 0);
  FAILS(ipcq_pop(in, small, 8, &info), -EMSGSIZE);
  CHECK(info.length == 128);
  static char back[256];
  CHECK(ipcq_pop(in, back, sizeof back, &info) == 128 && memcmp(back, big, 128) == 0);
  CHECK(ipcq_pop(in, NULL, 0, &info) == 0 && info.sequence == 1);
  end(out, in);
}

static void test_many(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  uint64_t pairs[20], back[64];
  for (uint64_t i = 0; i < 10; i++)
    pairs[2 * i] = i, pairs[2 * i + 1] = 99;
  ipcq_info info;
  CHECK(ipcq_push_many(out, pairs, 16, 10) == 10); // every second word
  CHECK(ipcq_push_many(out, pairs, 8, 0) == 0);
  CHECK(ipcq_pop_many(in, back, 8, 4, &info) == 4 && info.sequence == 0 && info.length == 8);
  CHECK(ipcq_pop_many(in, back + 4, 8, 60, &info) == 6 && info.sequence == 4 && info.lost == 0);
  for (uint64_t i = 0; i < 10; i++)
    CHECK(back[i] == i);
  FAILS(ipcq_pop_many(in, back, 8, 4, &info), -EAGAIN);
  push(out, 10, 11);
  FAILS(ipcq_pop_many(in, back, 4, 4, &info), -EMSGSIZE);
  expect(in, 10, 0);
  // More than memory can hold, even if the product wraps to a small number.
  static const size_t strides[] = {8, 16, SIZE_MAX / 2, SIZE_MAX, (size_t)1 << 32};
  static const size_t counts[] = {SIZE_MAX, SIZE_MAX / 8, SIZE_MAX / 2, 1, (size_t)1 << 32};
  static ipcq_consumer one;
  for (size_t i = 0; i < 5; i++)
    for (size_t k = 0; k < 5; k++) {
      if (counts[k] <= PTRDIFF_MAX / strides[i])
        continue;
      FAILS_NAMING(ipcq_push_many(out, pairs, strides[i], counts[k]), -EINVAL, "memory can hold");
      FAILS_NAMING(ipcq_pop_many(in, back, strides[i], counts[k], &info), -EINVAL, "memory can hold");
      if (strides[i] >= sizeof one)
        FAILS_NAMING(ipcq_get_consumers(out, &one, strides[i], counts[k]), -EINVAL, "memory can hold");
    }
  FAILS(ipcq_wait_any(&in, SIZE_MAX / sizeof in + 2, 0), -EINVAL);
  FAILS(ipcq_push_many(out, pairs, 0, SIZE_MAX), -EINVAL);
  CHECK(stats(out).pushed == 11);
  end(out, in);

  out = producer(4096, 0), in = consumer(IPCQ_OLDEST, 0);
  CHECK(ipcq_push_many(out, "aabbcc", 2, 3) == 3 && ipcq_push(out, "ddd", 3) == 0);
  char text[64];
  CHECK(ipcq_pop_many(in, text, 8, 8, &info) == 3 && info.length == 2); // ends with the length
  CHECK(!memcmp(text, "aa", 2) && !memcmp(text + 8, "bb", 2) && !memcmp(text + 16, "cc", 2));
  CHECK(ipcq_pop_many(in, text, 8, 8, &info) == 1 && info.length == 3 && info.sequence == 3);
  end(out, in);
}

// A buffer of exactly `size` bytes at any address. valgrind finds an access beyond it. Without
// valgrind, the guard bytes show it.
enum { GUARD = 32, GUARD_BYTE = 0xa5 };

static unsigned char *room(unsigned char **block, size_t size, size_t askew) {
  CHECK((*block = malloc(askew + size)) != NULL);
  memset(*block, GUARD_BYTE, askew + size);
  return *block + askew;
}

static void fill(unsigned char *to, size_t size, uint64_t sequence) {
  for (size_t i = 0; i < size; i++)
    to[i] = (unsigned char)(sequence * 31 + size * 7 + i * 13 + 1);
}

static bool is_filled(const unsigned char *from, size_t size, uint64_t sequence) {
  for (size_t i = 0; i < size; i++)
    if (from[i] != (unsigned char)(sequence * 31 + size * 7 + i * 13 + 1))
      return false;
  return true;
}

static bool is_untouched(const unsigned char *from, size_t size) {
  for (size_t i = 0; i < size; i++)
    if (from[i] != GUARD_BYTE)
      return false;
  return true;
}

// Each size in each way, from and to any address: every byte arrives, and no other byte changes.
static void each_way(uint32_t size, bool variable, size_t askew) {
  enum { MANY = 5 };
  ipcq_queue *out = producer(variable ? 4096 : 4, variable ? 0 : size), *in = consumer(IPCQ_OLDEST, 0);
  // Messages are closer than their guards would allow, and further apart. Some end at the end.
  size_t stride = size + askew % 3;
  ipcq_info info;
  unsigned char *block, *guarded, *back;
  CHECK((back = malloc(GUARD + MANY * stride + GUARD)) != NULL);
  for (uint64_t n = 0; n < 9; n++) {
    unsigned char *message = room(&block, size, askew);
    fill(message, size, n);
    CHECK(ipcq_push(out, message, size) == 0 && is_filled(message, size, n));
    free(block);
    if (n % 2) {
      message = room(&block, size, askew);
      CHECK(ipcq_pop(in, message, size, &info) == (int64_t)size && info.lost == 0);
      CHECK(is_filled(message, size, n) && is_untouched(block, askew));
      free(block);
    } else {
      memset(back, GUARD_BYTE, 2 * GUARD + size);
      guarded = back + GUARD - askew;
      CHECK(ipcq_pop(in, guarded, size + askew, &info) == (int64_t)size && info.sequence == n);
      CHECK(is_filled(guarded, size, n) && is_untouched(back, (size_t)(guarded - back)));
      CHECK(is_untouched(guarded + size, GUARD));
    }
  }
  // In batches, across the end of the ring. The buffer ends with the last message.
  uint64_t pushed = 9, popped = 9;
  for (int round = 0; round < 4; round++) {
    size_t apart = variable ? size : stride, many = variable ? MANY : 3;
    unsigned char *messages = room(&block, (many - 1) * apart + size, askew);
    for (size_t i = 0; i < many; i++)
      fill(messages + i * apart, size, pushed + i);
    CHECK(ipcq_push_many(out, messages, apart, many) == (int64_t)many);
    pushed += many;
    free(block);
    memset(back, GUARD_BYTE, 2 * GUARD + MANY * stride);
    guarded = back + GUARD - askew;
    CHECK(ipcq_pop_many(in, guarded, stride, many, &info) == (int64_t)many);
    CHECK(info.sequence == popped && info.lost == 0 && info.length == size);
    CHECK(is_untouched(back, (size_t)(guarded - back)));
    for (size_t i = 0; i < many; i++) {
      CHECK(is_filled(guarded + i * stride, size, popped + i));
      CHECK(is_untouched(guarded + i * stride + size, i + 1 < many ? stride - size : GUARD));
    }
    popped += many;
  }
  free(back);
  end(out, in);
}

static void test_every_size(void) {
  for (uint32_t size = 1; size <= 130; size++)
    for (size_t askew = size % 4; askew < 17; askew += 4) {
      each_way(size, false, askew);
      each_way(size, true, askew);
    }
}

static void test_claims(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  void *slot;
  uint64_t n = 0;
  FAILS(ipcq_commit(out, 8), -EINVAL);
  FAILS(ipcq_abort(out), -EINVAL);
  FAILS(ipcq_claim(out, 9, &slot), -EMSGSIZE);
  CHECK(ipcq_claim(out, 8, &slot) == 0);
  FAILS(ipcq_claim(out, 8, &slot), -EINVAL);
  FAILS(ipcq_push(out, &n, 8), -EINVAL);
  FAILS(ipcq_commit(out, 7), -EMSGSIZE);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  memcpy(slot, &n, 8);
  CHECK(ipcq_commit(out, 8) == 0);
  CHECK(ipcq_claim(out, 8, &slot) == 0);
  CHECK(ipcq_abort(out) == 0);
  push(out, 1, 2);
  expect(in, 0, 0);
  expect(in, 1, 0);
  end(out, in);
}

static void test_peek(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  ipcq_view view = {0}, again;
  FAILS(ipcq_peek(in, &view), -EAGAIN);
  FAILS(ipcq_release(in, &view), -EINVAL);
  push(out, 0, 3);
  CHECK(ipcq_peek(in, &view) == 0 && view.sequence == 0 && view.length == 8 && view.lost == 0);
  CHECK((uintptr_t)view.data % 8 == 0);
  CHECK(ipcq_peek(in, &again) == 0 && again.sequence == 0); // not consumed
  CHECK(ipcq_release(in, &view) == 0);
  FAILS(ipcq_release(in, &view), -EINVAL);
  CHECK(ipcq_peek(in, &view) == 0 && view.sequence == 1);
  push(out, 3, 3 + 64); // laps the view
  FAILS_NAMING(ipcq_release(in, &view), -ESTALE, NAME);
  uint64_t n;
  ipcq_info info;
  CHECK(ipcq_pop(in, &n, 8, &info) == 8 && n == info.sequence && info.lost == n - 1);
  ipcq_stats s = stats(in);
  CHECK(s.received == 2 && s.lost == n - 1 && s.received + s.lost + s.lag == s.pushed);
  end(out, in);
}

static void test_starts(void) {
  ipcq_queue *out = producer(64, 8), *in;
  in = consumer(IPCQ_NEWEST, 0); // the queue is empty: the first message pushed
  push(out, 0, 100);
  uint64_t oldest = stats(out).oldest, n;
  CHECK(oldest == 100 - 64);
  ipcq_info info;
  CHECK(ipcq_pop(in, &n, 8, &info) == 8 && info.lost == n && n > oldest); // lapped
  ipcq_close(in);
  in = consumer(IPCQ_OLDEST, 0), expect(in, oldest, 0), ipcq_close(in);
  in = consumer(IPCQ_NEWEST, 0), expect(in, 99, 0), ipcq_close(in);
  in = consumer(IPCQ_AT, 50), expect(in, 50, 0), ipcq_close(in);
  in = consumer(IPCQ_AT, 10), expect(in, oldest, oldest - 10);
  CHECK(ipcq_seek(in, 99) == 0);
  expect(in, 99, 0);
  CHECK(ipcq_seek(in, 100) == 0);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  FAILS_NAMING(ipcq_seek(in, 101), -EINVAL, "100");
  CHECK(ipcq_seek(in, 0) == 0);
  expect(in, oldest, oldest);
  ipcq_close(in);
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.start = IPCQ_AT;
  o.start_sequence = 101;
  FAILS_NAMING(ipcq_open(&in, NAME, IPCQ_CONSUMER, &o), -EINVAL, NAME);
  CHECK(in == NULL);
  in = consumer(IPCQ_NEXT, 0);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  push(out, 100, 101);
  expect(in, 100, 0);
  end(out, in);
}

static void test_lossless(void) {
  ipcq_options o = IPCQ_OPTIONS_INIT, name = IPCQ_OPTIONS_INIT;
  o.capacity = 8;
  o.message_size = 8;
  o.delivery = IPCQ_LOSSLESS;
  o.max_consumers = 2;
  o.min_consumers = 1;
  ipcq_queue *out, *slow, *fast, *q;
  CHECK(ipcq_open(&out, NAME, IPCQ_PRODUCER, &o) == 0);
  uint64_t n = 8, nine[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
  // The first wrap waits for a consumer.
  CHECK(ipcq_push_many(out, nine, 8, 9) == 8);
  FAILS(ipcq_push_many(out, &n, 8, 1), -EAGAIN);
  name.consumer_name = "slow";
  CHECK(ipcq_open(&slow, NAME, IPCQ_CONSUMER, &name) == 0);
  name.consumer_name = "fast";
  CHECK(ipcq_open(&fast, NAME, IPCQ_CONSUMER, &name) == 0);
  FAILS_NAMING(ipcq_open(&q, NAME, IPCQ_CONSUMER, NULL), -EUSERS, NAME);
  CHECK(ipcq_open(&q, NAME, IPCQ_CONSUMER | IPCQ_OBSERVER, NULL) == 0);

  FAILS(ipcq_push(out, &n, 8), -EAGAIN);
  FAILS(ipcq_push_wait(out, &n, 8, 0), -ETIMEDOUT);
  FAILS(ipcq_push_wait(out, &n, 8, 1000), -ETIMEDOUT);
  void *slot;
  FAILS(ipcq_claim(out, 8, &slot), -EAGAIN);
  for (uint64_t i = 0; i < 8; i++)
    expect(fast, i, 0);
  FAILS(ipcq_push(out, &n, 8), -EAGAIN);
  // A message that is peeked at stays.
  ipcq_view view = {0};
  CHECK(ipcq_peek(slow, &view) == 0);
  FAILS(ipcq_push(out, &n, 8), -EAGAIN);
  CHECK(*(const uint64_t *)view.data == 0 && ipcq_release(slow, &view) == 0);
  CHECK(ipcq_push_wait(out, &n, 8, -1) == 0);
  FAILS(ipcq_push(out, &n, 8), -EAGAIN);
  // An observer blocks no producer, and learns what it lost.
  ipcq_info info;
  CHECK(ipcq_pop(q, &n, 8, &info) == 8 && n == info.sequence && info.lost == n && n != 0);

  ipcq_consumer list[3];
  CHECK(ipcq_get_consumers(out, list, sizeof *list, 3) == 2);
  CHECK(strcmp(list[0].name, "slow") == 0 && list[0].sequence == 1 && list[0].lag == 8);
  CHECK(strcmp(list[1].name, "fast") == 0 && list[1].sequence == 8 && list[1].lag == 1);
  CHECK(list[0].pid == (uint32_t)getpid() && list[0].lost == 0 && list[0].asleep == 0);
  CHECK(ipcq_get_consumers(q, NULL, sizeof *list, 0) == 2);
  FAILS(ipcq_get_consumers(out, list, 8, 1), -EINVAL);
  FAILS(ipcq_get_consumers(out, NULL, sizeof *list, 1), -EINVAL);
  FAILS(ipcq_get_consumers(NULL, list, sizeof *list, 1), -EINVAL);
  ipcq_stats s = stats(out);
  CHECK(s.consumers == 2 && s.slowest_lag == 8 && s.slowest_pid == (uint32_t)getpid());
  CHECK(strcmp(s.slowest_name, "slow") == 0 && s.delivery == IPCQ_LOSSLESS);
  ipcq_close(slow);
  CHECK(ipcq_push(out, &n, 8) == 0 && stats(out).consumers == 1);
  FAILS(ipcq_push_wait(fast, &n, 8, 0), -EBADF);
  ipcq_close(q);
  ipcq_close(fast);

  // A consumer that makes no progress for too long is evicted.
  ipcq_close(out);
  o.evict_after_ns = 1000;
  CHECK(ipcq_open(&out, NAME, IPCQ_PRODUCER, &o) == 0);
  name.start = IPCQ_NEXT;
  CHECK(ipcq_open(&slow, NAME, IPCQ_CONSUMER, &name) == 0);
  for (uint64_t i = 10; i < 100; i++)
    CHECK(ipcq_push_wait(out, &i, 8, -1) == 0);
  s = stats(slow);
  CHECK(s.consumers == 0 && s.lag == 90);
  CHECK(ipcq_pop(slow, &n, 8, &info) == 8 && n == info.sequence && info.lost == info.sequence - 10);
  CHECK(stats(slow).consumers == 1);
  end(out, slow);
}

static void test_closing(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  uint64_t n;
  push(out, 0, 2);
  CHECK(stats(in).producer_alive == 1 && stats(in).epoch == 1);
  ipcq_close(out);
  ipcq_stats s = stats(in);
  CHECK(s.closed == 1 && s.producer_alive == 0 && s.lag == 2 && s.role == IPCQ_CONSUMER);
  expect(in, 0, 0);
  expect(in, 1, 0);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EPIPE);
  ipcq_view view;
  FAILS(ipcq_peek(in, &view), -EPIPE);
  FAILS(ipcq_pop_many(in, &n, 8, 1, NULL), -EPIPE);
  out = producer(0, 8); // zero members take the queue's values
  CHECK(stats(out).capacity == 64 && stats(out).epoch == 2 && stats(out).pushed == 2);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  push(out, 2, 3);
  expect(in, 2, 0);
  end(out, in);
}

// A detached queue gets a new producer here and in another process. Its consumer sees no end.
static void test_detaching(void) {
  ipcq_queue *out = producer(64, 8), *in = consumer(IPCQ_OLDEST, 0);
  uint64_t n;
  const uint64_t id = stats(in).id;
  CHECK(id != 0 && stats(out).id == id && !stats(in).unlinked);
  push(out, 0, 2);
  void *slot;
  CHECK(ipcq_claim(out, 8, &slot) == 0); // dropped by the detach
  FAILS_NAMING(ipcq_detach(in), -EBADF, "producer");
  CHECK(ipcq_detach(out) == 0);
  expect(in, 0, 0);
  expect(in, 1, 0);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  CHECK(stats(in).closed == 0 && stats(in).producer_alive == 0);
  pid_t child = fork();
  if (child == 0) {
    out = producer(0, 8);
    push(out, 2, 3);
    ipcq_close(in);
    _exit(ipcq_detach(out));
  }
  CHECK(ipcq_pop_wait(in, &n, 8, NULL, -1) == 8 && n == 2);
  int status;
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EAGAIN);
  out = producer(0, 8);
  push(out, 3, 4);
  expect(in, 3, 0);
  // A child's copy is not a producer, and detaching it changes nothing.
  if ((child = fork()) == 0) {
    ipcq_close(in);
    _exit(ipcq_detach(out));
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  push(out, 4, 5);
  expect(in, 4, 0);
  CHECK(stats(in).id == id && stats(in).producer_alive == 1);
  // After an unlink, a new queue under the same name is another queue.
  CHECK(ipcq_unlink(NAME) == 0 && stats(in).unlinked == 1 && stats(out).unlinked == 1);
  ipcq_close(out);
  out = producer(64, 8);
  CHECK(stats(out).id != id && stats(out).unlinked == 0 && stats(in).id == id);
  end(out, in);
}

// A consumer with a message_size.
static void test_expected_size(void) {
  ipcq_queue *out = producer(64, 8), *in;
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.message_size = 16;
  FAILS_NAMING(ipcq_open(&in, NAME, IPCQ_CONSUMER, &o), -EINVAL, "8 bytes");
  CHECK(strstr(ipcq_errmsg(), "16 bytes"));
  o.message_size = 8;
  CHECK(ipcq_open(&in, NAME, IPCQ_CONSUMER, &o) == 0);
  end(out, in);
  out = producer(1024, 0);
  FAILS(ipcq_open(&in, NAME, IPCQ_CONSUMER, &o), -EINVAL);
  end(out, in);
}

// After a producer dies without closing, the next one continues. A fork is not a producer.
static void test_death(void) {
  pid_t child = fork();
  if (child == 0) {
    push(producer(64, 8), 0, 5);
    kill(getpid(), SIGKILL);
  }
  int status;
  CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  ipcq_queue *in = consumer(IPCQ_OLDEST, 0);
  CHECK(stats(in).closed == 0 && stats(in).producer_alive == 0 && stats(in).lag == 5);
  ipcq_queue *out = producer(64, 8);
  push(out, 5, 6);
  for (uint64_t i = 0; i < 6; i++)
    expect(in, i, 0);
  child = fork();
  if (child == 0) {
    uint64_t n = 6;
    FAILS_NAMING(ipcq_push(out, &n, 8), -EBADF, NAME);
    ipcq_close(out); // does not close the parent's queue
    ipcq_close(in);
    _exit(0);
  }
  CHECK(waitpid(child, &status, 0) == child && status == 0);
  CHECK(stats(in).closed == 0 && stats(in).producer_alive == 1);
  push(out, 6, 7);
  expect(in, 6, 0);
  end(out, in);
}

static void test_files(void) {
  const char *directory = getenv("IPCQ_DIR");
  char path[512], name[600];
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.permissions = 0640;
  o.control_permissions = 0660;
  o.message_size = 8;
  ipcq_queue *out, *in;
  CHECK(ipcq_open(&out, NAME, IPCQ_PRODUCER, &o) == 0);
  snprintf(path, sizeof path, "%s/ipcq.%s", directory, NAME);
  struct stat st;
  CHECK(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640);
  snprintf(name, sizeof name, "%s.ctl", path);
  CHECK(stat(name, &st) == 0 && (st.st_mode & 07777) == 0660);
  CHECK(ipcq_open(&in, path, IPCQ_CONSUMER | IPCQ_OBSERVER, NULL) == 0); // the same, by its path
  push(out, 0, 1);
  expect(in, 0, 0);
  end(out, in);

  snprintf(path, sizeof path, "%s/other", directory);
  FILE *f = fopen(path, "w");
  CHECK(f);
  FAILS_NAMING(ipcq_open(&in, path, IPCQ_CONSUMER, NULL), -EBADMSG, path);
  for (int i = 0; i < 10000; i++)
    fputc('x', f);
  fclose(f);
  FAILS_NAMING(ipcq_open(&in, path, IPCQ_CONSUMER, NULL), -EBADMSG, path);
  FAILS_NAMING(ipcq_open(&out, path, IPCQ_PRODUCER, NULL), -EBADMSG, path);
  f = fopen(path, "r+");
  fwrite("IPCQRING\x63\0\0\0\0\x10\0\0", 1, 16, f);
  fclose(f);
  FAILS_NAMING(ipcq_open(&in, path, IPCQ_CONSUMER, NULL), -EPROTONOSUPPORT, "99");
  FAILS_NAMING(ipcq_open(&out, path, IPCQ_PRODUCER, NULL), -EPROTONOSUPPORT, "99");
  CHECK(unlink(path) == 0);
  snprintf(name, sizeof name, "%s.lock", path);
  unlink(name);
  FAILS(ipcq_open(&in, directory, IPCQ_CONSUMER, NULL), -EBADMSG);
  FAILS(ipcq_open(&out, "/nowhere/at/all", IPCQ_PRODUCER, NULL), -ENOENT);
}

static void test_shm(void) {
  ipcq_shm *out, *in, *other;
  char back[10];
  FAILS(ipcq_shm_create(&out, NAME, 0, 0), -EINVAL);
  FAILS_NAMING(ipcq_shm_open(&in, NAME), -ENOENT, NAME);
  CHECK(ipcq_shm_create(&out, NAME, 10000, 0) == 0);
  CHECK(ipcq_shm_open(&in, NAME) == 0);
  CHECK(ipcq_shm_size(out) == 10000 && ipcq_shm_size(in) == 10000);
  CHECK(ipcq_shm_write(out, 9990, "0123456789", 10) == 0);
  CHECK(ipcq_shm_read(in, 9990, back, 10) == 0 && memcmp(back, "0123456789", 10) == 0);
  CHECK(memcmp((const char *)ipcq_shm_cdata(in) + 9990, back, 10) == 0);
  CHECK(ipcq_shm_data(out) && !ipcq_shm_data(in));
  FAILS_NAMING(ipcq_shm_write(in, 0, "x", 1), -EBADF, NAME);
  FAILS_NAMING(ipcq_shm_write(out, 9991, "0123456789", 10), -ERANGE, NAME);
  FAILS(ipcq_shm_read(in, SIZE_MAX, back, 10), -ERANGE);
  FAILS(ipcq_shm_read(in, 0, NULL, 10), -EINVAL);
  CHECK(ipcq_shm_write(out, 10000, NULL, 0) == 0);
  FAILS_NAMING(ipcq_shm_create(&other, NAME, 10000, 0), -EBUSY, NAME);
  ipcq_shm_close(out);
  FAILS_NAMING(ipcq_shm_create(&other, NAME, 9999, 0), -EINVAL, "10000");
  CHECK(ipcq_shm_create(&out, NAME, 10000, 0) == 0); // keeps the content
  CHECK(ipcq_shm_read(out, 9990, back, 10) == 0 && memcmp(back, "0123456789", 10) == 0);
  ipcq_shm_close(out);
  ipcq_shm_close(in);
  CHECK(ipcq_shm_unlink(NAME) == 0);
  FAILS(ipcq_shm_unlink(NAME), -ENOENT);
}

static int logged;
static char log_text[256];

static void on_log(int level, const char *message, void *user) {
  CHECK(user == &logged && level >= IPCQ_LOG_ERROR && level <= IPCQ_LOG_INFO);
  snprintf(log_text, sizeof log_text, "%s", message);
  logged++;
}

// The log function calls the library, which logs again, and then it unsets itself. No message is
// delayed.
static void on_log_again(int level, const char *message, void *user) {
  CHECK(user == &logged && level == IPCQ_LOG_INFO && strstr(message, NAME));
  if (logged++)
    return;
  ipcq_queue *q = NULL;
  ipcq_options o = IPCQ_OPTIONS_INIT;
  CHECK(ipcq_open(&q, "c-test-of-log", IPCQ_PRODUCER, &o) == 0);
  CHECK(logged == 2);
  ipcq_set_log(NULL, NULL);
  ipcq_close(q);
  CHECK(logged == 2 && ipcq_unlink("c-test-of-log") == 0);
}

static void test_words(void) {
  unsigned major, minor, patch;
  CHECK(sscanf(ipcq_version(), "%u.%u.%u", &major, &minor, &patch) == 3);
  CHECK(ipcq_version_number() == major * 10000 + minor * 100 + patch);
  for (int rc = -200; rc < 3; rc++)
    CHECK(ipcq_strerror(rc) && strlen(ipcq_strerror(rc)) > 5);
  CHECK(strcmp(ipcq_strerror(-EAGAIN), ipcq_strerror(-EPIPE)));
  ipcq_set_log(on_log, &logged);
  ipcq_close(producer(64, 8));
  CHECK(logged == 2 && strstr(log_text, NAME));
  ipcq_set_log(NULL, NULL);
  ipcq_close(producer(64, 8));
  CHECK(logged == 2 && ipcq_unlink(NAME) == 0);
  logged = 0;
  ipcq_set_log(on_log_again, &logged);
  ipcq_close(producer(64, 8));
  CHECK(logged == 2 && ipcq_unlink(NAME) == 0);
}

static void on_alarm(int signal) { (void)signal; }

static bool readable(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  CHECK(poll(&p, 1, 0) >= 0);
  return p.revents != 0;
}

// Waits until the descriptor is readable. A wait that is too long fails instead of hanging.
static void becomes_readable(int fd) {
  struct pollfd p = {fd, POLLIN, 0};
  CHECK(poll(&p, 1, 30000) == 1);
}

static void test_waiting(void) {
  ipcq_queue *out = producer(16, 8), *in = consumer(IPCQ_OLDEST, 0);
  uint64_t n = 7;
  ipcq_info info;
  FAILS(ipcq_wait(NULL, 0), -EINVAL);
  FAILS(ipcq_wait(out, 0), -EBADF);
  FAILS(ipcq_wait(in, 0), -ETIMEDOUT);
  FAILS(ipcq_wait(in, 1000), -ETIMEDOUT);
  FAILS(ipcq_pop_wait(NULL, &n, 8, NULL, 0), -EINVAL);
  FAILS(ipcq_pop_wait(out, &n, 8, NULL, 0), -EBADF);
  FAILS(ipcq_pop_wait(in, NULL, 8, NULL, 0), -EINVAL);
  FAILS(ipcq_pop_wait(in, &n, 8, &info, 0), -ETIMEDOUT);
  FAILS(ipcq_pop_wait(in, &n, 8, &info, 2000000), -ETIMEDOUT);
  push(out, 0, 2);
  CHECK(ipcq_wait(in, 0) == 0 && ipcq_wait(in, -1) == 0);
  FAILS(ipcq_pop_wait(in, &n, 4, &info, -1), -EMSGSIZE);
  CHECK(info.length == 8);
  CHECK(ipcq_pop_wait(in, &n, 8, &info, -1) == 8 && n == 0 && info.sequence == 0);
  CHECK(ipcq_pop_wait(in, &n, 8, NULL, 0) == 8 && n == 1);

  // Sleeps until another process pushes, and until it closes.
  ipcq_close(out);
  FAILS(ipcq_pop_wait(in, &n, 8, &info, -1), -EPIPE);
  FAILS(ipcq_wait(in, -1), -EPIPE);
  pid_t child = fork();
  if (!child) {
    out = producer(16, 8);
    while (true) { // until it is killed
      usleep(1000);
      push(out, 5, 6);
    }
  }
  for (int i = 0; i < 20; i++) {
    int64_t rc = ipcq_pop_wait(in, &n, 8, &info, -1);
    if (rc == -EPIPE) // the child has not opened it yet
      i--;
    else
      CHECK(rc == 8 && n == 5);
  }
  kill(child, SIGKILL);
  CHECK(waitpid(child, NULL, 0) == child);
  while (ipcq_pop(in, &n, 8, &info) == 8)
    continue;

  // A signal ends the wait.
  struct sigaction action = {0};
  action.sa_handler = on_alarm;
  sigaction(SIGALRM, &action, NULL);
  ualarm(20000, 20000);
  FAILS(ipcq_pop_wait(in, &n, 8, &info, -1), -EINTR);
  FAILS(ipcq_wait(in, -1), -EINTR);
  FAILS(ipcq_wait_any(&in, 1, -1), -EINTR);
  ualarm(0, 0);
  signal(SIGALRM, SIG_DFL);

  // Several queues.
  out = producer(16, 8);
  ipcq_queue *other = consumer(IPCQ_NEXT, 0);
  ipcq_queue *queues[] = {other, in, other};
  FAILS(ipcq_wait_any(NULL, 1, 0), -EINVAL);
  FAILS(ipcq_wait_any(queues, 0, 0), -EINVAL);
  FAILS(ipcq_wait_any(queues, 129, 0), -EINVAL);
  FAILS(ipcq_wait_any((ipcq_queue *[]){in, NULL}, 2, 0), -EINVAL);
  FAILS(ipcq_wait_any((ipcq_queue *[]){in, out}, 2, 0), -EBADF);
  FAILS(ipcq_wait_any(queues, 3, 0), -ETIMEDOUT);
  FAILS(ipcq_wait_any(queues, 3, 2000000), -ETIMEDOUT);
  push(out, 1, 2);
  CHECK(ipcq_wait_any(queues, 3, -1) == 0);
  CHECK(ipcq_pop(other, &n, 8, NULL) == 8);
  CHECK(ipcq_wait_any(queues, 3, -1) == 1);
  CHECK(ipcq_pop(in, &n, 8, NULL) == 8);

  // A descriptor for poll.
  FAILS(ipcq_fd(NULL), -EINVAL);
  FAILS(ipcq_fd(out), -EBADF);
  int fd = ipcq_fd(in);
  CHECK(fd >= 0 && ipcq_fd(in) == fd && !readable(fd));
  push(out, 2, 4);
  becomes_readable(fd);
  CHECK(ipcq_pop(in, &n, 8, NULL) == 8 && n == 2 && readable(fd));
  CHECK(ipcq_pop(in, &n, 8, NULL) == 8 && n == 3);
  CHECK(ipcq_pop(in, &n, 8, NULL) == -EAGAIN && !readable(fd));
  CHECK(ipcq_seek(in, 0) == 0 && readable(fd));
  CHECK(ipcq_seek(in, 3) == 0 && ipcq_pop(in, &n, 8, NULL) == 8);
  while (ipcq_pop(in, &n, 8, NULL) == 8)
    continue;
  CHECK(!readable(fd));
  ipcq_close(out);
  becomes_readable(fd);
  FAILS(ipcq_pop(in, &n, 8, NULL), -EPIPE);
  CHECK(readable(fd));
  CHECK(ipcq_wait_any(queues, 3, 0) == 0); // at its end
  ipcq_close(in);
  ipcq_close(other);
  CHECK(ipcq_unlink(NAME) == 0);
}

int main(void) {
  CHECK(getenv("IPCQ_DIR")); // an empty directory for this test
  test_nulls();
  test_options();
  test_roles();
  test_sizes();
  test_many();
  test_every_size();
  test_claims();
  test_peek();
  test_starts();
  test_lossless();
  test_waiting();
  test_closing();
  test_detaching();
  test_expected_size();
  test_death();
  test_files();
  test_shm();
  test_words();
  puts("test_ipcq: passed");
  return 0;
}
