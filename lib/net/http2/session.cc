#include "net/http2/session.h"

#include <fmt/format.h>
#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <utility>

namespace d7y::http2 {

namespace {

// Below this a body is copied into the output: an own segment of a vectored write costs more.
constexpr std::size_t kCopied = 4096;
// DATA frames of small bodies; what every peer accepts.
constexpr std::size_t kPlainFrame = 16384;
constexpr std::size_t kBigFrame = 64u << 10;
// Weight of misbehaviour a connection may collect before it is ended.
constexpr int kGlitchLimit = 1000;

nghttp2_nv to_nv(const Field& field) {
  // nghttp2 takes non-const pointers and does not write through them.
  auto* name = reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.name.data()));
  auto* value = reinterpret_cast<std::uint8_t*>(const_cast<char*>(field.value.data()));
  std::uint8_t flags = field.lasting ? NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE : 0;
  return {name, value, field.name.size(), field.value.size(), flags};
}

// A header list for nghttp2, on the stack if it is short.
class NameValues {
 public:
  explicit NameValues(std::size_t count) {
    if (count > inline_.size()) spilled_.resize(count);
    data_ = spilled_.empty() ? inline_.data() : spilled_.data();
  }
  void add(const Field& field) { data_[size_++] = to_nv(field); }
  const nghttp2_nv* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  std::array<nghttp2_nv, 16> inline_;
  std::vector<nghttp2_nv> spilled_;
  nghttp2_nv* data_ = nullptr;
  std::size_t size_ = 0;
};

std::string_view view(nghttp2_rcbuf* buffer) {
  auto bytes = nghttp2_rcbuf_get_buf(buffer);
  return {reinterpret_cast<const char*>(bytes.base), bytes.len};
}

}  // namespace

std::string_view name_of(H2Error code) {
  static constexpr std::array<std::string_view, 14> kNames = {"NO_ERROR",
                                                              "PROTOCOL_ERROR",
                                                              "INTERNAL_ERROR",
                                                              "FLOW_CONTROL_ERROR",
                                                              "SETTINGS_TIMEOUT",
                                                              "STREAM_CLOSED",
                                                              "FRAME_SIZE_ERROR",
                                                              "REFUSED_STREAM",
                                                              "CANCEL",
                                                              "COMPRESSION_ERROR",
                                                              "CONNECT_ERROR",
                                                              "ENHANCE_YOUR_CALM",
                                                              "INADEQUATE_SECURITY",
                                                              "HTTP_1_1_REQUIRED"};
  auto index = static_cast<std::size_t>(code);
  return index < kNames.size() ? kNames[index] : "an unknown error";
}

// ---------------------------------------------------------------------------------------- Stream

Stream::~Stream() {
  if (session_ == nullptr) return;
  auto* session = session_;
  if (!closing_) nghttp2_submit_rst_stream(session->session_, NGHTTP2_FLAG_NONE, id_, NGHTTP2_CANCEL);
  session->detach(*this);
  session->output_ready();
}

void Stream::send(Bytes small) {
  if (chunks_.empty() || chunks_.back().big != nullptr || chunks_.back().small.size() > kCopied) {
    chunks_.emplace_back();
  }
  chunks_.back().small.append(as_text(small));
  unsent_ += small.size();
  if (std::exchange(deferred_, false)) {
    nghttp2_session_resume_data(session_->session_, id_);
    session_->output_ready();
  }
}

void Stream::send(std::string bytes) {
  if (bytes.size() <= kCopied) return send(as_bytes(bytes));
  send(std::make_shared<const std::string>(std::move(bytes)));
}

void Stream::send(std::shared_ptr<const std::string> bytes) {
  if (bytes->size() <= kCopied) return send(as_bytes(*bytes));
  unsent_ += bytes->size();
  chunks_.push_back({{}, std::move(bytes)});
  if (std::exchange(deferred_, false)) {
    nghttp2_session_resume_data(session_->session_, id_);
    session_->output_ready();
  }
}

void Stream::finish() {
  if (finished_) return;
  finished_ = true;
  if (std::exchange(deferred_, false)) {
    nghttp2_session_resume_data(session_->session_, id_);
    session_->output_ready();
  }
}

void Stream::finish(std::span<const Field> trailers) {
  if (finished_) return;
  trailers_.reserve(trailers.size());
  for (const Field& field : trailers)
    trailers_.push_back({std::string(field.name), std::string(field.value)});
  finish();
}

void Stream::finish_lasting(std::span<const Field> trailers) {
  if (finished_) return;
  lasting_trailers_ = trailers;
  finish();
}

void Stream::rewind() {
  chunks_.clear();
  head_ = offset_ = unsent_ = 0;
  finished_ = false;
  trailers_.clear();
  lasting_trailers_ = {};
  rewind_unsent();
}

void Stream::rewind_unsent() {
  deferred_ = sent_any_ = headers_sent_ = closing_ = remote_finished_ = fields_too_large_ = false;
  field_bytes_ = 0;
}

void Stream::reset(H2Error code) {
  if (session_ == nullptr || closing_) return;
  closing_ = true;
  nghttp2_submit_rst_stream(session_->session_, NGHTTP2_FLAG_NONE, id_, static_cast<std::uint32_t>(code));
  session_->output_ready();
}

void Stream::consume(std::size_t count) {
  count = std::min(count, unconsumed_);
  if (count == 0 || session_ == nullptr) return;
  unconsumed_ -= count;
  nghttp2_session_consume_stream(session_->session_, id_, count);
  session_->returned(count);
  session_->output_ready();
}

// ------------------------------------------------------------------------- nghttp2's callbacks

struct Callbacks {
  static Session& self(void* user) { return *static_cast<Session*>(user); }

  static int on_begin_headers(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& session = self(user);
    session.current_ = nullptr;
    if (frame->hd.type != NGHTTP2_HEADERS) return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
      Stream* stream = session.events_.on_new_stream();
      if (stream == nullptr) {
        nghttp2_submit_rst_stream(session.session_, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                  NGHTTP2_REFUSED_STREAM);
        return 0;
      }
      session.attach(*stream, frame->hd.stream_id);
      nghttp2_session_set_stream_user_data(session.session_, frame->hd.stream_id, stream);
    }
    session.current_ = session.find(frame->hd.stream_id);
    if (session.current_ != nullptr) {
      session.current_->field_bytes_ = 0;
      session.current_->status_seen_ = session.current_->informational_ = false;
    }
    return 0;
  }

  static int on_header(nghttp2_session*, const nghttp2_frame*, nghttp2_rcbuf* name, nghttp2_rcbuf* value,
                       std::uint8_t, void* user) {
    Session& session = self(user);
    Stream* stream = session.current_;
    if (stream == nullptr) return 0;
    auto name_view = view(name), value_view = view(value);
    stream->field_bytes_ += name_view.size() + value_view.size() + 32;
    if (stream->field_bytes_ > session.options_.max_header_list) {
      stream->fields_too_large_ = true;
      // A few bytes of HPACK can stand for megabytes; do not even walk through them.
      bool absurd = stream->field_bytes_ / 4 > session.options_.max_header_list;
      return absurd ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE : 0;
    }
    if (name_view == ":status") {
      stream->status_seen_ = true;
      stream->informational_ = value_view.size() == 3 && value_view[0] == '1';
    }
    stream->on_field(name_view, value_view);
    return 0;
  }

  static void end_of_stream(Stream& stream) {
    if (stream.remote_finished_) return;
    stream.remote_finished_ = true;
    stream.on_end();
  }

  static int on_frame_recv(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& session = self(user);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
      case NGHTTP2_HEADERS: {
        Stream* stream = std::exchange(session.current_, nullptr);
        if (stream == nullptr) return 0;
        FieldsKind kind = FieldsKind::kTrailers;
        if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
          kind = FieldsKind::kRequest;
        } else if (stream->status_seen_) {
          kind = stream->informational_ ? FieldsKind::kInformational : FieldsKind::kResponse;
        }
        stream->on_fields_end(kind);
        // The event may have let the stream go.
        if (end && (stream = session.find(frame->hd.stream_id)) != nullptr) end_of_stream(*stream);
        return 0;
      }
      case NGHTTP2_DATA: {
        if (frame->hd.length == 0 && !end) session.glitch(1);
        if (end) {
          if (Stream* stream = session.find(frame->hd.stream_id)) end_of_stream(*stream);
        }
        return 0;
      }
      case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
          session.events_.on_ping_ack();
        } else {
          session.events_.on_ping();
        }
        return 0;
      case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
          session.remote_settings_seen_ = true;
          session.events_.on_settings();
        }
        return 0;
      case NGHTTP2_RST_STREAM:
        if (Stream* stream = session.find(frame->hd.stream_id); stream != nullptr && !stream->closing_) {
          session.events_.on_remote_reset();
        }
        return 0;
      case NGHTTP2_PRIORITY: session.glitch(1); return 0;
      case NGHTTP2_GOAWAY: {
        const auto& goaway = frame->goaway;
        session.goaway_last_ = goaway.last_stream_id;
        std::string_view debug(reinterpret_cast<const char*>(goaway.opaque_data), goaway.opaque_data_len);
        session.events_.on_goaway(goaway.last_stream_id, static_cast<H2Error>(goaway.error_code), debug);
        return 0;
      }
      default: return 0;
    }
  }

  static int on_invalid_frame(nghttp2_session*, const nghttp2_frame*, int, void* user) {
    self(user).glitch(10);
    return 0;
  }

  static int on_data(nghttp2_session*, std::uint8_t, std::int32_t id, const std::uint8_t* data,
                     std::size_t size, void* user) {
    Session& session = self(user);
    if (session.glitches_ > 0) --session.glitches_;
    Stream* stream = session.find(id);
    if (stream == nullptr) {
      // Nobody will read it.
      nghttp2_session_consume(session.session_, id, size);
      session.output_ready();
      return 0;
    }
    stream->unconsumed_ += size;
    session.unread_ += size;
    if (session.unread_ > session.options_.connection_window) {
      session.window_debt_ += size;
    } else {
      nghttp2_session_consume_connection(session.session_, size);
      session.output_ready();
    }
    stream->on_data({reinterpret_cast<const std::byte*>(data), size});
    return 0;
  }

  static int on_stream_close(nghttp2_session*, std::int32_t id, std::uint32_t code, void* user) {
    Session& session = self(user);
    if (Stream* stream = session.find(id)) {
      bool unseen = code == NGHTTP2_REFUSED_STREAM;
      session.close(*stream, static_cast<H2Error>(code), !unseen);
    }
    return 0;
  }

  static int on_frame_send(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Session& session = self(user);
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) return 0;
    ++session.payload_frames_;
    Stream* stream = session.find(frame->hd.stream_id);
    if (stream == nullptr) return 0;
    stream->headers_sent_ = true;
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (end && session.options_.server && !stream->remote_finished_ && !stream->closing_) {
      // The answer is complete and the request is not: tell the client to stop. Queued only now, it
      // cannot overtake the trailers. Rust clients end a stream on nothing else (Dragonfly grpc 4.2).
      stream->closing_ = true;
      nghttp2_submit_rst_stream(session.session_, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR);
    }
    return 0;
  }

  static int on_frame_not_send(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    Session& session = self(user);
    if (frame->hd.type != NGHTTP2_HEADERS || session.options_.server) return 0;
    for (Stream* stream = session.first_; stream != nullptr; stream = stream->after_) {
      if (stream->id_ != frame->hd.stream_id) continue;
      session.close(*stream, H2Error::kRefusedStream, false);
      break;
    }
    return 0;
  }

  static ssize_t read_length(nghttp2_session*, std::uint8_t, std::int32_t id, std::int32_t connection_window,
                             std::int32_t stream_window, std::uint32_t max_frame, void* user) {
    Stream* stream = self(user).find(id);
    std::size_t wanted = stream != nullptr && stream->unsent_ > kPlainFrame ? kBigFrame : kPlainFrame;
    auto allowed = std::min(static_cast<std::size_t>(std::min(connection_window, stream_window)),
                            static_cast<std::size_t>(max_frame));
    return static_cast<ssize_t>(std::min(wanted, allowed));
  }

  static ssize_t read_body(nghttp2_session*, std::int32_t id, std::uint8_t*, std::size_t length,
                           std::uint32_t* flags, nghttp2_data_source*, void* user) {
    Session& session = self(user);
    Stream* stream = session.find(id);
    if (stream == nullptr) return NGHTTP2_ERR_DEFERRED;  // its RST_STREAM is on the way
    std::size_t count = std::min(length, stream->unsent_);
    if (count == 0 && !stream->finished_) {
      stream->deferred_ = true;
      return NGHTTP2_ERR_DEFERRED;
    }
    if (count > 0) *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (stream->finished_ && count == stream->unsent_) {
      *flags |= NGHTTP2_DATA_FLAG_EOF;
      if (!stream->trailers_.empty() || !stream->lasting_trailers_.empty()) {
        *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        NameValues fields(stream->trailers_.size() + stream->lasting_trailers_.size());
        for (const auto& trailer : stream->trailers_) fields.add({trailer.name, trailer.value});
        for (const auto& trailer : stream->lasting_trailers_) fields.add(trailer);
        if (nghttp2_submit_trailer(session.session_, id, fields.data(), fields.size()) != 0) {
          return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        }
      }
    }
    return static_cast<ssize_t>(count);
  }

  static int send_data(nghttp2_session*, nghttp2_frame* frame, const std::uint8_t* head, std::size_t length,
                       nghttp2_data_source*, void* user) {
    Session& session = self(user);
    Output& output = *session.output_;
    if (output.size() >= session.output_limit_) return NGHTTP2_ERR_WOULDBLOCK;
    Stream* stream = session.find(frame->hd.stream_id);
    if (stream == nullptr || stream->unsent_ < length) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    output.append(Bytes(reinterpret_cast<const std::byte*>(head), 9));
    stream->sent_any_ = true;
    stream->unsent_ -= length;
    while (length > 0) {
      auto& chunk = stream->chunks_[stream->head_];
      auto part = chunk.bytes().substr(stream->offset_, length);
      if (chunk.big) {
        output.append(chunk.big, as_bytes(part));
      } else {
        output.append(as_bytes(part));
      }
      length -= part.size();
      stream->offset_ += part.size();
      if (stream->offset_ == chunk.bytes().size()) {
        chunk = {};
        stream->offset_ = 0;
        ++stream->head_;
      }
    }
    if (stream->head_ == stream->chunks_.size()) {
      stream->chunks_.clear();
      stream->head_ = 0;
    }
    stream->on_progress();
    return 0;
  }

  static int on_error(nghttp2_session*, int, const char* message, std::size_t length, void* user) {
    self(user).fault_.assign(message, std::min<std::size_t>(length, 256));
    return 0;
  }

  static nghttp2_session_callbacks* make() {
    nghttp2_session_callbacks* callbacks = nullptr;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return nullptr;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_send);
    nghttp2_session_callbacks_set_data_source_read_length_callback(callbacks, read_length);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
    nghttp2_session_callbacks_set_error_callback2(callbacks, on_error);
    return callbacks;
  }
};

// --------------------------------------------------------------------------------------- Session

Session::Session(const SessionOptions& options, Events& events) : options_(options), events_(events) {
  nghttp2_option* option = nullptr;
  nghttp2_session_callbacks* callbacks = Callbacks::make();
  nghttp2_option_new(&option);
  nghttp2_option_set_no_auto_window_update(option, 1);
  nghttp2_option_set_no_closed_streams(option, 1);
  nghttp2_option_set_peer_max_concurrent_streams(option, 1u << 20);  // until its SETTINGS say less
  // Counted by our owner, whose clock is the world's.
  nghttp2_option_set_stream_reset_rate_limit(option, 1ull << 62, 1ull << 62);
  int failed = options.server ? nghttp2_session_server_new2(&session_, callbacks, this, option)
                              : nghttp2_session_client_new2(&session_, callbacks, this, option);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);
  if (failed != 0) std::abort();  // out of memory

  std::vector<nghttp2_settings_entry> settings = {
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window},
      {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, std::clamp<std::uint32_t>(options.max_frame, 16384, (1u << 24) - 1)},
      {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, options.max_header_list},
  };
  if (options.server) {
    settings.push_back({NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams});
  } else {
    settings.push_back({NGHTTP2_SETTINGS_ENABLE_PUSH, 0});
  }
  nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size());
  nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0,
                                        static_cast<std::int32_t>(options.connection_window));
}

Session::~Session() {
  drop_streams(H2Error::kCancel, true);
  nghttp2_session_del(session_);
}

Result<void> Session::receive(Bytes bytes) {
  auto taken =
      nghttp2_session_mem_recv(session_, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  if (nghttp2_session_want_write(session_) != 0) output_ready();
  if (taken >= 0) return {};
  return error(ErrorCode::kProtocol, "the other side broke HTTP/2: {}{}{}",
               nghttp2_strerror(static_cast<int>(taken)), fault_.empty() ? "" : ", ", fault_);
}

Result<void> Session::pull(Output& output, std::size_t limit) {
  output_ = &output;
  output_limit_ = limit;
  ssize_t count = 0;
  while (output.size() < limit) {
    const std::uint8_t* data = nullptr;
    count = nghttp2_session_mem_send(session_, &data);
    if (count <= 0) break;
    output.append(Bytes(reinterpret_cast<const std::byte*>(data), static_cast<std::size_t>(count)));
  }
  output_ = nullptr;
  if (count >= 0) return {};
  return error(ErrorCode::kInternal, "cannot make HTTP/2 frames: {}",
               nghttp2_strerror(static_cast<int>(count)));
}

bool Session::finished() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

bool Session::wants_write() const { return nghttp2_session_want_write(session_) != 0; }

void Session::request(Stream& stream, std::span<const Field> fields, bool body) {
  NameValues values(fields.size());
  for (const Field& field : fields) values.add(field);
  nghttp2_data_provider provider{{.ptr = nullptr}, Callbacks::read_body};
  auto id = nghttp2_submit_request(session_, nullptr, values.data(), values.size(),
                                   body ? &provider : nullptr, &stream);
  if (id < 0) {
    stream.on_close(H2Error::kRefusedStream, false);
    return;
  }
  attach(stream, id);
  output_ready();
}

void Session::respond(Stream& stream, std::span<const Field> fields, bool body) {
  if (stream.session_ != this) return;
  NameValues values(fields.size());
  for (const Field& field : fields) values.add(field);
  nghttp2_data_provider provider{{.ptr = nullptr}, Callbacks::read_body};
  nghttp2_submit_response(session_, stream.id_, values.data(), values.size(), body ? &provider : nullptr);
  output_ready();
}

void Session::inform(Stream& stream, std::string_view status) {
  if (stream.session_ != this) return;
  const auto field = to_nv({":status", status});
  nghttp2_submit_headers(session_, NGHTTP2_FLAG_NONE, stream.id_, nullptr, &field, 1, nullptr);
  output_ready();
}

void Session::ping() {
  nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr);
  output_ready();
}

void Session::shutdown_notice() {
  nghttp2_submit_shutdown_notice(session_);
  output_ready();
}

void Session::goaway(H2Error code, std::string_view debug) {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        static_cast<std::uint32_t>(code), reinterpret_cast<const std::uint8_t*>(debug.data()),
                        debug.size());
  output_ready();
}

void Session::terminate(H2Error code, std::string_view debug) {
  nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session_),
                        static_cast<std::uint32_t>(code), reinterpret_cast<const std::uint8_t*>(debug.data()),
                        debug.size());
  nghttp2_session_terminate_session(session_, static_cast<std::uint32_t>(code));
  if (fault_.empty()) fault_.assign(debug);
  output_ready();
}

void Session::drop_streams(H2Error code, bool processed) {
  while (first_ != nullptr) close(*first_, code, processed);
}

std::uint32_t Session::remote_max_header_list() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
}

std::uint32_t Session::remote_max_concurrent_streams() const {
  return nghttp2_session_get_remote_settings(session_, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void Session::attach(Stream& stream, std::int32_t id) {
  stream.session_ = this;
  stream.id_ = id;
  stream.before_ = nullptr;
  stream.after_ = first_;
  if (first_ != nullptr) first_->before_ = &stream;
  first_ = &stream;
  ++open_streams_;
}

void Session::detach(Stream& stream) {
  nghttp2_session_set_stream_user_data(session_, stream.id_, nullptr);
  if (current_ == &stream) current_ = nullptr;
  (stream.before_ != nullptr ? stream.before_->after_ : first_) = stream.after_;
  if (stream.after_ != nullptr) stream.after_->before_ = stream.before_;
  stream.before_ = stream.after_ = nullptr;
  stream.session_ = nullptr;
  stream.deferred_ = false;
  --open_streams_;
  returned(std::exchange(stream.unconsumed_, 0));
}

void Session::close(Stream& stream, H2Error code, bool processed) {
  detach(stream);
  stream.on_close(code, processed);
}

void Session::returned(std::size_t count) {
  unread_ -= count;
  if (window_debt_ > 0 && unread_ <= options_.connection_window / 2) {
    nghttp2_session_consume_connection(session_, std::exchange(window_debt_, 0));
    output_ready();
  }
}

void Session::glitch(int weight) {
  glitches_ += weight;
  if (glitches_ > kGlitchLimit) {
    glitches_ = -1'000'000;  // once
    terminate(H2Error::kEnhanceYourCalm, "too many useless or broken frames");
  }
}

Stream* Session::find(std::int32_t id) {
  return static_cast<Stream*>(nghttp2_session_get_stream_user_data(session_, id));
}

}  // namespace d7y::http2
