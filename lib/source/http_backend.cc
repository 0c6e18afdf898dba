#include "source/http_backend.h"

#include <algorithm>
#include <charconv>

#include "net/http/range.h"
#include "source/http_answer.h"
#include "source/landings.h"
#include "source/listing.h"

namespace d7y::source {
namespace {

constexpr std::size_t kErrorBodyBytes = 64 << 10;  // read away so that the connection is kept
constexpr std::size_t kTrustContexts = 8;          // kept, of requests that bring their own authorities

// The bytes of an answer, and what they must add up to.
class HttpBody final : public Body {
 public:
  HttpBody(Gates::Place place, std::optional<http::Response> response, Info info,
           std::optional<std::uint64_t> length)
      : place_(std::move(place)), response_(std::move(response)), info_(std::move(info)), length_(length) {}

  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline deadline) override {
    if (!response_ || buffer.empty()) co_return std::size_t{0};
    auto got = co_await response_->read(buffer, deadline);
    if (!got) {
      auto why = std::move(got).error();
      auto details = backend_error_json(why.message(), {}, 0);
      co_return std::move(why).with_details(std::move(details));
    }
    done_ += *got;
    if (length_ && done_ > *length_) {
      co_return error(ErrorCode::kProtocol, "{}: the origin sends more than the {} bytes it announced",
                      redacted(info_.url), *length_);
    }
    if (*got == 0 && length_ && done_ < *length_) {
      co_return error(ErrorCode::kReset, "{}: the origin broke off after {} of {} bytes", redacted(info_.url),
                      done_, *length_);
    }
    // A place is for requests under way.
    if (response_->complete()) place_ = {};
    co_return *got;
  }
  Bare bare() override {
    auto there = response_ ? response_->bare() : http::Response::Bare{};
    return {there.stream, there.left};
  }
  void took(std::uint64_t bytes) override {
    done_ += bytes;
    response_->took(bytes);
    if (response_->complete()) place_ = {};
  }
  const Info& info() const override { return info_; }
  std::optional<std::uint64_t> length() const override { return length_; }

 private:
  Gates::Place place_;
  std::optional<http::Response> response_;
  Info info_;
  std::optional<std::uint64_t> length_;
  std::uint64_t done_ = 0;
};

}  // namespace

struct HttpBackend::Inside {
  Inside(http::Client& http_client, HttpBackendOptions given)
      : client(http_client),
        options(std::move(given)),
        gates(options.max_per_origin, options.max_total),
        landings(options.redirects_kept) {}

  Result<std::shared_ptr<net::TlsContext>> trust_for(const Request& request);
  Result<http::Request> make(const Request& request, std::string method);
  Task<Result<http::Response>> ask(http::Request request, Deadline deadline);
  Result<http::Request> make_read(const Request& request, Span span, const Version& pinned);
  // Asks where the pinned version was found before, if that is known, else where the request says.
  Task<Result<http::Response>> ask_for(const Request& request, Span span, const Version& pinned,
                                       Deadline deadline);
  void landed(const Request& request, const Info& info, TimePoint now);
  Task<Result<Info>> stat(const Request& request, Deadline deadline);
  Task<Result<Info>> probe(const Request& request, Deadline deadline);

  http::Client& client;
  HttpBackendOptions options;
  Gates gates;
  Landings landings;
  // Contexts by the authorities they trust, most recently used last.
  std::vector<std::pair<std::string, std::shared_ptr<net::TlsContext>>> trusts;
};

std::string_view user_agent() { return "d7y/" D7Y_VERSION; }

HttpBackend::HttpBackend(http::Client& client, HttpBackendOptions options)
    : inside_(std::make_unique<Inside>(client, std::move(options))) {}
HttpBackend::~HttpBackend() = default;

// Null: the client's own.
Result<std::shared_ptr<net::TlsContext>> HttpBackend::Inside::trust_for(const Request& request) {
  if (request.trust_pem.empty() && !request.insecure_skip_verify) return std::shared_ptr<net::TlsContext>();
  const std::string key = request.insecure_skip_verify ? std::string() : request.trust_pem;
  const auto found =
      std::find_if(trusts.begin(), trusts.end(), [&](auto& entry) { return entry.first == key; });
  if (found != trusts.end()) {
    std::rotate(found, found + 1, trusts.end());
    return trusts.back().second;
  }
  net::TlsClientOptions tls;
  tls.verify = !request.insecure_skip_verify;
  if (tls.verify) tls.trust_pem.push_back(request.trust_pem);
  TRY(auto context, net::TlsContext::client(std::move(tls)));
  if (trusts.size() == kTrustContexts) trusts.erase(trusts.begin());
  trusts.emplace_back(key, context);
  return context;
}

Result<http::Request> HttpBackend::Inside::make(const Request& request, std::string method) {
  http::Request out;
  out.method = std::move(method);
  out.url = request.url;
  for (const auto& header : request.headers) {
    const bool ours = http::same_name(header.name, "Range") || http::same_name(header.name, "If-Range") ||
                      http::same_name(header.name, "Accept-Encoding");
    if (http::same_name(header.name, "Host"))
      out.host = header.value;
    else if (!ours)
      out.headers.add(header.name, header.value);
  }
  for (const auto& header : options.default_headers) {
    if (!out.headers.has(header.name)) out.headers.add(header.name, header.value);
  }
  if (!out.headers.has("User-Agent")) out.headers.add("User-Agent", std::string(user_agent()));
  // The object's own bytes: ranges and digests are about nothing else.
  out.headers.add("Accept-Encoding", "identity");
  out.redirects.allow_downgrade = options.allow_downgrade || request.insecure_skip_verify;
  TRY(out.tls, trust_for(request));
  return out;
}

Task<Result<http::Response>> HttpBackend::Inside::ask(http::Request request, Deadline deadline) {
  auto response = co_await client.fetch(std::move(request), deadline);
  if (response) co_return response;
  auto why = std::move(response).error();
  auto details = backend_error_json(why.message(), {}, why.status());
  co_return std::move(why).with_details(std::move(details));
}

Result<http::Request> HttpBackend::Inside::make_read(const Request& request, Span span,
                                                     const Version& pinned) {
  TRY(auto asked, make(request, "GET"));
  if (!span.is_whole()) asked.headers.add("Range", http::to_range(span.offset, span.length));
  // An origin that honours these says 412 instead of sending another version; one that does not is
  // found out by its answer.
  if (!pinned.etag.empty()) {
    asked.headers.add("If-Match", pinned.etag);
  } else if (!pinned.last_modified.empty()) {
    asked.headers.add("If-Unmodified-Since", pinned.last_modified);
  }
  return asked;
}

namespace {
// A redirect may be for this caller alone, and for this version.
std::string landing_key(const Request& request, const Version& version) {
  auto key = fmt::format("{}\n{}\n{}\n{}\n{}", request.url, version.etag, version.last_modified,
                         version.length.value_or(0), request.insecure_skip_verify);
  for (const auto& header : request.headers) key += fmt::format("\n{}:{}", header.name, header.value);
  return key + "\n" + request.trust_pem;
}
}  // namespace

Task<Result<http::Response>> HttpBackend::Inside::ask_for(const Request& request, Span span,
                                                          const Version& pinned, Deadline deadline) {
  auto asked = make_read(request, span, pinned);
  if (!asked) co_return std::move(asked).error();
  Loop& loop = co_await this_loop();
  const auto key = landing_key(request, pinned);
  if (const auto* url = pinned.known() ? landings.find(key, loop.now()) : nullptr) {
    auto there = *asked;
    there.url = *url;
    there.host.clear();
    http::drop_credentials(there.headers);
    auto answered = co_await ask(std::move(there), deadline);
    const bool served = answered && (answered->status() == 200 || answered->status() == 206);
    if (served || deadline.passed(loop.now())) co_return answered;
    landings.forget(key);
    if (answered) (void)co_await answered->discard(kErrorBodyBytes, deadline);
  }
  auto answered = co_await ask(std::move(*asked), deadline);
  co_return answered;
}

void HttpBackend::Inside::landed(const Request& request, const Info& info, TimePoint now) {
  const auto asked = origin_of(request.url), found = origin_of(info.url);
  if (asked && found && *asked != *found && info.version.known())
    landings.add(landing_key(request, info.version), info.url, now);
}

// Learns about an object by asking for its first byte.
Task<Result<Info>> HttpBackend::Inside::probe(const Request& request, Deadline deadline) {
  auto asked = make(request, "GET");
  if (!asked) co_return std::move(asked).error();
  asked->headers.add("Range", "bytes=0-0");
  auto response = co_await ask(std::move(*asked), deadline);
  if (!response) co_return std::move(response).error();
  const int status = response->status();
  if (status == 206) {
    auto part = believe_part(*response, Span{0, 1});
    if (!part) co_return std::move(part).error();
    (void)co_await response->discard(kErrorBodyBytes, deadline);
    co_return std::move(part->info);
  }
  if (status == 200) {
    auto info = info_of(*response, "GET");
    // Small objects are read away to keep the connection; of others the connection is the price.
    (void)co_await response->discard(kErrorBodyBytes, deadline);
    co_return std::move(info);
  }
  if (status == 416 || status == 400) {  // there is no first byte, say
    if (const auto empty = empty_object(*response)) {
      (void)co_await response->discard(kErrorBodyBytes, deadline);
      co_return *empty;
    }
    (void)co_await response->discard(kErrorBodyBytes, deadline);
    auto plain = make(request, "GET");
    if (!plain) co_return std::move(plain).error();
    auto whole = co_await ask(std::move(*plain), deadline);
    if (!whole) co_return std::move(whole).error();
    if (whole->status() != 200) co_return error_of(*whole, "GET");
    co_return info_of(*whole, "GET");
  }
  auto refused = error_of(*response, "GET");
  (void)co_await response->discard(kErrorBodyBytes, deadline);
  co_return std::move(refused);
}

Task<Result<Info>> HttpBackend::stat(const Request& request, Deadline deadline) {
  auto key = origin_of(request.url);
  if (!key) co_return std::move(key).error();
  auto place = co_await inside_->gates.enter(std::move(*key), deadline);
  if (!place) co_return std::move(place).error().in(redacted(request.url));
  auto info = co_await inside_->stat(request, deadline);
  Loop& loop = co_await this_loop();
  if (info) inside_->landed(request, *info, loop.now());
  co_return info;
}

namespace {
// What GET would hear as well. Others may come of HEAD, which many servers know less well.
bool is_about_more_than_head(int status) {
  for (int sure : {401, 407, 408, 410, 425, 429, 451, 503}) {
    if (status == sure) return true;
  }
  return false;
}
}  // namespace

Task<Result<Info>> HttpBackend::Inside::stat(const Request& request, Deadline deadline) {
  auto asked = make(request, "HEAD");
  if (!asked) co_return std::move(asked).error();
  auto head = co_await ask(std::move(*asked), deadline);
  if (!head) {
    // Some servers hang up, or answer what is no HTTP.
    const bool cannot = head.failed_with(ErrorCode::kReset) || head.failed_with(ErrorCode::kProtocol);
    if (!cannot) co_return std::move(head).error();
    auto info = co_await probe(request, deadline);
    co_return info;
  }
  const int status = head->status();
  if (status == 200) {
    auto info = info_of(*head, "HEAD");
    // Says all that matters: how long it is and whether it can be read in parts. Whoever has no body for HEAD
    // may say that it has 0 bytes.
    if (info.length && *info.length > 0 && head->headers().has("Accept-Ranges")) co_return std::move(info);
    auto better = co_await probe(request, deadline);
    if (better) co_return better;
    co_return std::move(info);
  }
  if (is_about_more_than_head(status)) co_return error_of(*head, "HEAD");
  auto info = co_await probe(request, deadline);
  co_return info;
}

Task<Result<std::unique_ptr<Body>>> HttpBackend::read(const Request& request, Span span,
                                                      const Version& pinned, Deadline deadline) {
  if (span.length && *span.length == 0) {
    co_return error(ErrorCode::kInvalid, "{}: an empty range was asked for", redacted(request.url));
  }
  auto key = origin_of(request.url);
  if (!key) co_return std::move(key).error();
  auto place = co_await inside_->gates.enter(std::move(*key), deadline);
  if (!place) co_return std::move(place).error().in(redacted(request.url));

  auto answered = co_await inside_->ask_for(request, span, pinned, deadline);
  if (!answered) co_return std::move(answered).error();
  auto response = std::move(answered).value();

  Info info;
  std::optional<std::uint64_t> length;
  const int status = response.status();
  if (status == 206 && !span.is_whole()) {
    auto part = believe_part(response, span);
    if (!part) co_return std::move(part).error();
    info = std::move(part->info);
    length = part->length;
  } else if (status == 200 && span.offset == 0) {
    info = info_of(response, "GET");
    length = info.length;
  } else if (status == 200) {
    co_return with_details_of(response,
                              error(ErrorCode::kUnsupported, "{}: the origin sends no ranges, only the whole",
                                    redacted(request.url)));
  } else if (status == 416 && span.offset == 0 && !pinned.known() && empty_object(response)) {
    info = *empty_object(response);
    auto emptied = co_await response.discard(kErrorBodyBytes, deadline);
    std::unique_ptr<Body> nothing =
        std::make_unique<HttpBody>(Gates::Place(), std::nullopt, std::move(info), std::uint64_t{0});
    co_return std::move(nothing);
  } else {
    auto refused = refusal_of(response, span, pinned);
    (void)co_await response.discard(kErrorBodyBytes, deadline);
    co_return std::move(refused);
  }
  if (!pinned.agrees_with(info.version)) co_return changed(response, pinned, info.version);
  Loop& loop = co_await this_loop();
  inside_->landed(request, info, loop.now());
  std::unique_ptr<Body> body =
      std::make_unique<HttpBody>(std::move(place).value(), std::move(response), std::move(info), length);
  co_return std::move(body);
}

Task<Result<std::vector<Entry>>> HttpBackend::list(const Request& request, Deadline deadline) {
  auto key = origin_of(request.url);
  if (!key) co_return std::move(key).error();
  auto place = co_await inside_->gates.enter(std::move(*key), deadline);
  if (!place) co_return std::move(place).error().in(redacted(request.url));

  auto asked = inside_->make(request, "GET");
  if (!asked) co_return std::move(asked).error();
  asked->headers.set("Accept", "application/json, text/html;q=0.9, */*;q=0.5");
  auto response = co_await inside_->ask(std::move(*asked), deadline);
  if (!response) co_return std::move(response).error();
  if (response->status() != 200) co_return error_of(*response, "GET");
  auto page = http::parse_http_url(response->url());
  if (!page) co_return std::move(page).error();
  if (!page->url.path().ends_with('/')) {
    co_return error(ErrorCode::kUnsupported, "{} is no folder: its URL does not end in \"/\"", page->shown());
  }
  const std::string type(response->headers().get("Content-Type").value_or(""));
  auto text = co_await response->read_all(inside_->options.listing_bytes, deadline);
  if (!text) co_return std::move(text).error();
  auto entries = parse_listing(*page, type, *text);
  if (!entries) co_return std::move(entries).error().in(page->shown());
  co_return entries;
}

}  // namespace d7y::source
