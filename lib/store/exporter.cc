#include "store/exporter.h"

#include <algorithm>

#include "base/crc32.h"
#include "store/store.h"
#include "store/task_slot.h"

namespace d7y::store {
namespace {

// Copied at a time: larger steps do not pay (read and write of 1 MiB beat the kernel's own copies).
constexpr std::size_t kCopyStep = 1 << 20;
// The longest part of the output's name that goes into the temporary one (names end at 255).
constexpr std::size_t kNamePart = 200;

// A temporary name that goes away with its owner unless it was given the final one.
class Temporary {
 public:
  Temporary(world::Files& files, std::string path) : files_(files), path_(std::move(path)) {}
  ~Temporary() {
    // Nothing to be done about a failure; the name says whose it was.
    if (made_) static_cast<void>(files_.remove(path_).ok());
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  const std::string& path() const { return path_; }
  void made() { made_ = true; }
  void gone() { made_ = false; }

 private:
  world::Files& files_;
  std::string path_;
  bool made_ = false;
};

struct Copying {
  std::shared_ptr<world::File> from, to;
  std::uint64_t offset = 0, target = 0, length = 0;
  std::uint32_t crc = 0;
  bool whole = true;
  std::optional<Error> failure;

  void run() {
    std::vector<std::byte> buffer(std::min<std::uint64_t>(kCopyStep, length));
    for (std::uint64_t done = 0; done < length;) {
      auto part = MutableBytes(buffer).first(std::min<std::uint64_t>(buffer.size(), length - done));
      auto got = from->read_at(offset + done, part);
      if (!got) {
        failure = std::move(got).error();
        return;
      }
      if (*got < part.size()) {
        whole = false;
        return;
      }
      crc = crc32(part, crc);
      auto written = to->write_at(target + done, part);
      if (!written) {
        failure = std::move(written).error();
        return;
      }
      done += part.size();
    }
  }
};

}  // namespace

std::string_view name_of(ExportMethod method) {
  switch (method) {
    case ExportMethod::kHardLink: return "hard link";
    case ExportMethod::kReflink: return "reflink";
    default: return "copy";
  }
}

class Exporter {
 public:
  Exporter(TaskHandle task, ExportOptions options)
      : task_(std::move(task)), options_(std::move(options)), files_(task_->store_.world_.files()) {}

  Task<Result<ExportMethod>> run() {
    CO_OK(check_output());
    CO_OK(co_await check_content());
    if (already_there()) co_return ExportMethod::kHardLink;

    auto slash = options_.path.rfind('/');
    folder_ = slash == std::string::npos ? "." : slash == 0 ? "/" : options_.path.substr(0, slash);
    auto name = options_.path.substr(slash == std::string::npos ? 0 : slash + 1);
    auto suffix = fmt::format("{:08x}", task_->store_.world_.random() & 0xffffffff);
    Temporary temporary(files_, fmt::format("{}/.{}.d7y-{}", folder_, name.substr(0, kNamePart), suffix));

    CO_TRY(auto method, co_await make(temporary));
    if (options_.durable) CO_OK(co_await make_durable(temporary.path()));
    CO_OK(give_name(temporary));
    if (options_.durable) CO_OK(co_await files_.sync_folder(folder_));
    co_return method;
  }

 private:
  Result<void> check_output() {
    if (options_.path.empty() || options_.path.back() == '/') {
      return error(ErrorCode::kInvalid, "output {:?} names no file", options_.path);
    }
    auto there = files_.link_status(options_.path);
    if (!there) {
      if (there.failed_with(ErrorCode::kNotFound)) return {};
      return std::move(there).error().in("output");
    }
    if (there->kind == world::FileKind::kFolder) {
      return error(ErrorCode::kInvalid, "output {} is a folder; name a file in it", options_.path);
    }
    if (there->kind == world::FileKind::kOther) {
      return error(ErrorCode::kInvalid, "output {} is a device or a pipe; nothing takes its place",
                   options_.path);
    }
    if (!options_.overwrite) {
      return error(ErrorCode::kExists, "output {} is there already; choose another or ask for overwriting",
                   options_.path);
    }
    return {};
  }

  Task<Result<void>> check_content() {
    StoredTask& task = *task_;
    if (!task.intact()) CO_OK(co_await task.revalidate());
    if (options_.range) {
      auto [offset, length] = *options_.range;
      CO_TRY(auto pieces, task.pieces_of(offset, length));
      if (!task.has_all(pieces.first, pieces.second)) {
        co_return error(ErrorCode::kPrecondition, "task {}: not all of the {} bytes from {} are here",
                        task.id(), length, offset);
      }
      co_return Result<void>{};
    }
    if (!task.finished()) {
      co_return error(ErrorCode::kPrecondition, "task {} is not finished; nothing is written to {}",
                      task.id(), options_.path);
    }
    CO_TRY(auto now, task.stamp());
    if (now.size == *task.content_length()) co_return Result<void>{};
    CO_OK(co_await task.revalidate());
    co_return error(ErrorCode::kCorrupt, "task {}: its content on disk had {} bytes instead of {}", task.id(),
                    now.size, *task.content_length());
  }

  // Is the output this very content, linked before?
  bool already_there() {
    if (options_.range || !task_->shared_) return false;
    auto there = files_.link_status(options_.path);
    auto ours = task_->file()->status();
    return there && ours && there->kind == world::FileKind::kRegular && there->inode == ours->inode &&
           there->device == ours->device;
  }

  Task<Result<ExportMethod>> make(Temporary& temporary) {
    StoredTask& task = *task_;
    auto content = task.content_path(task.incarnation_);
    bool linkable = options_.allow_hard_link && KindPolicy::of(task.facts().kind).hard_link_output;
    if (!options_.range && (linkable || options_.require_hard_link)) {
      auto linked = files_.hard_link(content, temporary.path());
      if (linked) {
        temporary.made();
        CO_OK(task.note_shared());
        co_return ExportMethod::kHardLink;
      }
      if (!go_on_after(linked.error()) || options_.require_hard_link)
        co_return output_error(std::move(linked));
    } else if (options_.require_hard_link) {
      co_return error(ErrorCode::kUnsupported, "output {}: a range of a file cannot be hard-linked",
                      options_.path);
    }
    if (!options_.range && options_.allow_reflink) {
      auto cloned = files_.reflink(content, temporary.path());
      if (cloned) {
        temporary.made();
        co_return ExportMethod::kReflink;
      }
      if (!go_on_after(cloned.error())) co_return output_error(std::move(cloned));
    }
    auto copied = co_await copy(temporary);
    if (!copied) co_return output_error(std::move(copied));
    co_return ExportMethod::kCopy;
  }

  bool go_on_after(const Error& failure) {
    // What is open is still right when its name is gone; whoever wants it next fetches it anew.
    if (failure.code() == ErrorCode::kNotFound && task_->vanished()) {
      if (!task_->removed()) task_->store_.give_up_vanished(task_->id());
      return true;
    }
    return failure.code() == ErrorCode::kUnsupported || failure.code() == ErrorCode::kPermission;
  }

  Error output_error(Result<void> failed) {
    return std::move(failed).error().in(fmt::format("output {}", options_.path));
  }

  Task<Result<void>> copy(Temporary& temporary) {
    StoredTask& task = *task_;
    CO_TRY(std::shared_ptr<world::File> to,
           files_.open(temporary.path(), world::OpenMode::kCreateNew, options_.permissions));
    temporary.made();
    auto [offset, length] =
        options_.range.value_or(std::pair<std::uint64_t, std::uint64_t>(0, *task.content_length()));
    if (length == 0) co_return Result<void>{};
    CO_OK(to->reserve(0, length));
    CO_TRY(auto pieces, task.pieces_of(offset, length));
    auto resets = task.resets_;
    for (auto number = pieces.first; number < pieces.second; ++number) {
      auto piece = task.piece(number);
      if (!piece || resets != task.resets_) {
        co_return error(ErrorCode::kChanged, "task {} was started anew while it was copied", task.id());
      }
      auto begin = std::max(offset, piece->offset);
      auto end = std::min(offset + length, piece->offset + piece->length);
      auto copying = std::make_shared<Copying>();
      copying->from = task.file();
      copying->to = to;
      copying->offset = begin;
      copying->target = begin - offset;
      copying->length = end - begin;
      std::function<void()> work = [copying] { copying->run(); };
      co_await task.store_.world_.offload(std::move(work));
      if (copying->failure) co_return std::move(*copying->failure);
      bool all_of_it = end - begin == piece->length;
      if (!copying->whole || (all_of_it && copying->crc != piece->crc)) {
        CO_OK(co_await task.revalidate());
        co_return error(ErrorCode::kCorrupt,
                        "task {}: piece {} on disk is no longer what was received; it will be fetched again",
                        task.id(), number);
      }
    }
    made_file_ = std::move(to);
    co_return Result<void>{};
  }

  Task<Result<void>> make_durable(std::string path) {
    if (made_file_) co_return co_await made_file_->sync();
    CO_TRY(auto file, files_.open(path, world::OpenMode::kRead));
    co_return co_await file->sync();
  }

  Result<void> give_name(Temporary& temporary) {
    auto named = options_.overwrite ? files_.rename(temporary.path(), options_.path)
                                    : files_.rename_new(temporary.path(), options_.path);
    if (named.failed_with(ErrorCode::kExists)) {
      return error(ErrorCode::kExists, "output {} appeared meanwhile and was left alone", options_.path);
    }
    if (!named) return output_error(std::move(named));
    // rename() of two names of one file does nothing: then the temporary one is still to go.
    if (!files_.link_status(temporary.path())) temporary.gone();
    return {};
  }

  TaskHandle task_;
  ExportOptions options_;
  world::Files& files_;
  std::string folder_;
  std::shared_ptr<world::File> made_file_;
};

Task<Result<ExportMethod>> export_content(TaskHandle task, ExportOptions options) {
  task->touch();
  Exporter exporter(std::move(task), std::move(options));
  co_return co_await exporter.run();
}

}  // namespace d7y::store
