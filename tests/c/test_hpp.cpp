// c++ -std=c++17 test_hpp.cpp $(pkg-config --cflags --libs ipcq)
//
// The C++ header: queues of values and of bytes, options, exceptions, signals, shared memory.

#include <ipcq.hpp>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <ranges>
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
struct constant {
  const std::uint32_t version = 7;
  const char text[4] = {'a', 'b', 'c', 0};
  const std::array<std::int16_t, 2> pair = {1, 2};
  const place from = {3, 4};
  std::uint32_t value = 0;
};
} // namespace app
IPCQ_RECORD(app::place, x, y)
IPCQ_RECORD(app::order, time, symbol, open, way, from, legs, one, matrix, rows, names)
IPCQ_RECORD(app::quote, time, price)
IPCQ_RECORD(app::other, time, price, size)
IPCQ_RECORD(app::constant, version, text, pair, from, value)

#define PLACE                                                                                      \
  "{\"names\":[\"x\",\"y\"],\"formats\":[\"<f8\",\"<f4\"],\"offsets\":[0,8],\"itemsize\":16}"

// The errno of the exception, which is an `Error`.
template <class Error = ipcq::error, class F> static int code_of(F &&f) {
  try {
    f();
  } catch (const Error &e) {
    const std::system_error &base = e;
    CHECK(std::strlen(base.what()) > 10 && base.code().category() == std::generic_category());
    return e.code().value();
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
    CHECK(code_of([] { ipcq::consumer<app::other> in("quotes"); }) == EPROTOTYPE);
    CHECK(std::strstr(ipcq_errmsg(), "! price <f8 at 8") != nullptr);
    // A type of the same size without a record schema accepts every schema.
    ipcq::consumer<tick> any("quotes");
    out.push({1, 2.5});
    CHECK(any.pop()->value.price == 2.5);
    // The same as in C.
    constexpr ipcq_field timed = IPCQ_FIELD_TIME(app::quote, time, 'M', "us");
    static_assert(timed.kind == 'M' && timed.size == 8 && timed.unit[0] == 'u');
    constexpr ipcq_field fields[] = {IPCQ_FIELD(app::quote, time), IPCQ_FIELD(app::quote, price)};
    const ipcq_field as[] = {IPCQ_FIELD_AS(app::quote, time, 'u', std::uint64_t), fields[1]};
    static_assert(fields[1].offset == 8 && fields[1].kind == 'f' && fields[1].count == 1);
    ipcq::consumer_options o;
    for (const ipcq_field *list : {fields, as}) {
      o.fields.assign(list, list + 2);
      ipcq::byte_consumer in("quotes", o);
      CHECK(in.schema() == out.schema());
    }
  }
  { // Explicit fields replace those of IPCQ_RECORD.
    ipcq::producer_options o;
    o.fields = {IPCQ_FIELD_TIME(app::quote, time, 'M', "ns"), IPCQ_FIELD(app::quote, price)};
    ipcq::producer<app::quote> out("dated", o);
    CHECK(out.schema().find("<M8[ns]") != std::string::npos);
    CHECK(code_of([] { ipcq::consumer<app::quote> in("dated"); }) == EPROTOTYPE);
    ipcq::unlink("dated");
  }
  { // Const members are fields like others.
    constexpr ipcq_field version = IPCQ_FIELD(app::constant, version);
    constexpr ipcq_field text = IPCQ_FIELD(app::constant, text);
    constexpr ipcq_field pair = IPCQ_FIELD(app::constant, pair);
    constexpr ipcq_field x = IPCQ_FIELD(app::constant, from.x);
    static_assert(version.kind == 'u' && version.size == 4 && text.kind == 'S' && text.size == 4);
    static_assert(pair.kind == 'i' && pair.size == 2 && pair.count == 2 && x.kind == 'f');
    ipcq::consumer<app::constant> *in = nullptr;
    {
      ipcq::producer<app::constant> out("constant");
      in = new ipcq::consumer<app::constant>("constant");
      CHECK(out.schema() == "{\"names\":[\"version\",\"text\",\"pair\",\"from\",\"value\"],"
                            "\"formats\":[\"<u4\",\"|S4\",\"(2,)<i2\"," PLACE ",\"<u4\"],"
                            "\"offsets\":[0,4,8,16,32],\"itemsize\":40}");
      app::constant sent;
      sent.value = 5;
      out.push(sent);
      out.push(sent);
    }
    CHECK(in->pop()->value.from.y == 4);
    int seen = 0;
    for (const auto &m : *in)
      seen += m.value.version == 7 && m.value.value == 5;
    CHECK(seen == 1);
    delete in;
    ipcq::unlink("constant");
  }
  {
    ipcq::producer<tick> out("bare");
    CHECK(out.schema().empty());
    CHECK(code_of([] { ipcq::consumer<app::quote> in("bare"); }) == EPROTOTYPE);
  }
  ipcq::unlink("orders");
  ipcq::unlink("quotes");
  ipcq::unlink("bare");
}

// A timeout that is not positive expires at once in every call, and only `forever` never expires.
static void test_times() {
  using namespace std::chrono;
  static_assert(ipcq::forever.count() == -1);
  static_assert(ipcq::timeout(nanoseconds(-1)).count() == 0 && ipcq::timeout(0s).count() == 0);
  static_assert(ipcq::timeout(-hours(1)).count() == 0 && ipcq::timeout(1ms).count() == 1000000);
  static_assert(ipcq::timeout(hours::min()).count() == 0);
  static_assert(ipcq::timeout(hours::max()).count() == nanoseconds::max().count());
  static_assert(ipcq::timeout(duration<double>(0.5)).count() == 500000000);
  static_assert(ipcq::timeout(duration<double>(1e300)).count() == nanoseconds::max().count());
  static_assert(ipcq::timeout().count() == -1 && ipcq::timeout(std::nullopt).count() == -1);
  static_assert(ipcq::timeout(std::optional<milliseconds>()).count() == -1);
  static_assert(ipcq::timeout(std::optional<milliseconds>(2)).count() == 2000000);
  ipcq::producer_options o;
  o.capacity = 2;
  o.delivery = ipcq::delivery::lossless;
  ipcq::producer<int> out("cpp", o);
  ipcq::byte_producer bytes("cpp-bytes");
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
  CHECK(bytes.push_wait("x", nanoseconds(-1))); // the queue has room
  for (ipcq::timeout over : {ipcq::timeout(-1s), ipcq::timeout(0s), ipcq::timeout(1ms)}) {
    ipcq::consumer_options none;
    none.open_timeout = over;
    const auto open = [&] { ipcq::consumer<int> never("cpp-none", none); };
    CHECK(code_of(open) == ENOENT);
    const auto stop = [] { return false; };
    CHECK(code_of([&] { ipcq::consumer<int> never("cpp-none", none, stop); }) == ENOENT);
    if (over.count() != 1000000) {
      ipcq::producer_options wrong;
      wrong.evict_after = over;
      CHECK(code_of([&] { ipcq::producer<int> bad("cpp-none", wrong); }) == EINVAL);
    }
  }
  ipcq::unlink("cpp");
  ipcq::unlink("cpp-bytes");
}

static volatile std::sig_atomic_t rung = 0, due = 0;
static int go[2];
static char what;

// Sends a signal 500 times a second during its lifetime.
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
    // The last signal may still arrive, because valgrind delivers signals late.
    std::signal(SIGALRM, SIG_IGN);
  }
};

// A harmless signal does not end a wait. A signal whose handler sets the flag ends it.
static void test_signals(int flags) {
  using namespace std::chrono_literals;
  CHECK(pipe(go) == 0);
  const pid_t child = fork();
  if (child == 0) { // pushes on request
    char c;
    close(go[1]);
    ipcq::producer_options o;
    o.capacity = 2;
    o.delivery = ipcq::delivery::lossless;
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
  // After some more signals, so that they arrive during the next wait.
  const auto tell_later = [](char c) {
    what = c;
    due = rung + 5;
  };
  {
    alarms ring(flags);
    ipcq::consumer_options wait;
    wait.open_timeout = ipcq::forever;
    // A flag set by a handler also ends the wait for a queue.
    const int early = rung + 5;
    const auto give_up = [early] { return rung >= early; };
    const auto open = [&] { ipcq::consumer<int> none("cpp", wait, give_up); };
    CHECK(code_of<ipcq::interrupted>(open) == EINTR && rung >= early);
    wait.open_timeout = 1h;
    const auto open_bytes = [&] { ipcq::byte_consumer none("cpp", wait, give_up); };
    CHECK(code_of<ipcq::interrupted>(open_bytes) == EINTR);
    tell_later('o');
    ipcq::consumer<int> in("cpp", wait, [] { return false; });
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
    // The timeout holds for the whole wait, even if the wait starts again several times.
    int before = rung;
    CHECK(!in.wait(20ms) && !in.pop_wait(20ms) && rung > before);
    // The flag of a handler is noticed.
    const int enough = rung + 5;
    const auto stop = [enough] { return rung >= enough; };
    CHECK(!in.pop_wait(ipcq::forever, stop) && rung >= enough);
    CHECK(!in.wait(1h, stop) && !raw.pop_wait(1h, stop) && !raw.wait(ipcq::forever, stop));
    CHECK(!ipcq::wait_any({in.get(), raw.get()}, ipcq::forever, stop));
    const int loop = rung + 5;
    for ([[maybe_unused]] const auto &m : in.until([loop] { return rung >= loop; }))
      CHECK(false);
    for ([[maybe_unused]] const auto &m : raw.until([loop] { return rung >= loop + 5; }))
      CHECK(false);
    CHECK(rung >= loop + 5);
    tell(4); // a call that stops does not take an available message
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
    while (waitpid(child, nullptr, 0) != child) {} // it has the queue until it ends
    ipcq::producer_options o;
    o.delivery = ipcq::delivery::lossless;
    ipcq::producer<int> out("cpp", o);
    while (out.try_push(1)) {}
    before = rung;
    CHECK(!out.push_wait(1, 20ms) && rung > before);
    const int later = rung + 5;
    CHECK(!out.push_wait(1, ipcq::forever, [later] { return rung >= later; }));
  }
  // The flag is also checked regularly without any signal.
  ipcq::producer<tick> out("cpp-quiet");
  ipcq::consumer<tick> in("cpp-quiet");
  int looks = 0;
  CHECK(!in.pop_wait(ipcq::forever, [&looks] { return ++looks > 2; }) && looks == 3);
  out.push({1, 1.5});
  out.push({2, 2.5});
  double sum = 0;
  for (const auto &m : in.until([&sum] { return sum > 3; })) // after both
    sum += m.value.price;
  CHECK(sum == 4);
  ipcq::unlink("cpp-quiet");
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
      CHECK(out.push_wait("wait", 0s));
      CHECK(out.push_wait(std::vector<char>(3), 0s, [] { return false; }));
      const std::byte raw[] = {std::byte{1}, std::byte{2}};
      out.push(raw);
      out.push({raw, 1});
      char text[8] = "cut";
      out.push(text);
#if __cplusplus >= 202002L
      const int numbers[] = {6, 7};
      out.push(std::span<const int>(numbers));
      out.push(std::span<const std::byte>(raw));
      CHECK(in->peek([](ipcq::bytes_view v, const ipcq::meta &m) {
        const std::span<const std::byte> bytes = v;
        CHECK(bytes.size() == 4 && bytes[0] == std::byte{'t'} && m.length == 4);
      }));
      in->seek(0);
#endif
    }
    std::vector<std::string> got;
    for (auto &m : *in) {
      CHECK(m.sequence == got.size() && m.lost == 0 && m.length == m.data.size());
      got.emplace_back(m.text());
    }
    CHECK(got[0] == "text" && got[1] == "a string" && got[2].size() == 6 && got[3] == "view");
    CHECK(got[4].size() == 8 && got[5] == "wait" && got[6].size() == 3);
    CHECK(got[7] == "\1\2" && got[8] == "\1" && got[9] == "cut");
#if __cplusplus >= 202002L
    CHECK(got.size() == 12 && got[10].size() == 8 && got[11] == "\1\2");
#else
    CHECK(got.size() == 10);
#endif
    CHECK(in->begin() == in->end()); // still closed
    delete in;
    ipcq::unlink("cpp");
  }
  {
    auto out = std::make_unique<ipcq::producer<tick>>("cpp");
    ipcq::consumer<tick> in("cpp");
    CHECK(out->push_many(std::vector<tick>{{1, 1.5}, {2, 2.5}}) == 2);
    tick *place = out->claim();
    *place = {3, 3.5};
    out->commit();
    (void)out->claim();
    out->abort();
    CHECK(in.consumers().size() == 1);
    CHECK(in.peek([](const tick &t, const ipcq::meta &m) {
      CHECK(t.time == 1 && t.price == 1.5 && m.sequence == 0 && m.lost == 0);
      CHECK(m.length == sizeof(tick));
    }));
    CHECK(in.pop()->value.time == 2);
    out->detach();
    CHECK(code_of([&] { out->push({4, 4.5}); }) == EINVAL); // no handle any more
    out = std::make_unique<ipcq::producer<tick>>("cpp");
    out->push({4, 4.5});
    out.reset();
    double sum = 0;
    for (const auto &m : in)
      sum += m.value.price;
    CHECK(sum == 8);
    // A value in place must have the requested size.
    ipcq::byte_consumer raw("cpp");
    CHECK(raw.peek([](ipcq::bytes_view v, auto &) { CHECK(v.as<tick>().time == 1); }));
    CHECK(code_of([&] { raw.peek([](ipcq::bytes_view v, auto &) { v.as<int>(); }); }) == EMSGSIZE);
    CHECK(raw.pop()->as<tick>().time == 2); // the message at which peek threw was not consumed
    ipcq::unlink("cpp");
  }
  {
    ipcq::producer<tick> out("cpp");
    ipcq::consumer<tick> in("cpp");
    ipcq::consumer<tick> other("cpp");
    CHECK(!in.pop_many(std::vector<tick>(3)) && in.stats().received == 0);
    const tick two[] = {{1, 1}, {2, 2}};
    const std::array<tick, 2> more = {{{3, 3}, {4, 4}}};
    CHECK(out.push_many(two) == 2 && out.push_many(more) == 2 && out.push_many(two, 1) == 1);
    std::vector<tick> three(3);
    const ipcq::batch got = in.pop_many(three);
    CHECK(got && got.count == 3 && got.sequence == 0 && got.lost == 0 && got.length == sizeof(tick));
    CHECK(three[2].time == 3);
    tick rest[4];
    const ipcq::batch last = in.pop_many(rest);
    CHECK(last.count == 2 && last.sequence == 3 && rest[1].time == 1 && !in.pop_many(rest, 4));
#if __cplusplus >= 202002L
    CHECK(out.push_many(std::span(two)) == 2 && in.pop_many(std::span(rest, 1)).count == 1);
    CHECK(rest[0].time == 1);
#endif
    // An algorithm of the standard library. It stops at the message that it searches for.
    const auto found = std::find_if(other.begin(), other.end(),
                                    [](const auto &m) { return m.value.time == 4; });
    CHECK(other.stats().received == 4); // and takes no message after it
    CHECK(found->sequence == 3 && (*found).value.price == 4 && found != other.end());
    ipcq::unlink("cpp");
  }
  { // Bytes, many messages at a time. Each element is a message.
    ipcq::producer_options o;
    o.message_size = sizeof(int);
    ipcq::byte_producer out("cpp", o);
    ipcq::consumer_options expected;
    expected.message_size = sizeof(int);
    ipcq::byte_consumer in("cpp", expected);
    expected.message_size = 8;
    CHECK(code_of([&] { ipcq::byte_consumer wrong("cpp", expected); }) == EINVAL);
    CHECK(out.push_many(std::vector<int>{1, 2, 3}) == 3 && out.push_many("1234abcd", 4, 2) == 2);
    CHECK(code_of([&] { out.push("12345"); }) == EMSGSIZE);
    std::array<int, 4> got;
    CHECK(in.pop_many(got).count == 4 && got[2] == 3 && std::memcmp(&got[3], "1234", 4) == 0);
    char last[8];
    CHECK(in.pop_many(last, 4, 2).count == 1 && std::memcmp(last, "abcd", 4) == 0);
    CHECK(!in.pop_many(got));
    int *place = out.claim<int>();
    *place = 5;
    out.commit(sizeof(int));
    CHECK(in.pop()->as<int>() == 5);
    ipcq::unlink("cpp");
  }
  // A name with an embedded NUL is refused.
  const std::string two("cpp\0b", 5);
  CHECK(code_of([&] { ipcq::byte_producer out(two); }) == EINVAL);
  CHECK(code_of([&] { ipcq::unlink(two); }) == EINVAL);
  CHECK(code_of([&] { ipcq::shared_memory::open(two); }) == EINVAL);
#if __cplusplus >= 202002L
  static_assert(std::ranges::input_range<ipcq::consumer<tick>>);
  static_assert(std::ranges::input_range<ipcq::byte_consumer>);
  {
    ipcq::producer<tick> out("cpp", {.capacity = 64, .delivery = ipcq::delivery::lossless});
    out.push({1, 1.5});
    ipcq::consumer<tick> in("cpp", {.start = ipcq::start::next, .consumer_name = "late"});
    CHECK(!in.pop() && in.stats().capacity == 64 && ipcq::byte_consumer("cpp", {}).pop());
    out.push({2, 2.5});
    out.push({3, 3.5});
#if !defined(__clang__) || __clang_major__ > 15 // these cannot read the views of libstdc++
    double sum = 0;
    for (auto &m : in | std::views::take(2))
      sum += m.value.price;
    CHECK(sum == 6);
#endif
    CHECK(in.stats().lost == 0);
  }
  ipcq::unlink("cpp");
#endif
}

static std::string path_of(const std::string &queue) {
  return std::string(std::getenv("IPCQ_DIR")) + "/ipcq." + queue;
}

// The effect of each option on a queue.
static void test_options() {
  using namespace std::chrono_literals;
  ipcq::producer_options o;
  o.capacity = 4;
  o.delivery = ipcq::delivery::lossless;
  o.permissions = 0640;
  o.control_permissions = 0660;
  o.max_consumers = 2;
  o.min_consumers = 1;
  o.evict_after = 1h;
  {
    ipcq::producer<int> out("cpp", o);
    struct stat data, control;
    CHECK(stat(path_of("cpp").c_str(), &data) == 0 && (data.st_mode & 0777) == 0640);
    CHECK(stat((path_of("cpp") + ".ctl").c_str(), &control) == 0 && (control.st_mode & 0777) == 0660);
    CHECK(out.push_many({0, 1, 2, 3}) == 4 && !out.try_push(4)); // min_consumers
    ipcq::consumer_options c;
    const auto first = [&c] { return ipcq::consumer<int>("cpp", c).pop_wait(0s); };
    CHECK(first()->value == 0);
    c.start = ipcq::start::newest;
    CHECK(first()->value == 3);
    c.start_sequence = 2; // regardless of `start`
    CHECK(first()->value == 2);
    c.start_sequence = 5;
    CHECK(code_of(first) == EINVAL);
    c = {};
    c.start = ipcq::start::next;
    CHECK(!first());
    c.consumer_name = "a";
    const ipcq::consumer<int> a("cpp", c);
    const ipcq::byte_consumer b("cpp", {});
    CHECK(a.consumers().size() == 2 && b.stats().role == IPCQ_CONSUMER && a.schema().empty());
    CHECK(code_of(first) == EUSERS); // max_consumers
    c.observer = true;
    c.start = ipcq::start::oldest;
    CHECK(first()->value == 0);
    c.consumer_name = std::string("a\0b", 3);
    CHECK(code_of(first) == EINVAL);
  }
  o.exclusive = true;
  CHECK(code_of([&o] { ipcq::producer<int> out("cpp", o); }) == EEXIST);
  ipcq::unlink("cpp");
  { // A producer that evicts a slow consumer.
    ipcq::producer_options hurry;
    hurry.capacity = 2;
    hurry.delivery = ipcq::delivery::lossless;
    hurry.evict_after = 1ms;
    ipcq::producer<int> out("cpp", hurry);
    ipcq::consumer<int> slow("cpp");
    for (int i = 0; i < 5; i++)
      CHECK(out.push_wait(i));
    const auto m = slow.pop();
    CHECK(m && m->lost >= 1 && m->lost == m->sequence);
  }
  ipcq::unlink("cpp");
}

// Each exception that a program can handle, and its base classes.
static void test_errors() {
  ipcq::producer_options o;
  o.capacity = 4;
  ipcq::consumer<int> *in;
  {
    ipcq::producer<int> out("cpp", o);
    in = new ipcq::consumer<int>("cpp");
    out.push(1);
  }
  CHECK(in->pop()->value == 1);
  CHECK(code_of<ipcq::closed>([&] { in->pop(); }) == EPIPE);
  CHECK(code_of<ipcq::closed>([&] { in->pop_wait(); }) == EPIPE);
  const auto wait = [&] { (void)ipcq::wait_any({in->get()}, ipcq::forever); };
  CHECK(code_of(wait) == 0);
  CHECK(in->begin() == in->end());
  o.capacity = 8;
  o.replace = true;
  ipcq::producer<int> other("cpp", o);
  CHECK(code_of<ipcq::replaced>([&] { in->pop(); }) == ESTALE);
  // A loop does not treat this as the end.
  CHECK(code_of<ipcq::replaced>([&] { for (auto &m : *in) (void)m; }) == ESTALE);
  delete in;
  try {
    ipcq::producer<int> second("cpp");
    CHECK(false);
  } catch (const std::system_error &e) {
    CHECK(e.code() == std::errc::device_or_resource_busy);
    CHECK(std::string(e.what()) == ipcq_errmsg());
  }
  const ipcq::error kept(EINVAL, "the text");
  static_assert(std::is_nothrow_copy_constructible_v<ipcq::error>);
  const ipcq::error copy = kept;
  CHECK(std::string(copy.what()) == "the text" && copy.code() == std::errc::invalid_argument);
  ipcq::unlink("cpp");
}

int main() {
  test_records();
  test_times();
  test_signals(0);
  test_signals(SA_RESTART);
  test_ranges();
  test_options();
  test_errors();
  {
    ipcq::producer<tick> out("cpp");
    ipcq::consumer<tick> in("cpp");
    CHECK(!in.pop());
    using namespace std::chrono_literals;
    CHECK(!in.wait(0s) && !in.pop_wait(1ms) && !ipcq::wait_any({in.get()}, 1us));
    CHECK(in.fd() >= 0);
    out.push({1, 2.5});
    const tick more[] = {{2, 3.5}, {3, 4.5}};
    out.push_many(more, 2);
    auto m = in.pop();
    CHECK(m && m->value.time == 1 && m->value.price == 2.5 && m->sequence == 0 && m->lost == 0);
    tick got[4];
    CHECK(in.pop_many(got, 4).count == 2 && got[1].time == 3);
    CHECK(in.pop_many(got, 4).count == 0);
    ipcq::producer<tick> moved = std::move(out);
    CHECK(moved.stats().pushed == 3);
    CHECK(code_of([] { ipcq::producer<tick> second("cpp"); }) == EBUSY);
    CHECK(code_of([&] { in.seek(4); }) == EINVAL);
    in.seek(1);
    CHECK(in.pop()->value.time == 2);
    CHECK(code_of([] { ipcq::consumer<int> wrong("cpp"); }) == EINVAL);
    CHECK(std::strstr(ipcq_errmsg(), "4 bytes") != nullptr);
  }
  ipcq::unlink("cpp");
  {
    ipcq::byte_consumer *late = nullptr;
    {
      ipcq::byte_producer out("cpp");
      late = new ipcq::byte_consumer("cpp");
      out.push("hello");
      std::byte *slot = out.claim(1000);
      std::memset(slot, 'x', 1000);
      out.commit(999);
      bool seen = false;
      CHECK(late->peek([&](ipcq::bytes_view v, const ipcq::meta &m) {
        seen = v.text() == "hello" && v.end() - v.begin() == 5 && m.sequence == 0;
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
      closed = e.code() == std::errc::broken_pipe;
    }
    CHECK(closed);
    delete late;
  }
  ipcq::unlink("cpp");
  CHECK(code_of([] { ipcq::byte_consumer none("cpp"); }) == ENOENT);
  {
    ipcq::producer_options o;
    o.capacity = 2;
    o.delivery = ipcq::delivery::lossless;
    ipcq::producer<int> out("cpp", o);
    ipcq::consumer_options named;
    named.consumer_name = "slow";
    ipcq::consumer<int> in("cpp", named);
    const int three[] = {0, 1, 2};
    CHECK(out.push_many(three) == 2 && out.push_many(three, 1) == 0 && !out.try_push(2));
    CHECK(!out.push_wait(2, std::chrono::nanoseconds(1)));
    CHECK(code_of([&] { out.push(2); }) == EAGAIN);
    auto list = out.consumers();
    CHECK(list.size() == 1 && std::strcmp(list[0].name, "slow") == 0 && list[0].lag == 2);
    CHECK(in.pop()->value == 0 && out.push_wait(2, ipcq::forever));
  }
  ipcq::unlink("cpp");
  {
    auto out = ipcq::shared_memory::create("cpp", 100);
    auto in = ipcq::shared_memory::open("cpp");
    out.write(90, "0123456789");
    char back[10];
    in.read(90, back, 10);
    CHECK(std::memcmp(back, "0123456789", 10) == 0 && in.size() == 100 && in.data() == nullptr);
    CHECK(code_of([&] { in.write(0, "x"); }) == EBADF);
    CHECK(code_of([&] { out.write(91, "0123456789"); }) == ERANGE);
  }
  ipcq::shared_memory::unlink("cpp");
  std::puts("test_hpp: passed");
}
