#include "source/file_backend.h"

#include <algorithm>

#include "base/url.h"
#include "net/http/message.h"

namespace d7y::source {
namespace {

// What identifies the file's present state.
std::string tag_of(const world::FileStatus& status) {
  return fmt::format("\"{:x}-{:x}-{:x}-{:x}\"", status.device, status.inode, status.size,
                     status.modified.time_since_epoch().count());
}

Info info_of(const world::FileStatus& status, const std::string& url) {
  Info info;
  info.url = url;
  info.is_folder = status.kind == world::FileKind::kFolder;
  if (info.is_folder) return info;
  info.length = status.size;
  info.accepts_ranges = true;
  info.version.etag = tag_of(status);
  info.version.last_modified = http::to_http_date(status.modified);
  info.version.length = status.size;
  info.headers = {{"Content-Length", fmt::format("{}", status.size)},
                  {"ETag", info.version.etag},
                  {"Last-Modified", info.version.last_modified}};
  return info;
}

Error changed(const std::string& path) {
  return error(ErrorCode::kChanged, "file {} changed while it was read", path);
}

class FileBody final : public Body {
 public:
  FileBody(std::unique_ptr<world::File> file, Info info, std::uint64_t offset, std::uint64_t length)
      : file_(std::move(file)), info_(std::move(info)), offset_(offset), left_(length), length_(length) {}

  Task<Result<std::size_t>> read(MutableBytes buffer, Deadline) override {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), left_));
    if (wanted == 0) co_return std::size_t{0};
    auto got = file_->read_at(offset_, buffer.first(wanted));
    if (!got) co_return std::move(got).error().in("reading file " + file_->path());
    offset_ += *got;
    left_ -= *got;
    if (*got < wanted) co_return changed(file_->path());  // shorter than it was
    if (left_ == 0) {
      const auto now = file_->status();
      if (!now || tag_of(*now) != info_.version.etag) co_return changed(file_->path());
    }
    co_return *got;
  }
  const Info& info() const override { return info_; }
  std::optional<std::uint64_t> length() const override { return length_; }

 private:
  std::unique_ptr<world::File> file_;
  Info info_;
  std::uint64_t offset_, left_, length_;
};

// Gives a failure of the file system the shape that failures of origins have.
Error as_origin_error(Error error) {
  auto details = backend_error_json(error.message(), {}, 0);
  return std::move(error).with_details(std::move(details));
}

}  // namespace

std::string file_url(const std::string& path) {
  std::string url = "file://";
  for (std::string_view rest = path; !rest.empty();) {
    const auto slash = rest.find('/');
    url += percent_encode(rest.substr(0, slash));
    if (slash == std::string_view::npos) break;
    url += '/';
    rest.remove_prefix(slash + 1);
  }
  return url;
}

Result<std::string> path_of_file_url(std::string_view url) {
  TRY(const auto parsed, Url::parse(url));
  if (parsed.scheme() != "file") return error(ErrorCode::kInvalid, "not a file URL");
  if (const auto host = parsed.hostname(); !host.empty() && host != "localhost") {
    return error(ErrorCode::kInvalid, "file URL names host \"{}\"; only files of this machine can be read",
                 host);
  }
  auto path = percent_decode(parsed.path());
  if (path.empty() || path.front() != '/')
    return error(ErrorCode::kInvalid, "file URL without an absolute path");
  if (path.find('\0') != std::string::npos) return error(ErrorCode::kInvalid, "file URL with a NUL byte");
  return path;
}

Task<Result<Info>> FileBackend::stat(const Request& request, Deadline) {
  auto path = path_of_file_url(request.url);
  if (!path) co_return as_origin_error(std::move(path).error());
  auto status = files_.status(*path);
  if (!status) co_return as_origin_error(std::move(status).error().in("file " + *path));
  if (status->kind == world::FileKind::kOther) {
    co_return as_origin_error(error(ErrorCode::kUnsupported, "{} is neither a file nor a folder", *path));
  }
  co_return info_of(*status, file_url(*path));
}

Task<Result<std::unique_ptr<Body>>> FileBackend::read(const Request& request, Span span,
                                                      const Version& pinned, Deadline) {
  auto path = path_of_file_url(request.url);
  if (!path) co_return as_origin_error(std::move(path).error());
  // Asked before opening: opening a pipe would wait for its writer.
  auto kind = files_.status(*path);
  if (!kind) co_return as_origin_error(std::move(kind).error().in("file " + *path));
  if (kind->kind != world::FileKind::kRegular) {
    co_return as_origin_error(error(ErrorCode::kInvalid, "{} is not a regular file", *path));
  }
  auto file = files_.open(*path, world::OpenMode::kRead);
  if (!file) co_return as_origin_error(std::move(file).error().in("file " + *path));
  auto status = (*file)->status();
  if (!status) co_return as_origin_error(std::move(status).error().in("file " + *path));
  auto info = info_of(*status, file_url(*path));
  if (!pinned.agrees_with(info.version)) co_return as_origin_error(changed(*path));
  if (span.offset > status->size || (span.offset == status->size && span.offset > 0)) {
    co_return as_origin_error(error(ErrorCode::kPrecondition, "file {} has {} bytes, none from {} on", *path,
                                    status->size, span.offset)
                                  .with_status(416));
  }
  const auto rest = status->size - span.offset;
  const auto length = std::min(span.length.value_or(rest), rest);
  std::unique_ptr<Body> body =
      std::make_unique<FileBody>(std::move(file).value(), std::move(info), span.offset, length);
  co_return std::move(body);
}

Task<Result<std::vector<Entry>>> FileBackend::list(const Request& request, Deadline) {
  auto path = path_of_file_url(request.url);
  if (!path) co_return as_origin_error(std::move(path).error());
  if (!path->ends_with('/')) *path += '/';
  auto names = files_.list(*path);
  if (!names) co_return as_origin_error(std::move(names).error().in("folder " + *path));
  std::vector<Entry> entries;
  for (auto& name : *names) {
    const auto status = files_.status(*path + name);
    if (!status) continue;  // gone meanwhile, or a link to nowhere
    if (status->kind == world::FileKind::kOther) continue;
    Entry entry;
    entry.is_folder = status->kind == world::FileKind::kFolder;
    if (!entry.is_folder) entry.length = status->size;
    entry.url = file_url(*path + name) + (entry.is_folder ? "/" : "");
    entry.name = std::move(name);
    entries.push_back(std::move(entry));
  }
  co_return std::move(entries);
}

}  // namespace d7y::source
