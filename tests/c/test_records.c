// cc test_records.c -o test_records $(pkg-config --cflags --libs ipcq)
//
// Records: the fields that the macros make of members of every type, the schema of the queue, and
// the error of a consumer that declares other fields.

#include "check.h"

#include <errno.h>
#include <ipcq.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(list) ((uint32_t)(sizeof(list) / sizeof((list)[0])))

enum side { BUY, SELL };
struct place {
  double x;
  float y;
};
struct all {
  bool flag, flags[2];
  char letter, text[7], names[2][4];
  signed char s8;
  int8_t i8;
  unsigned char u8;
  int16_t i16;
  unsigned short u16;
  int i32[3];
  uint32_t u32;
  long l;
  unsigned long ul;
  long long ll;
  uint64_t u64;
  size_t size;
  float f4;
  double f8[2];
  long double f16;
  enum side side;
  struct place from, legs[2], one[1];
  int matrix[2][3];
  short cube[2][3][4];
  unsigned char raw[5];
  union {
    uint32_t number;
    char bytes[4];
  } either;
#ifdef __FLT16_MAX__
  __extension__ _Float16 f2, f2s[3];
#endif
};

static const ipcq_field fields[] = {
    IPCQ_FIELD(struct all, flag),
    IPCQ_FIELD(struct all, flags),
    IPCQ_FIELD(struct all, letter),
    IPCQ_FIELD(struct all, text),
    IPCQ_FIELD_AS(struct all, names, 'S', char[4]),
    IPCQ_FIELD(struct all, s8),
    IPCQ_FIELD(struct all, i8),
    IPCQ_FIELD(struct all, u8),
    IPCQ_FIELD(struct all, i16),
    IPCQ_FIELD(struct all, u16),
    IPCQ_FIELD(struct all, i32),
    IPCQ_FIELD(struct all, u32),
    IPCQ_FIELD(struct all, l),
    IPCQ_FIELD(struct all, ul),
    IPCQ_FIELD(struct all, ll),
    IPCQ_FIELD(struct all, u64),
    IPCQ_FIELD(struct all, size),
    IPCQ_FIELD(struct all, f4),
    IPCQ_FIELD(struct all, f8),
    IPCQ_FIELD(struct all, f16),
    IPCQ_FIELD(struct all, side),
    IPCQ_FIELD_AS(struct all, from, 'V', struct place),
    IPCQ_FIELD(struct all, from.x),
    IPCQ_FIELD(struct all, from.y),
    IPCQ_FIELD_AS(struct all, legs, 'V', struct place),
    IPCQ_FIELD(struct all, legs[0].x),
    IPCQ_FIELD(struct all, legs[0].y),
    IPCQ_FIELD_AS(struct all, one, 'V', struct place),
    IPCQ_FIELD(struct all, one[0].y),
    IPCQ_FIELD_AS(struct all, matrix, 'V', int[3]),
    IPCQ_FIELD(struct all, matrix[0]),
    IPCQ_FIELD_AS(struct all, cube, 'V', short[3][4]),
    IPCQ_FIELD_AS(struct all, cube[0], 'V', short[4]),
    IPCQ_FIELD(struct all, cube[0][0]),
    IPCQ_FIELD_AS(struct all, raw, 'V', unsigned char[5]),
#ifdef __FLT16_MAX__
    IPCQ_FIELD(struct all, f2),
    IPCQ_FIELD(struct all, f2s),
#endif
    // In a record that was not declared. Used by test_json.
    IPCQ_FIELD(struct all, either.number),
    IPCQ_FIELD(struct all, either.bytes),
};

static const struct all example = {
    .flag = true,
    .flags = {false, true},
    .letter = 'q',
    .text = "six by",
    .names = {"ab", {'c', 'd', 'e', 'f'}},
    .s8 = -1,
    .i8 = -2,
    .u8 = 200,
    .i16 = -300,
    .u16 = 60000,
    .i32 = {1, -2, 3},
    .u32 = 4000000000,
    .l = -5,
    .ul = 6,
    .ll = -7,
    .u64 = UINT64_MAX,
    .size = 9,
    .f4 = 1.5F,
    .f8 = {2.25, -3.5},
    .f16 = 4.75L,
    .side = SELL,
    .from = {1.5, 2.5F},
    .legs = {{3, 4}, {5, 6}},
    .one = {{7, 8}},
    .matrix = {{1, 2, 3}, {4, 5, 6}},
    .cube = {{{1}, {2}}, {{3}, {4, 5}}},
    .raw = {1, 2, 3, 4, 5},
};

static void is_field(const char *name, size_t offset, size_t size, uint32_t kind, uint32_t count) {
  for (uint32_t i = 0; i < COUNT(fields); i++) {
    const ipcq_field *f = &fields[i];
    if (strcmp(f->name, name) == 0) {
      CHECK(f->offset == offset && f->size == size && f->kind == kind && f->count == count);
      return;
    }
  }
  fprintf(stderr, "no field %s\n", name);
  exit(1);
}
#define IS(member, size, kind, count) \
  is_field(#member, offsetof(struct all, member), size, kind, count)

static void test_macros(void) {
  IS(flag, 1, 'b', 1);
  IS(flags, 1, 'b', 2);
  IS(letter, 1, 'S', 1);
  IS(text, 7, 'S', 1);
  IS(names, 4, 'S', 2);
  IS(s8, 1, 'i', 1);
  IS(i8, 1, 'i', 1);
  IS(u8, 1, 'u', 1);
  IS(i16, 2, 'i', 1);
  IS(u16, 2, 'u', 1);
  IS(i32, 4, 'i', 3);
  IS(u32, 4, 'u', 1);
  IS(l, sizeof(long), 'i', 1);
  IS(ul, sizeof(long), 'u', 1);
  IS(ll, 8, 'i', 1);
  IS(u64, 8, 'u', 1);
  IS(size, sizeof(size_t), 'u', 1);
  IS(f4, 4, 'f', 1);
  IS(f8, 8, 'f', 2);
  IS(f16, sizeof(long double), 'f', 1);
  IS(side, sizeof(enum side), 'u', 1);
  IS(from, sizeof(struct place), 'V', 1);
  IS(from.y, 4, 'f', 1);
  IS(legs, sizeof(struct place), 'V', 2);
  IS(legs[0].y, 4, 'f', 1);
  IS(matrix, 12, 'V', 2);
  IS(matrix[0], 4, 'i', 3);
#ifdef __FLT16_MAX__
  IS(f2, 2, 'f', 1);
  IS(f2s, 2, 'f', 3);
#endif
}

static ipcq_options with(const ipcq_field *list, uint32_t count, uint32_t size) {
  ipcq_options o = IPCQ_OPTIONS_INIT;
  o.capacity = 16;
  o.fields = list;
  o.field_count = count;
  o.message_size = size;
  return o;
}

// Opens, and expects this code and these words in the text.
static void fails(uint32_t flags, ipcq_options o, int code, const char *words) {
  ipcq_queue *q;
  int rc = ipcq_open(&q, "records", flags, &o);
  if (rc != code || q != NULL || strstr(ipcq_errmsg(), words) == NULL) {
    fprintf(stderr, "%d, not %d and \"%s\": %s\n", rc, code, words, ipcq_errmsg());
    exit(1);
  }
}

// The schema of a queue with these fields.
static const char *json(const ipcq_field *list, uint32_t count, uint32_t size) {
  static char text[8192];
  ipcq_queue *out, *in;
  ipcq_options o = with(list, count, size);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER | IPCQ_REPLACE, &o) == 0);
  CHECK(ipcq_open(&in, "records", IPCQ_CONSUMER, NULL) == 0);
  int64_t length = ipcq_schema(in, NULL, 0);
  CHECK(length > 0 && length < (int64_t)sizeof text);
  CHECK(ipcq_schema(in, text, sizeof text) == length && strlen(text) == (size_t)length);
  char again[8192];
  CHECK(ipcq_schema(out, again, sizeof again) == length && strcmp(text, again) == 0);
  ipcq_close(in);
  // A consumer and the next producer declare the same fields.
  CHECK(ipcq_open(&in, "records", IPCQ_CONSUMER, &o) == 0);
  ipcq_close(in);
  ipcq_close(out);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER, &o) == 0);
  ipcq_close(out);
  return text;
}

#define JSON(list, size, text) CHECK(strcmp(json(list, COUNT(list), size), text) == 0)
#define PLACE \
  "{\"names\":[\"x\",\"y\"],\"formats\":[\"<f8\",\"<f4\"],\"offsets\":[0,8],\"itemsize\":16}"

static void test_json(void) {
  ipcq_queue *q;
  ipcq_options o = with(fields, COUNT(fields), sizeof(struct all));
  fails(IPCQ_PRODUCER, o, -EINVAL, "either.number"); // in no record
  const ipcq_field *either = &fields[0];
  while (strcmp(either->name, "either.number") != 0)
    either++;
  o.field_count = (uint32_t)(either - fields);
  CHECK(ipcq_open(&q, "records", IPCQ_PRODUCER, &o) == 0);
  char text[4096], start[8];
  int64_t length = ipcq_schema(q, text, sizeof text);
  CHECK(length > 0 && length < (int64_t)sizeof text);
  // For tests/pairs/test_c_records.py, where numpy reads both.
  printf("%s\n", text);
  for (size_t i = 0; i < sizeof example; i++)
    printf("%02x", ((const unsigned char *)&example)[i]);
  printf("\n");
  CHECK(ipcq_schema(q, start, sizeof start) == length && memcmp(start, text, 7) == 0 && !start[7]);
  CHECK(ipcq_schema(q, start, 1) == length && start[0] == 0);
  CHECK(ipcq_schema(NULL, text, sizeof text) == -EINVAL && ipcq_schema(q, NULL, 1) == -EINVAL);
  const char *parts[] = {
      "\"|b1\",\"(2,)|b1\",\"|S1\",\"|S7\",\"(2,)|S4\",\"|i1\",\"|i1\",\"|u1\",\"<i2\",\"<u2\"",
      "\"(3,)<i4\",\"<u4\",\"<i8\",\"<u8\",\"<i8\",\"<u8\",\"<u8\",\"<f4\",\"(2,)<f8\",\"<f16\"",
      PLACE ",[" PLACE ",[2]],[{\"names\":[\"y\"],\"formats\":[\"<f4\"],\"offsets\":[8],\"itemsize\":16},[1]]",
      "\"(2,3)<i4\",\"(2,3,4)<i2\",\"|V5\"",
  };
  for (size_t i = 0; i < COUNT(parts); i++)
    CHECK(strstr(text, parts[i]) != NULL);
  ipcq_close(q);

  const ipcq_field two[] = {{"a", 0, 8, 'u', 1, ""}, {"b", 8, 2, 'f', 0, ""}};
  JSON(two, 0, "{\"names\":[\"a\",\"b\"],\"formats\":[\"<u8\",\"<f2\"],\"offsets\":[0,8],\"itemsize\":16}");
  JSON(two, 10, "{\"names\":[\"a\",\"b\"],\"formats\":[\"<u8\",\"<f2\"],\"offsets\":[0,8],\"itemsize\":10}");
  // Not aligned, so packed.
  const ipcq_field packed[] = {{"a", 0, 1, 'i', 3, ""}, {"b", 3, 4, 'u', 1, ""}};
  JSON(packed, 0, "{\"names\":[\"a\",\"b\"],\"formats\":[\"(3,)|i1\",\"<u4\"],\"offsets\":[0,3],\"itemsize\":7}");
  const ipcq_field text_and[] = {{"a", 0, 3, 'S', 2, ""}, {"b", 6, 8, 'i', 1, ""}};
  JSON(text_and, 0, "{\"names\":[\"a\",\"b\"],\"formats\":[\"(2,)|S3\",\"<i8\"],\"offsets\":[0,6],\"itemsize\":14}");
  const ipcq_field others[] = {{"c", 0, 16, 'c', 1, ""}, {"u", 16, 12, 'U', 1, ""}};
  JSON(others, 0, "{\"names\":[\"c\",\"u\"],\"formats\":[\"<c16\",\"<U3\"],\"offsets\":[0,16],\"itemsize\":32}");
}

// Times and durations: as int64_t, and with a unit.
struct timed {
  int64_t at, took, days[2];
};

static void test_times(void) {
  static const ipcq_field timed[] = {
      IPCQ_FIELD_AS(struct timed, at, 'M', int64_t), // without a unit: nanoseconds
      IPCQ_FIELD_TIME(struct timed, took, 'm', "ms"),
      IPCQ_FIELD_TIME(struct timed, days, 'M', "D"),
  };
  CHECK(timed[2].count == 2 && timed[2].size == 8 && timed[2].offset == 16);
  JSON(timed, 0, "{\"names\":[\"at\",\"took\",\"days\"],\"formats\":[\"<M8[ns]\",\"<m8[ms]\",\"(2,)<M8[D]\"],"
                 "\"offsets\":[0,8,16],\"itemsize\":32}");
  static const char *const units[] = {"Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "25us"};
  for (size_t i = 0; i < COUNT(units); i++) {
    ipcq_field one = {"t", 0, 8, 'M', 1, ""};
    strcpy(one.unit, units[i]);
    char expected[32];
    snprintf(expected, sizeof expected, "\"<M8[%s]\"", units[i]);
    CHECK(strstr(json(&one, 1, 8), expected) != NULL);
  }
  // A time in another unit, and a number that is not a time, are other fields.
  ipcq_queue *out;
  ipcq_options o = with(timed, COUNT(timed), 0);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER | IPCQ_REPLACE, &o) == 0);
  ipcq_field other[] = {timed[0], timed[1], timed[2]};
  strcpy(other[1].unit, "s");
  fails(IPCQ_CONSUMER, with(other, COUNT(other), 0), -EPROTOTYPE, "! took");
  other[1] = (ipcq_field)IPCQ_FIELD(struct timed, took);
  fails(IPCQ_CONSUMER, with(other, COUNT(other), 0), -EPROTOTYPE, "! took");
  ipcq_close(out);
}

static void test_wrong_fields(void) {
  static char many[80 * 2 + 1];
  for (size_t i = 0; i < sizeof many - 1; i++)
    many[i] = "a."[i % 2];
  const struct {
    ipcq_field fields[3];
    uint32_t count, size;
    const char *words;
  } wrong[] = {
      {{{NULL, 0, 1, 'u', 1, ""}}, 1, 0, "name"},
      {{{"\xff", 0, 1, 'u', 1, ""}}, 1, 0, "UTF-8"},
      {{{"", 0, 1, 'u', 1, ""}}, 1, 0, "a name must have"},
      {{{many, 0, 1, 'u', 1, ""}}, 1, 0, "too deep"},
      {{{"a", 0, 3, 'u', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 16, 'i', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 0, 'f', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 2, 'b', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 5, 'U', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 4, 'M', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 8, 'M', 1, "years"}}, 1, 0, "unit \"years\""},
      {{{"a", 0, 8, 'm', 1, "01234567"}}, 1, 0, "unit \"01234567\""},
      {{{"a", 0, 8, 'M', 1, "s]<f8[s"}}, 1, 0, "unit"},
      {{{"a", 0, 8, 'M', 1, {'n', 's', 0, 'x'}}}, 1, 0, "initialise all members"},
      {{{"a", 0, 8, 'M', 1, "\xff"}}, 1, 0, "initialise all members"},
      {{{"a", 0, 8, 'i', 1, "ns"}}, 1, 0, "unit \"ns\""},
      {{{"a", 0, 8, 0, 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 8, 0x175, 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 8, UINT32_MAX, 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 0, 'S', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 0, 'V', 1, ""}}, 1, 0, "\"a\""},
      {{{"a", 0, 8, 'u', 1, ""}, {"a", 8, 8, 'u', 1, ""}}, 2, 0, "\"a\""},
      {{{"a", 0, 8, 'u', 1, ""}}, 1, 7, "7 bytes"},
      {{{"a", 1, 8, 'u', 1, ""}}, 1, 8, "8 bytes"},
      {{{"a", UINT32_MAX, 8, 'u', UINT32_MAX, ""}}, 1, 0, "bytes"},
      {{{"a", 0, 8, 'u', UINT32_MAX, ""}}, 1, 8, "8 bytes"},
      {{{"a.b", 0, 8, 'u', 1, ""}}, 1, 0, "no record"},
      {{{"a", 0, 8, 'u', 1, ""}, {"a.b", 0, 8, 'u', 1, ""}}, 2, 0, "no record"},
      {{{"a", 8, 8, 'V', 1, ""}, {"a.b", 0, 8, 'u', 1, ""}}, 2, 0, "before"},
      {{{"a", 0, 8, 'V', 1, ""}, {"a.b", 4, 8, 'u', 1, ""}}, 2, 0, "does not fit"},
      {{{"a", 0, 8, 'V', 1, ""}, {"a.b.c", 4, 4, 'u', 1, ""}}, 2, 0, "no record"},
      {{{"a", 0, 8, 'V', 2, ""}, {"a[1].b", 8, 8, 'u', 1, ""}}, 2, 0, "no record"},
      {{{"a", 0, 8, 'V', 2, ""}, {"a[0]", 0, 4, 'u', 1, ""}}, 2, 0, "a whole element"},
      {{{"a", 0, 8, 'V', 2, ""}, {"a[0]", 4, 4, 'u', 2, ""}}, 2, 0, "a whole element"},
      {{{"a", 0, 8, 'V', 2, ""}, {"b", 16, 4, 'u', 2, ""}, {"a[0]", 0, 8, 'u', 1, ""}}, 3, 0, "no record"},
  };
  CHECK(ipcq_unlink("records") == 0);
  for (size_t i = 0; i < COUNT(wrong); i++) {
    ipcq_options o = with(wrong[i].fields, wrong[i].count, wrong[i].size);
    fails(IPCQ_PRODUCER, o, -EINVAL, wrong[i].words);
    fails(IPCQ_CONSUMER, o, -EINVAL, wrong[i].words);
  }
  fails(IPCQ_PRODUCER, with(NULL, 1, 8), -EINVAL, "fields");
  static ipcq_field lot[70000];
  fails(IPCQ_PRODUCER, with(lot, COUNT(lot), 8), -EINVAL, "70000");
}

struct tick {
  uint64_t time;
  double price;
  char symbol[8];
};
struct other {
  uint64_t time;
  float price, size;
  char symbol[8];
};

static void test_mismatch(void) {
  static const ipcq_field tick[] = {IPCQ_FIELD(struct tick, time), IPCQ_FIELD(struct tick, price),
                                    IPCQ_FIELD(struct tick, symbol)};
  static const ipcq_field other[] = {IPCQ_FIELD(struct other, time), IPCQ_FIELD(struct other, price),
                                     IPCQ_FIELD(struct other, size), IPCQ_FIELD(struct other, symbol)};
  ipcq_queue *out, *in;
  ipcq_options o = with(tick, 3, 0);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER, &o) == 0);
  const struct tick sent = {1, 9.5, "ACME"};
  CHECK(ipcq_push(out, &sent, sizeof sent) == 0);
  fails(IPCQ_CONSUMER, with(other, 4, sizeof(struct other)), -EPROTOTYPE, "! price <f8 at 8");
  fails(IPCQ_CONSUMER, with(other, 4, sizeof(struct other)), -EPROTOTYPE, "size <f4 at 12");
  fails(IPCQ_CONSUMER, with(tick, 2, 0), -EPROTOTYPE, "! symbol |S8 at 16");
  fails(IPCQ_CONSUMER, with(tick, 3, 32), -EPROTOTYPE, "! 24 bytes");
  CHECK(strcmp(ipcq_strerror(-EPROTOTYPE), "another record schema") == 0);
  CHECK(ipcq_open(&in, "records", IPCQ_CONSUMER, &o) == 0);
  struct tick got;
  CHECK(ipcq_pop(in, &got, sizeof got, NULL) == sizeof got && memcmp(&got, &sent, sizeof got) == 0);
  ipcq_close(in);
  ipcq_close(out);
  fails(IPCQ_PRODUCER, with(other, 4, 0), -EPROTOTYPE, "REPLACE");
  o = with(other, 4, 0);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER | IPCQ_REPLACE, &o) == 0);
  ipcq_close(out);
  // Without fields, a producer accepts the queue's.
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER, NULL) == 0 && ipcq_schema(out, NULL, 0) > 0);
  ipcq_close(out);
  CHECK(ipcq_unlink("records") == 0);
  o = with(NULL, 0, 24);
  CHECK(ipcq_open(&out, "records", IPCQ_PRODUCER, &o) == 0);
  char nothing[4] = "xyz";
  CHECK(ipcq_schema(out, nothing, sizeof nothing) == 0 && nothing[0] == 0);
  fails(IPCQ_CONSUMER, with(tick, 3, 0), -EPROTOTYPE, "no record schema");
  ipcq_close(out);
  CHECK(ipcq_unlink("records") == 0);
}

int main(void) {
  test_macros();
  test_json();
  test_times();
  test_wrong_fields();
  test_mismatch();
  return 0;
}
