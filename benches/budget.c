// The operations whose instructions benches/budget.py counts. Each is a function, and callgrind
// counts in that function. Each is called for a number of messages and then for twice that number.
// The difference is the cost of the messages, including the loop and the call.
#include <ipcq.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// The numbers are multiples of a block, so that the difference includes the share of the
// announcements. All messages fit in the ring.
enum { CAPACITY = 16384, FEW = 4096, MANY = 8192, BATCH = 32 };

#define OPERATION __attribute__((noinline)) static void

static void ok(int64_t rc) {
  if (rc < 0) {
    fprintf(stderr, "budget: %s\n", ipcq_errmsg());
    exit(1);
  }
}

static char buffer[BATCH * 1024];

#define OPERATIONS(size)                                                                           \
  OPERATION operation_push_##size(ipcq_queue *out, int count) {                                           \
    for (int i = 0; i < count; i++)                                                                \
      ok(ipcq_push(out, buffer, size));                                                            \
  }                                                                                                \
  OPERATION operation_pop_##size(ipcq_queue *in, int count) {                                             \
    ipcq_info info;                                                                                \
    for (int i = 0; i < count; i++)                                                                \
      ok(ipcq_pop(in, buffer, size, &info));                                                       \
  }                                                                                                \
  OPERATION operation_push_many_##size(ipcq_queue *out, int count) {                                      \
    for (int i = 0; i < count; i += BATCH)                                                         \
      ok(ipcq_push_many(out, buffer, size, BATCH));                                                \
  }                                                                                                \
  OPERATION operation_pop_many_##size(ipcq_queue *in, int count) {                                        \
    ipcq_info info;                                                                                \
    for (int i = 0; i < count; i += BATCH)                                                         \
      ok(ipcq_pop_many(in, buffer, size, BATCH, &info));                                           \
  }                                                                                                \
  OPERATION operation_claim_##size(ipcq_queue *out, int count) {                                          \
    for (int i = 0; i < count; i++) {                                                              \
      void *slot;                                                                                  \
      ok(ipcq_claim(out, size, &slot));                                                            \
      ok(ipcq_commit(out, size));                                                                  \
    }                                                                                              \
  }                                                                                                \
  OPERATION operation_peek_##size(ipcq_queue *in, int count) {                                            \
    ipcq_view view;                                                                                \
    for (int i = 0; i < count; i++) {                                                              \
      ok(ipcq_peek(in, &view));                                                                    \
      ok(ipcq_release(in, &view));                                                                 \
    }                                                                                              \
  }

OPERATIONS(8)
OPERATIONS(64)
OPERATIONS(1024)

// The same for queues that are not lossy with a fixed size, under separate names.
OPERATION operation_push_lossless_64(ipcq_queue *out, int count) {
  for (int i = 0; i < count; i++)
    ok(ipcq_push(out, buffer, 64));
}
OPERATION operation_pop_lossless_64(ipcq_queue *in, int count) {
  ipcq_info info;
  for (int i = 0; i < count; i++)
    ok(ipcq_pop(in, buffer, 64, &info));
}
OPERATION operation_push_variable_64(ipcq_queue *out, int count) {
  for (int i = 0; i < count; i++)
    ok(ipcq_push(out, buffer, 64));
}
OPERATION operation_pop_variable_64(ipcq_queue *in, int count) {
  ipcq_info info;
  for (int i = 0; i < count; i++)
    ok(ipcq_pop(in, buffer, 64, &info));
}
OPERATION operation_pop_empty_64(ipcq_queue *in, int count) {
  ipcq_info info;
  for (int i = 0; i < count; i++)
    if (ipcq_pop(in, buffer, 64, &info) != -11) // -EAGAIN
      exit(1);
}

typedef void operation(ipcq_queue *, int);

typedef struct {
  ipcq_queue *out, *in;
} queue;

static queue open_queue(const char *name, uint32_t size, uint32_t delivery) {
  queue q;
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = size ? CAPACITY : CAPACITY * 128;
  options.message_size = size;
  options.delivery = delivery;
  ok(ipcq_open(&q.out, name, IPCQ_PRODUCER, &options));
  ok(ipcq_open(&q.in, name, IPCQ_CONSUMER, NULL));
  return q;
}

static void close_queue(queue q, const char *name) {
  ipcq_close(q.in);
  ipcq_close(q.out);
  ok(ipcq_unlink(name));
}

// The first call resolves lazy symbols and is not counted.
static void both(queue q, operation *push, operation *pop) {
  for (int turn = 0, count = FEW; turn < 3; turn++, count = turn == 2 ? MANY : FEW) {
    push(q.out, count);
    pop(q.in, count);
  }
}

#define ALL(size)                                                                                  \
  do {                                                                                             \
    queue q = open_queue("budget", size, IPCQ_LOSSY);                                              \
    both(q, operation_push_##size, operation_pop_##size);                                                        \
    both(q, operation_push_many_##size, operation_pop_many_##size);                                              \
    both(q, operation_claim_##size, operation_peek_##size);                                                      \
    close_queue(q, "budget");                                                                      \
  } while (0)

int main(void) {
  ALL(8);
  ALL(64);
  ALL(1024);
  queue q = open_queue("budget", 64, IPCQ_LOSSLESS);
  both(q, operation_push_lossless_64, operation_pop_lossless_64);
  close_queue(q, "budget");
  q = open_queue("budget", 0, IPCQ_LOSSY);
  both(q, operation_push_variable_64, operation_pop_variable_64);
  operation_pop_empty_64(q.in, FEW);
  operation_pop_empty_64(q.in, FEW);
  operation_pop_empty_64(q.in, MANY);
  close_queue(q, "budget");
  return 0;
}
