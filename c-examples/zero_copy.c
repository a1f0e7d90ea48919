// cc -O2 zero_copy.c -o zero_copy $(pkg-config --cflags --libs ipcq)
//
// Writes a message where consumers will read it, and reads it there: no copy on either side.
// Both sides are in one process here, to be short; they need not be.

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

  // Claim a place in the ring, fill it, publish it. ipcq_abort would give it up instead.
  void *slot;
  if (ipcq_claim(out, options.message_size, &slot) < 0)
    return failed("claim");
  float *samples = slot;
  for (int i = 0; i < SAMPLES; i++)
    samples[i] = (float)i;
  if (ipcq_commit(out, options.message_size) < 0)
    return failed("commit");

  // Look at the message in the ring. A lossy producer may overwrite it meanwhile, so the result
  // counts only after ipcq_release has said that it did not.
  ipcq_view view;
  if (ipcq_peek(in, &view) < 0)
    return failed("peek");
  double sum = 0;
  for (size_t i = 0; i < view.length / sizeof(float); i++)
    sum += ((const float *)view.data)[i];
  int rc = ipcq_release(in, &view);
  if (rc == -ESTALE)
    puts("overwritten while we looked: the sum is thrown away");
  else if (rc < 0)
    return failed("release");
  else
    printf("the sum is %.0f\n", sum);

  ipcq_close(out);
  ipcq_close(in);
  ipcq_unlink(name);
  return rc < 0 || sum != SAMPLES * (SAMPLES - 1) / 2;
}
