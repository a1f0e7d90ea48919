// c++ -std=c++17 test_hpp.cpp $(pkg-config --cflags --libs ipcq)
//
// The C++ layer: typed and untyped queues, exceptions, shared memory.

#include <ipcq.hpp>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <csignal>
#include <cstring>
#include <string>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) {                                                                                 \
      std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                              \
      std::exit(1);                                                                                \
    }                                                                                              \
  } while (0)

struct tick {
  std::uint64_t time;
  double price;
};

namespace app {
enum class side : std::uint8_t { buy, sell };
struct place {
  double x;
  float y;
};
struct order {
  std::uint64_t time;
  char symbol[8];
  bool open;
  side way;
  place from, legs[2];
  std::array<place, 1> one;
  double matrix[2][3];
  std::array<std::array<std::int16_t, 3>, 2> rows;
  char names[2][4];
};
struct other {
  std::uint64_t time;
  float price, size;
};
struct quote {
  std::uint64_t time;
  double price;
};
} // namespace app
IPCQ_RECORD(app::place, x, y)
IPCQ_RECORD(app::order, time, symbol, open, way, from, legs, one, matrix, rows, names)
IPCQ_RECORD(app::quote, time, price)
IPCQ_RECORD(app::other, time, price, size)

#define PLACE "{\"names\":[\"x\",\"y\"],\"formats\":[\"<f8\",\"<f4\"],\"offsets\":[0,8],\"itemsize\":16}"

template <class F> static int code_of(F &&f) {
  try {
    f();
  } catch (const ipcq::error &e) {
    CHECK(std::strlen(e.what()) > 10);
    return e.code();
  }
  return 0;
}

static void test_records() {
  {
    ipcq::producer<app::order> out("orders");
    ipcq::consumer<app::order> in("orders");
    CHECK(out.schema() ==
          "{\"names\":[\"time\",\"symbol\",\"open\",\"way\",\"from\",\"legs\",\"one\",\"matrix\",\"rows\","
          "\"names\"],\"formats\":[\"<u8\",\"|S8\",\"|b1\",\"|u1\"," PLACE ",[" PLACE ",[2]],[" PLACE
          ",[1]],\"(2,3)<f8\",\"(2,3)<i2\",\"(2,)|S4\"],\"offsets\":[0,8,16,17,24,40,72,88,136,148],"
          "\"itemsize\":160}");
    CHECK(in.schema() == out.schema() && ipcq::byte_consumer("orders").schema() == out.schema());
    app::order sent{};
    sent.legs[1].y = 4.5F;
    out.push(sent);
    CHECK(in.pop()->value.legs[1].y == 4.5F);
  }
  {
    ipcq::producer<app::quote> out("quotes");
    CHECK(code_of([] { ipcq::consumer<app::other> in("quotes"); }) == -EPROTOTYPE);
    CHECK(std::strstr(ipcq_errmsg(), "! price <f8 at 8") != nullptr);
    // A type of the same size that says nothing takes anything.
    ipcq::consumer<tick> any("quotes");
    out.push({1, 2.5});
    CHECK(any.pop()->value.price == 2.5);
    // As in C.
    constexpr ipcq_field timed = IPCQ_FIELD_TIME(app::quote, time, 'M', "us");
    static_assert(timed.kind == 'M' && timed.size == 8 && timed.unit[0] == 'u');
    constexpr ipcq_field fields[] = {IPCQ_FIELD(app::quote, time), IPCQ_FIELD(app::quote, price)};
    const ipcq_field as[] = {IPCQ_FIELD_AS(app::quote, time, 'u', std::uint64_t), fields[1]};
    static_assert(fields[1].offset == 8 && fields[1].kind == 'f' && fields[1].count == 1);
    ipcq_options o = ipcq::options();
    o.field_count = 2;
    for (const ipcq_field *list : {fields, as}) {
      o.fields = list;
      ipcq::byte_consumer in("quotes", o);
      CHECK(in.schema() == out.schema());
    }
  }
  {
    ipcq::producer<tick> out("bare");
    CHECK(out.schema().empty());
    CHECK(code_of([] { ipcq::consumer<app::quote> in("bare"); }) == -EPROTOTYPE);
  }
  ipcq::unlink("orders");
  ipcq::unlink("quotes");
  ipcq::unlink("bare");
}

// A time that is over is over in every call that takes one, and only `forever` has no end.
static void test_times() {
  using namespace std::chrono;
  static_assert(ipcq::forever.count() == -1);
  static_assert(ipcq::timeout(nanoseconds(-1)).count() == 0 && ipcq::timeout(0s).count() == 0);
  static_assert(ipcq::timeout(-hours(1)).count() == 0 && ipcq::timeout(1ms).count() == 1000000);
  static_assert(ipcq::timeout(hours::min()).count() == 0);
  static_assert(ipcq::timeout(hours::max()).count() == nanoseconds::max().count());
  static_assert(ipcq::timeout(duration<double>(0.5)).count() == 500000000);
  static_assert(ipcq::timeout(duration<double>(1e300)).count() == nanoseconds::max().count());
  ipcq_options o = ipcq::options();
  o.capacity = 2;
  o.delivery = IPCQ_LOSSLESS;
  ipcq::producer<int> out("cpp", o);
  ipcq::byte_producer bytes("cpp-bytes", ipcq::options());
  ipcq::consumer<int> in("cpp");
  ipcq::byte_consumer raw("cpp-bytes");
  for (nanoseconds over : {nanoseconds(-1), nanoseconds(-1000000), nanoseconds::min(), nanoseconds(0)}) {
    CHECK(!in.wait(over) && !in.pop_wait(over) && !raw.wait(over) && !raw.pop_wait(over));
    CHECK(!ipcq::wait_any({in.get(), raw.get()}, over));
    const auto stop = [] { return false; };
    CHECK(!in.wait(over, stop) && !in.pop_wait(over, stop) && !ipcq::wait_any({in.get()}, over, stop));
  }
  while (out.try_push(1)) {}
  CHECK(!out.push_wait(1, nanoseconds(-1)) && !out.push_wait(1, -hours(1)));
  CHECK(bytes.push_wait("x", 1, nanoseconds(-1))); // there is room
  ipcq::unlink("cpp");
  ipcq::unlink("cpp-bytes");
}

static volatile std::sig_atomic_t rung = 0, due = 0;
static int go[2];
static char what;

// A signal 500 times a second, for as long as it lives.
struct alarms {
  explicit alarms(int flags) {
    struct sigaction action {};
    action.sa_handler = [](int) {
      rung = rung + 1;
      if (rung == due && write(go[1], &what, 1) != 1)
        _exit(1);
    };
    action.sa_flags = flags;
    sigaction(SIGALRM, &action, nullptr);
    const itimerval often = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &often, nullptr);
  }
  ~alarms() {
    const itimerval never = {};
    setitimer(ITIMER_REAL, &never, nullptr);
    // The last one may still come: valgrind delivers signals late.
    std::signal(SIGALRM, SIG_IGN);
  }
};

// A harmless signal ends no wait, and one that is meant to does.
static void test_signals(int flags) {
  using namespace std::chrono_literals;
  CHECK(pipe(go) == 0);
  const pid_t child = fork();
  if (child == 0) { // pushes when it is told so
    char c;
    close(go[1]);
    ipcq_options o = ipcq::options();
    o.capacity = 2;
    o.delivery = IPCQ_LOSSLESS;
    if (read(go[0], &c, 1) != 1)
      _exit(1);
    {
      ipcq::producer<int> out("cpp", o);
      while (read(go[0], &c, 1) == 1)
        out.push(c);
    }
    _exit(0);
  }
  close(go[0]);
  const auto tell = [](char c) { CHECK(write(go[1], &c, 1) == 1); };
  // After some more signals, so that these come during the next wait.
  const auto tell_later = [](char c) {
    what = c;
    due = rung + 5;
  };
  {
    alarms ring(flags);
    ipcq_options o = ipcq::options();
    o.open_timeout_ns = -1;
    tell_later('o');
    ipcq::consumer<int> in("cpp", o);
    CHECK(rung >= due);
    ipcq::byte_consumer raw("cpp");
    tell_later(1);
    CHECK(in.pop_wait(ipcq::forever)->value == 1 && rung >= due);
    CHECK(raw.pop_wait(1h)->data.size() == sizeof(int));
    tell_later(2);
    CHECK(raw.wait(1h) && in.wait(ipcq::forever) && rung >= due);
    CHECK(ipcq::wait_any({in.get(), raw.get()}, ipcq::forever) == 0u);
    CHECK(in.pop()->value == 2 && raw.pop());
    tell_later(3);
    CHECK(ipcq::wait_any({in.get(), raw.get()}, 1h).has_value() && rung >= due);
    CHECK(in.pop()->value == 3 && raw.pop());
    // The time that is given is the time, however often the wait begins again.
    int before = rung;
    CHECK(!in.wait(20ms) && !in.pop_wait(20ms) && rung > before);
    // A handler's flag is seen.
    const int enough = rung + 5;
    const auto stop = [enough] { return rung >= enough; };
    CHECK(!in.pop_wait(ipcq::forever, stop) && rung >= enough);
    CHECK(!in.wait(1h, stop) && !raw.pop_wait(1h, stop) && !raw.wait(ipcq::forever, stop));
    CHECK(!ipcq::wait_any({in.get(), raw.get()}, ipcq::forever, stop));
    tell(4); // what is there is not given to one that stops
    CHECK(in.wait(ipcq::forever) && !in.pop_wait(1h, stop) && in.pop()->value == 4);
    CHECK(raw.pop_wait(1h));
    close(go[1]); // the child closes the queue
    bool closed = false;
    try {
      in.wait(ipcq::forever);
    } catch (const ipcq::closed &) {
      closed = true;
    }
    CHECK(closed);
    o.delivery = IPCQ_LOSSLESS;
    ipcq::producer<int> out("cpp", o);
    while (out.try_push(1)) {}
    before = rung;
    CHECK(!out.push_wait(1, 20ms) && rung > before);
    const int later = rung + 5;
    CHECK(!out.push_wait(1, ipcq::forever, [later] { return rung >= later; }));
  }
  // Without any signal, too, the flag is looked at now and then.
  ipcq::producer<tick> out("cpp-quiet");
  ipcq::consumer<tick> in("cpp-quiet");
  int looks = 0;
  CHECK(!in.pop_wait(ipcq::forever, [&looks] { return ++looks > 2; }) && looks == 3);
  ipcq::unlink("cpp-quiet");
  while (waitpid(-1, nullptr, 0) > 0) {}
  ipcq::unlink("cpp");
}

// Whole containers, and a loop that ends with the queue.
static void test_ranges() {
  using namespace std::chrono_literals;
  {
    ipcq::byte_consumer *in;
    {
      ipcq::byte_producer out("cpp");
      in = new ipcq::byte_consumer("cpp");
      out.push("text");
      out.push(std::string("a string"));
      out.push(std::vector<std::uint16_t>{1, 2, 3});
      CHECK(out.try_push(std::string_view("view")) && out.try_push(std::array<int, 2>{4, 5}));
      CHECK(out.push_wait("wait", 0s) && out.push_wait(std::vector<char>(3), 0s, [] { return false; }));
#if __cplusplus >= 202002L
      const int numbers[] = {6, 7};
      out.push(std::span<const int>(numbers));
#endif
    }
    std::vector<std::string> got;
    for (auto &m : *in) {
      CHECK(m.info.sequence == got.size());
      got.emplace_back(m.text());
    }
    CHECK(got.size() >= 7 && got[5] == "wait" && got[6].size() == 3 && got[0] == "text" && got[1] == "a string" && got[2].size() == 6);
    CHECK(got[3] == "view" && got[4].size() == 8);
    CHECK(in->begin() == in->end()); // still closed
    delete in;
    ipcq::unlink("cpp");
  }
  {
    auto out = std::make_unique<ipcq::producer<tick>>("cpp");
    ipcq::consumer<tick> in("cpp");
    CHECK(out->push(std::vector<tick>{{1, 1.5}, {2, 2.5}}) == 2);
    tick *place = out->claim();
    *place = {3, 3.5};
    out->commit();
    (void)out->claim();
    out->abort();
    CHECK(in.consumers().size() == 1);
    CHECK(in.peek([](const tick &t, std::uint64_t sequence, std::uint64_t lost) {
      CHECK(t.time == 1 && t.price == 1.5 && sequence == 0 && lost == 0);
    }));
    CHECK(in.pop()->value.time == 2);
    out->detach();
    CHECK(code_of([&] { out->push({4, 4.5}); }) == -EINVAL); // no handle any more
    out = std::make_unique<ipcq::producer<tick>>("cpp");
    out->push({4, 4.5});
    out.reset();
    double sum = 0;
    for (const auto &m : in)
      sum += m.value.price;
    CHECK(sum == 8);
    // A value in place is of the size that it is taken for.
    ipcq::byte_consumer raw("cpp");
    CHECK(raw.peek([](ipcq::bytes_view v, auto, auto) { CHECK(v.as<tick>().time == 1); }));
    CHECK(code_of([&] { raw.peek([](ipcq::bytes_view v, auto, auto) { v.as<int>(); }); }) == -EMSGSIZE);
    ipcq::unlink("cpp");
  }
  // A name ends where it ends.
  const std::string two("cpp\0b", 5);
  CHECK(code_of([&] { ipcq::byte_producer out(two); }) == -EINVAL);
  CHECK(code_of([&] { ipcq::unlink(two); }) == -EINVAL);
  CHECK(code_of([&] { ipcq::shared_memory::open(two); }) == -EINVAL);
#if __cplusplus >= 202002L
  {
    ipcq::producer<tick> out("cpp", {.capacity = 64});
    out.push({1, 1.5});
    ipcq::consumer<tick> in("cpp", {.start = IPCQ_NEXT});
    CHECK(!in.pop() && in.stats().capacity == 64 && ipcq::byte_consumer("cpp", {}).pop());
  }
  ipcq::unlink("cpp");
#endif
}

int main() {
  test_records();
  test_times();
  test_signals(0);
  test_signals(SA_RESTART);
  test_ranges();
  {
    ipcq::producer<tick> out("cpp");
    ipcq::consumer<tick> in("cpp");
    CHECK(!in.pop());
    using namespace std::chrono_literals;
    CHECK(!in.wait(0s) && !in.pop_wait(1ms) && !ipcq::wait_any({in.get()}, 1us));
    CHECK(in.fd() >= 0);
    out.push({1, 2.5});
    const tick more[] = {{2, 3.5}, {3, 4.5}};
    out.push(more, 2);
    auto m = in.pop();
    CHECK(m && m->value.time == 1 && m->value.price == 2.5 && m->sequence == 0 && m->lost == 0);
    tick got[4];
    CHECK(in.pop(got, 4) == 2 && got[1].time == 3);
    CHECK(in.pop(got, 4) == 0);
    ipcq::producer<tick> moved = std::move(out);
    CHECK(moved.stats().pushed == 3);
    CHECK(code_of([] { ipcq::producer<tick> second("cpp"); }) == -EBUSY);
    CHECK(code_of([&] { in.seek(4); }) == -EINVAL);
    in.seek(1);
    CHECK(in.pop()->value.time == 2);
    CHECK(code_of([] { ipcq::consumer<int> wrong("cpp"); }) == -EINVAL);
    CHECK(std::strstr(ipcq_errmsg(), "4 bytes") != nullptr);
  }
  ipcq::unlink("cpp");
  {
    ipcq::byte_consumer *late = nullptr;
    {
      ipcq::byte_producer out("cpp");
      late = new ipcq::byte_consumer("cpp");
      out.push("hello", 5);
      char *slot = static_cast<char *>(out.claim(1000));
      std::memset(slot, 'x', 1000);
      out.commit(999);
      bool seen = false;
      CHECK(late->peek([&](ipcq::bytes_view v, std::uint64_t sequence, std::uint64_t) {
        seen = v.size == 5 && std::memcmp(v.begin(), "hello", 5) == 0 && sequence == 0;
      }));
      CHECK(seen);
      CHECK(late->wait(ipcq::forever) && late->fd() >= 0);
      CHECK(ipcq::wait_any({late->get()}, ipcq::forever) == 0u);
      auto m = late->pop_wait(ipcq::forever);
      CHECK(m && m->data.size() == 999 && m->data[998] == std::byte{'x'});
    }
    bool closed = false;
    try {
      late->pop();
    } catch (const ipcq::closed &e) {
      closed = e.code() == -EPIPE;
    }
    CHECK(closed);
    delete late;
  }
  ipcq::unlink("cpp");
  CHECK(code_of([] { ipcq::byte_consumer none("cpp"); }) == -ENOENT);
  {
    ipcq_options o = ipcq::options();
    o.capacity = 2;
    o.delivery = IPCQ_LOSSLESS;
    ipcq::producer<int> out("cpp", o);
    o = ipcq::options();
    o.consumer_name = "slow";
    ipcq::consumer<int> in("cpp", o);
    const int three[] = {0, 1, 2};
    CHECK(out.push(three, 3) == 2 && out.push(three, 1) == 0 && !out.try_push(2));
    CHECK(!out.push_wait(2, std::chrono::nanoseconds(1)));
    CHECK(code_of([&] { out.push(2); }) == -EAGAIN);
    auto list = out.consumers();
    CHECK(list.size() == 1 && std::strcmp(list[0].name, "slow") == 0 && list[0].lag == 2);
    CHECK(in.pop()->value == 0 && out.push_wait(2, ipcq::forever));
  }
  ipcq::unlink("cpp");
  {
    auto out = ipcq::shared_memory::create("cpp", 100);
    auto in = ipcq::shared_memory::open("cpp");
    out.write(90, "0123456789", 10);
    char back[10];
    in.read(90, back, 10);
    CHECK(std::memcmp(back, "0123456789", 10) == 0 && in.size() == 100 && in.data() == nullptr);
    CHECK(code_of([&] { in.write(0, "x", 1); }) == -EBADF);
    CHECK(code_of([&] { out.write(91, "0123456789", 10); }) == -ERANGE);
  }
  ipcq::shared_memory::unlink("cpp");
  std::puts("test_hpp: passed");
}
