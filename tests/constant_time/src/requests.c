// Requests to Valgrind. Outside of it these do nothing.
#include <stddef.h>
#include <valgrind/memcheck.h>
#include <valgrind/valgrind.h>

unsigned under_valgrind(void)
{
    return RUNNING_ON_VALGRIND;
}

void make_undefined(const void *start, size_t len)
{
    VALGRIND_MAKE_MEM_UNDEFINED(start, len);
}

void make_defined(const void *start, size_t len)
{
    VALGRIND_MAKE_MEM_DEFINED(start, len);
}

unsigned errors_so_far(void)
{
    return VALGRIND_COUNT_ERRORS;
}
