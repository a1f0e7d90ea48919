// cc -O2 variable_length.c -o variable_length $(pkg-config --cflags --libs ipcq)
//
// Messages of any length, up to an eighth of the ring. This example has both sides in one process.

#include <ipcq.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed(const char *what) {
  fprintf(stderr, "variable_length: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "variable_length";

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 1 << 20; // bytes: message_size is 0, so each message has its own length
  ipcq_queue *out, *in;
  if (ipcq_open(&out, name, IPCQ_PRODUCER, &options) < 0)
    return failed("producer");
  if (ipcq_open(&in, name, IPCQ_CONSUMER, NULL) < 0)
    return failed("consumer");

  static const char *const lines[] = {"a", "longer line", "", "and one that is longer still"};
  for (int i = 0; i < 4; i++)
    if (ipcq_push(out, lines[i], strlen(lines[i])) < 0)
      return failed("push");
  ipcq_close(out);

  // Start with a small buffer. If a message does not fit, the pop does not consume it, and
  // info.length is the size that it needs.
  size_t size = 4;
  char *buffer = malloc(size);
  int wrong = 0, seen = 0;
  ipcq_info info;
  int64_t length;
  while (buffer && (length = ipcq_pop(in, buffer, size, &info)) != -EPIPE) {
    if (length == -EMSGSIZE) {
      printf("(a buffer of %" PRIu32 " bytes is needed)\n", info.length);
      size = info.length;
      free(buffer);
      buffer = malloc(size);
      continue;
    }
    if (length < 0)
      return failed("pop");
    printf("%" PRIu64 ": \"%.*s\"\n", info.sequence, (int)length, buffer);
    wrong |= (size_t)length != strlen(lines[seen]) || memcmp(buffer, lines[seen], (size_t)length);
    seen++;
  }
  free(buffer);
  ipcq_close(in);
  ipcq_unlink(name);
  return wrong || seen != 4;
}
