// A pipe, or with -DSOCKET a Unix stream socket. Both ends are non-blocking, so that a round trip
// does not wait for the scheduler. The buffers are large, and a batch is one call.
#include <fcntl.h>
#include <sys/socket.h>

#ifdef SOCKET
#define PEER "Unix socket"
#else
#define PEER "pipe"
#endif

typedef struct { int fd; } sender;
typedef struct { int fd; uint64_t lost; } receiver;

// Both ends are made before the fork and found by name.
static struct { char name[64]; int ends[2]; } made[2];

static int end_of(const char *name, int end) {
  for (int i = 0; i < 2; i++)
    if (!strcmp(made[i].name, name))
      return made[i].ends[end];
  die("%s was not prepared", name);
  return -1;
}

static UNUSED void prepare(const char *name, size_t size) {
  (void)size;
  int i = made[0].name[0] != 0, room = 1 << 20;
  snprintf(made[i].name, sizeof made[i].name, "%s", name);
#ifdef SOCKET
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, made[i].ends))
    die("socketpair: %s", strerror(errno));
  setsockopt(made[i].ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
#else
  if (pipe2(made[i].ends, O_NONBLOCK))
    die("pipe: %s", strerror(errno));
  fcntl(made[i].ends[1], F_SETPIPE_SZ, room);
#endif
}

static UNUSED void open_sender(sender *s, const char *name, size_t size, size_t capacity,
                               bool lossless) {
  (void)size, (void)capacity, (void)lossless;
  s->fd = end_of(name, 1);
}

static UNUSED void open_receiver(receiver *r, const char *name, size_t size) {
  (void)size;
  r->fd = end_of(name, 0);
  r->lost = 0;
}

// Writes everything or nothing: once begun, a write is completed.
static inline size_t write_all(int fd, const char *from, size_t length) {
  size_t done = 0;
  while (done < length) {
    ssize_t n = write(fd, from + done, length - done);
    if (n > 0)
      done += (size_t)n;
    else if (errno != EAGAIN)
      die("write: %s", strerror(errno));
    else if (done == 0)
      return 0;
    else
      relax();
  }
  return done;
}

static inline size_t read_some(int fd, char *to, size_t length, size_t unit) {
  size_t done = 0;
  do {
    ssize_t n = read(fd, to + done, length - done);
    if (n > 0)
      done += (size_t)n;
    else if (n == 0)
      die("the other end was closed");
    else if (errno != EAGAIN)
      die("read: %s", strerror(errno));
    else if (done == 0)
      return 0;
    else
      relax();
  } while (done % unit);
  return done;
}

static inline bool send_one(sender *s, const void *message, size_t size) {
  return write_all(s->fd, message, size) > 0;
}
static inline size_t send_many(sender *s, const void *messages, size_t size, size_t count) {
  return write_all(s->fd, messages, size * count) / size;
}
static inline bool receive_one(receiver *r, void *message, size_t size) {
  return read_some(r->fd, message, size, size) > 0;
}
static inline size_t receive_many(receiver *r, void *messages, size_t size, size_t count) {
  return read_some(r->fd, messages, size * count, size) / size;
}

static UNUSED void close_sender(sender *s) { (void)s; }
static UNUSED void close_receiver(receiver *r) { (void)r; }
static UNUSED void clean(const char *name) { (void)name; }
