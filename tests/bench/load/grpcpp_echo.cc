// grpcpp-echo ADDRESS: gRPC's own C++ library with echo.proto's service, in the form that is said to be its
// fastest: the asynchronous one, a completion queue and a thread for each processor. Runs until it is ended.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "echo.grpc.pb.h"

namespace {

using d7y::bench::Echo;
using d7y::bench::Message;

constexpr int kWaitingCalls = 64;  // accepted ahead, for each queue

class Call {
 public:
  virtual ~Call() = default;
  // An operation has ended, `ok` or not.
  virtual void proceed(bool ok) = 0;
};

class UnaryCall final : public Call {
 public:
  UnaryCall(Echo::AsyncService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue), answer_(&context_) {
    service.RequestUnary(&context_, &message_, &answer_, &queue, &queue, this);
  }
  void proceed(bool ok) override {
    if (answered_ || !ok) {
      delete this;
      return;
    }
    new UnaryCall(service_, queue_);
    answered_ = true;
    answer_.Finish(message_, grpc::Status::OK, this);
  }

 private:
  Echo::AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::ServerContext context_;
  Message message_;
  grpc::ServerAsyncResponseWriter<Message> answer_;
  bool answered_ = false;
};

// Chat and Take.
class StreamCall final : public Call {
 public:
  StreamCall(Echo::AsyncService& service, grpc::ServerCompletionQueue& queue, bool answers)
      : service_(service), queue_(queue), stream_(&context_), answers_(answers) {
    if (answers) {
      service.RequestChat(&context_, &stream_, &queue, &queue, this);
    } else {
      service.RequestTake(&context_, &stream_, &queue, &queue, this);
    }
  }
  void proceed(bool ok) override {
    if (step_ == Step::kFinish || (step_ == Step::kBegin && !ok)) {
      delete this;
      return;
    }
    if (step_ == Step::kBegin) new StreamCall(service_, queue_, answers_);
    if (step_ == Step::kRead && !ok) {  // half-closed
      step_ = Step::kFinish;
      stream_.Finish(grpc::Status::OK, this);
    } else if (step_ == Step::kRead && answers_) {
      step_ = Step::kWrite;
      stream_.Write(message_, this);
    } else {
      step_ = Step::kRead;
      stream_.Read(&message_, this);
    }
  }

 private:
  enum class Step { kBegin, kRead, kWrite, kFinish };

  Echo::AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  grpc::ServerContext context_;
  Message message_;
  grpc::ServerAsyncReaderWriter<Message, Message> stream_;
  bool answers_;
  Step step_ = Step::kBegin;
};

void serve(Echo::AsyncService& service, grpc::ServerCompletionQueue& queue) {
  for (int i = 0; i < kWaitingCalls; ++i) {
    new UnaryCall(service, queue);
    new StreamCall(service, queue, true);
    new StreamCall(service, queue, false);
  }
  void* tag = nullptr;
  for (bool ok = false; queue.Next(&tag, &ok);) static_cast<Call*>(tag)->proceed(ok);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: grpcpp-echo ADDRESS\n", stderr);
    return 2;
  }
  Echo::AsyncService service;
  grpc::ServerBuilder builder;
  builder.AddListeningPort(argv[1], grpc::InsecureServerCredentials());
  builder.RegisterService(&service);
  std::vector<std::unique_ptr<grpc::ServerCompletionQueue>> queues(
      std::max(1U, std::thread::hardware_concurrency()));
  for (auto& queue : queues) queue = builder.AddCompletionQueue();
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::vector<std::thread> threads;
  for (auto& queue : queues) threads.emplace_back(serve, std::ref(service), std::ref(*queue));
  for (auto& thread : threads) thread.join();
}
