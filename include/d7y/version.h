/**
 * @file d7y/version.h
 * Which libd7y this is.
 */
#ifndef D7Y_VERSION_H
#define D7Y_VERSION_H

#include <d7y/common.h>

D7Y_BEGIN_DECLS

#define D7Y_VERSION_MAJOR 0
#define D7Y_VERSION_MINOR 1
#define D7Y_VERSION_PATCH 0

/**
 * The version of the library that is loaded, "0.1.0". Static, never freed. Any thread.
 *
 * Compare with the macros above to notice a library older than the headers it was built with.
 */
D7Y_EXTERN const char *d7y_version(void);

D7Y_END_DECLS

#endif
