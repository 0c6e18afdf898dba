// The messages of Dragonfly's protobuf API, under names that do not collide with our rooms:
// api::scheduler::AnnouncePeerRequest is scheduler.v2.AnnouncePeerRequest on the wire. The .proto files
// beside this header say what each field means; methods.h has the paths of the calls.
//
// Messages are values of the lite runtime. They keep fields they do not know, so a Download or Peer that
// was received may be stored, forwarded and echoed without losing what a newer version put into it.
//
// Include the package you need: api/common.h, api/scheduler.h, api/dfdaemon.h, api/manager.h,
// api/errordetails.h. What d7y adds for its own programs is api/origins.h and api/dealing.h.
#pragma once

#include "api/common.h"
#include "api/dealing.h"
#include "api/dfdaemon.h"
#include "api/errordetails.h"
#include "api/manager.h"
#include "api/methods.h"
#include "api/origins.h"
#include "api/scheduler.h"
