// ipcq.hpp: the C++17 layer over ipcq.h. Header only; link as for C.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
//   ipcq::producer<tick> out("ticks");          ipcq::consumer<tick> in("ticks");
//   out.push({now, 9.5, 3});                    for (auto &m : in) // ends when the producer closes
//                                                 use(m.value, m.lost);
//
// Errors are exceptions: ipcq::error, whose code() is the negated errno of ipcq.h and whose what()
// says which file, what failed and what to do. Handles close themselves, can be moved, and are used
// by one thread at a time. A pop that finds nothing gives std::nullopt; one that finds the queue
// closed and drained throws ipcq::closed.
//
//   IPCQ_RECORD(tick, time_ns, price)           // once, for a struct: its queues say what is in them
//
// SIGNALS. Unlike the functions of ipcq.h, a wait continues after a signal handler has run, for the
// time that remains. A program that sets a flag in a handler passes a function that reads it:
//
//   volatile std::sig_atomic_t stopped = 0;     // the handler of SIGINT sets it
//   auto stop = [] { return stopped != 0; };
//   while (auto m = in.pop_wait(ipcq::forever, stop))
//     use(m->value);
//
// The wait calls it when a signal handler has run and ten times a second, and ends, as if the time
// were over, once it returns true. A constructor that waits for its queue (open_timeout_ns) takes no
// such function: give it a short time, and call it again on an error with the code -ENOENT.

#ifndef IPCQ_HPP
#define IPCQ_HPP

#include "ipcq.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace ipcq {

/// What any function here fails with.
class error : public std::runtime_error {
public:
  explicit error(int code) : error(code, ipcq_errmsg()) {}
  error(int code, const std::string &text) : std::runtime_error(text), code_(code) {}
  /// A negated errno, as in ipcq.h.
  int code() const noexcept { return code_; }

private:
  int code_;
};

/// The producer has closed the queue, and everything was consumed.
class closed : public error {
public:
  using error::error;
};

namespace detail {
/// Nanoseconds: 0 of a negative duration, and the most that there are of one that is longer.
template <class Rep, class Period>
constexpr std::int64_t nanoseconds_of(std::chrono::duration<Rep, Period> time) noexcept {
  using std::chrono::nanoseconds;
  using real = std::chrono::duration<long double, std::nano>;
  if (!(time > time.zero()))
    return 0;
  if (real(time) >= real(nanoseconds::max()))
    return nanoseconds::max().count();
  return std::chrono::duration_cast<nanoseconds>(time).count();
}
} // namespace detail

/// How long to wait: any duration of std::chrono, or `forever`. A negative duration is over at once,
/// like one of 0; a longer one than 292 years counts as that.
class timeout {
public:
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> time) noexcept
      : ns_(detail::nanoseconds_of(time)) {}
  /// Nanoseconds, as ipcq.h takes them: -1 for `forever`.
  constexpr std::int64_t count() const noexcept { return ns_; }
  static constexpr timeout endless() noexcept {
    timeout time{std::chrono::nanoseconds::zero()};
    time.ns_ = -1;
    return time;
  }

private:
  std::int64_t ns_;
};
/// Without an end.
inline constexpr timeout forever = timeout::endless();

namespace detail {
inline std::int64_t check(std::int64_t rc) {
  if (rc == -EPIPE)
    throw closed(static_cast<int>(rc));
  if (rc < 0)
    throw error(static_cast<int>(rc));
  return rc;
}
struct close_queue {
  void operator()(ipcq_queue *q) const noexcept { ipcq_close(q); }
};
struct close_shm {
  void operator()(ipcq_shm *shm) const noexcept { ipcq_shm_close(shm); }
};
using queue = std::unique_ptr<ipcq_queue, close_queue>;

/// What never ends a wait.
struct never {
  bool operator()() const noexcept { return false; }
};
/// Calls `wait` with the nanoseconds that remain, again after each signal, until it returns something
/// else or `stop` returns true.
template <class Stop, class Wait> std::int64_t wait_for(timeout time, Stop &stop, Wait &&wait) {
  constexpr bool stoppable = !std::is_same_v<Stop, const never>;
  constexpr std::int64_t longest = 100000000; // a handler may run just before the wait begins
  using clock = std::chrono::steady_clock;
  std::int64_t left = time.count();
  const auto begin = left > 0 ? clock::now() : clock::time_point();
  for (;;) {
    if (stop())
      return -ETIMEDOUT;
    const bool part = stoppable && (left < 0 || left > longest);
    const std::int64_t rc = wait(part ? longest : left);
    if (left == 0 || (rc != -EINTR && !(part && rc == -ETIMEDOUT)))
      return rc;
    if (left > 0) {
      const std::chrono::nanoseconds gone = clock::now() - begin;
      left = gone.count() < time.count() ? time.count() - gone.count() : 0;
    }
  }
}

/// The name for C, to which a zero byte would be its end.
inline const char *c_name(const std::string &name) {
  if (name.find('\0') != std::string::npos)
    throw error(-EINVAL, "the name has a zero byte in it: " + std::string(name.c_str()));
  return name.c_str();
}
inline queue open(const std::string &name, std::uint32_t flags, ipcq_options o) {
  if (o.struct_size == 0) // as in {.start = IPCQ_NEXT}
    o.struct_size = sizeof o;
  const char *c = c_name(name);
  ipcq_queue *q = nullptr;
  const bool waits = (flags & IPCQ_CONSUMER) != 0;
  const timeout time = !waits                  ? timeout(std::chrono::nanoseconds(0))
                       : o.open_timeout_ns < 0 ? forever
                                               : std::chrono::nanoseconds(o.open_timeout_ns);
  const never stop;
  check(wait_for(time, stop, [&](std::int64_t left) {
    o.open_timeout_ns = left;
    return ipcq_open(&q, c, flags, &o);
  }));
  return queue(q);
}

/// What may be written and read in the ring itself.
template <class T> constexpr void check_in_place() {
  static_assert(std::is_trivially_copyable_v<T>, "a message is copied as bytes");
  static_assert(alignof(T) <= 8, "the ring aligns messages to 8 bytes and this type needs more: use push and "
                                 "pop, which copy, instead of claim and peek");
}
/// A type whose values mean the same to another process, as far as a compiler can tell.
template <class T> constexpr void check_message() {
  static_assert(std::is_trivially_copyable_v<T>, "a message is copied as bytes");
  static_assert(!std::is_pointer_v<T> && !std::is_member_pointer_v<T> && !std::is_null_pointer_v<T>,
                "a pointer means nothing to another process");
}
/// A container of plain values in one piece: std::vector, std::array, std::string, std::span.
template <class C, class E = std::remove_pointer_t<decltype(std::declval<const C &>().data())>>
using if_contiguous =
    std::enable_if_t<std::is_trivially_copyable_v<E> && !std::is_pointer_v<E> &&
                     std::is_convertible_v<decltype(std::declval<const C &>().size()), std::size_t>>;
template <class C> std::size_t size_of(const C &container) {
  return container.size() * sizeof(*container.data());
}
/// For what may find no room, or no room in time.
inline bool has_room(std::int64_t rc) {
  if (rc == -EAGAIN || rc == -ETIMEDOUT)
    return false;
  check(rc);
  return true;
}
/// Pushes `data`, and waits for room.
template <class Stop>
bool push_wait(ipcq_queue *q, const void *data, std::size_t length, timeout time, Stop &stop) {
  return has_room(wait_for(
      time, stop, [&](std::int64_t left) { return ipcq_push_wait(q, data, length, left); }));
}
template <class Stop> bool wait(ipcq_queue *q, timeout time, Stop &stop) {
  const std::int64_t rc =
      wait_for(time, stop, [&](std::int64_t left) { return ipcq_wait(q, left); });
  if (rc == -ETIMEDOUT)
    return false;
  check(rc);
  return true;
}
/// For `for`: the messages of a consumer until its queue is closed and drained.
template <class Consumer> class iterator {
public:
  using iterator_category = std::input_iterator_tag;
  using value_type = typename Consumer::message;
  using difference_type = std::ptrdiff_t;
  using pointer = value_type *;
  using reference = value_type &;

  iterator() = default;
  explicit iterator(Consumer &from) : from_(&from) { ++*this; }
  reference operator*() { return *message_; }
  pointer operator->() { return &*message_; }
  iterator &operator++() {
    try {
      message_ = from_->pop_wait(forever);
    } catch (const closed &) {
      from_ = nullptr;
      message_.reset();
    }
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator &a, const iterator &b) noexcept { return a.from_ == b.from_; }
  friend bool operator!=(const iterator &a, const iterator &b) noexcept { return a.from_ != b.from_; }

private:
  Consumer *from_ = nullptr;
  std::optional<value_type> message_;
};
inline std::vector<ipcq_consumer> consumers(const queue &q) {
  std::vector<ipcq_consumer> list(8);
  for (;;) {
    std::int64_t n = ipcq_get_consumers(q.get(), list.data(), sizeof list[0], list.size());
    check(n);
    bool all = static_cast<std::size_t>(n) <= list.size();
    list.resize(static_cast<std::size_t>(n));
    if (all)
      return list;
  }
}
inline std::string schema(const queue &q) {
  std::string json(static_cast<std::size_t>(check(ipcq_schema(q.get(), nullptr, 0))), '\0');
  ipcq_schema(q.get(), json.data(), json.size() + 1);
  return json;
}
inline ipcq_stats stats(const queue &q) {
  ipcq_stats s = IPCQ_STATS_INIT;
  check(ipcq_get_stats(q.get(), &s));
  return s;
}
} // namespace detail

/// Bytes in place. They are the ring's: look at them during the call that gives them, and no longer.
struct bytes_view {
  const std::byte *data;
  std::size_t size;
  const std::byte *begin() const noexcept { return data; }
  const std::byte *end() const noexcept { return data + size; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char *>(data), size}; }
#if __cplusplus >= 202002L
  operator std::span<const std::byte>() const noexcept { return {data, size}; }
#endif
  /// The value that they are.
  template <class T> const T &as() const {
    detail::check_in_place<T>();
    if (size != sizeof(T))
      throw error(-EMSGSIZE, "a message of " + std::to_string(size) + " bytes was taken for a type of " +
                                 std::to_string(sizeof(T)));
    return *reinterpret_cast<const T *>(data);
  }
};

/// All defaults; see ipcq_options. (In C++20, {.start = IPCQ_NEXT} does as well.)
inline ipcq_options options() { return IPCQ_OPTIONS_INIT; }

/// Removes a queue's files.
inline void unlink(const std::string &name) { detail::check(ipcq_unlink(detail::c_name(name))); }

/// A type that IPCQ_RECORD was not told of: its queues do not say what is in them.
template <class T> struct record {
  static constexpr bool declared = false;
};

namespace detail {
/// The kind of a scalar (see ipcq_field), or 0.
template <class T> constexpr char kind() {
  if constexpr (std::is_enum_v<T>)
    return kind<std::underlying_type_t<T>>();
  else if constexpr (std::is_same_v<T, bool>)
    return 'b';
  else if constexpr (std::is_same_v<T, char>)
    return 'S';
  else if constexpr (std::is_integral_v<T> && sizeof(T) <= 8)
    return std::is_signed_v<T> ? 'i' : 'u';
  else if constexpr (std::is_floating_point_v<T>)
    return 'f';
  else
    return 0;
}
/// An array of char is one string.
template <class T>
constexpr bool is_scalar = kind<T>() != 0 || (std::is_array_v<T> && std::rank_v<T> == 1 &&
                                              std::is_same_v<std::remove_extent_t<T>, char>);
/// std::array lies in memory as the array it is.
template <class T> struct plain {
  using type = std::remove_cv_t<T>;
};
template <class T, std::size_t N> struct plain<std::array<T, N>> {
  using type = typename plain<T>::type[N];
};
template <class T, std::size_t N> struct plain<T[N]> {
  using type = typename plain<T>::type[N];
};

template <class Type> constexpr ipcq_field field(const char *name, std::size_t offset) {
  using T = typename plain<Type>::type;
  using E = std::conditional_t<is_scalar<T>, T, std::remove_extent_t<T>>;
  static_assert(is_scalar<E>, "a field is an integer, an enum, a float, a bool, a string, or an array "
                              "of them: take IPCQ_FIELD_AS or IPCQ_RECORD for others");
  return {name, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(sizeof(E)),
          static_cast<std::uint32_t>(kind<std::remove_extent_t<E>>()),
          static_cast<std::uint32_t>(sizeof(T) / sizeof(E)), ""};
}

/// The fields of a type, those of records in it included.
class fields {
public:
  template <class T> static fields of() {
    fields all;
    if constexpr (record<T>::declared)
      record<T>::each(all);
    return all;
  }
  template <class T> void add(const char *member, std::size_t offset) {
    put<typename plain<T>::type>(path_ + member, from_ + offset);
  }
  void describe(ipcq_options &o) const {
    o.fields = list_.data();
    o.field_count = static_cast<std::uint32_t>(list_.size());
  }

private:
  template <class T> void put(const std::string &name, std::size_t offset) {
    names_.push_back(name);
    const char *kept = names_.back().c_str();
    using E = std::remove_extent_t<T>;
    if constexpr (is_scalar<T> || is_scalar<E>) {
      list_.push_back(field<T>(kept, offset));
    } else {
      static_assert(record<std::remove_all_extents_t<T>>::declared || std::rank_v<T> >= 2,
                    "a member of another struct: IPCQ_RECORD has to come for that first");
      list_.push_back({kept, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(sizeof(E)),
                       'V', static_cast<std::uint32_t>(sizeof(T) / sizeof(E)), ""});
      std::string first = std::is_array_v<T> ? name + "[0]" : name;
      if constexpr (std::is_array_v<E>) {
        put<E>(first, offset);
      } else {
        std::string path = std::exchange(path_, first + ".");
        std::size_t from = std::exchange(from_, offset);
        record<E>::each(*this);
        path_ = path;
        from_ = from;
      }
    }
  }

  std::vector<ipcq_field> list_;
  std::deque<std::string> names_; // which stay where they are
  std::string path_;
  std::size_t from_ = 0;
};

/// Options with what the type says of itself.
template <class T> struct typed {
  explicit typed(ipcq_options o) : options(o) {
    check_message<T>();
    if (record<T>::declared && options.fields == nullptr)
      all.describe(options);
    options.message_size = sizeof(T);
  }
  typed(const typed &) = delete;
  fields all = fields::of<T>();
  ipcq_options options;
};
} // namespace detail

/// An ipcq_field for a member of a struct; see ipcq.h. For producer<T> and consumer<T>, IPCQ_RECORD is
/// all that is needed, unless an integer is a date: then list the fields, with IPCQ_FIELD_TIME for the
/// date, in options.fields.
#define IPCQ_FIELD(type, member)                                                                   \
  ::ipcq::detail::field<std::remove_reference_t<decltype((std::declval<type &>().member))>>(       \
      #member, offsetof(type, member))

/// Says what is in a struct: up to 32 members, which may be arrays, and structs that it was told of
/// before. producer<T> then keeps it in the queue, and consumer<T> throws an error with the code
/// -EPROTOTYPE where the queue has anything else. Outside of all namespaces; `type` with its own.
#define IPCQ_RECORD(type, ...)                                                                     \
  template <> struct ipcq::record<type> {                                                          \
    static_assert(std::is_standard_layout_v<type>, "its members have no fixed places");            \
    static constexpr bool declared = true;                                                         \
    template <class All> static void each(All &all) {                                              \
      IPCQ_EACH_(type, __VA_ARGS__)                                                                \
    }                                                                                              \
  };
#define IPCQ_ADD_(type, member)                                                                    \
  all.template add<decltype(type::member)>(#member, offsetof(type, member));

/// Messages of any bytes. With message_size 0, the default, each has its own length.
class byte_producer {
public:
  explicit byte_producer(const std::string &name, const ipcq_options &o = ipcq::options(),
                         std::uint32_t flags = 0)
      : q_(detail::open(name, IPCQ_PRODUCER | flags, o)) {}

  /// Throws if a lossless queue is full; try_push and push_wait do not.
  void push(const void *data, std::size_t length) {
    detail::check(ipcq_push(q_.get(), data, length));
  }
  void push(std::string_view text) { push(text.data(), text.size()); }
  template <class C, class = detail::if_contiguous<C>> void push(const C &values) {
    push(values.data(), detail::size_of(values));
  }
  /// Whether there was room.
  bool try_push(const void *data, std::size_t length) {
    return detail::has_room(ipcq_push(q_.get(), data, length));
  }
  bool try_push(std::string_view text) { return try_push(text.data(), text.size()); }
  template <class C, class = detail::if_contiguous<C>> bool try_push(const C &values) {
    return try_push(values.data(), detail::size_of(values));
  }
  /// Waits for room; whether there was any in time.
  template <class Stop = const detail::never>
  bool push_wait(const void *data, std::size_t length, timeout time, Stop &&stop = {}) {
    return detail::push_wait(q_.get(), data, length, time, stop);
  }
  template <class Stop = const detail::never>
  bool push_wait(std::string_view text, timeout time, Stop &&stop = {}) {
    return push_wait(text.data(), text.size(), time, stop);
  }
  template <class C, class Stop = const detail::never, class = detail::if_contiguous<C>>
  bool push_wait(const C &values, timeout time, Stop &&stop = {}) {
    return push_wait(values.data(), detail::size_of(values), time, stop);
  }
  /// Room for a message of up to `length` bytes, to be written in place; then commit or abort.
  void *claim(std::size_t length) {
    void *slot = nullptr;
    detail::check(ipcq_claim(q_.get(), length, &slot));
    return slot;
  }
  template <class T> T *claim() {
    detail::check_in_place<T>();
    return static_cast<T *>(claim(sizeof(T)));
  }
  void commit(std::size_t length) { detail::check(ipcq_commit(q_.get(), length)); }
  void abort() { detail::check(ipcq_abort(q_.get())); }
  /// Gives the handle up without closing the queue; see ipcq_detach.
  void detach() {
    detail::check(ipcq_detach(q_.get()));
    q_.release();
  }
  ipcq_stats stats() const { return detail::stats(q_); }
  /// What records the messages are, as JSON (see ipcq_schema); empty if the queue does not say.
  std::string schema() const { return detail::schema(q_); }
  /// The consumers attached and known, the slowest first.
  std::vector<ipcq_consumer> consumers() const { return detail::consumers(q_); }
  ipcq_queue *get() const noexcept { return q_.get(); }

private:
  detail::queue q_;
};

/// Receives messages of any bytes.
class byte_consumer {
public:
  struct message {
    std::vector<std::byte> data;
    ipcq_info info;
    std::string_view text() const noexcept {
      return {reinterpret_cast<const char *>(data.data()), data.size()};
    }
  };
  using iterator = detail::iterator<byte_consumer>;

  explicit byte_consumer(const std::string &name, const ipcq_options &o = ipcq::options(),
                         std::uint32_t flags = 0)
      : q_(detail::open(name, IPCQ_CONSUMER | flags, o)) {}

  /// The next message, or nothing if there is none yet.
  std::optional<message> pop() {
    return take([this](message &m) {
      return ipcq_pop(q_.get(), m.data.data(), m.data.size(), &m.info);
    });
  }
  /// The next message, asleep until there is one; nothing when the time is over or `stop` says so.
  template <class Stop = const detail::never>
  std::optional<message> pop_wait(timeout time, Stop &&stop = {}) {
    return take([&](message &m) {
      return detail::wait_for(time, stop, [&](std::int64_t left) {
        return ipcq_pop_wait(q_.get(), m.data.data(), m.data.size(), &m.info, left);
      });
    });
  }
  /// Waits for a message, asleep: whether there is one.
  template <class Stop = const detail::never> bool wait(timeout time, Stop &&stop = {}) {
    return detail::wait(q_.get(), time, stop);
  }
  /// for (auto &m : in): waits for each message, and ends when the queue is closed and drained.
  iterator begin() { return iterator(*this); }
  iterator end() { return {}; }
  /// A descriptor for poll and its like; see ipcq_fd.
  int fd() { return static_cast<int>(detail::check(ipcq_fd(q_.get()))); }
  /// Calls `look(bytes_view, sequence, lost)` on the next message in place and consumes it. The result
  /// of `look` counts only if this returns true: false means that there was no message, or that the
  /// producer overwrote it meanwhile.
  template <class Look> bool peek(Look &&look) {
    ipcq_view v;
    int rc = ipcq_peek(q_.get(), &v);
    if (rc == -EAGAIN)
      return false;
    detail::check(rc);
    look(bytes_view{static_cast<const std::byte *>(v.data), v.length}, v.sequence, v.lost);
    rc = ipcq_release(q_.get(), &v);
    if (rc == -ESTALE)
      return false;
    detail::check(rc);
    return true;
  }
  void seek(std::uint64_t sequence) { detail::check(ipcq_seek(q_.get(), sequence)); }
  ipcq_stats stats() const { return detail::stats(q_); }
  /// What records the messages are, as JSON (see ipcq_schema); empty if the queue does not say.
  std::string schema() const { return detail::schema(q_); }
  /// The consumers attached and known, the slowest first.
  std::vector<ipcq_consumer> consumers() const { return detail::consumers(q_); }
  ipcq_queue *get() const noexcept { return q_.get(); }

private:
  template <class Pop> std::optional<message> take(Pop &&pop) {
    message m{std::vector<std::byte>(256), {}};
    for (;;) {
      std::int64_t rc = pop(m);
      if (rc == -EAGAIN || rc == -ETIMEDOUT)
        return std::nullopt;
      if (rc == -EMSGSIZE) {
        m.data.resize(m.info.length);
        continue;
      }
      m.data.resize(static_cast<std::size_t>(detail::check(rc)));
      return m;
    }
  }

  detail::queue q_;
};

/// Messages that are values of one type.
template <class T> class producer {
public:
  explicit producer(const std::string &name, ipcq_options o = ipcq::options(),
                    std::uint32_t flags = 0)
      : raw_(name, detail::typed<T>(o).options, flags) {}

  void push(const T &value) { raw_.push(&value, sizeof value); }
  bool try_push(const T &value) { return raw_.try_push(&value, sizeof value); }
  template <class Stop = const detail::never>
  bool push_wait(const T &value, timeout time, Stop &&stop = {}) {
    return raw_.push_wait(&value, sizeof value, time, stop);
  }
  /// How many were pushed: all, or fewer when a lossless queue is full.
  std::size_t push(const T *values, std::size_t count) {
    std::int64_t pushed = ipcq_push_many(raw_.get(), values, sizeof(T), count);
    if (pushed == -EAGAIN)
      return 0;
    detail::check(pushed);
    return static_cast<std::size_t>(pushed);
  }
  /// The same of a std::vector, std::array or std::span of values.
  template <class C, class = std::enable_if_t<std::is_convertible_v<
                         decltype(std::declval<const C &>().data()), const T *>>>
  std::size_t push(const C &values) {
    return push(values.data(), values.size());
  }
  /// Room for a value, to be written in place (all of it: an older message's bytes are there); then
  /// commit or abort.
  T *claim() { return raw_.template claim<T>(); }
  void commit() { raw_.commit(sizeof(T)); }
  void abort() { raw_.abort(); }
  /// Gives the handle up without closing the queue; see ipcq_detach.
  void detach() { raw_.detach(); }
  ipcq_stats stats() const { return raw_.stats(); }
  std::string schema() const { return raw_.schema(); }
  std::vector<ipcq_consumer> consumers() const { return raw_.consumers(); }
  ipcq_queue *get() const noexcept { return raw_.get(); }

private:
  byte_producer raw_;
};

/// Receives values of one type.
template <class T> class consumer {
  static_assert(std::is_default_constructible_v<T>, "a message is copied to a value that exists");

public:
  struct message {
    T value;
    std::uint64_t sequence, lost;
  };
  using iterator = detail::iterator<consumer>;

  /// Throws an error with the code -EINVAL if the messages of the queue have another size than T, and
  /// one with the code -EPROTOTYPE if they are other records than IPCQ_RECORD says.
  explicit consumer(const std::string &name, const ipcq_options &o = ipcq::options(),
                    std::uint32_t flags = 0)
      : raw_(name, detail::typed<T>(o).options, flags) {}

  /// The next value, or nothing if there is none yet.
  std::optional<message> pop() {
    return take([this](T &value, ipcq_info &info) {
      return ipcq_pop(raw_.get(), &value, sizeof value, &info);
    });
  }
  /// The next value, asleep until there is one; nothing when the time is over or `stop` says so.
  template <class Stop = const detail::never>
  std::optional<message> pop_wait(timeout time, Stop &&stop = {}) {
    return take([&](T &value, ipcq_info &info) {
      return detail::wait_for(time, stop, [&](std::int64_t left) {
        return ipcq_pop_wait(raw_.get(), &value, sizeof value, &info, left);
      });
    });
  }
  template <class Stop = const detail::never> bool wait(timeout time, Stop &&stop = {}) {
    return raw_.wait(time, stop);
  }
  /// for (auto &m : in): waits for each message, and ends when the queue is closed and drained.
  iterator begin() { return iterator(*this); }
  iterator end() { return {}; }
  /// As byte_consumer::peek, with `look(const T &, sequence, lost)`.
  template <class Look> bool peek(Look &&look) {
    detail::check_in_place<T>();
    return raw_.peek([&look](bytes_view v, std::uint64_t sequence, std::uint64_t lost) {
      look(v.as<T>(), sequence, lost);
    });
  }
  int fd() { return raw_.fd(); }
  /// Up to `count` values that follow each other; how many, and what was lost before the first.
  std::size_t pop(T *values, std::size_t count, ipcq_info *info = nullptr) {
    std::int64_t rc = ipcq_pop_many(raw_.get(), values, sizeof(T), count, info);
    return rc == -EAGAIN ? 0 : static_cast<std::size_t>(detail::check(rc));
  }
  void seek(std::uint64_t sequence) { raw_.seek(sequence); }
  ipcq_stats stats() const { return raw_.stats(); }
  std::string schema() const { return raw_.schema(); }
  std::vector<ipcq_consumer> consumers() const { return raw_.consumers(); }
  ipcq_queue *get() const noexcept { return raw_.get(); }

private:
  template <class Pop> std::optional<message> take(Pop &&pop) {
    message m;
    ipcq_info info;
    std::int64_t rc = pop(m.value, info);
    if (rc == -EAGAIN || rc == -ETIMEDOUT)
      return std::nullopt;
    detail::check(rc);
    m.sequence = info.sequence;
    m.lost = info.lost;
    return m;
  }

  byte_consumer raw_;
};

/// Waits until one of 1 to 128 consumers (`get()` of each) has a message or is at its end: which one,
/// or nothing when the time is over or `stop` says so. To be fair, pop from each before waiting again.
template <class Stop = const detail::never>
std::optional<std::size_t> wait_any(const std::vector<ipcq_queue *> &queues, timeout time,
                                    Stop &&stop = {}) {
  const std::int64_t rc = detail::wait_for(time, stop, [&](std::int64_t left) {
    return ipcq_wait_any(queues.data(), queues.size(), left);
  });
  if (rc == -ETIMEDOUT)
    return std::nullopt;
  return static_cast<std::size_t>(detail::check(rc));
}

/// Shared memory by itself: create() gives a handle that writes, open() one that reads.
class shared_memory {
public:
  static shared_memory create(const std::string &name, std::size_t size,
                              std::uint32_t permissions = 0) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_create(&shm, detail::c_name(name), size, permissions));
    return shared_memory(shm);
  }
  static shared_memory open(const std::string &name) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_open(&shm, detail::c_name(name)));
    return shared_memory(shm);
  }
  static void unlink(const std::string &name) { detail::check(ipcq_shm_unlink(detail::c_name(name))); }

  void write(std::size_t offset, const void *data, std::size_t length) {
    detail::check(ipcq_shm_write(shm_.get(), offset, data, length));
  }
  void read(std::size_t offset, void *buffer, std::size_t length) const {
    detail::check(ipcq_shm_read(shm_.get(), offset, buffer, length));
  }
  /// NULL for a reader.
  void *data() noexcept { return ipcq_shm_data(shm_.get()); }
  const void *cdata() const noexcept { return ipcq_shm_cdata(shm_.get()); }
  std::size_t size() const noexcept { return ipcq_shm_size(shm_.get()); }

private:
  explicit shared_memory(ipcq_shm *shm) : shm_(shm) {}
  std::unique_ptr<ipcq_shm, detail::close_shm> shm_;
};

} // namespace ipcq

// Each of up to 32 members.
#define IPCQ_EACH_(t, ...)                                                                         \
  IPCQ_PICK_(__VA_ARGS__, IPCQ_32_, IPCQ_31_, IPCQ_30_, IPCQ_29_, IPCQ_28_, IPCQ_27_, IPCQ_26_,    \
  IPCQ_25_, IPCQ_24_, IPCQ_23_, IPCQ_22_, IPCQ_21_, IPCQ_20_, IPCQ_19_, IPCQ_18_, IPCQ_17_,        \
  IPCQ_16_, IPCQ_15_, IPCQ_14_, IPCQ_13_, IPCQ_12_, IPCQ_11_, IPCQ_10_, IPCQ_9_, IPCQ_8_,          \
  IPCQ_7_, IPCQ_6_, IPCQ_5_, IPCQ_4_, IPCQ_3_, IPCQ_2_, IPCQ_1_, 0)(t, __VA_ARGS__)
#define IPCQ_PICK_(_1, _2, _3, _4, _5, _6, _7, _8, _9, _10, _11, _12, _13, _14, _15, _16, _17, _18,\
                   _19, _20, _21, _22, _23, _24, _25, _26, _27, _28, _29, _30, _31, _32, it, ...) it
#define IPCQ_1_(t, m) IPCQ_ADD_(t, m)
#define IPCQ_2_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_1_(t, __VA_ARGS__)
#define IPCQ_3_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_2_(t, __VA_ARGS__)
#define IPCQ_4_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_3_(t, __VA_ARGS__)
#define IPCQ_5_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_4_(t, __VA_ARGS__)
#define IPCQ_6_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_5_(t, __VA_ARGS__)
#define IPCQ_7_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_6_(t, __VA_ARGS__)
#define IPCQ_8_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_7_(t, __VA_ARGS__)
#define IPCQ_9_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_8_(t, __VA_ARGS__)
#define IPCQ_10_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_9_(t, __VA_ARGS__)
#define IPCQ_11_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_10_(t, __VA_ARGS__)
#define IPCQ_12_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_11_(t, __VA_ARGS__)
#define IPCQ_13_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_12_(t, __VA_ARGS__)
#define IPCQ_14_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_13_(t, __VA_ARGS__)
#define IPCQ_15_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_14_(t, __VA_ARGS__)
#define IPCQ_16_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_15_(t, __VA_ARGS__)
#define IPCQ_17_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_16_(t, __VA_ARGS__)
#define IPCQ_18_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_17_(t, __VA_ARGS__)
#define IPCQ_19_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_18_(t, __VA_ARGS__)
#define IPCQ_20_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_19_(t, __VA_ARGS__)
#define IPCQ_21_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_20_(t, __VA_ARGS__)
#define IPCQ_22_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_21_(t, __VA_ARGS__)
#define IPCQ_23_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_22_(t, __VA_ARGS__)
#define IPCQ_24_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_23_(t, __VA_ARGS__)
#define IPCQ_25_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_24_(t, __VA_ARGS__)
#define IPCQ_26_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_25_(t, __VA_ARGS__)
#define IPCQ_27_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_26_(t, __VA_ARGS__)
#define IPCQ_28_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_27_(t, __VA_ARGS__)
#define IPCQ_29_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_28_(t, __VA_ARGS__)
#define IPCQ_30_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_29_(t, __VA_ARGS__)
#define IPCQ_31_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_30_(t, __VA_ARGS__)
#define IPCQ_32_(t, m, ...) IPCQ_ADD_(t, m) IPCQ_31_(t, __VA_ARGS__)

#endif // IPCQ_HPP
