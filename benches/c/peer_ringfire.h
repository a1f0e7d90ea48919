// ringfire through its C interface: its own functions in a shared library (benches/peers/src). It
// is lossy only and has no batch push. The inline consumer of its header does the same as recv
// here.
#include <limits.h>
#include <ringfire.h>

#define PEER "ringfire"

typedef struct { ringfire_producer_t *q; } sender;
typedef struct { ringfire_consumer_t *q; uint64_t lost; } receiver;

static UNUSED const char *path_of(const char *name) {
  static char path[PATH_MAX];
  const char *folder = getenv("IPCQ_DIR");
  snprintf(path, sizeof path, "%s/ringfire.%s", folder ? folder : "/dev/shm", name);
  return path;
}

static UNUSED void prepare(const char *name, size_t size) { (void)name, (void)size; }

static UNUSED void open_sender(sender *s, const char *name, size_t size, size_t capacity,
                               bool lossless) {
  if (lossless)
    die("ringfire: the C interface is lossy only");
  if (!(s->q = ringfire_producer_create(path_of(name), capacity, (uint32_t)size)))
    die("ringfire: %s: cannot create", path_of(name));
}

static UNUSED void open_receiver(receiver *r, const char *name, size_t size) {
  r->lost = 0;
  if (!(r->q = ringfire_consumer_attach(path_of(name), (uint32_t)size)))
    die("ringfire: %s: cannot attach", path_of(name));
}

static inline bool send_one(sender *s, const void *message, size_t size) {
  (void)size;
  return ringfire_producer_push(s->q, message) == 0;
}

static inline size_t send_many(sender *s, const void *messages, size_t size, size_t count) {
  for (size_t i = 0; i < count; i++)
    ringfire_producer_push(s->q, (const char *)messages + i * size);
  return count;
}

static inline bool receive_one(receiver *r, void *message, size_t size) {
  (void)size;
  return ringfire_consumer_try_recv(r->q, message) == 1;
}

static inline size_t receive_many(receiver *r, void *messages, size_t size, size_t count) {
  (void)size;
  return ringfire_consumer_recv_batch(r->q, messages, count);
}

static UNUSED void close_sender(sender *s) { ringfire_producer_close(s->q); }
static UNUSED void close_receiver(receiver *r) {
  r->lost = ringfire_consumer_lapped_count(r->q);
  ringfire_consumer_close(r->q);
}
static UNUSED void clean(const char *name) { unlink(path_of(name)); }
