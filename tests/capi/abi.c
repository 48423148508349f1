// The numbers in compiled programs are those of the header, and the library knows the statuses by name.
#include <atrest.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
#define _Static_assert static_assert
#endif

#define EQUAL(a, b) _Static_assert((a) == (b), #a " is no longer " #b);
#define VERSION(name, value) EQUAL(name, value)
#define STATUS(name, value) EQUAL(name, value)
#define VALUE(name, value) EQUAL(name, value)
#if UINTPTR_MAX == UINT64_MAX
#define SIZE(type, size) EQUAL(sizeof(type), size)
#define MEMBER(type, member, offset) EQUAL(offsetof(type, member), offset)
#define EARLIER(type, size) _Static_assert((size) < sizeof(type), #type " was larger");
#else // the numbers are those of 64 bits
#define SIZE(type, size)
#define MEMBER(type, member, offset)
#define EARLIER(type, size)
#endif
#include "abi_values.h"

#undef STATUS
#undef VERSION
#undef VALUE
#undef SIZE
#undef MEMBER
#undef EARLIER
#define VERSION(name, value)
#define STATUS(name, value) {#name, value},
#define VALUE(name, value)
#define SIZE(type, size)
#define MEMBER(type, member, offset)
#define EARLIER(type, size)

static const struct {
    const char *name;
    atrest_status value;
} statuses[] = {
#include "abi_values.h"
};

int main(void)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", ATREST_VERSION_MAJOR, ATREST_VERSION_MINOR, ATREST_VERSION_PATCH);
    if (strcmp(version, atrest_version()) != 0) {
        printf("the header is of version %s, the library of %s\n", version, atrest_version());
        return 1;
    }
    size_t count = sizeof statuses / sizeof *statuses;
    for (size_t i = 0; i < count; i++) {
        const char *name = atrest_status_name(statuses[i].value);
        if (strcmp(name, statuses[i].name) != 0) {
            printf("%s is %s to the library\n", statuses[i].name, name);
            return 1;
        }
    }
    printf("%zu statuses\n", count);
    return 0;
}
