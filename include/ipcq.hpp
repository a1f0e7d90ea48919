// ipcq.hpp: the C++17 interface to ipcq, a queue between processes. Header only; link as for C:
// c++ -std=c++17 main.cpp $(pkg-config --cflags --libs ipcq)
// SPDX-License-Identifier: MIT OR Apache-2.0
//
//   struct tick { std::uint64_t time_ns; double price; };
//
//   ipcq::producer<tick> out("ticks");      // one process
//   out.push({now_ns, 9.5});
//
//   ipcq::consumer<tick> in("ticks");       // any number of others
//   for (const auto &m : in)                // ends when the producer has closed the queue
//     use(m.value, m.sequence, m.lost);
//
// This header adds types, exceptions and destructors. What a call does is described in ipcq.h,
// under the C function of the same name.
//
// A handle closes itself, can be moved but not copied, and is used by one thread at a time. If a
// function throws, nothing was pushed or consumed.
//
// SIGNALS. A wait continues after a signal handler has run, unlike in C. To end a wait, set a flag
// in the handler and pass a function that reads it:
//
//   volatile std::sig_atomic_t flag = 0;    // the handler sets it
//   const auto stop = [] { return flag != 0; };
//   for (const auto &m : in.until(stop))
//     use(m.value);
//
// Every call that waits takes such a function as its last argument, and so does the constructor of
// a consumer. The wait calls the function after each signal, and ten times a second. When the
// function returns true, the wait ends as if it had timed out.

#ifndef IPCQ_HPP
#define IPCQ_HPP

#include "ipcq.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L
#include <version>
#endif
#ifdef __cpp_lib_span
#include <span>
#endif

namespace ipcq {

// ---- Errors -------------------------------------------------------------------------------------

/// Base of all exceptions here. code() is a positive errno in std::generic_category, so it can
/// be compared with std::errc. what() names the file, the cause and the remedy.
class error : public std::system_error {
public:
  error(int number, const std::string &text)
      : std::system_error(number, std::generic_category()), text_(text) {}
  const char *what() const noexcept override { return text_.what(); }

private:
  std::runtime_error text_; // can be copied without an exception
};

/// EPIPE: the producer has closed the queue, and this consumer has drained it.
class closed : public error {
public:
  using error::error;
};

/// ESTALE: the queue was replaced, or was removed and its producer ended without closing it. This
/// consumer has drained it. Open the name again.
class replaced : public error {
public:
  using error::error;
};

/// EINTR: the stop function ended a constructor that waited for its queue.
class interrupted : public error {
public:
  using error::error;
};

// ---- Timeouts -----------------------------------------------------------------------------------

/// How long a call may wait: a duration of any type, or std::nullopt for no limit. Zero and
/// negative durations mean "do not wait".
class timeout {
public:
  constexpr timeout(std::nullopt_t = std::nullopt) noexcept {}
  template <class Rep, class Period>
  constexpr timeout(std::chrono::duration<Rep, Period> time) noexcept : ns_(clamp(time)) {}
  template <class Rep, class Period>
  constexpr timeout(std::optional<std::chrono::duration<Rep, Period>> time) noexcept
      : ns_(time ? clamp(*time) : -1) {}
  /// Nanoseconds as ipcq.h takes them; -1 means no limit.
  constexpr std::int64_t count() const noexcept { return ns_; }

private:
  template <class Rep, class Period>
  static constexpr std::int64_t clamp(std::chrono::duration<Rep, Period> time) noexcept {
    using std::chrono::nanoseconds;
    using real = std::chrono::duration<long double, std::nano>;
    if (!(time > time.zero()))
      return 0;
    if (real(time) >= real(nanoseconds::max()))
      return nanoseconds::max().count();
    return std::chrono::duration_cast<nanoseconds>(time).count();
  }
  std::int64_t ns_ = -1;
};

/// No limit.
inline constexpr timeout forever{};

// ---- Options ------------------------------------------------------------------------------------
// See ipcq_options for each member. In C++20: ipcq::producer<tick> out("ticks", {.capacity = 64});

enum class delivery : std::uint32_t { lossy = IPCQ_LOSSY, lossless = IPCQ_LOSSLESS };
enum class start : std::uint32_t { oldest = IPCQ_OLDEST, newest = IPCQ_NEWEST, next = IPCQ_NEXT };

struct producer_options {
  std::uint64_t capacity = 0; // 0: the default, or that of the queue if it exists
  ipcq::delivery delivery = ipcq::delivery::lossy;
  bool exclusive = false; // IPCQ_EXCL: throw EEXIST if the queue exists
  bool replace = false;   // IPCQ_REPLACE: replace the queue if it differs or is damaged
  std::uint32_t permissions = 0;
  std::uint32_t control_permissions = 0;
  std::uint32_t max_consumers = 0;
  std::uint32_t min_consumers = 0;
  timeout evict_after = forever;       // else positive
  std::uint32_t message_size = 0;      // only for byte_producer; 0: each has its own length
  std::vector<ipcq_field> fields = {}; // empty: what IPCQ_RECORD says
};

struct consumer_options {
  ipcq::start start = ipcq::start::oldest;
  std::optional<std::uint64_t> start_sequence = {}; // if given, start here instead
  timeout open_timeout = std::chrono::seconds(0); // how long to wait for the queue to appear
  bool observer = false; // IPCQ_OBSERVER: never hold a producer back
  std::string consumer_name = {};
  std::uint32_t message_size = 0;      // only for byte_consumer; 0: any
  std::vector<ipcq_field> fields = {}; // empty: what IPCQ_RECORD says
};

// ---- Private: which types can be messages -------------------------------------------------------

class bytes_view;

namespace detail {
template <class T> struct plain {
  using type = T;
};
/// T without const, and std::array as the array that it is in memory.
template <class T> using plain_t = typename plain<std::remove_cv_t<T>>::type;
template <class T, std::size_t N> struct plain<std::array<T, N>> {
  using type = plain_t<T>[N];
};
template <class T, std::size_t N> struct plain<T[N]> {
  using type = plain_t<T>[N];
};

/// Whether values of a type refer to memory of this process, as far as a compiler can tell.
template <class T> struct refers : std::false_type {};
template <> struct refers<bytes_view> : std::true_type {};
template <class C, class Traits>
struct refers<std::basic_string_view<C, Traits>> : std::true_type {};
template <class T> struct refers<std::reference_wrapper<T>> : std::true_type {};
template <class T> struct refers<std::initializer_list<T>> : std::true_type {};
#ifdef __cpp_lib_span
template <class T, std::size_t N> struct refers<std::span<T, N>> : std::true_type {};
#endif
template <class T> constexpr bool is_pointer_or_view() {
  using E = std::remove_all_extents_t<plain_t<T>>;
  return std::is_pointer_v<E> || std::is_member_pointer_v<E> || std::is_null_pointer_v<E> ||
         refers<E>::value;
}
template <class T> struct refers<std::optional<T>> : std::bool_constant<is_pointer_or_view<T>()> {};

/// std::is_trivially_copyable, also with clang for a struct that has a const struct in it.
template <class T>
inline constexpr bool is_trivial =
    std::is_trivially_copyable_v<T> ||
    (std::is_trivially_copy_constructible_v<T> && std::is_trivially_destructible_v<T> &&
     !std::is_copy_assignable_v<T> && !std::is_move_assignable_v<T>);
template <class T> constexpr void check_message() {
  static_assert(is_trivial<T>, "a message is copied as bytes");
  static_assert(!is_pointer_or_view<T>(), "a pointer means nothing to another process");
  static_assert(sizeof(T) <= std::size_t{1} << 30, "a message has at most 1 GiB");
}
/// For types that are read or written in the ring.
template <class T> constexpr void check_in_place() {
  check_message<T>();
  static_assert(alignof(T) <= 8, "the ring aligns messages to 8 bytes and this type needs more: "
                                 "use push and pop, which copy, instead of claim and peek");
}

/// The elements of a C array, std::array, std::vector, std::string, std::span etc.
template <class C>
using element_t = std::remove_pointer_t<decltype(std::data(std::declval<C &>()))>;
template <class E> inline constexpr bool is_element = is_trivial<E> && !is_pointer_or_view<E>();
template <class C, class E = element_t<C>> using if_elements = std::enable_if_t<is_element<E>>;
template <class C, class E = element_t<C>>
using if_buffer = std::enable_if_t<is_element<E> && !std::is_const_v<E>>;
/// "text" and char[N] are strings that end at a zero byte, as for std::string_view.
template <class C, class E = element_t<C>>
using if_bytes =
    std::enable_if_t<is_element<E> && !(std::is_array_v<C> && std::is_same_v<E, const char>)>;
} // namespace detail

// ---- Messages -----------------------------------------------------------------------------------

/// The metadata of a message.
struct meta {
  std::uint64_t sequence = 0;
  std::uint64_t lost = 0; ///< messages lost since this consumer's previous message
  std::size_t length = 0;
};

/// A run of messages: `sequence` and `lost` are those of the first. False if there are none.
struct batch : meta {
  std::size_t count = 0;
  explicit operator bool() const noexcept { return count != 0; }
};

/// A view of bytes that it does not own. Strings and containers of plain values convert to it, and
/// byte_consumer::peek passes one. In C++20 it converts to and from std::span<const std::byte>.
class bytes_view {
public:
  constexpr bytes_view() noexcept = default;
  bytes_view(const void *data, std::size_t size) noexcept
      : data_(static_cast<const std::byte *>(data)), size_(size) {}
  bytes_view(std::string_view text) noexcept : bytes_view(text.data(), text.size()) {}
  bytes_view(const char *text) noexcept : bytes_view(std::string_view(text)) {}
  bytes_view(std::nullptr_t) = delete; // also rejects the literal 0
  template <class C, class = detail::if_bytes<const C>>
  bytes_view(const C &values) noexcept
      : bytes_view(std::data(values), std::size(values) * sizeof(*std::data(values))) {}

  const std::byte *data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  const std::byte *begin() const noexcept { return data_; }
  const std::byte *end() const noexcept { return data_ + size_; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char *>(data_), size_}; }
  /// The bytes as one value, in place. Throws EMSGSIZE if it has another size.
  template <class T> const T &as() const {
    detail::check_in_place<T>();
    if (size_ != sizeof(T))
      throw error(EMSGSIZE, "a message of " + std::to_string(size_) +
                                " bytes was read as a type of " + std::to_string(sizeof(T)));
    return *reinterpret_cast<const T *>(data_);
  }

private:
  const std::byte *data_ = nullptr;
  std::size_t size_ = 0;
};

// ---- Private: calls of ipcq.h -------------------------------------------------------------------

namespace detail {

[[noreturn]] inline void fail(int number, const std::string &text) {
  switch (number) {
  case EPIPE:
    throw closed(number, text);
  case ESTALE:
    throw replaced(number, text);
  case EINTR:
    throw interrupted(number, text);
  default:
    throw error(number, text);
  }
}
inline std::size_t check(std::int64_t rc) {
  if (rc < 0)
    fail(static_cast<int>(-rc), ipcq_errmsg());
  return static_cast<std::size_t>(rc);
}
/// False if there was no message or no room before the timeout, or before `stop` returned true.
inline bool found(std::int64_t rc) {
  if (rc == -EAGAIN || rc == -ETIMEDOUT || rc == -EINTR)
    return false;
  check(rc);
  return true;
}

/// The stop function of calls without one.
struct never {
  constexpr bool operator()() const noexcept { return false; }
};
/// Calls `wait` with the nanoseconds that remain, and again after a signal. Returns -EINTR if
/// `stop` has returned true. `expired` is what `wait` returns when it times out.
template <class Stop, class Wait>
std::int64_t wait_for(timeout time, Stop &stop, Wait &&wait, int expired = -ETIMEDOUT) {
  constexpr bool stoppable = !std::is_same_v<std::remove_cv_t<Stop>, never>;
  constexpr std::int64_t longest = 100000000; // a handler may run just before the wait begins
  using clock = std::chrono::steady_clock;
  std::int64_t left = time.count();
  const auto begin = left > 0 ? clock::now() : clock::time_point();
  for (;;) {
    if (stop())
      return -EINTR;
    const bool part = stoppable && (left < 0 || left > longest);
    const std::int64_t rc = wait(part ? longest : left);
    if (left == 0 || (rc != -EINTR && !(part && rc == expired)))
      return rc;
    if (left > 0) {
      const std::chrono::nanoseconds gone = clock::now() - begin;
      left = gone.count() < time.count() ? time.count() - gone.count() : 0;
    }
  }
}

/// The text as a C string. A zero byte would cut it off, so it is refused.
inline const char *c_str(const std::string &text) {
  if (text.find('\0') != std::string::npos)
    throw error(EINVAL, "the name has a zero byte in it: " + std::string(text.c_str()));
  return text.c_str();
}
/// What both kinds of options have in common.
template <class Options>
ipcq_options to_c(const Options &o, std::size_t message_size,
                  const std::vector<ipcq_field> &fields) {
  ipcq_options c = IPCQ_OPTIONS_INIT;
  c.message_size = message_size != 0 ? static_cast<std::uint32_t>(message_size) : o.message_size;
  const auto &list = o.fields.empty() ? fields : o.fields;
  c.fields = list.empty() ? nullptr : list.data();
  c.field_count = static_cast<std::uint32_t>(list.size());
  return c;
}

struct close_queue {
  void operator()(ipcq_queue *q) const noexcept { ipcq_close(q); }
};
struct close_shm {
  void operator()(ipcq_shm *shm) const noexcept { ipcq_shm_close(shm); }
};

// ---- What every producer and consumer has -------------------------------------------------------

class handle {
public:
  ipcq_stats stats() const {
    ipcq_stats s = IPCQ_STATS_INIT;
    check(ipcq_get_stats(get(), &s));
    return s;
  }
  /// The attached consumers, the slowest first.
  std::vector<ipcq_consumer> consumers() const {
    std::vector<ipcq_consumer> list(8);
    for (;;) {
      const std::size_t n =
          check(ipcq_get_consumers(get(), list.data(), sizeof list[0], list.size()));
      const bool all = n <= list.size();
      list.resize(n);
      if (all)
        return list;
    }
  }
  /// The record schema as JSON; empty if the queue has none.
  std::string schema() const {
    std::string json(check(ipcq_schema(get(), nullptr, 0)), '\0');
    check(ipcq_schema(get(), json.data(), json.size() + 1));
    return json;
  }
  /// For calls of ipcq.h.
  ipcq_queue *get() const noexcept { return q_.get(); }

protected:
  handle() = default;
  std::unique_ptr<ipcq_queue, close_queue> q_;
};

class sender : public handle {
public:
  /// Drops the claim.
  void abort() { check(ipcq_abort(get())); }
  /// Closes the handle, but not the queue.
  void detach() {
    check(ipcq_detach(get()));
    q_.release();
  }

protected:
  sender(const std::string &name, const producer_options &o, std::size_t message_size = 0,
         const std::vector<ipcq_field> &fields = {}) {
    ipcq_options c = to_c(o, message_size, fields);
    c.permissions = o.permissions;
    c.control_permissions = o.control_permissions;
    c.capacity = o.capacity;
    c.delivery = static_cast<std::uint32_t>(o.delivery);
    c.max_consumers = o.max_consumers;
    c.min_consumers = o.min_consumers;
    if (o.evict_after.count() == 0)
      throw error(EINVAL, "evict_after is not more than zero: leave it out, or set ipcq::forever");
    c.evict_after_ns = o.evict_after.count() < 0 ? 0 : o.evict_after.count();
    std::uint32_t flags = IPCQ_PRODUCER;
    flags |= o.exclusive ? std::uint32_t{IPCQ_EXCL} : 0U;
    flags |= o.replace ? std::uint32_t{IPCQ_REPLACE} : 0U;
    ipcq_queue *q = nullptr;
    check(ipcq_open(&q, c_str(name), flags, &c));
    q_.reset(q);
  }

  template <class Stop>
  bool push_wait_bytes(const void *data, std::size_t length, timeout time, Stop &stop) {
    return found(wait_for(time, stop, [&](std::int64_t left) {
      return ipcq_push_wait(get(), data, length, left);
    }));
  }
  std::size_t push_many_bytes(const void *data, std::size_t stride, std::size_t count) {
    const std::int64_t pushed = ipcq_push_many(get(), data, stride, count);
    return found(pushed) ? static_cast<std::size_t>(pushed) : 0;
  }
};

/// Pops when the loop asks for a message, not when it advances, so a loop that ends early takes no
/// message that it does not read. The end is an iterator without a consumer.
template <class Consumer, class Stop> class iterator {
public:
  using iterator_category = std::input_iterator_tag;
  using value_type = typename Consumer::message;
  using difference_type = std::ptrdiff_t;
  using pointer = value_type *;
  using reference = value_type &;

  iterator() = default;
  iterator(Consumer &from, Stop &stop) : from_(&from), stop_(&stop) {}
  reference operator*() const {
    fetch();
    return *message_;
  }
  pointer operator->() const { return &**this; }
  iterator &operator++() {
    fetch();
    message_.reset();
    return *this;
  }
  void operator++(int) { ++*this; }
  friend bool operator==(const iterator &a, const iterator &b) { return a.fetch() == b.fetch(); }
  friend bool operator!=(const iterator &a, const iterator &b) { return !(a == b); }

private:
  /// False at the end.
  bool fetch() const {
    if (message_ || from_ == nullptr)
      return message_.has_value();
    try {
      if (auto next = from_->pop_wait(forever, *stop_)) {
        message_.emplace(std::move(*next));
        return true;
      }
    } catch (const closed &) {
    }
    from_ = nullptr;
    return false;
  }

  mutable Consumer *from_ = nullptr;
  Stop *stop_ = nullptr;
  mutable std::optional<value_type> message_;
};
template <class Consumer, class Stop> class range {
public:
  range(Consumer &from, Stop stop) : from_(&from), stop_(std::move(stop)) {}
  iterator<Consumer, Stop> begin() { return {*from_, stop_}; }
  iterator<Consumer, Stop> end() { return {}; }

private:
  Consumer *from_;
  Stop stop_;
};
inline constexpr never never_stop{};

/// `Self` is the consumer that derives from this.
template <class Self> class receiver : public handle {
public:
  /// Waits until there is a message; consumes nothing. False if the wait times out.
  template <class Stop = const never> bool wait(timeout time = forever, Stop &&stop = {}) {
    return found(
        wait_for(time, stop, [this](std::int64_t left) { return ipcq_wait(get(), left); }));
  }
  /// For loops: `for (auto &m : in)` waits for each message. The loop ends when the queue is closed
  /// and drained.
  auto begin() { return iterator<Self, const never>(self(), never_stop); }
  auto end() { return iterator<Self, const never>(); }
  /// For loops that also end when `stop` returns true: `for (auto &m : in.until(stop))`.
  template <class Stop> range<Self, Stop> until(Stop stop) { return {self(), std::move(stop)}; }
  /// A descriptor for poll etc.
  int fd() { return static_cast<int>(check(ipcq_fd(get()))); }
  void seek(std::uint64_t sequence) { check(ipcq_seek(get(), sequence)); }

protected:
  template <class Stop>
  receiver(const std::string &name, const consumer_options &o, Stop &stop,
           std::size_t message_size = 0, const std::vector<ipcq_field> &fields = {}) {
    ipcq_options c = to_c(o, message_size, fields);
    c.start = o.start_sequence ? std::uint32_t{IPCQ_AT} : static_cast<std::uint32_t>(o.start);
    c.start_sequence = o.start_sequence.value_or(0);
    c.consumer_name = o.consumer_name.empty() ? nullptr : c_str(o.consumer_name);
    const std::uint32_t flags = IPCQ_CONSUMER | (o.observer ? std::uint32_t{IPCQ_OBSERVER} : 0U);
    const char *file = c_str(name);
    ipcq_queue *q = nullptr;
    const std::int64_t rc = wait_for(
        o.open_timeout, stop,
        [&](std::int64_t left) {
          c.open_timeout_ns = left;
          return ipcq_open(&q, file, flags, &c);
        },
        -ENOENT);
    if (rc == -EINTR)
      fail(EINTR, "stopped before the queue was open: " + name);
    check(rc);
    q_.reset(q);
  }

  batch pop_many_bytes(void *buffer, std::size_t stride, std::size_t count) {
    ipcq_info info;
    const std::int64_t rc = ipcq_pop_many(get(), buffer, stride, count, &info);
    if (!found(rc))
      return {};
    return {meta_of(info), static_cast<std::size_t>(rc)};
  }
  template <class Look> bool peek_bytes(Look &&look) {
    ipcq_view v;
    if (!found(ipcq_peek(get(), &v)))
      return false;
    const meta about = meta_of(v);
    look(bytes_view(v.data, v.length), about);
    const int rc = ipcq_release(get(), &v);
    if (rc == -ESTALE)
      return false;
    check(rc);
    return true;
  }
  template <class Info> static meta meta_of(const Info &info) noexcept {
    return {info.sequence, info.lost, info.length};
  }

private:
  Self &self() { return static_cast<Self &>(*this); }
};
} // namespace detail

// ---- Records ------------------------------------------------------------------------------------

/// An ipcq_field for a member of a struct, as in C.
#define IPCQ_FIELD(type, member)                                                                   \
  ::ipcq::detail::field<std::remove_reference_t<decltype((std::declval<type &>().member))>>(       \
      #member, offsetof(type, member))

/// Declares the fields of a struct: up to 32 members. They may be arrays, or structs with their own
/// IPCQ_RECORD. A producer<type> then stores the fields in the queue, and a consumer<type> throws
/// EPROTOTYPE if the queue has other fields. Use it at global scope. For a date or a time span,
/// list the fields in the options instead, with IPCQ_FIELD_TIME.
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

// ---- Private: the fields of a record ------------------------------------------------------------

/// A type without IPCQ_RECORD.
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

template <class Type> constexpr ipcq_field field(const char *name, std::size_t offset) {
  using T = plain_t<Type>;
  using E = std::conditional_t<is_scalar<T>, T, std::remove_extent_t<T>>;
  static_assert(is_scalar<E>, "a field is an integer, an enum, a float, a bool, a string, or an "
                              "array of them: use IPCQ_FIELD_AS or IPCQ_RECORD for others");
  return {name, static_cast<std::uint32_t>(offset), static_cast<std::uint32_t>(sizeof(E)),
          static_cast<std::uint32_t>(kind<std::remove_extent_t<E>>()),
          static_cast<std::uint32_t>(sizeof(T) / sizeof(E)), ""};
}

/// The fields of a type and of the records in it.
class fields {
public:
  template <class T> static fields of() {
    fields all;
    if constexpr (record<T>::declared)
      record<T>::each(all);
    return all;
  }
  template <class T> void add(const char *member, std::size_t offset) {
    put<plain_t<T>>(path_ + member, from_ + offset);
  }
  const std::vector<ipcq_field> &list() const noexcept { return list_; }

private:
  template <class T> void put(const std::string &name, std::size_t offset) {
    names_.push_back(name);
    const char *kept = names_.back().c_str();
    using E = std::remove_extent_t<T>;
    if constexpr (is_scalar<T> || is_scalar<E>) {
      list_.push_back(field<T>(kept, offset));
    } else {
      static_assert(record<std::remove_all_extents_t<T>>::declared || std::rank_v<T> >= 2,
                    "a member of another struct: that needs its own IPCQ_RECORD first");
      list_.push_back({kept, static_cast<std::uint32_t>(offset),
                       static_cast<std::uint32_t>(sizeof(E)), 'V',
                       static_cast<std::uint32_t>(sizeof(T) / sizeof(E)), ""});
      const std::string first = std::is_array_v<T> ? name + "[0]" : name;
      if constexpr (std::is_array_v<E>) {
        put<E>(first, offset);
      } else {
        const std::string path = std::exchange(path_, first + ".");
        const std::size_t from = std::exchange(from_, offset);
        record<E>::each(*this);
        path_ = path;
        from_ = from;
      }
    }
  }

  std::vector<ipcq_field> list_;
  std::deque<std::string> names_; // a deque does not move its elements
  std::string path_;
  std::size_t from_ = 0;
};
} // namespace detail

// ---- Messages of one type -----------------------------------------------------------------------

/// Sends values of one type. The type is trivially copyable and has no pointers, references or
/// views, because these mean nothing to another process. In a struct, the compiler finds them only
/// among the members that IPCQ_RECORD lists.
template <class T> class producer : public detail::sender {
public:
  explicit producer(const std::string &name, const producer_options &o = {})
      : sender(name, o, sizeof(T), detail::fields::of<T>().list()) {
    detail::check_message<T>();
  }

  /// Throws EAGAIN if a lossless queue is full.
  void push(const T &value) { detail::check(ipcq_push(get(), &value, sizeof value)); }
  /// False if a lossless queue is full.
  bool try_push(const T &value) { return detail::found(ipcq_push(get(), &value, sizeof value)); }
  /// False if the queue stays full for that long.
  template <class Stop = const detail::never>
  bool push_wait(const T &value, timeout time = forever, Stop &&stop = {}) {
    return push_wait_bytes(&value, sizeof value, time, stop);
  }
  /// Pushes the values of a container. Returns how many were pushed: fewer than all if a lossless
  /// queue is full.
  template <class C, class = std::enable_if_t<std::is_same_v<
                         std::remove_const_t<detail::element_t<const C>>, T>>>
  std::size_t push_many(const C &values) {
    return push_many(std::data(values), std::size(values));
  }
  std::size_t push_many(std::initializer_list<T> values) {
    return push_many(values.begin(), values.size());
  }
  std::size_t push_many(const T *values, std::size_t count) {
    return push_many_bytes(values, sizeof(T), count);
  }
  /// Room for one value in the ring. It still has the bytes of an older message: write all of it,
  /// then commit or abort.
  T *claim() {
    detail::check_in_place<T>();
    void *slot = nullptr;
    detail::check(ipcq_claim(get(), sizeof(T), &slot));
    return static_cast<T *>(slot);
  }
  /// Publishes the value.
  void commit() { detail::check(ipcq_commit(get(), sizeof(T))); }
};

/// Receives values of one type.
template <class T> class consumer : public detail::receiver<consumer<T>> {
  using base = detail::receiver<consumer<T>>;

public:
  struct message : meta {
    message() {} // leaves the value as it is: the pop fills it
    T value;
  };

  /// Throws EINVAL if the messages of the queue have another size. If it waits for the queue and
  /// `stop` returns true, it throws `interrupted`.
  template <class Stop = const detail::never>
  explicit consumer(const std::string &name, const consumer_options &o = {}, Stop &&stop = {})
      : base(name, o, stop, sizeof(T), detail::fields::of<T>().list()) {
    detail::check_message<T>();
    static_assert(std::is_default_constructible_v<T>, "a message is copied to a value that exists");
  }

  /// Takes the next message. Returns nullopt if the queue is empty.
  std::optional<message> pop() {
    return take([this](T &value, ipcq_info &info) {
      return ipcq_pop(base::get(), &value, sizeof value, &info);
    });
  }
  /// Waits for the next message and takes it. Returns nullopt if the wait times out.
  template <class Stop = const detail::never>
  std::optional<message> pop_wait(timeout time = forever, Stop &&stop = {}) {
    return take([&](T &value, ipcq_info &info) {
      return detail::wait_for(time, stop, [&](std::int64_t left) {
        return ipcq_pop_wait(base::get(), &value, sizeof value, &info, left);
      });
    });
  }
  /// Takes as many messages as there are and as fit into a container of T; never waits.
  template <class C, class = std::enable_if_t<std::is_same_v<detail::element_t<C>, T>>>
  batch pop_many(C &&values) {
    return pop_many(std::data(values), std::size(values));
  }
  batch pop_many(T *values, std::size_t count) {
    return base::pop_many_bytes(values, sizeof(T), count);
  }
  /// Calls `look(const T &, const meta &)` with the next message in the ring, and consumes it.
  /// False if there was none, or if the producer overwrote it during the call. In the second case,
  /// discard what `look` computed. If `look` throws, the message is not consumed.
  template <class Look> bool peek(Look &&look) {
    detail::check_in_place<T>();
    return base::peek_bytes(
        [&look](bytes_view v, const meta &about) { look(v.template as<T>(), about); });
  }

private:
  template <class Pop> std::optional<message> take(Pop &&pop_value) {
    std::optional<message> m(std::in_place);
    ipcq_info info;
    if (detail::found(pop_value(m->value, info)))
      static_cast<meta &>(*m) = base::meta_of(info);
    else
      m.reset();
    return m;
  }
};

// ---- Messages of any bytes ----------------------------------------------------------------------

/// As producer, for bytes. Strings and containers convert to bytes_view: out.push("text").
class byte_producer : public detail::sender {
public:
  explicit byte_producer(const std::string &name, const producer_options &o = {})
      : sender(name, o) {}

  void push(bytes_view message) {
    detail::check(ipcq_push(get(), message.data(), message.size()));
  }
  bool try_push(bytes_view message) {
    return detail::found(ipcq_push(get(), message.data(), message.size()));
  }
  template <class Stop = const detail::never>
  bool push_wait(bytes_view message, timeout time = forever, Stop &&stop = {}) {
    return push_wait_bytes(message.data(), message.size(), time, stop);
  }
  /// Each element of the container is a message.
  template <class C, class = detail::if_elements<const C>> std::size_t push_many(const C &values) {
    return push_many(std::data(values), sizeof(*std::data(values)), std::size(values));
  }
  std::size_t push_many(const void *data, std::size_t stride, std::size_t count) {
    return push_many_bytes(data, stride, count);
  }
  /// Room for up to `length` bytes in the ring. Commit what was written, or abort.
  std::byte *claim(std::size_t length) {
    void *slot = nullptr;
    detail::check(ipcq_claim(get(), length, &slot));
    return static_cast<std::byte *>(slot);
  }
  template <class T> T *claim() {
    detail::check_in_place<T>();
    return reinterpret_cast<T *>(claim(sizeof(T)));
  }
  void commit(std::size_t length) { detail::check(ipcq_commit(get(), length)); }
};

/// As consumer, for bytes.
class byte_consumer : public detail::receiver<byte_consumer> {
public:
  struct message : meta {
    std::vector<std::byte> data;
    std::string_view text() const noexcept { return bytes_view(data).text(); }
    template <class T> const T &as() const { return bytes_view(data).as<T>(); }
  };

  template <class Stop = const detail::never>
  explicit byte_consumer(const std::string &name, const consumer_options &o = {}, Stop &&stop = {})
      : receiver(name, o, stop) {}

  std::optional<message> pop() {
    return take(
        [this](ipcq_info &info) { return ipcq_pop(get(), buffer_.data(), buffer_.size(), &info); });
  }
  template <class Stop = const detail::never>
  std::optional<message> pop_wait(timeout time = forever, Stop &&stop = {}) {
    return take([&](ipcq_info &info) {
      return detail::wait_for(time, stop, [&](std::int64_t left) {
        return ipcq_pop_wait(get(), buffer_.data(), buffer_.size(), &info, left);
      });
    });
  }
  /// Each element of the container is a message.
  template <class C, class = detail::if_buffer<C>> batch pop_many(C &&values) {
    return pop_many(std::data(values), sizeof(*std::data(values)), std::size(values));
  }
  batch pop_many(void *buffer, std::size_t stride, std::size_t count) {
    return pop_many_bytes(buffer, stride, count);
  }
  /// Calls `look(bytes_view, const meta &)`. The view is valid during the call.
  template <class Look> bool peek(Look &&look) { return peek_bytes(std::forward<Look>(look)); }

private:
  template <class Pop> std::optional<message> take(Pop &&pop_bytes) {
    for (;;) {
      ipcq_info info;
      const std::int64_t rc = pop_bytes(info);
      if (rc == -EMSGSIZE) {
        buffer_.resize(info.length);
        continue;
      }
      if (!detail::found(rc))
        return std::nullopt;
      const auto begin = buffer_.begin();
      return message{meta_of(info), {begin, begin + static_cast<std::ptrdiff_t>(rc)}};
    }
  }

  std::vector<std::byte> buffer_ = std::vector<std::byte>(256);
};

// ---- Several consumers, names, shared memory ----------------------------------------------------

/// Waits until one of 1 to 128 consumers has a message or its queue has ended, and returns the
/// lowest such index, or nullopt if the wait times out. Pass what get() returns for each. To be
/// fair to all, pop from each before waiting again.
template <class Stop = const detail::never>
std::optional<std::size_t> wait_any(const std::vector<ipcq_queue *> &queues, timeout time = forever,
                                    Stop &&stop = {}) {
  const std::int64_t rc = detail::wait_for(time, stop, [&](std::int64_t left) {
    return ipcq_wait_any(queues.data(), queues.size(), left);
  });
  if (!detail::found(rc))
    return std::nullopt;
  return static_cast<std::size_t>(rc);
}

/// Removes a queue's files.
inline void unlink(const std::string &name) { detail::check(ipcq_unlink(detail::c_str(name))); }

/// Shared memory by itself: create() gives a handle that writes, open() one that reads.
class shared_memory {
public:
  static shared_memory create(const std::string &name, std::size_t size,
                              std::uint32_t permissions = 0) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_create(&shm, detail::c_str(name), size, permissions));
    return shared_memory(shm);
  }
  static shared_memory open(const std::string &name) {
    ipcq_shm *shm = nullptr;
    detail::check(ipcq_shm_open(&shm, detail::c_str(name)));
    return shared_memory(shm);
  }
  static void unlink(const std::string &name) {
    detail::check(ipcq_shm_unlink(detail::c_str(name)));
  }

  void write(std::size_t offset, bytes_view bytes) {
    detail::check(ipcq_shm_write(shm_.get(), offset, bytes.data(), bytes.size()));
  }
  void read(std::size_t offset, void *buffer, std::size_t length) const {
    detail::check(ipcq_shm_read(shm_.get(), offset, buffer, length));
  }
  /// Null for a reader.
  void *data() noexcept { return ipcq_shm_data(shm_.get()); }
  const void *cdata() const noexcept { return ipcq_shm_cdata(shm_.get()); }
  std::size_t size() const noexcept { return ipcq_shm_size(shm_.get()); }

private:
  explicit shared_memory(ipcq_shm *shm) : shm_(shm) {}
  std::unique_ptr<ipcq_shm, detail::close_shm> shm_;
};

} // namespace ipcq

// ---- Private: the members of IPCQ_RECORD --------------------------------------------------------

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
