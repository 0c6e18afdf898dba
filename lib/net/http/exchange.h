// Sending one request on a connection and reading the head of its answer.
#pragma once

#include "net/http/client.h"
#include "net/http/pool.h"

namespace d7y::http::detail {

struct Outgoing {
  std::string head;                  // on the wire
  std::string_view method;           // decides how the answer ends
  std::string_view body;             // sent as it is
  BodyProducer* producer = nullptr;  // or made while it is sent
  bool expect_continue = false;
};

// Sends `request` and reads the answer's head into connection.wire().reader(). Clears
// connection.keep when the connection cannot serve another request. If the answer comes before the
// body is sent, the rest is not sent. `heard` tells on failure whether the server had begun to answer
// and whether any of a produced body was used up.
struct Heard {
  bool anything = false;
};
Task<Result<void>> exchange(Connection& connection, const Outgoing& request, Duration head_timeout,
                            Heard& heard, Deadline deadline);

}  // namespace d7y::http::detail
