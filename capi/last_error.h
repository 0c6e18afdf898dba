// Results as the C interface returns them: a code, and a message kept for the calling thread.
#pragma once

#include <d7y/error.h>

#include "base/result.h"

namespace d7y::capi {

d7y_code to_code(ErrorCode code);

// Notes `error` for d7y_error_last() and gives its code.
d7y_code fail(const Error& error);
d7y_code fail(d7y_code code, std::string message, int status = 0);

// For the exception that is being handled: no exception crosses the C interface. Lack of memory is
// D7Y_EEXHAUSTED, anything else should not happen.
d7y_code thrown() noexcept;

inline d7y_code finish(const Result<void>& result) { return result ? D7Y_OK : fail(result.error()); }

}  // namespace d7y::capi
