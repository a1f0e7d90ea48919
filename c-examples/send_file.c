// cc -O2 send_file.c -o send_file $(pkg-config --cflags --libs ipcq)
//
// Streams a file, repeated up to so many bytes, as messages of up to 64 KiB.
//
//     ./send_file FILE [name [bytes [pace in MB/s]]]
//
// Without a pace the queue is lossless, and waits for one consumer. With one it is lossy: a
// consumer that cannot keep up loses messages, and is told how many.

#include <ipcq.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

enum { CHUNK = 65536 };

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void nap(long microseconds) {
  nanosleep(&(struct timespec){0, microseconds * 1000}, NULL);
}

// Pushes; while a lossless queue is full, tries again every 50 microseconds.
static int push(ipcq_queue *q, const void *data, size_t length) {
  int rc;
  while ((rc = ipcq_push(q, data, length)) == -EAGAIN)
    nap(50);
  return rc;
}

int main(int argc, char **argv) {
  struct stat st;
  int fd = argc > 1 ? open(argv[1], O_RDONLY) : -1;
  if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
    fprintf(stderr, "usage: send_file FILE [name [bytes [pace in MB/s]]]\n");
    return 2;
  }
  const uint64_t size = (uint64_t)st.st_size;
  const char *name = argc > 2 ? argv[2] : "file";
  const uint64_t total = argc > 3 ? strtoull(argv[3], NULL, 10) : size;
  const double pace = argc > 4 ? atof(argv[4]) * 1e6 : 0;
  const char *file = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 32 << 20; // bytes; message_size 0: variable length
  options.delivery = pace > 0 ? IPCQ_LOSSY : IPCQ_LOSSLESS;
  options.min_consumers = pace > 0 ? 0 : 1; // lossless: hold the first wrap until one is there
  ipcq_queue *q;
  if (file == MAP_FAILED || ipcq_open(&q, name, IPCQ_PRODUCER, &options) < 0) {
    fprintf(stderr, "send_file: %s\n", file == MAP_FAILED ? "cannot map the file" : ipcq_errmsg());
    return 1;
  }

  int rc = 0;
  uint64_t sent = 0;
  const double begin = now();
  while (sent < total && rc == 0) {
    const uint64_t at = sent % size;
    uint64_t n = size - at < CHUNK ? size - at : CHUNK;
    if (n > total - sent)
      n = total - sent;
    rc = push(q, file + at, n);
    sent += n;
    while (pace > 0 && (double)sent > pace * (now() - begin))
      nap(100);
  }
  if (rc < 0)
    fprintf(stderr, "send_file: %s\n", ipcq_errmsg());
  ipcq_close(q);
  return rc < 0;
}
