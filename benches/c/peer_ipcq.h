// ipcq through its C interface, linked as a shared library.
#include <ipcq.h>

#define PEER "ipcq"

typedef struct { ipcq_queue *q; } sender;
typedef struct { ipcq_queue *q; uint64_t lost; } receiver;

static UNUSED void ok(int64_t rc) {
  if (rc < 0)
    die("ipcq: %s", ipcq_errmsg());
}

static UNUSED void prepare(const char *name, size_t size) { (void)name, (void)size; }

static UNUSED void open_sender(sender *s, const char *name, size_t size, size_t capacity,
                               bool lossless) {
  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = capacity;
  options.message_size = (uint32_t)size;
  options.delivery = lossless ? IPCQ_LOSSLESS : IPCQ_LOSSY;
  ok(ipcq_open(&s->q, name, IPCQ_PRODUCER, &options));
}

static UNUSED void open_receiver(receiver *r, const char *name, size_t size) {
  (void)size;
  r->lost = 0;
  ok(ipcq_open(&r->q, name, IPCQ_CONSUMER, NULL));
}

// Returns false if a lossless queue is full.
static inline bool send_one(sender *s, const void *message, size_t size) {
  int rc = ipcq_push(s->q, message, size);
  if (rc == 0)
    return true;
  if (rc != -EAGAIN)
    ok(rc);
  return false;
}

static inline size_t send_many(sender *s, const void *messages, size_t size, size_t count) {
  int64_t rc = ipcq_push_many(s->q, messages, size, count);
  if (rc >= 0)
    return (size_t)rc;
  if (rc != -EAGAIN)
    ok(rc);
  return 0;
}

static inline bool receive_one(receiver *r, void *message, size_t size) {
  ipcq_info info;
  int64_t rc = ipcq_pop(r->q, message, size, &info);
  if (rc >= 0) {
    r->lost += info.lost;
    return true;
  }
  if (rc != -EAGAIN)
    ok(rc);
  return false;
}

static inline size_t receive_many(receiver *r, void *messages, size_t size, size_t count) {
  ipcq_info info;
  int64_t rc = ipcq_pop_many(r->q, messages, size, count, &info);
  if (rc >= 0) {
    r->lost += info.lost;
    return (size_t)rc;
  }
  if (rc != -EAGAIN)
    ok(rc);
  return 0;
}

static UNUSED void close_sender(sender *s) { ipcq_close(s->q); }
static UNUSED void close_receiver(receiver *r) { ipcq_close(r->q); }
static UNUSED void clean(const char *name) { ipcq_unlink(name); }
