// A secret as Go lends it: a passphrase, or else the path of a key file.
#ifndef GO_SECRET_H
#define GO_SECRET_H

#include <stddef.h>

typedef struct {
    const void *passphrase;
    size_t len;
    const char *key_file;
} go_secret;

#endif
