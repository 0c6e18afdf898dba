// Failures as values. A function that can fail in a way its caller can act on returns Result<T>;
// exceptions are left to the standard library and never cross a room.
//
//   Result<Digest> parse_digest(std::string_view text) {
//     if (text.empty()) return error(ErrorCode::kInvalid, "digest is empty; expected algorithm:hex");
//     TRY(auto algorithm, parse_algorithm(text));
//     ...
//   }
//
// Inside a coroutine use CO_TRY and CO_OK. All four evaluate their expression once:
//   TRY(decl, expr)     declare `decl` from the value of `expr`, or return its error
//   TRY_OK(expr)        go on if `expr` holds no error, or return it
//   CO_TRY, CO_OK       the same with co_return
#pragma once

#include <fmt/core.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace d7y {

// What kind of failure it is, so that a caller can decide without reading text.
enum class ErrorCode : std::uint8_t {
  kInvalid,          // the caller's argument, or input that can never be right
  kNotFound,         // no such task, file, URL
  kExists,           // already there, and replacing it was not asked for
  kPermission,       // refused for lack of rights
  kUnauthenticated,  // no or wrong credentials
  kCancelled,        // somebody with the right to do so gave up the work
  kTimeout,          // the deadline passed
  kRefused,          // connection refused, host unknown, host or network unreachable
  kReset,            // connection broken in the middle
  kProtocol,         // the other side broke its protocol
  kTooLarge,         // over one of our limits
  kCorrupt,          // bytes that failed verification
  kChanged,          // content changed while it was read
  kDiskFull,         // no space or quota left
  kIo,               // any other failure of a file or device
  kExhausted,        // a limit of rate or number, ours or theirs; try later
  kUnavailable,      // the other side says: not now
  kUnsupported,      // not known here or there
  kPrecondition,     // right request, wrong state
  kClosed,           // the object is shutting down
  kInternal,         // a bug or something that should not be; the message says more
};

// Short stable name of a code, "not found" for kNotFound. For messages and logs.
std::string_view name_of(ErrorCode code);

// One failure: its kind and a sentence that says what was attempted, on what, why it failed, and
// what to do. Never holds secrets. Moved, cheap to return; clone() where two owners are needed.
class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message);
  Error(Error&&) noexcept = default;
  Error& operator=(Error&&) noexcept = default;
  Error clone() const;

  ErrorCode code() const { return box_->code; }
  const std::string& message() const { return box_->message; }

  // HTTP or gRPC status of the other side that caused this; 0 where there is none.
  int status() const { return box_->status; }
  // Machine-readable details that came with it (grpc.md 3g: JSON of a failed origin); may be empty.
  const std::string& details() const { return box_->details; }

  Error with_status(int status) &&;
  Error with_details(std::string details) &&;
  // The same failure seen from one level up: "prefix: message".
  Error in(std::string_view prefix) &&;

 private:
  struct Box {
    ErrorCode code;
    int status = 0;
    std::string message;
    std::string details;
  };
  std::unique_ptr<Box> box_;
};

template <class... Args>
Error error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error(code, fmt::format(format, std::forward<Args>(args)...));
}

template <class T = void>
class [[nodiscard]] Result {
 public:
  using Value = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: implicit by design
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT
  template <class U>
    requires(std::is_convertible_v<U &&, T> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error> && !std::is_same_v<std::remove_cvref_t<U>, T>)
  Result(U&& value) : state_(std::in_place_index<0>, std::forward<U>(value)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }
  bool failed_with(ErrorCode code) const { return !ok() && error().code() == code; }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using Value = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  void value() const {}

  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }
  bool failed_with(ErrorCode code) const { return !ok() && error().code() == code; }

 private:
  std::optional<Error> error_;
};

}  // namespace d7y

#define D7Y_CONCAT_(a, b) a##b
#define D7Y_CONCAT(a, b) D7Y_CONCAT_(a, b)

#define D7Y_TRY_(how, name, decl, ...)    \
  auto&& name = (__VA_ARGS__);            \
  if (!name) how std::move(name).error(); \
  decl = std::move(name).value()
#define D7Y_OK_(how, ...) \
  if (auto&& d7y_ok = (__VA_ARGS__); !d7y_ok) how std::move(d7y_ok).error()

#define TRY(decl, ...) D7Y_TRY_(return, D7Y_CONCAT(d7y_try_, __LINE__), decl, __VA_ARGS__)
#define TRY_OK(...) D7Y_OK_(return, __VA_ARGS__)
#define CO_TRY(decl, ...) D7Y_TRY_(co_return, D7Y_CONCAT(d7y_try_, __LINE__), decl, __VA_ARGS__)
#define CO_OK(...) D7Y_OK_(co_return, __VA_ARGS__)
