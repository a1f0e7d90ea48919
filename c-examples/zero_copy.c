// cc -O2 zero_copy.c -o zero_copy $(pkg-config --cflags --libs ipcq)
//
// Writes a message in the ring and reads it there, without a copy. This example has both sides in
// one process.

#include <ipcq.h>

#include <errno.h>
#include <stdio.h>

#define SAMPLES 1000

static int failed(const char *what) {
  fprintf(stderr, "zero_copy: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "zero_copy";

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 64;
  options.message_size = SAMPLES * sizeof(float);
  ipcq_queue *out, *in;
  if (ipcq_open(&out, name, IPCQ_PRODUCER, &options) < 0)
    return failed("producer");
  if (ipcq_open(&in, name, IPCQ_CONSUMER, NULL) < 0)
    return failed("consumer");

  // Claim a place in the ring, fill it and publish it. (ipcq_abort drops a claim.)
  void *slot;
  if (ipcq_claim(out, options.message_size, &slot) < 0)
    return failed("claim");
  float *samples = slot;
  for (int i = 0; i < SAMPLES; i++)
    samples[i] = (float)i;
  if (ipcq_commit(out, options.message_size) < 0)
    return failed("commit");

  // Read the message in the ring. A lossy producer may overwrite it at the same time, so the result
  // is valid only if ipcq_release returns 0.
  ipcq_view view;
  if (ipcq_peek(in, &view) < 0)
    return failed("peek");
  double sum = 0;
  for (size_t i = 0; i < view.length / sizeof(float); i++)
    sum += ((const float *)view.data)[i];
  int rc = ipcq_release(in, &view);
  if (rc == -ESTALE)
    puts("overwritten during the peek: the sum is discarded");
  else if (rc < 0)
    return failed("release");
  else
    printf("the sum is %.0f\n", sum);

  ipcq_close(out);
  ipcq_close(in);
  ipcq_unlink(name);
  return rc < 0 || sum != SAMPLES * (SAMPLES - 1) / 2;
}
