// cc -O2 records.c -o records $(pkg-config --cflags --libs ipcq)
//
// The producer declares the fields of its messages, and the queue stores them. If a consumer
// declares other fields, its open fails with an error that shows both lists. A consumer that
// declares no fields can read them from the queue, as Python and `ipcq schema` do. This example has
// both sides in one process.

#include <ipcq.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct place {
  double x, y;
};

struct tick {
  uint64_t time_ns;
  double price;
  char symbol[8];       // a string
  uint16_t sizes[2];    // an array
  struct place from;    // a nested struct
};

static const ipcq_field tick_fields[] = {
    IPCQ_FIELD(struct tick, time_ns),
    IPCQ_FIELD(struct tick, price),
    IPCQ_FIELD(struct tick, symbol),
    IPCQ_FIELD(struct tick, sizes),
    IPCQ_FIELD_AS(struct tick, from, 'V', struct place),
    IPCQ_FIELD(struct tick, from.x),
    IPCQ_FIELD(struct tick, from.y),
};

// An outdated definition of a tick, in which the price is a float.
struct old_tick {
  uint64_t time_ns;
  float price;
  char symbol[8];
};

static const ipcq_field old_fields[] = {
    IPCQ_FIELD(struct old_tick, time_ns),
    IPCQ_FIELD(struct old_tick, price),
    IPCQ_FIELD(struct old_tick, symbol),
};

#define COUNT(list) ((uint32_t)(sizeof(list) / sizeof((list)[0])))

static int failed(const char *what) {
  fprintf(stderr, "records: %s: %s\n", what, ipcq_errmsg());
  return 1;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "records";

  ipcq_options options = IPCQ_OPTIONS_INIT;
  options.capacity = 1024;
  options.message_size = sizeof(struct tick);
  options.fields = tick_fields;
  options.field_count = COUNT(tick_fields);
  ipcq_queue *out;
  if (ipcq_open(&out, name, IPCQ_PRODUCER, &options) < 0)
    return failed("producer");
  struct tick tick = {1700000000, 9.5, "ACME", {3, 4}, {47.4, 8.5}};
  if (ipcq_push(out, &tick, sizeof tick) < 0)
    return failed("push");

  // A consumer that declares the same fields.
  ipcq_queue *in;
  if (ipcq_open(&in, name, IPCQ_CONSUMER, &options) < 0)
    return failed("consumer");
  if (ipcq_pop(in, &tick, sizeof tick, NULL) < 0)
    return failed("pop");
  printf("%.8s at %.2f\n\n", tick.symbol, tick.price);

  // The fields as the queue stores them.
  int64_t length = ipcq_schema(in, NULL, 0);
  char *json = malloc((size_t)length + 1);
  if (json == NULL || ipcq_schema(in, json, (size_t)length + 1) < 0)
    return failed("schema");
  printf("%s\n\n", json);
  free(json);

  // A consumer that declares other fields.
  ipcq_options old = IPCQ_OPTIONS_INIT;
  old.message_size = sizeof(struct old_tick);
  old.fields = old_fields;
  old.field_count = COUNT(old_fields);
  ipcq_queue *other;
  int rc = ipcq_open(&other, name, IPCQ_CONSUMER, &old);
  printf("%s\n", ipcq_errmsg());

  ipcq_close(in);
  ipcq_close(out);
  ipcq_unlink(name);
  return rc != -EPROTOTYPE;
}
