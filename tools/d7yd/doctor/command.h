// `d7yd doctor`: finds what keeps downloads and pulls from going through d7yd, and says how to put it right.
#pragma once

namespace tools::doctor {

// `argv[0]` is the word "doctor". Returns the exit status.
int run(int argc, char** argv);

}  // namespace tools::doctor
