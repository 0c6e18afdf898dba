#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>

#include "base/digest.h"
#include "base/ids.h"
#include "base/url.h"
#include "handles.h"
#include "net/http/headers.h"
#include "net/http/range.h"

namespace d7y::capi {
namespace {

// "Name: value" into the message.
Result<void> add_header(api::common::Download& message, std::string_view line) {
  auto colon = line.find(':');
  if (colon == std::string_view::npos || colon == 0) {
    return error(ErrorCode::kInvalid, "a request header has no \"Name: value\" form");
  }
  auto name = line.substr(0, colon);
  auto value = line.substr(colon + 1);
  while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
  if (!http::is_header_name(name) || !http::is_header_value(value)) {
    return error(ErrorCode::kInvalid, "request header \"{}\" holds characters that a header cannot hold",
                 name);
  }
  (*message.mutable_request_header())[std::string(name)] = std::string(value);
  return {};
}

std::string absolute(std::string path) {
  if (path.empty() || path.front() == '/') return path;
  std::unique_ptr<char, decltype(&std::free)> folder(realpath(".", nullptr), &std::free);
  return folder ? std::string(folder.get()) + "/" + path : path;
}

// What the URL's scheme reads of the options for its origin, as Dragonfly's daemons expect it: the message of
// the scheme is there even if nothing is set in it (Dragonfly client 6.3, 6.5).
Result<void> add_source(api::common::Download& message, std::string_view scheme,
                        const d7y_source_options* given) {
  static const d7y_source_options kDefaults = D7Y_SOURCE_OPTIONS_INIT;
  const auto& options = given != nullptr ? *given : kDefaults;
  if (options.version != D7Y_SOURCE_OPTIONS_VERSION) {
    return error(ErrorCode::kInvalid,
                 "d7y_source_options has version {}; initialise it with D7Y_SOURCE_OPTIONS_INIT",
                 options.version);
  }
  auto there = [](const char* text) { return text != nullptr && *text != '\0'; };
  static constexpr std::string_view kObjectStores[] = {"s3", "gs", "abs", "oss", "obs", "cos"};
  if (std::find(std::begin(kObjectStores), std::end(kObjectStores), scheme) != std::end(kObjectStores)) {
    auto& store = *message.mutable_object_storage();
    if (there(options.region)) store.set_region(options.region);
    if (there(options.endpoint)) store.set_endpoint(options.endpoint);
    if (there(options.access_key_id)) store.set_access_key_id(options.access_key_id);
    if (there(options.access_key_secret)) store.set_access_key_secret(options.access_key_secret);
    if (there(options.session_token)) store.set_session_token(options.session_token);
    if (there(options.security_token)) store.set_security_token(options.security_token);
    if (there(options.credential_path)) store.set_credential_path(options.credential_path);
    if (there(options.predefined_acl)) store.set_predefined_acl(options.predefined_acl);
    if (options.insecure_skip_verify != 0) store.set_insecure_skip_verify(true);
  } else if (scheme == "hdfs") {
    auto& hdfs = *message.mutable_hdfs();
    if (there(options.hdfs_delegation_token)) hdfs.set_delegation_token(options.hdfs_delegation_token);
  } else if (scheme == "hf" || scheme == "modelscope") {
    auto fill = [&](auto& hub, const char* revision) {
      hub.set_revision(there(options.hub_revision) ? options.hub_revision : revision);
      if (there(options.hub_token)) hub.set_token(options.hub_token);
      if (there(options.hub_base_url)) hub.set_base_url(options.hub_base_url);
    };
    if (scheme == "hf") {
      fill(*message.mutable_hugging_face(), "main");
    } else {
      fill(*message.mutable_model_scope(), "master");
    }
  }
  return {};
}

}  // namespace

Result<Order> make_order(const char* url, const d7y_download_options* given) {
  static const d7y_download_options kDefaults = D7Y_DOWNLOAD_OPTIONS_INIT;
  const auto& options = given != nullptr ? *given : kDefaults;
  if (url == nullptr) return error(ErrorCode::kInvalid, "no URL was given");
  if (options.version != D7Y_DOWNLOAD_OPTIONS_VERSION) {
    return error(ErrorCode::kInvalid,
                 "d7y_download_options has version {}; initialise it with D7Y_DOWNLOAD_OPTIONS_INIT",
                 options.version);
  }
  auto parsed = Url::parse(url);
  if (!parsed) return std::move(parsed).error().in("the URL");

  Order order;
  auto& message = order.message;
  message.set_url(url);
  message.set_type(api::common::STANDARD);
  if (options.digest != nullptr) {
    TRY(auto digest, Digest::parse(options.digest));
    message.set_digest(digest.to_string());
  }
  if (options.tag != nullptr) message.set_tag(options.tag);
  if (options.application != nullptr) message.set_application(options.application);
  TRY_OK(add_source(message, parsed->scheme(), options.source));
  if (options.priority < 0 || options.priority > 6) {
    return error(ErrorCode::kInvalid, "priority {} is outside 0 to 6", options.priority);
  }
  message.set_priority(static_cast<api::common::Priority>(options.priority));
  if (options.filtered_query_params != nullptr) {
    for (std::size_t i = 0; i < options.filtered_query_param_count; ++i) {
      if (options.filtered_query_params[i] == nullptr)
        return error(ErrorCode::kInvalid, "one of the filtered query parameters is NULL");
      message.add_filtered_query_params(options.filtered_query_params[i]);
    }
  } else {
    for (const auto& name : default_filtered_query_params()) message.add_filtered_query_params(name);
  }
  for (std::size_t i = 0; i < options.header_count; ++i) {
    if (options.headers == nullptr || options.headers[i] == nullptr)
      return error(ErrorCode::kInvalid, "one of the {} headers is NULL", options.header_count);
    TRY_OK(add_header(message, options.headers[i]));
  }
  if (options.range != nullptr) {
    auto parsed_range = http::parse_range(options.range, 1);
    if (!parsed_range) return std::move(parsed_range).error().in(fmt::format("range \"{}\"", options.range));
    auto& parts = *parsed_range;
    const auto& part = parts.front();
    if (part.first && part.last) {
      message.mutable_range()->set_start(*part.first);
      message.mutable_range()->set_length(*part.last - *part.first + 1);
    } else {
      (*message.mutable_request_header())["Range"] = options.range;  // needs the content's length
    }
  }
  if (options.piece_length != 0) message.set_piece_length(options.piece_length);
  if (options.content_for_task_id != nullptr)
    message.set_content_for_calculating_task_id(options.content_for_task_id);
  message.set_disable_back_to_source(options.disable_back_to_source != 0);
  if (options.concurrent_pieces != 0) message.set_concurrent_piece_count(options.concurrent_pieces);

  if (options.output_path != nullptr) {
    if (*options.output_path == '\0')
      return error(ErrorCode::kInvalid, "output_path is empty; NULL says that no file is wanted");
    order.output_path = absolute(options.output_path);
  }
  order.overwrite = options.overwrite != 0;
  order.require_hard_link = options.force_hard_link != 0;
  order.in_order = options.on_data != nullptr || options.readable != 0;
  // Dragonfly's daemon puts the whole content at the output path, also when a range is asked for.
  bool part = message.has_range() || message.request_header().contains("Range");
  order.write_here = options.transfer != 0 || (part && !order.output_path.empty());
  if (options.on_data != nullptr && options.readable != 0) {
    return error(ErrorCode::kInvalid, "on_data and readable exclude each other");
  }
  order.rate_limit = options.rate_limit;
  order.timeout = options.timeout_ms == 0 ? Duration(std::chrono::hours(2))
                                          : Duration(std::chrono::milliseconds(std::min<std::uint64_t>(
                                                options.timeout_ms, 1'000'000'000'000ULL)));
  api::set_duration(*message.mutable_timeout(), order.timeout);
  return order;
}

}  // namespace d7y::capi
