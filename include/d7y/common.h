/**
 * @file d7y/common.h
 * What every other header of libd7y needs: linkage, versions of option structs, text views.
 *
 * Conventions of the whole interface:
 * - Functions that can fail return a d7y_code; D7Y_OK is 0, errors are negative. What went wrong in
 *   words is in d7y_error_last(), per thread.
 * - A handle (d7y_node, d7y_download, ...) is freed by its own _free function; NULL is accepted there.
 * - Option structs begin with their version; initialise them with their _INIT macro. Strings and
 *   arrays in them are copied before the call returns. New members are only ever appended.
 * - Text is UTF-8 and ends with NUL. Sizes are in bytes, times in milliseconds unless a name says
 *   otherwise; a timeout of D7Y_FOREVER waits without limit, 0 does not wait.
 * - The library installs no signal handlers, never writes to stdout or stderr, never exits the
 *   process, and keeps no state outside its handles. Where descriptors 0, 1 or 2 are closed, opening a
 *   handle puts /dev/null there.
 */
#ifndef D7Y_COMMON_H
#define D7Y_COMMON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define D7Y_BEGIN_DECLS extern "C" {
#define D7Y_END_DECLS }
#else
#define D7Y_BEGIN_DECLS
#define D7Y_END_DECLS
#endif

#if defined(__GNUC__)
#define D7Y_EXTERN __attribute__((visibility("default")))
#else
#define D7Y_EXTERN
#endif

/** A timeout that never comes. */
#define D7Y_FOREVER UINT64_MAX

/** A size that is not known. */
#define D7Y_UNKNOWN_SIZE UINT64_MAX

#endif
