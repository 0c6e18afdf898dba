// Which blobs an image is made of: asks a registry for the image's manifest (OCI distribution, Docker
// registry v2), with a token if the registry wants one.
//
//   ImageRequest request;
//   request.url = "https://registry.example/v2/library/nginx/manifests/1.27";
//   request.platform = "linux/arm64";
//   CO_TRY(ImageBlobs image, co_await resolve_image(client, std::move(request), deadline));
//
// An index or manifest list leads to the manifests of the platform; blobs are the configuration and all
// layers, each once. Everything a registry says is checked and bounded; a manifest that was asked for by its
// digest has to have it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "base/result.h"
#include "net/http/client.h"

namespace d7y::source {

struct ImageRequest {
  std::string url;        // of a manifest: scheme://host/v2/<repository>/manifests/<tag or digest>
  http::Headers headers;  // sent to the registry; an Authorization in here is used as it is
  // For the registry or the token service it names; never sent in the clear by a registry that was asked
  // over https.
  std::string username, password;
  std::string platform;  // "os/architecture[/variant]"; empty: linux on this machine's processor
  std::shared_ptr<net::TlsContext> tls;  // trust for this request alone
};

struct ImageBlobs {
  std::vector<std::string> urls;
  // For whoever fetches them: the request's, and the Authorization that was obtained.
  http::Headers headers;
};

// kInvalid: the URL is no manifest's, or what came is no manifest; kNotFound: no such image, or not for the
// platform (the message names those there are); kUnauthenticated, kPermission; kCorrupt: a manifest is not
// what its digest says; kTooLarge.
Task<Result<ImageBlobs>> resolve_image(http::Client& client, ImageRequest request, Deadline deadline);

}  // namespace d7y::source
