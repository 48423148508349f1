// What the tests of atrest.hpp share, whichever way it tells of failures.
#ifndef CPP_CHECK_HPP
#define CPP_CHECK_HPP

#include <atrest.hpp>
#include <cstdio>

inline int passed = 0;

#define CHECK(...)                                                                                  \
    do {                                                                                            \
        if (!(__VA_ARGS__)) {                                                                       \
            std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #__VA_ARGS__);          \
            std::exit(1);                                                                           \
        }                                                                                           \
        passed++;                                                                                   \
    } while (0)

// What a call gives, which must not fail.
#define GOT(...) got([&] { return __VA_ARGS__; }, __FILE__, __LINE__)

// A call that must fail with a status, a message, and both in the error.
#define FAILS(wanted, ...) fails(wanted, [&] { return __VA_ARGS__; }, __FILE__, __LINE__)

inline void is_told(const atrest::error &error, atrest_status wanted, const char *file, int line)
{
    if (error.status() != wanted) {
        std::fprintf(stderr, "%s:%d: %s where %s is due\n", file, line, error.what(), atrest_status_name(wanted));
        std::exit(1);
    }
    CHECK(std::strcmp(error.name(), atrest_status_name(wanted)) == 0);
    CHECK(error.what() == error.name() + (*error.message() == 0 ? "" : ": " + std::string(error.message())));
}

#ifndef ATREST_NO_EXCEPTIONS

template <class F> auto got(F &&call, const char *file, int line)
{
    try {
        return call();
    } catch (const atrest::error &error) {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, error.what());
        std::exit(1);
    }
}

template <class F> void fails(atrest_status wanted, F &&call, const char *file, int line)
{
    try {
        static_cast<void>(call());
    } catch (const atrest::error &error) {
        return is_told(error, wanted, file, line);
    }
    std::fprintf(stderr, "%s:%d: no failure\n", file, line);
    std::exit(1);
}

#else

template <class T> T value(atrest::result<T> result)
{
    return *std::move(result);
}

inline void value(const atrest::result<void> &) {}

template <class F> auto got(F &&call, const char *file, int line)
{
    auto result = call();
    if (!result) {
        std::fprintf(stderr, "%s:%d: %s\n", file, line, result.error().what());
        std::exit(1);
    }
    CHECK(result.ok() && result.status() == ATREST_OK);
    return value(std::move(result));
}

template <class F> void fails(atrest_status wanted, F &&call, const char *file, int line)
{
    const auto result = call();
    if (result) {
        std::fprintf(stderr, "%s:%d: no failure\n", file, line);
        std::exit(1);
    }
    CHECK(result.status() == result.error().status());
    is_told(result.error(), wanted, file, line);
}

#endif

// Costs that are no cost.
inline atrest::unlock with_passphrase(const char *passphrase)
{
    return atrest::unlock::passphrase(passphrase).kdf(64, 1, 1);
}

inline atrest::keyslot_options cheap()
{
    return atrest::keyslot_options().costs(atrest::kdf::pbkdf2(1000));
}

#endif
