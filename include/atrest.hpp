// atrest.hpp - atrest for C++17 and later
//
// A layer over atrest.h, all of it in this header: handles that own, views of bytes, errors as exceptions or as
// results, devices and vaults as classes. atrest.h documents what a function does and how it fails, at the C function
// of the same name; this header documents only what C++ adds. Link with -latrest.
//
// ERRORS       As it comes, a function that fails throws atrest::error. With ATREST_NO_EXCEPTIONS defined before this
//              header is included, or where the compiler has exceptions turned off (-fno-exceptions), it returns a
//              result instead: atrest::result<T>, which is a T or an atrest::error. Where functions throw,
//              atrest::result<T> is T itself, so that a declaration with it, and `return atrest::fail<T>(...)`, are
//              right in both ways. Files of one program may differ; a handle goes from one to the other by release().
// HANDLES      A handle owns its object, can be moved but not copied, and frees the object in the end. A function that
//              can fail is a static function, not a constructor. A handle that was moved from, or made without
//              arguments, is empty: calls on it fail with ATREST_ERR_NULL_ARGUMENT. get() is the pointer of C, for
//              calls that shall be made in C; release() gives it away; a constructor takes it over.
// THREADS      As in C: any number of threads may use a handle at once, but moving, assigning and destroying it need it
//              alone.
// BYTES        const_bytes and mutable_bytes are a pointer and a length, made from vectors, arrays, spans, strings, or
//              from the two. They don't own the bytes, which must live until the call returns.
// TEXT         text and path take a const char * or a std::string. A std::string_view has no zero byte at its end, so
//              it is not taken: make it a std::string. One with a zero byte inside is refused, never cut off.
// OPTIONS      Classes such as format_options copy their arguments, except handles, and passphrases, whose copies
//              would be left behind in memory. Those must live until the call returns.
// LISTS        A list of texts is a vector. Any other list calls a function with each entry, a struct of C that is
//              valid during the call only. The function returns nothing, or a bool: false ends the list. An exception
//              that it throws reaches the caller who asked for the list.
// SECRETS      The library wipes the secrets that it holds: DEKs, ciphers, volumes, vaults, and those that it lends to a
//              key_vault. This header copies no secret, so it wipes none: passphrases, keys that you bring, and keys
//              that you ask for (dek::hazmat_bytes, vault::secret) are in your memory, and you must wipe them. The
//              strings and vectors that functions return hold no secrets.
// COST         Each call is one call of C, inline, and a check of its status. On the way of the data (ciphers, read_at,
//              write_at, sync) nothing is allocated or copied.

#ifndef ATREST_HPP
#define ATREST_HPP

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <atrest.h>

#if defined(__cpp_exceptions) || defined(_CPPUNWIND)
#define ATREST_DETAIL_CATCHES 1
#else
#define ATREST_DETAIL_CATCHES 0
#ifndef ATREST_NO_EXCEPTIONS
#define ATREST_NO_EXCEPTIONS
#endif
#endif

// Functions that differ between the ways to fail have names that differ too, so that a program may mix them.
#ifndef ATREST_NO_EXCEPTIONS
#define ATREST_DETAIL_WAY throwing
#elif ATREST_DETAIL_CATCHES
#define ATREST_DETAIL_WAY returning
#else
#define ATREST_DETAIL_WAY never_catching
#endif

#if defined(__GNUC__)
#define ATREST_DETAIL_COLD __attribute__((cold, noinline))
#elif defined(_MSC_VER)
#define ATREST_DETAIL_COLD __declspec(noinline)
#else
#define ATREST_DETAIL_COLD
#endif

namespace atrest {

// ---------------------------------------------------------------------------------------------------------------------
// VERSION

// The version of the library that runs.
[[nodiscard]] inline std::string_view version() noexcept { return atrest_version(); }

// ---------------------------------------------------------------------------------------------------------------------
// THE MEMORY OF SECRETS

// Bytes of pages that hold secrets: those that stay in memory, and those that may be written to swap.
struct memory_protection {
    std::uint64_t locked = 0;
    std::uint64_t unlocked = 0;

    // The current numbers of this process.
    [[nodiscard]] static memory_protection now() noexcept
    {
        memory_protection memory;
        (void)atrest_memory_protection(&memory.locked, &memory.unlocked); // it fails for NULL alone
        return memory;
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// BYTES AND TEXT

namespace parts {

template <class T>
inline constexpr bool is_byte = std::is_same_v<T, std::byte> || std::is_same_v<T, unsigned char>
    || std::is_same_v<T, char> || std::is_same_v<T, signed char>
#ifdef __cpp_char8_t
    || std::is_same_v<T, char8_t>
#endif
    ;

template <class C> using pointee = std::remove_pointer_t<decltype(std::declval<C &>().data())>;

template <class C, class = void> inline constexpr bool has_bytes = false;
template <class C>
inline constexpr bool has_bytes<C, std::void_t<pointee<C>, decltype(std::declval<C &>().size())>>
    = is_byte<std::remove_const_t<pointee<C>>>;

template <class C, class = void> inline constexpr bool has_mutable_bytes = false;
template <class C>
inline constexpr bool has_mutable_bytes<C, std::enable_if_t<has_bytes<C>>> = !std::is_const_v<pointee<C>>;

} // namespace parts

// Bytes that are read. Made from anything of bytes that has data() and size(), such as std::vector, std::array,
// std::string, std::string_view and std::span; from arrays; from a pointer and a length in bytes. Bytes are char,
// signed and unsigned, and std::byte. Arrays of plain char are left out, because nobody can tell whether a zero byte at
// their end counts.
class const_bytes {
public:
    constexpr const_bytes() noexcept = default;
    constexpr const_bytes(const void *start, std::size_t len) noexcept : start_(start), len_(len) {}
    template <class T, std::size_t N, class = std::enable_if_t<parts::is_byte<T> && !std::is_same_v<T, char>>>
    constexpr const_bytes(const T (&array)[N]) noexcept : start_(array), len_(N) {}
    template <class C, class = std::enable_if_t<parts::has_bytes<const C>>>
    constexpr const_bytes(const C &bytes) noexcept : start_(bytes.data()), len_(bytes.size()) {}

    [[nodiscard]] const unsigned char *data() const noexcept { return static_cast<const unsigned char *>(start_); }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return len_; }
    [[nodiscard]] const unsigned char *begin() const noexcept { return data(); }
    [[nodiscard]] const unsigned char *end() const noexcept { return data() + len_; }

private:
    const void *start_ = nullptr;
    std::size_t len_ = 0;
};

// Bytes that are written. Made as const_bytes are, from containers that may be changed, and from arrays of char too.
class mutable_bytes {
public:
    constexpr mutable_bytes() noexcept = default;
    constexpr mutable_bytes(void *start, std::size_t len) noexcept : start_(start), len_(len) {}
    template <class T, std::size_t N, class = std::enable_if_t<parts::is_byte<T>>>
    constexpr mutable_bytes(T (&array)[N]) noexcept : start_(array), len_(N) {}
    template <class C, class = std::enable_if_t<parts::has_mutable_bytes<C>>>
    constexpr mutable_bytes(C &bytes) noexcept : start_(bytes.data()), len_(bytes.size()) {}
    // A std::span need not have a name.
    template <class C, class = std::enable_if_t<parts::has_mutable_bytes<const C>>>
    constexpr mutable_bytes(const C &span) noexcept : start_(span.data()), len_(span.size()) {}

    [[nodiscard]] unsigned char *data() const noexcept { return static_cast<unsigned char *>(start_); }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return len_; }
    [[nodiscard]] unsigned char *begin() const noexcept { return data(); }
    [[nodiscard]] unsigned char *end() const noexcept { return data() + len_; }

private:
    void *start_ = nullptr;
    std::size_t len_ = 0;
};

// A passphrase or a context: bytes, or a text up to its zero byte, which doesn't count.
class octets : public const_bytes {
public:
    constexpr octets() noexcept = default;
    octets(const char *text) noexcept : const_bytes(text, text == nullptr ? 0 : std::strlen(text)) {}
    constexpr octets(const void *start, std::size_t len) noexcept : const_bytes(start, len) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<const C &, const_bytes>>>
    constexpr octets(const C &bytes) noexcept : const_bytes(bytes) {}

    [[nodiscard]] const char *chars() const noexcept { return reinterpret_cast<const char *>(data()); }
};

// A name, a URL, a label.
class text {
public:
    text(const char *chars) noexcept : chars_(chars) {}
    // A string with a zero byte inside is passed on as bytes that are no UTF-8, and so refused.
    text(const std::string &string) noexcept
        : chars_(string.find('\0') == std::string::npos ? string.c_str() : "\xff") {}

    [[nodiscard]] const char *get() const noexcept { return chars_; }

private:
    const char *chars_;
};

// A path. Where paths are made of char, a std::filesystem::path will do.
class path {
public:
    path(const char *chars) noexcept : chars_(chars) {}
    // A string with a zero byte inside is passed on as NULL, and so refused.
    path(const std::string &string) noexcept
        : chars_(string.find('\0') == std::string::npos ? string.c_str() : nullptr) {}
    template <class P, class = std::enable_if_t<
                           std::is_same_v<decltype(std::declval<const P &>().native()), const std::string &>>>
    path(const P &native) noexcept : path(native.native()) {}

    [[nodiscard]] const char *get() const noexcept { return chars_; }

private:
    const char *chars_;
};

// ---------------------------------------------------------------------------------------------------------------------
// ERRORS

// The failure of a call.
class error : public std::runtime_error {
public:
    explicit error(atrest_status status, const std::string &message = {})
        : std::runtime_error(atrest_status_name(status) + (message.empty() ? message : ": " + message)),
          status_(status) {}

    // One of ATREST_ERR_*.
    [[nodiscard]] atrest_status status() const noexcept { return status_; }
    // Its name, such as "ATREST_ERR_WRONG_KEY".
    [[nodiscard]] const char *name() const noexcept { return atrest_status_name(status_); }
    // The text of atrest_last_error_message(). what() is the name and the message.
    [[nodiscard]] const char *message() const noexcept {
        const char *rest = what() + std::strlen(name());
        return *rest == 0 ? rest : rest + 2;
    }

private:
    atrest_status status_;
};

namespace parts {

// The status of a failure. ATREST_OK becomes ATREST_ERR_OTHER, so that it isn't taken for success.
inline atrest_status failure(atrest_status status) noexcept { return status == ATREST_OK ? ATREST_ERR_OTHER : status; }

// The same for a callback's failure, whose text becomes part of the message of the call that fails by it.
inline atrest_status failure(const error &why) noexcept {
    atrest_set_callback_message(why.what());
    return failure(why.status());
}

} // namespace parts

inline namespace ATREST_DETAIL_WAY {

#ifndef ATREST_NO_EXCEPTIONS

// The type that a function returns: here a T, because a failure is thrown.
template <class T> using result = T;

// Fails: throws.
template <class T = void> [[noreturn]] ATREST_DETAIL_COLD T fail(atrest_status status, const std::string &message) {
    throw error(status, message);
}

namespace detail {

// The failure of the call that this thread has just made.
template <class T> [[noreturn]] ATREST_DETAIL_COLD T failed(atrest_status status) {
    throw error(status, atrest_last_error_message());
}

// Runs the caller's function, and returns its outcome as a status; take() also stores its value.
template <class F> atrest_status status_of(F &&call) {
    call();
    return ATREST_OK;
}
template <class T, class F> atrest_status take(T &out, F &&call) {
    out = call();
    return ATREST_OK;
}

} // namespace detail

#else

// The type that a function returns: a T, or an error. Taking the one that isn't there ends the program.
template <class T> class [[nodiscard]] result {
public:
    result(T value) noexcept : value_(std::move(value)) {}
    result(atrest::error why) noexcept : error_(std::move(why)) {}

    [[nodiscard]] bool ok() const noexcept { return value_.has_value(); }
    [[nodiscard]] explicit operator bool() const noexcept { return ok(); }
    // ATREST_OK, or that of the error.
    [[nodiscard]] atrest_status status() const noexcept { return ok() ? ATREST_OK : error_->status(); }

    [[nodiscard]] const atrest::error &error() const noexcept { return error_ ? *error_ : (std::abort(), *error_); }
    [[nodiscard]] T &value() & noexcept { return ok() ? *value_ : (std::abort(), *value_); }
    [[nodiscard]] const T &value() const & noexcept { return ok() ? *value_ : (std::abort(), *value_); }
    [[nodiscard]] T value() && noexcept { return std::move(value()); }
    [[nodiscard]] T &operator*() & noexcept { return value(); }
    [[nodiscard]] const T &operator*() const & noexcept { return value(); }
    [[nodiscard]] T operator*() && noexcept { return std::move(value()); }
    [[nodiscard]] T *operator->() noexcept { return &value(); }
    [[nodiscard]] const T *operator->() const noexcept { return &value(); }

private:
    std::optional<T> value_;
    std::optional<atrest::error> error_;
};

// Success, or an error.
template <> class [[nodiscard]] result<void> {
public:
    result() noexcept = default;
    result(atrest::error why) noexcept : error_(std::move(why)) {}

    [[nodiscard]] bool ok() const noexcept { return !error_.has_value(); }
    [[nodiscard]] explicit operator bool() const noexcept { return ok(); }
    [[nodiscard]] atrest_status status() const noexcept { return ok() ? ATREST_OK : error_->status(); }
    [[nodiscard]] const atrest::error &error() const noexcept { return error_ ? *error_ : (std::abort(), *error_); }

private:
    std::optional<atrest::error> error_;
};

// Fails: returns the failure.
template <class T = void> ATREST_DETAIL_COLD result<T> fail(atrest_status status, const std::string &message) {
    return error(status, message);
}

namespace detail {

// The failure of the call that this thread has just made.
template <class T> ATREST_DETAIL_COLD result<T> failed(atrest_status status) {
    return error(status, atrest_last_error_message());
}

// Runs the caller's function, and returns its outcome as a status; take() also stores its value.
template <class F> atrest_status status_of(F &&call) {
    const result<void> done = call();
    return done.ok() ? ATREST_OK : parts::failure(done.error());
}
template <class T, class F> atrest_status take(T &out, F &&call) {
    result<T> value = call();
    if (!value.ok())
        return parts::failure(value.error());
    out = *std::move(value);
    return ATREST_OK;
}

} // namespace detail

#endif

// From here on only `result` and `fail` depend on how failures are reported.

// Fails with a status that says it all.
template <class T = void> result<T> fail(atrest_status status) { return fail<T>(status, std::string()); }

namespace detail {

template <class T> ATREST_DETAIL_COLD result<T> different_lengths() {
    return fail<T>(ATREST_ERR_LENGTH_MISMATCH, "source and destination differ in length");
}

inline result<void> done(atrest_status status) {
    if (status != ATREST_OK)
        return failed<void>(status);
    return result<void>();
}

// The value that a function puts out.
template <class T, class F> result<T> value_of(F &&call) {
    T out{};
    if (const atrest_status status = call(&out); status != ATREST_OK)
        return failed<T>(status);
    return out;
}

// A struct of C as its _INIT macro has it.
template <class T> T init() noexcept {
    T structure{};
    structure.struct_size = sizeof structure;
    return structure;
}

// The struct that a function fills.
template <class T, class F> result<T> struct_of(F &&call) {
    auto out = init<T>();
    if (const atrest_status status = call(&out); status != ATREST_OK)
        return failed<T>(status);
    return out;
}

// As value_of, for an enum.
template <class E, class F> result<E> enum_of(F &&call) {
    std::uint32_t out = 0;
    if (const atrest_status status = call(&out); status != ATREST_OK)
        return failed<E>(status);
    return static_cast<E>(out);
}

// The handle that a function puts out.
template <class H, class F> result<H> handle_of(F &&call) {
    typename H::c_type *out = nullptr;
    if (const atrest_status status = call(&out); status != ATREST_OK)
        return failed<H>(status);
    return H(out);
}

// The text that a function puts out, of any length.
template <class F> result<std::string> text_of(F &&call) {
    std::string out(63, '\0');
    for (;;) {
        std::size_t len = 0;
        // The zero byte goes where a std::string has one anyway.
        const atrest_status status = call(&out[0], out.size() + 1, &len);
        const bool again = status == ATREST_ERR_BUFFER_TOO_SHORT && len > out.size();
        if (status != ATREST_OK && !again)
            return failed<std::string>(status);
        out.resize(len);
        if (!again)
            return out;
    }
}

// The URL that a function puts out.
template <class F> result<std::string> url_of(F &&call) {
    char url[ATREST_KEY_URL_SIZE];
    if (const atrest_status status = call(url, sizeof url); status != ATREST_OK)
        return failed<std::string>(status);
    return std::string(url);
}

// The bytes that a function puts out, of any number; `room` is a good guess.
template <class F> result<std::vector<std::uint8_t>> bytes_of(std::size_t room, F &&call) {
    std::vector<std::uint8_t> out(room);
    for (;;) {
        std::size_t len = 0;
        const atrest_status status = call(out.data(), out.size(), &len);
        const bool again = status == ATREST_ERR_BUFFER_TOO_SHORT && len > out.size();
        if (status != ATREST_OK && !again)
            return failed<std::vector<std::uint8_t>>(status);
        out.resize(len);
        if (!again)
            return out;
    }
}

// A copy of a text or of bytes, or NULL. A std::optional would be the same, but of one GCC 12 warns that it may not be
// initialised, when it looks for undefined behaviour.
class copied {
public:
    copied() = default;
    copied(const char *chars) : there_(chars != nullptr), bytes_(there_ ? chars : "") {}
    copied(const_bytes bytes) : there_(true), bytes_(bytes.begin(), bytes.end()) {}

    [[nodiscard]] const char *get() const noexcept { return there_ ? bytes_.data() : nullptr; }
    [[nodiscard]] std::size_t size() const noexcept { return bytes_.size(); }

private:
    bool there_ = false;
    std::string bytes_;
};

// Runs a callback of C. Nothing is thrown across C: an exception becomes a status.
template <class F> atrest_status guarded(F &&call) noexcept {
#if ATREST_DETAIL_CATCHES
    try {
        return call();
    } catch (const error &e) {
        return parts::failure(e);
    } catch (const std::bad_alloc &) {
        return ATREST_ERR_NO_MEMORY;
    } catch (const std::exception &e) {
        atrest_set_callback_message(e.what());
        return ATREST_ERR_OTHER;
    } catch (...) {
        return ATREST_ERR_OTHER;
    }
#else
    return call();
#endif
}

// Calls a function with each entry of a list of C.
template <class F> class visitor {
public:
    explicit visitor(F &visit) noexcept : visit_(visit) {}

    template <class... Entry> static atrest_status each(void *user, Entry... entry) noexcept {
        visitor &self = *static_cast<visitor *>(user);
#if ATREST_DETAIL_CATCHES
        try {
            return self.goes_on(entry...);
        } catch (...) {
            self.thrown_ = std::current_exception();
            return ATREST_ERR_OTHER;
        }
#else
        return self.goes_on(entry...);
#endif
    }

    result<void> end(atrest_status status) {
#if ATREST_DETAIL_CATCHES
        if (thrown_)
            std::rethrow_exception(std::move(thrown_));
#endif
        return done(ended_ ? ATREST_OK : status);
    }

private:
    template <class T> static const T &shown(const T *entry) noexcept { return *entry; }
    static const char *shown(const char *entry) noexcept { return entry; }
    static std::uint32_t shown(std::uint32_t entry) noexcept { return entry; }

    template <class... Entry> atrest_status goes_on(Entry... entry) {
        if constexpr (std::is_same_v<decltype(visit_(shown(entry)...)), bool>)
            ended_ = !visit_(shown(entry)...);
        else
            visit_(shown(entry)...);
        return ended_ ? ATREST_ERR_OTHER : ATREST_OK;
    }

    F &visit_;
    bool ended_ = false;
#if ATREST_DETAIL_CATCHES
    std::exception_ptr thrown_;
#endif
};

// Calls `visit` with each entry of a list of C, whose callback takes Entry...
template <class... Entry, class F, class Call> result<void> each(F &visit, Call &&call) {
    visitor<F> visiting(visit);
    return visiting.end(call(&visitor<F>::template each<Entry...>, static_cast<void *>(&visiting)));
}

// The entries of a list of texts.
template <class Call> result<std::vector<std::string>> texts_of(Call &&call) {
    std::vector<std::string> texts;
    auto add = [&](const char *text) { texts.emplace_back(text); };
    atrest_status status = ATREST_OK;
    static_cast<void>(each<const char *>(add, [&](auto... visit) {
        status = call(visit...);
        return atrest_status{ATREST_OK};
    }));
    if (status != ATREST_OK)
        return failed<std::vector<std::string>>(status);
    return texts;
}

// Makes a handle of the caller's object, which C releases. If that fails, the object is destroyed here.
template <class H, class Object, class Callbacks, class From>
result<H> object_of(std::unique_ptr<Object> object, Callbacks callbacks, void (*release)(void *), From from) {
    if (!object)
        return fail<H>(ATREST_ERR_NULL_ARGUMENT, "there is no object");
    callbacks.user = object.get();
    callbacks.release = release;
    typename H::c_type *out = nullptr;
    if (const atrest_status status = from(&callbacks, &out); status != ATREST_OK)
        return failed<H>(status);
    static_cast<void>(object.release());
    return H(out);
}

// A handle that a function of the caller's gives away to C.
template <class H, class F> atrest_status give(typename H::c_type **out, F &&call) {
    H handle;
    const atrest_status status = take(handle, call);
    if (status == ATREST_OK && !handle)
        return ATREST_ERR_OTHER;
    if (status == ATREST_OK)
        *out = handle.release();
    return status;
}

// Puts a text into a place of C, if it fits. It may come from there.
template <std::size_t N> [[nodiscard]] bool put(char (&place)[N], std::string_view text) noexcept {
    if (text.size() >= N || text.find('\0') != std::string_view::npos)
        return false;
    if (!text.empty())
        std::memmove(place, text.data(), text.size());
    std::memset(place + text.size(), 0, N - text.size());
    return true;
}

// Owns the object behind a pointer of C.
template <class C, void (*Free)(C *)> class handle {
public:
    using c_type = C;

    handle() noexcept = default;
    // Takes over an object that C made.
    explicit handle(C *owned) noexcept : owned_(owned) {}
    handle(handle &&other) noexcept : owned_(other.release()) {}
    handle &operator=(handle &&other) noexcept {
        if (this != &other)
            reset(other.release());
        return *this;
    }
    ~handle() { Free(owned_); }

    // The pointer of C, which stays this handle's; NULL if it is empty.
    [[nodiscard]] C *get() const noexcept { return owned_; }
    // Gives the pointer away, to be freed by C. The handle is empty then.
    [[nodiscard]] C *release() noexcept { return std::exchange(owned_, nullptr); }
    // Frees the current object, and takes over another.
    void reset(C *owned = nullptr) noexcept { Free(std::exchange(owned_, owned)); }
    // Whether it isn't empty.
    [[nodiscard]] explicit operator bool() const noexcept { return owned_ != nullptr; }

private:
    C *owned_ = nullptr;
};

} // namespace detail

// ---------------------------------------------------------------------------------------------------------------------
// WHAT NUMBERS MEAN
//
// A number of a later library that isn't listed here passes through unchanged.

// ATREST_AES_* and the like.
enum class dek_algorithm : std::uint32_t {
    aes_128_xts = ATREST_AES_128_XTS,
    aes_256_xts = ATREST_AES_256_XTS,
    aes_128_cbc = ATREST_AES_128_CBC,
    aes_192_cbc = ATREST_AES_192_CBC,
    aes_256_cbc = ATREST_AES_256_CBC,
    aes_256_hctr2 = ATREST_AES_256_HCTR2,
    aes_256_ctr = ATREST_AES_256_CTR,
    aes_128_cbc_elephant = ATREST_AES_128_CBC_ELEPHANT,
    aes_256_cbc_elephant = ATREST_AES_256_CBC_ELEPHANT,
    aes_128_ecb = ATREST_AES_128_ECB,
    aes_192_ecb = ATREST_AES_192_ECB,
    aes_256_ecb = ATREST_AES_256_ECB,
    serpent_128_xts = ATREST_SERPENT_128_XTS,
    serpent_256_xts = ATREST_SERPENT_256_XTS,
    serpent_128_cbc = ATREST_SERPENT_128_CBC,
    serpent_192_cbc = ATREST_SERPENT_192_CBC,
    serpent_256_cbc = ATREST_SERPENT_256_CBC,
    twofish_128_xts = ATREST_TWOFISH_128_XTS,
    twofish_256_xts = ATREST_TWOFISH_256_XTS,
    twofish_128_cbc = ATREST_TWOFISH_128_CBC,
    twofish_192_cbc = ATREST_TWOFISH_192_CBC,
    twofish_256_cbc = ATREST_TWOFISH_256_CBC,
    camellia_128_xts = ATREST_CAMELLIA_128_XTS,
    camellia_256_xts = ATREST_CAMELLIA_256_XTS,
    camellia_128_cbc = ATREST_CAMELLIA_128_CBC,
    camellia_192_cbc = ATREST_CAMELLIA_192_CBC,
    camellia_256_cbc = ATREST_CAMELLIA_256_CBC,
    adiantum = ATREST_ADIANTUM,
    aes_192_xts = ATREST_AES_192_XTS,
};

// ATREST_UNIT_*.
enum class sector_unit : std::uint32_t {
    of_512 = ATREST_UNIT_512,
    sector = ATREST_UNIT_SECTOR,
    of_512_any_offset = ATREST_UNIT_512_ANY_OFFSET,
};

// ATREST_KEY_*.
enum class key_kind : std::uint32_t {
    aes_256 = ATREST_KEY_AES_256,
    rsa_2048 = ATREST_KEY_RSA_2048,
    rsa_3072 = ATREST_KEY_RSA_3072,
    rsa_4096 = ATREST_KEY_RSA_4096,
};

// ATREST_WRAP_*.
enum class wrap_algorithm : std::uint32_t {
    a256kw = ATREST_WRAP_A256KW,
    a256kwp = ATREST_WRAP_A256KWP,
    rsa_oaep_256 = ATREST_WRAP_RSA_OAEP_256,
    rsa_oaep = ATREST_WRAP_RSA_OAEP,
    rsa1_5 = ATREST_WRAP_RSA1_5,
    opaque = ATREST_WRAP_OPAQUE,
    rsa_oaep_256_hs256 = ATREST_WRAP_RSA_OAEP_256_HS256,
};

// ATREST_OPERATION_*, combined by `|`.
enum class operations : std::uint32_t {
    get = ATREST_OPERATION_GET,
    wrap_key = ATREST_OPERATION_WRAP_KEY,
    unwrap_key = ATREST_OPERATION_UNWRAP_KEY,
};

[[nodiscard]] constexpr operations operator|(operations a, operations b) noexcept {
    return static_cast<operations>(static_cast<std::uint32_t>(a) | static_cast<std::uint32_t>(b));
}
[[nodiscard]] constexpr operations operator&(operations a, operations b) noexcept {
    return static_cast<operations>(static_cast<std::uint32_t>(a) & static_cast<std::uint32_t>(b));
}

// ATREST_KDF_*.
enum class kdf_kind : std::uint32_t {
    pbkdf2 = ATREST_KDF_PBKDF2,
    argon2i = ATREST_KDF_ARGON2I,
    argon2id = ATREST_KDF_ARGON2ID,
};

// ATREST_HASH_*.
enum class hash_kind : std::uint32_t {
    sha256 = ATREST_HASH_SHA256,
    sha512 = ATREST_HASH_SHA512,
    sha1 = ATREST_HASH_SHA1,
};

// ATREST_PRIORITY_*.
enum class slot_priority : std::uint32_t {
    normal = ATREST_PRIORITY_NORMAL,
    prefer = ATREST_PRIORITY_PREFER,
    ignore = ATREST_PRIORITY_IGNORE,
};

// ATREST_*_KEY and _KEYS.
enum class protected_by : std::uint32_t {
    platform_key = ATREST_PLATFORM_KEY,
    customer_key = ATREST_CUSTOMER_KEY,
    platform_and_customer_keys = ATREST_PLATFORM_AND_CUSTOMER_KEYS,
};

// ATREST_LUKS1 and ATREST_LUKS2, and ATREST_BITLOCKER, which only a header can be.
enum class luks : std::uint32_t { luks1 = ATREST_LUKS1, luks2 = ATREST_LUKS2, bitlocker = ATREST_BITLOCKER };

// ATREST_NUMBERING_*.
enum class sector_numbering : std::uint32_t {
    of_512 = ATREST_NUMBERING_512,
    sectors = ATREST_NUMBERING_SECTORS,
    upper_half = ATREST_NUMBERING_UPPER_HALF,
};

// ATREST_RESOURCE_*.
enum class resource : std::uint32_t {
    disk = ATREST_RESOURCE_DISK,
    snapshot = ATREST_RESOURCE_SNAPSHOT,
    image = ATREST_RESOURCE_IMAGE,
};

// ---------------------------------------------------------------------------------------------------------------------
// CLOCKS

// A clock of the caller's. Give it to clock::from.
class time_source {
public:
    time_source() = default;
    time_source(const time_source &) = delete;
    time_source &operator=(const time_source &) = delete;
    // Called when the clock and everything that uses it are freed.
    virtual ~time_source() = default;

    // The time in seconds since 1970-01-01 UTC. Several threads may ask at once; it must be fast, and can't fail.
    [[nodiscard]] virtual std::uint64_t now() noexcept = 0;
};

// A clock of the caller's that also tells an uptime. Leases count by it beside the time, which could be put back. Give
// it to clock::from_steady. Other clocks take the operating system's uptime.
class steady_time_source : public time_source {
public:
    // The time since a fixed point, in milliseconds. As now(), and it never goes back.
    [[nodiscard]] virtual std::uint64_t uptime() noexcept = 0;
};

namespace detail {

struct time_source_calls {
    static std::uint64_t uptime(void *user) noexcept {
        return static_cast<steady_time_source *>(static_cast<time_source *>(user))->uptime();
    }
    static std::uint64_t now(void *user) noexcept { return static_cast<time_source *>(user)->now(); }
    static void release(void *user) noexcept { delete static_cast<time_source *>(user); }
};

} // namespace detail

// A source of time. Everything that uses a clock keeps it.
class clock : public detail::handle<atrest_clock, atrest_clock_free> {
public:
    using handle::handle;

    // A clock that stands until it is told to move.
    [[nodiscard]] static result<clock> manual(std::uint64_t now) {
        return detail::handle_of<clock>([&](auto out) { return atrest_clock_manual(now, out); });
    }
    // A clock of the caller's. It lives until this handle and everything that uses it are freed; if this fails, it is
    // destroyed at once.
    [[nodiscard]] static result<clock> from(std::unique_ptr<time_source> source) {
        auto callbacks = detail::init<atrest_clock_callbacks>();
        return from(std::move(source), callbacks);
    }
    [[nodiscard]] static result<clock> from_steady(std::unique_ptr<steady_time_source> source) {
        auto callbacks = detail::init<atrest_clock_callbacks>();
        callbacks.uptime = detail::time_source_calls::uptime;
        return from(std::unique_ptr<time_source>(std::move(source)), callbacks);
    }

    [[nodiscard]] result<std::uint64_t> now() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_clock_now(get(), out); });
    }
    // These two move a clock of manual().
    result<void> set(std::uint64_t now) { return detail::done(atrest_clock_set(get(), now)); }
    result<void> advance(std::uint64_t seconds) { return detail::done(atrest_clock_advance(get(), seconds)); }

private:
    static result<clock> from(std::unique_ptr<time_source> source, atrest_clock_callbacks &callbacks) {
        callbacks.now = detail::time_source_calls::now;
        return detail::object_of<clock>(std::move(source), callbacks, detail::time_source_calls::release,
                                        atrest_clock_from_callbacks);
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS OF THE CALLER'S

// A DEK as a vault wrapped it: a view of what the library lends a key_vault.
class wrapped_dek {
public:
    explicit wrapped_dek(const atrest_wrapped_dek &c) noexcept : c_(&c) {}

    [[nodiscard]] std::string_view vault_id() const noexcept { return c_->vault_id; }
    [[nodiscard]] std::string_view key_name() const noexcept { return c_->key_name; }
    [[nodiscard]] std::string_view version() const noexcept { return c_->version; }
    [[nodiscard]] wrap_algorithm algorithm() const noexcept { return static_cast<wrap_algorithm>(c_->algorithm); }
    [[nodiscard]] const_bytes bytes() const noexcept { return {c_->bytes, c_->bytes_len}; }

private:
    const atrest_wrapped_dek *c_;
};

// A DEK that a key_vault is to wrap: under which key, and the place for the outcome.
class wrapping {
public:
    explicit wrapping(atrest_wrapped_dek &c) noexcept : c_(&c) {}

    [[nodiscard]] std::string_view vault_id() const noexcept { return c_->vault_id; }
    [[nodiscard]] std::string_view key_name() const noexcept { return c_->key_name; }
    // The version that is to wrap; empty for the latest.
    [[nodiscard]] std::string_view version() const noexcept { return c_->version; }
    // Where the wrapped bytes go, if they are to be made there: ATREST_WRAPPED_MAX bytes of room.
    [[nodiscard]] mutable_bytes room() const noexcept { return c_->bytes; }
    // Stores the result: the version of the key, the algorithm, and the wrapped bytes, which are copied unless they are
    // in room(). Fails with ATREST_ERR_LENGTH if the version or the bytes don't fit.
    result<void> fill(std::string_view version, wrap_algorithm algorithm, const_bytes bytes) {
        if (bytes.size() > sizeof c_->bytes || !detail::put(c_->version, version))
            return fail<void>(ATREST_ERR_LENGTH);
        c_->algorithm = static_cast<std::uint32_t>(algorithm);
        c_->bytes_len = bytes.size();
        if (bytes.size() != 0)
            std::memmove(c_->bytes, bytes.data(), bytes.size());
        return result<void>();
    }

private:
    atrest_wrapped_dek *c_;
};

// A version of a key, as a vault of the caller's describes it. As atrest_key_description.
struct key_description {
    std::string version;
    key_kind kind = key_kind::aes_256;
    bool enabled = true;
    std::uint64_t not_before = 0, expires = 0, created = 0;
};

// A vault that the caller makes: the client of a key service, an HSM, or any other key store. Give it to vault::from.
//
// Its functions are called from any thread that uses the vault, several at once. They fail by throwing, or by returning
// an error where functions return results. Nothing that they throw leaves the library: an atrest::error counts by its
// status, std::bad_alloc is ATREST_ERR_NO_MEMORY, anything else ATREST_ERR_OTHER. atrest_vault_callbacks says which
// statuses revoke a key, and which count as an outage. After an outage the caller of the library learns the status, but
// not the message.
class key_vault {
public:
    key_vault() = default;
    key_vault(const key_vault &) = delete;
    key_vault &operator=(const key_vault &) = delete;
    // Called when every handle of the vault, and all that uses it, are freed.
    virtual ~key_vault() = default;

    // The id of the vault, the first part of its keys' URLs. Asked once, by vault::from.
    [[nodiscard]] virtual std::string id() const = 0;
    // Wraps `dek` under the key `wrapped.key_name()`, and fills `wrapped`.
    virtual result<void> wrap(const_bytes dek, wrapping &wrapped) = 0;
    // Unwraps the output of wrap() into `dek`, and returns the number of bytes.
    virtual result<std::size_t> unwrap(const wrapped_dek &wrapped, mutable_bytes dek) = 0;
    // Describes a version of a key, or the one that wrap() would use if `version` is empty. If this isn't overridden,
    // the vault doesn't support it.
    virtual result<key_description> describe(const std::string &key_name, const std::string &version) {
        static_cast<void>(key_name), static_cast<void>(version);
        return fail<key_description>(ATREST_ERR_UNSUPPORTED);
    }
};

namespace detail {

struct key_vault_calls {
    static atrest_status wrap(void *user, const std::uint8_t *dek, std::size_t dek_len, atrest_wrapped_dek *wrapped) {
        return guarded([&] {
            wrapping out(*wrapped);
            return status_of([&] { return static_cast<key_vault *>(user)->wrap({dek, dek_len}, out); });
        });
    }
    static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, std::uint8_t *dek, std::size_t dek_cap,
                                std::size_t *dek_len) {
        return guarded([&] {
            const wrapped_dek in(*wrapped);
            return take(*dek_len, [&] { return static_cast<key_vault *>(user)->unwrap(in, {dek, dek_cap}); });
        });
    }
    static atrest_status describe(void *user, const char *key_name, atrest_key_description *said) {
        return guarded([&]() -> atrest_status {
            key_description description;
            const atrest_status status = take(
                description, [&] { return static_cast<key_vault *>(user)->describe(key_name, said->version); });
            if (status != ATREST_OK)
                return status;
            if (!put(said->version, description.version))
                return ATREST_ERR_LENGTH;
            said->kind = static_cast<std::uint32_t>(description.kind);
            said->enabled = description.enabled;
            said->not_before = description.not_before;
            said->expires = description.expires;
            said->created = description.created;
            return ATREST_OK;
        });
    }
    static void release(void *user) noexcept { delete static_cast<key_vault *>(user); }
};

} // namespace detail

// ---------------------------------------------------------------------------------------------------------------------
// VAULTS

// The program's secrets, for a vault that is opened by its URL.
class secret_source {
public:
    secret_source() = default;
    secret_source(const secret_source &) = delete;
    secret_source &operator=(const secret_source &) = delete;
    // Called when no secret is needed any more.
    virtual ~secret_source() = default;

    // Writes a secret into `out`, which the library wipes, and returns its length. `name` is that of the environment
    // variable that would hold it. Fails with ATREST_ERR_NOT_FOUND to have the library look in the usual places.
    [[nodiscard]] virtual result<std::size_t> secret(const std::string &name, mutable_bytes out) = 0;
};

namespace detail {

struct secret_source_calls {
    static atrest_status secret(void *user, const char *name, std::uint8_t *secret, std::size_t cap, std::size_t *len) {
        return guarded([&] {
            return take(*len, [&] { return static_cast<secret_source *>(user)->secret(name, {secret, cap}); });
        });
    }
    static void release(void *user) noexcept { delete static_cast<secret_source *>(user); }
};

} // namespace detail

// A KDF and its costs.
class kdf {
public:
    [[nodiscard]] static kdf pbkdf2(std::uint32_t iterations, hash_kind hash = hash_kind::sha256) noexcept {
        kdf one(kdf_kind::pbkdf2);
        one.c_.hash = static_cast<std::uint32_t>(hash);
        one.c_.iterations = iterations;
        return one;
    }
    [[nodiscard]] static kdf argon2id(std::uint32_t memory_kib, std::uint32_t passes, std::uint32_t lanes) noexcept {
        return argon2(kdf_kind::argon2id, memory_kib, passes, lanes);
    }
    [[nodiscard]] static kdf argon2i(std::uint32_t memory_kib, std::uint32_t passes, std::uint32_t lanes) noexcept {
        return argon2(kdf_kind::argon2i, memory_kib, passes, lanes);
    }
    // The costs that take about `time_ms` on this machine. 0 is the default, as in atrest_kdf_benchmark.
    [[nodiscard]] static result<kdf> benchmark(kdf_kind kind, std::uint32_t time_ms = 0,
                                               std::uint32_t max_memory_kib = 0, std::uint32_t lanes = 0,
                                               hash_kind hash = hash_kind::sha256) {
        kdf out(kind);
        if (const atrest_status status
            = atrest_kdf_benchmark(static_cast<std::uint32_t>(kind), static_cast<std::uint32_t>(hash), time_ms,
                                   max_memory_kib, lanes, &out.c_);
            status != ATREST_OK)
            return detail::failed<kdf>(status);
        return out;
    }

    [[nodiscard]] const atrest_kdf &c() const noexcept { return c_; }

private:
    explicit kdf(kdf_kind kind) noexcept { c_.kind = static_cast<std::uint32_t>(kind); }
    static kdf argon2(kdf_kind kind, std::uint32_t memory_kib, std::uint32_t passes, std::uint32_t lanes) noexcept {
        kdf one(kind);
        one.c_.memory_kib = memory_kib;
        one.c_.passes = passes;
        one.c_.lanes = lanes;
        return one;
    }

    atrest_kdf c_ = detail::init<atrest_kdf>();
};

// The credential for a vault file.
class unlock {
public:
    // The passphrase isn't copied: it must live until the vault is open.
    [[nodiscard]] static unlock passphrase(octets passphrase) {
        unlock by;
        by.c_.passphrase = passphrase.chars();
        by.c_.passphrase_len = passphrase.size();
        return by;
    }
    [[nodiscard]] static unlock key_file(path file) {
        unlock by;
        by.key_file_ = file.get();
        return by;
    }
    // The cost of trying a new vault's passphrase, by Argon2id. It replaces an earlier KDF.
    unlock &kdf(std::uint32_t memory_kib, std::uint32_t passes, std::uint32_t lanes) noexcept {
        c_.kdf_memory_kib = memory_kib;
        c_.kdf_passes = passes;
        c_.kdf_lanes = lanes;
        kdf_.reset();
        return *this;
    }
    // The KDF of a new vault's passphrase. It replaces an earlier one.
    unlock &kdf(const atrest::kdf &kdf) noexcept {
        this->kdf(0, 0, 0);
        kdf_ = kdf;
        return *this;
    }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_unlock c() const noexcept {
        atrest_unlock c = c_;
        c.key_file = key_file_.get();
        c.kdf = kdf_ ? &kdf_->c() : nullptr;
        return c;
    }

private:
    unlock() = default;

    atrest_unlock c_ = detail::init<atrest_unlock>();
    detail::copied key_file_;
    std::optional<atrest::kdf> kdf_;
};

// Options of a new vault file. As atrest_vault_options.
class vault_options {
public:
    vault_options &id(text id) { return id_ = id.get(), *this; }
    vault_options &region(text region) { return region_ = region.get(), *this; }
    vault_options &tenant(text tenant) { return tenant_ = tenant.get(), *this; }
    vault_options &retention_days(std::uint32_t days) noexcept { return c_.retention_days = days, *this; }
    vault_options &purge_protection(bool on = true) noexcept { return c_.purge_protection = on, *this; }
    vault_options &refuse_expired(bool on = true) noexcept { return c_.refuse_expired = on, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_vault_options c() const noexcept {
        atrest_vault_options c = c_;
        c.id = id_.get();
        c.region = region_.get();
        c.tenant = tenant_.get();
        return c;
    }

private:
    atrest_vault_options c_ = detail::init<atrest_vault_options>();
    detail::copied id_, region_, tenant_;
};

// Changes of a version of a key or of a secret: each function called here adds one. Times are seconds since 1970-01-01 UTC; 0
// is any, or never.
class version_change {
public:
    version_change &enabled(bool enabled) noexcept { return c_.enabled = enabled, changes(ATREST_CHANGE_ENABLED); }
    version_change &not_before(std::uint64_t time) noexcept {
        return c_.not_before = time, changes(ATREST_CHANGE_NOT_BEFORE);
    }
    version_change &expires(std::uint64_t time) noexcept { return c_.expires = time, changes(ATREST_CHANGE_EXPIRES); }
    version_change &authenticated(bool on) noexcept {
        return c_.authenticated = on, changes(ATREST_CHANGE_AUTHENTICATED);
    }

    [[nodiscard]] const atrest_version_change &c() const noexcept { return c_; }

private:
    version_change &changes(std::uint32_t what) noexcept { return c_.changes |= what, *this; }

    atrest_version_change c_ = detail::init<atrest_version_change>();
};

// The result of vault::secret without the value. As atrest_read_secret.
struct read_secret {
    std::string version;
    std::vector<std::pair<std::string, std::string>> tags;
    // The length of the value.
    std::size_t length = 0;
};

// A vault of KEKs.
class vault : public detail::handle<atrest_vault, atrest_vault_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<vault> create_file(path file, const unlock &by) {
        const atrest_unlock c = by.c();
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_create_file(file.get(), &c, out); });
    }
    [[nodiscard]] static result<vault> create_file(path file, const unlock &by, const vault_options &options) {
        const atrest_unlock c = by.c();
        const atrest_vault_options c_options = options.c();
        return detail::handle_of<vault>(
            [&](auto out) { return atrest_vault_create_file_with(file.get(), &c, &c_options, out); });
    }
    [[nodiscard]] static result<vault> open_file(path file, const unlock &by) {
        const atrest_unlock c = by.c();
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_open_file(file.get(), &c, out); });
    }
    // Opens it, or makes one if there is none. If many do this at once, one makes it, and all open the same.
    [[nodiscard]] static result<vault> open_or_create_file(path file, const unlock &by, const vault_options &options = {}) {
        const atrest_unlock c = by.c();
        const atrest_vault_options c_options = options.c();
        return detail::handle_of<vault>(
            [&](auto out) { return atrest_vault_open_or_create_file(file.get(), &c, &c_options, out); });
    }
    // Opens the vault that a URL names, such as "file:/etc/disks.vault?key-file=/etc/disks.key". A call of it takes at most
    // so many milliseconds; 0 is its own deadline.
    [[nodiscard]] static result<vault> open_url(text url, std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_open_url(url.get(), &c, out); });
    }
    // With secrets of the program's.
    [[nodiscard]] static result<vault> open_url(text url, std::unique_ptr<secret_source> secrets,
                                                std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        c.secret = detail::secret_source_calls::secret;
        return detail::object_of<vault>(
            std::move(secrets), c, detail::secret_source_calls::release,
            [&](const atrest_vault_url_options *options, atrest_vault **out) {
                return atrest_vault_open_url(url.get(), options, out);
            });
    }
    static result<void> generate_key_file(path file) {
        return detail::done(atrest_vault_generate_key_file(file.get()));
    }
    // Gives the vault another passphrase or key file; its keys stay. Other handles that have the file open must open it
    // anew.
    result<void> change_unlock(const unlock &by) {
        const atrest_unlock c = by.c();
        return detail::done(atrest_vault_change_unlock(get(), &c));
    }

    // A vault of the caller's. It lives until this handle and everything that uses it are freed; if this fails, it is
    // destroyed at once.
    [[nodiscard]] static result<vault> from(std::unique_ptr<key_vault> keys) {
        auto callbacks = detail::init<atrest_vault_callbacks>();
        const std::string id = keys ? keys->id() : std::string();
        callbacks.id = text(id).get();
        callbacks.wrap = detail::key_vault_calls::wrap;
        callbacks.unwrap = detail::key_vault_calls::unwrap;
        callbacks.describe = detail::key_vault_calls::describe;
        return detail::object_of<vault>(std::move(keys), callbacks, detail::key_vault_calls::release,
                                        atrest_vault_from_callbacks);
    }
    // Several vaults as one: each unwraps its own wraps, and the first wraps. They stay the caller's.
    [[nodiscard]] static result<vault> any(const std::vector<const vault *> &vaults) {
        const std::vector<const atrest_vault *> c = handles(vaults);
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_any(c.data(), c.size(), out); });
    }
    // Several vaults as one: all wrap, and any `threshold` of them together unwrap. `keys` are the names of their keys,
    // where they aren't the quorum's. It needs a library built with the feature `quorum`.
    [[nodiscard]] static result<vault> quorum(text id, std::size_t threshold, const std::vector<const vault *> &vaults,
                                              const std::vector<std::string> &keys = {}) {
        const std::vector<const atrest_vault *> c = handles(vaults);
        std::vector<const char *> names(vaults.size(), nullptr);
        for (std::size_t i = 0; i < names.size() && i < keys.size(); ++i) {
            names[i] = keys[i].empty() ? nullptr : keys[i].c_str();
        }
        return detail::handle_of<vault>([&](auto out) {
            return atrest_vault_quorum(id.get(), threshold, c.data(), names.data(), c.size(), out);
        });
    }
    // Another handle of the same vault.
    [[nodiscard]] result<vault> clone() const {
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_clone(get(), out); });
    }
    // Another handle of the same vault file, with the clock `time`.
    [[nodiscard]] result<vault> with_clock(const clock &time) const {
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_with_clock(get(), time.get(), out); });
    }

    // Another handle of the same vault file, which archives its log once that has so many bytes.
    [[nodiscard]] result<vault> with_audit_rotation(std::uint64_t bytes) const {
        return detail::handle_of<vault>(
            [&](auto out) { return atrest_vault_with_audit_rotation(get(), bytes, out); });
    }

    [[nodiscard]] result<std::string> id() const {
        return detail::text_of([&](auto... out) { return atrest_vault_id(get(), out...); });
    }

    // These return the URL of the new version.
    result<std::string> create_key(text name) {
        return detail::url_of([&](auto... url) { return atrest_vault_create_key(get(), name.get(), url...); });
    }
    result<std::string> create_key(text name, key_kind kind) {
        return detail::url_of([&](auto... url) {
            return atrest_vault_create_key_of(get(), name.get(), static_cast<std::uint32_t>(kind), url...);
        });
    }
    result<std::string> rotate_key(text name) {
        return detail::url_of([&](auto... url) { return atrest_vault_rotate_key(get(), name.get(), url...); });
    }
    result<std::string> import_key(text name, const_bytes kek) {
        return detail::url_of([&](auto... url) {
            return atrest_vault_import_key(get(), name.get(), kek.data(), kek.size(), url...);
        });
    }
    result<std::string> import_version(text name, const_bytes kek) {
        return detail::url_of([&](auto... url) {
            return atrest_vault_import_version(get(), name.get(), kek.data(), kek.size(), url...);
        });
    }
    result<std::string> import_rsa_key(text name, const_bytes pkcs8) {
        return detail::url_of([&](auto... url) {
            return atrest_vault_import_rsa_key(get(), name.get(), pkcs8.data(), pkcs8.size(), url...);
        });
    }
    result<std::string> import_rsa_version(text name, const_bytes pkcs8) {
        return detail::url_of([&](auto... url) {
            return atrest_vault_import_rsa_version(get(), name.get(), pkcs8.data(), pkcs8.size(), url...);
        });
    }

    // Calls `each` with an atrest_key_version.
    template <class F> result<void> keys(F &&each) const {
        return detail::each<const atrest_key_version *>(
            each, [&](auto... visit) { return atrest_vault_keys(get(), visit...); });
    }
    template <class F> result<void> describe(text name, F &&each) const { return describe(name, nullptr, each); }
    template <class F> result<void> describe(text name, text version, F &&each) const {
        return detail::each<const atrest_key_version *>(each, [&](auto... visit) {
            return atrest_vault_describe(get(), name.get(), version.get(), visit...);
        });
    }
    // Calls `each` with an atrest_deleted_key.
    template <class F> result<void> deleted_keys(F &&each) const {
        return detail::each<const atrest_deleted_key *>(
            each, [&](auto... visit) { return atrest_vault_deleted_keys(get(), visit...); });
    }

    result<void> set_version(text key_url, const version_change &change) {
        return detail::done(atrest_vault_set_version(get(), key_url.get(), &change.c()));
    }
    result<void> delete_key(text name) { return detail::done(atrest_vault_delete_key(get(), name.get())); }
    result<void> recover_key(text name) { return detail::done(atrest_vault_recover_key(get(), name.get())); }
    result<void> enable_purge_protection() { return detail::done(atrest_vault_enable_purge_protection(get())); }
    result<void> hazmat_purge_key(text name) { return detail::done(atrest_hazmat_vault_purge_key(get(), name.get())); }
    result<void> hazmat_destroy_version(text key_url) {
        return detail::done(atrest_hazmat_vault_destroy_version(get(), key_url.get()));
    }

    // Makes a new version of a secret with these tags, or a secret, and returns the version. Wiping `value` stays with the
    // caller.
    result<std::string> set_secret(text name, const_bytes value,
                                   const std::vector<std::pair<std::string, std::string>> &tags = {}) {
        std::vector<atrest_tag> c_tags;
        for (const auto &[tag, of_it] : tags)
            c_tags.push_back({text(tag).get(), text(of_it).get()});
        auto options = detail::init<atrest_secret_options>();
        options.tags = c_tags.data();
        options.tags_count = c_tags.size();
        char version[ATREST_NAME_SIZE];
        const atrest_status status = atrest_vault_set_secret(get(), name.get(), value.data(), value.size(), &options,
                                                             version, sizeof version);
        if (status != ATREST_OK)
            return detail::failed<std::string>(status);
        return std::string(version);
    }
    // Reads the newest version of a secret. Wiping `value` stays with the caller; ATREST_VAULT_SECRET_MAX bytes are enough.
    [[nodiscard]] result<read_secret> secret(text name, mutable_bytes value) const {
        return secret(name, nullptr, value);
    }
    [[nodiscard]] result<read_secret> secret(text name, text version, mutable_bytes value) const {
        read_secret found;
        auto take = [&](const atrest_read_secret &read) {
            found.version = read.version;
            for (std::size_t i = 0; i < read.tags_count; ++i)
                found.tags.emplace_back(read.tags[i].name, read.tags[i].value);
        };
        atrest_status status = ATREST_OK;
        static_cast<void>(detail::each<const atrest_read_secret *>(take, [&](auto... visit) {
            status = atrest_vault_secret(get(), name.get(), version.get(), visit..., value.data(), value.size(),
                                         &found.length);
            return atrest_status{ATREST_OK};
        }));
        if (status != ATREST_OK)
            return detail::failed<read_secret>(status);
        return found;
    }
    // Calls `each` with an atrest_secret_version.
    template <class F> result<void> secrets(F &&each) const {
        return detail::each<const atrest_secret_version *>(
            each, [&](auto... visit) { return atrest_vault_secrets(get(), visit...); });
    }
    // Calls `each` with an atrest_deleted_key.
    template <class F> result<void> deleted_secrets(F &&each) const {
        return detail::each<const atrest_deleted_key *>(
            each, [&](auto... visit) { return atrest_vault_deleted_secrets(get(), visit...); });
    }
    result<void> set_secret_version(text name, text version, const version_change &change) {
        return detail::done(atrest_vault_set_secret_version(get(), name.get(), version.get(), &change.c()));
    }
    result<void> delete_secret(text name) { return detail::done(atrest_vault_delete_secret(get(), name.get())); }
    result<void> recover_secret(text name) { return detail::done(atrest_vault_recover_secret(get(), name.get())); }
    result<void> hazmat_purge_secret(text name) {
        return detail::done(atrest_hazmat_vault_purge_secret(get(), name.get()));
    }

    result<void> grant(text identity, operations what) {
        return detail::done(atrest_vault_grant(get(), identity.get(), static_cast<std::uint32_t>(what)));
    }
    result<void> revoke_operations(text identity, operations what) {
        return detail::done(atrest_vault_revoke_operations(get(), identity.get(), static_cast<std::uint32_t>(what)));
    }
    // Calls `each` with the identity, a const char *, and its operations.
    template <class F> result<void> grants(F &&each) const {
        auto one = [&](const char *identity, std::uint32_t what) {
            return each(identity, static_cast<operations>(what));
        };
        return detail::each<const char *, std::uint32_t>(
            one, [&](auto... visit) { return atrest_vault_grants(get(), visit...); });
    }
    [[nodiscard]] result<vault> as_identity(text identity) const {
        return detail::handle_of<vault>([&](auto out) { return atrest_vault_as_identity(get(), identity.get(), out); });
    }

    // Calls `each` with an atrest_audit_entry. `head` is an earlier audit_head(), whose entry the log must contain.
    template <class F> result<void> audit(F &&each) const { return audit(nullptr, each); }
    template <class F> result<void> audit(text head, F &&each) const {
        return detail::each<const atrest_audit_entry *>(
            each, [&](auto... visit) { return atrest_vault_audit(get(), head.get(), visit...); });
    }
    // As audit, but continues after damage with the entries that are proven there. The first damage is reported after
    // the last entry.
    template <class F> result<void> audit_past_damage(F &&each) const { return audit_past_damage(nullptr, each); }
    template <class F> result<void> audit_past_damage(text head, F &&each) const {
        return detail::each<const atrest_audit_entry *>(
            each, [&](auto... visit) { return atrest_vault_audit_past_damage(get(), head.get(), visit...); });
    }
    [[nodiscard]] result<std::string> audit_head() const {
        return detail::text_of([&](auto... out) { return atrest_vault_audit_head(get(), out...); });
    }
    // How many blocks any one of its keys can have encrypted by wrapping, at most.
    [[nodiscard]] result<std::uint64_t> usage() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_vault_usage(get(), out); });
    }
    result<void> archive_audit(path file) { return detail::done(atrest_vault_archive_audit(get(), file.get())); }

    // Copies the file and its log to `to`. The copy is a vault that the same unlock opens.
    result<void> backup(path to) const { return detail::done(atrest_vault_backup(get(), to.get())); }
    // Calls `tell` with the atrest_vault_properties of a locked vault file, for which nothing but a checksum vouches.
    template <class F> static result<void> peek_file(path file, F &&tell) {
        return detail::each<const atrest_vault_properties *>(
            tell, [&](auto... visit) { return atrest_vault_peek_file(file.get(), visit...); });
    }

private:
    static std::vector<const atrest_vault *> handles(const std::vector<const vault *> &vaults) {
        std::vector<const atrest_vault *> handles;
        for (const vault *each : vaults) {
            handles.push_back(each ? each->get() : nullptr);
        }
        return handles;
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// DATA ENCRYPTION KEYS

// Identifies a DEK: 32 bytes that reveal nothing about it.
using fingerprint = std::array<std::uint8_t, 32>;

// A data encryption key.
class dek : public detail::handle<atrest_dek, atrest_dek_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<dek> generate(dek_algorithm algorithm = dek_algorithm::aes_256_xts) {
        return detail::handle_of<dek>(
            [&](auto out) { return atrest_dek_generate(static_cast<std::uint32_t>(algorithm), out); });
    }
    // Has `keys` unwrap the DEK of an envelope.
    [[nodiscard]] static result<dek> unseal(const vault &keys, const_bytes envelope, octets context) {
        return detail::handle_of<dek>([&](auto out) {
            return atrest_envelope_unseal(keys.get(), envelope.data(), envelope.size(), context.data(), context.size(), out);
        });
    }
    // Wiping `bytes` stays with the caller.
    [[nodiscard]] static result<dek> hazmat_from_bytes(const_bytes bytes) {
        return detail::handle_of<dek>(
            [&](auto out) { return atrest_hazmat_dek_from_bytes(bytes.data(), bytes.size(), out); });
    }

    [[nodiscard]] static result<dek> hazmat_from_bytes(dek_algorithm algorithm, const_bytes bytes) {
        return detail::handle_of<dek>([&](auto out) {
            return atrest_hazmat_dek_from_bytes_for(static_cast<std::uint32_t>(algorithm), bytes.data(), bytes.size(), out);
        });
    }
    // That of `cryptsetup open --type plain`, by the name of its hash.
    [[nodiscard]] static result<dek> hazmat_plain(dek_algorithm algorithm, text hash, octets passphrase) {
        return detail::handle_of<dek>([&](auto out) {
            return atrest_hazmat_plain_dek(static_cast<std::uint32_t>(algorithm), hash.get(), passphrase.chars(),
                                           passphrase.size(), out);
        });
    }

    [[nodiscard]] result<dek_algorithm> algorithm() const {
        return detail::enum_of<dek_algorithm>([&](auto out) { return atrest_dek_algorithm(get(), out); });
    }
    // The fingerprint of this DEK: keep it apart from the disk, and compare it.
    [[nodiscard]] result<atrest::fingerprint> fingerprint() const {
        return detail::value_of<atrest::fingerprint>([&](auto out) { return atrest_dek_fingerprint(get(), out->data()); });
    }
    // Has `keys` wrap this, and returns the envelope, which is no secret.
    [[nodiscard]] result<std::vector<std::uint8_t>> seal(const vault &keys, text key_name, octets context) const {
        return detail::bytes_of(ATREST_QUORUM_ENVELOPE_MAX, [&](auto... out) {
            return atrest_envelope_seal(get(), keys.get(), key_name.get(), context.data(), context.size(), out...);
        });
    }
    // Puts the key itself into `bytes`, and returns its length. Wiping `bytes` stays with the caller.
    [[nodiscard]] result<std::size_t> hazmat_bytes(mutable_bytes bytes) const {
        return detail::value_of<std::size_t>(
            [&](auto len) { return atrest_hazmat_dek_bytes(get(), bytes.data(), bytes.size(), len); });
    }
};

// The algorithm of a key of so many bytes for a cipher in dm-crypt's notation.
[[nodiscard]] inline result<dek_algorithm> dek_algorithm_for_cipher(text cipher, std::size_t key_len) {
    return detail::enum_of<dek_algorithm>(
        [&](auto out) { return atrest_dek_algorithm_for_cipher(cipher.get(), key_len, out); });
}

// The URL of the key version that wrapped the DEK of an envelope.
[[nodiscard]] inline result<std::string> envelope_key_url(const_bytes envelope) {
    return detail::text_of(
        [&](auto... out) { return atrest_envelope_key_url(envelope.data(), envelope.size(), out...); });
}

// The rule of managed disks that the last failed call of this thread broke, ATREST_RULE_*; 0 unless it failed with
// ATREST_ERR_NOT_ALLOWED.
[[nodiscard]] inline std::uint32_t last_rule() noexcept { return atrest_last_rule(); }

// ---------------------------------------------------------------------------------------------------------------------
// LOG

// ATREST_LOG_*.
enum class log_level : std::uint32_t { error = ATREST_LOG_ERROR, warn = ATREST_LOG_WARN, info = ATREST_LOG_INFO };

// Has `log` called for each event of `level` or worse, in this process; an empty function ends it. It may be called from any
// thread, must not call this library, and its exceptions are dropped. Not to be called from two threads at once.
inline result<void> set_log(std::function<void(log_level, const char *message)> log, log_level level = log_level::warn) {
    static std::function<void(log_level, const char *)> kept;
    // Once this returns nobody calls the function that is replaced.
    if (const atrest_status status = atrest_set_log(nullptr, nullptr, static_cast<std::uint32_t>(level));
        status != ATREST_OK)
        return detail::done(status);
    kept = std::move(log);
    if (!kept)
        return detail::done(ATREST_OK);
    const auto each = [](void *, std::uint32_t found, const char *message) {
        (void)detail::guarded([&]() -> atrest_status {
            kept(static_cast<log_level>(found), message);
            return ATREST_OK;
        });
    };
    return detail::done(atrest_set_log(each, nullptr, static_cast<std::uint32_t>(level)));
}

// ---------------------------------------------------------------------------------------------------------------------
// SELF-TESTS, APPROVED ALGORITHMS, LIMITS OF KEYS

// Tests every algorithm and kernel.
inline result<void> self_test() { return detail::done(atrest_self_test()); }

// Takes approved algorithms only, in this process from now on.
inline result<void> approved_only() { return detail::done(atrest_approved_only()); }
[[nodiscard]] inline bool is_approved_only() noexcept {
    std::uint32_t only = 0;
    (void)atrest_is_approved_only(&only); // it fails for NULL alone
    return only != 0;
}

// Blocks of 16 bytes: when a key is due for another, and how many it may encrypt.
inline constexpr std::uint64_t blocks_due = ATREST_BLOCKS_DUE;
inline constexpr std::uint64_t blocks_max = ATREST_BLOCKS_MAX;

// Whether a service was done by approved algorithms.
struct approval {
    enum class kind : std::uint32_t {
        approved = ATREST_APPROVED,
        elsewhere = ATREST_APPROVED_ELSEWHERE,
        not_approved = ATREST_NOT_APPROVED,
    };

    kind is = kind::approved;
    std::string text; // for people

    // An observation of this thread.
    static result<void> reset() { return detail::done(atrest_approval_reset()); }
    [[nodiscard]] static result<approval> since_reset();
};

namespace detail {

template <class F> result<approval> approval_of(F &&call) {
    std::uint32_t is = 0;
    approval found;
    const atrest_status status =
        take(found.text, [&] { return text_of([&](auto... out) { return call(&is, out...); }); });
    if (status != ATREST_OK)
        return failed<approval>(status);
    found.is = static_cast<approval::kind>(is);
    return found;
}

} // namespace detail

inline result<approval> approval::since_reset() {
    return detail::approval_of([](auto... out) { return atrest_approval_since_reset(out...); });
}

// ---------------------------------------------------------------------------------------------------------------------
// SECTOR CIPHER

// The number of a data unit, as 16 little-endian bytes.
using tweak = std::array<std::uint8_t, 16>;

// Pieces of memory in which a run of sectors lies: an array or a vector of atrest_segment.
class segments {
public:
    constexpr segments(const atrest_segment *first, std::size_t count) noexcept : first_(first), count_(count) {}
    template <std::size_t N>
    constexpr segments(const atrest_segment (&array)[N]) noexcept : first_(array), count_(N) {}
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<const C &>().data()),
                                                                     const atrest_segment *>>>
    constexpr segments(const C &list) noexcept : first_(list.data()), count_(list.size()) {}

    [[nodiscard]] constexpr const atrest_segment *data() const noexcept { return first_; }
    [[nodiscard]] constexpr std::size_t size() const noexcept { return count_; }

private:
    const atrest_segment *first_;
    std::size_t count_;
};

// XTS-AES over runs of sectors. Source and destination of a call must have the same length.
class sector_cipher : public detail::handle<atrest_sector_cipher, atrest_sector_cipher_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<sector_cipher> make(const dek &key, std::uint32_t sector_size,
                                                    sector_unit unit) {
        return detail::handle_of<sector_cipher>([&](auto out) {
            return atrest_sector_cipher_new(key.get(), sector_size, static_cast<std::uint32_t>(unit), out);
        });
    }
    // From the bytes of a key that is kept elsewhere.
    [[nodiscard]] static result<sector_cipher> make(const_bytes key, std::uint32_t sector_size, sector_unit unit) {
        return detail::handle_of<sector_cipher>([&](auto out) {
            return atrest_sector_cipher_from_key(key.data(), key.size(), sector_size,
                                                 static_cast<std::uint32_t>(unit), out);
        });
    }

    // In place.
    result<void> encrypt(std::uint64_t first_sector, mutable_bytes sectors) const {
        return detail::done(atrest_sector_cipher_encrypt(get(), first_sector, sectors.data(), sectors.size()));
    }
    result<void> decrypt(std::uint64_t first_sector, mutable_bytes sectors) const {
        return detail::done(atrest_sector_cipher_decrypt(get(), first_sector, sectors.data(), sectors.size()));
    }

    // From `src` to `dst`.
    result<void> encrypt_to(std::uint64_t first_sector, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_encrypt_to, first_sector, src, dst);
    }
    result<void> decrypt_to(std::uint64_t first_sector, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_decrypt_to, first_sector, src, dst);
    }

    // From `src` to `dst`, past the cache.
    result<void> encrypt_streaming(std::uint64_t first_sector, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_encrypt_streaming, first_sector, src, dst);
    }
    result<void> decrypt_streaming(std::uint64_t first_sector, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_decrypt_streaming, first_sector, src, dst);
    }

    // How many blocks of 16 bytes it has encrypted, and those that its key has encrypted elsewhere.
    [[nodiscard]] result<std::uint64_t> usage() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_sector_cipher_usage(get(), out); });
    }
    result<void> count_in(std::uint64_t blocks) const {
        return detail::done(atrest_sector_cipher_count_in(get(), blocks));
    }

    // One data unit under a tweak.
    result<void> encrypt_unit(const tweak &number, mutable_bytes unit) const {
        return detail::done(atrest_sector_cipher_encrypt_unit(get(), number.data(), unit.data(), unit.size()));
    }
    result<void> decrypt_unit(const tweak &number, mutable_bytes unit) const {
        return detail::done(atrest_sector_cipher_decrypt_unit(get(), number.data(), unit.data(), unit.size()));
    }
    result<void> encrypt_unit_to(const tweak &number, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_encrypt_unit_to, number.data(), src, dst);
    }
    result<void> decrypt_unit_to(const tweak &number, const_bytes src, mutable_bytes dst) const {
        return run(atrest_sector_cipher_decrypt_unit_to, number.data(), src, dst);
    }

    // Runs that lie in pieces of memory.
    result<void> encrypt_segments(std::uint64_t first_sector, segments in_place) const {
        return detail::done(
            atrest_sector_cipher_encrypt_segments(get(), first_sector, in_place.data(), in_place.size()));
    }
    result<void> decrypt_segments(std::uint64_t first_sector, segments in_place) const {
        return detail::done(
            atrest_sector_cipher_decrypt_segments(get(), first_sector, in_place.data(), in_place.size()));
    }
    result<void> encrypt_segments_to(std::uint64_t first_sector, segments src, segments dst) const {
        return detail::done(atrest_sector_cipher_encrypt_segments_to(get(), first_sector, src.data(), src.size(),
                                                                     dst.data(), dst.size()));
    }
    result<void> decrypt_segments_to(std::uint64_t first_sector, segments src, segments dst) const {
        return detail::done(atrest_sector_cipher_decrypt_segments_to(get(), first_sector, src.data(), src.size(),
                                                                     dst.data(), dst.size()));
    }

private:
    template <class Call, class Number>
    result<void> run(Call call, Number number, const_bytes src, mutable_bytes dst) const {
        if (src.size() != dst.size())
            return detail::different_lengths<void>();
        return detail::done(call(get(), number, src.data(), dst.data(), src.size()));
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// STREAM CIPHER

// The nonce of a stream: the start of its counter.
using nonce = std::array<std::uint8_t, ATREST_NONCE_SIZE>;

// AES-256-CTR over a stream of bytes. ONE KEY, ONE FILE: atrest.h says why.
class stream_cipher : public detail::handle<atrest_stream_cipher, atrest_stream_cipher_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<stream_cipher> make(const dek &key, const nonce &start) {
        return detail::handle_of<stream_cipher>(
            [&](auto out) { return atrest_stream_cipher_new(key.get(), start.data(), out); });
    }

    // Encrypts or decrypts, which is the same, in place.
    result<void> apply(std::uint64_t offset, mutable_bytes data) const {
        return detail::done(atrest_stream_cipher_apply(get(), offset, data.data(), data.size()));
    }
    // From `src` to `dst`, which must have the same length.
    result<void> apply_to(std::uint64_t offset, const_bytes src, mutable_bytes dst) const {
        if (src.size() != dst.size())
            return detail::different_lengths<void>();
        return detail::done(atrest_stream_cipher_apply_to(get(), offset, src.data(), dst.data(), src.size()));
    }
    // How many blocks of 16 bytes of its stream it has encrypted or decrypted.
    [[nodiscard]] result<std::uint64_t> usage() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_stream_cipher_usage(get(), out); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// KEY WRAP
//
// Each puts its outcome into `out`, which may be where the input is, and returns its length.

[[nodiscard]] inline result<std::size_t> aes_kw_wrap(const_bytes kek, const_bytes key, mutable_bytes out) {
    return detail::value_of<std::size_t>([&](auto len) {
        return atrest_aes_kw_wrap(kek.data(), kek.size(), key.data(), key.size(), out.data(), out.size(), len);
    });
}
[[nodiscard]] inline result<std::size_t> aes_kw_unwrap(const_bytes kek, const_bytes wrapped, mutable_bytes out) {
    return detail::value_of<std::size_t>([&](auto len) {
        return atrest_aes_kw_unwrap(kek.data(), kek.size(), wrapped.data(), wrapped.size(), out.data(), out.size(),
                                    len);
    });
}
[[nodiscard]] inline result<std::size_t> aes_kwp_wrap(const_bytes kek, const_bytes key, mutable_bytes out) {
    return detail::value_of<std::size_t>([&](auto len) {
        return atrest_aes_kwp_wrap(kek.data(), kek.size(), key.data(), key.size(), out.data(), out.size(), len);
    });
}
[[nodiscard]] inline result<std::size_t> aes_kwp_unwrap(const_bytes kek, const_bytes wrapped, mutable_bytes out) {
    return detail::value_of<std::size_t>([&](auto len) {
        return atrest_aes_kwp_unwrap(kek.data(), kek.size(), wrapped.data(), wrapped.size(), out.data(), out.size(),
                                     len);
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// DEVICES

// A device of the caller's: bytes that can be read and written anywhere. Give it to device::from.
//
// Its functions are called from any thread that uses the volume on it, several at once; they must not call that volume.
// They fail as those of a key_vault do, and the call of the library ends with ATREST_ERR_CALLBACK_FAILED: its message
// has the status, but not the exception's text.
class block_device {
public:
    block_device() = default;
    block_device(const block_device &) = delete;
    block_device &operator=(const block_device &) = delete;
    // Called when the device and every volume on it are freed.
    virtual ~block_device() = default;

    // The size in bytes. Asked once, by device::from.
    [[nodiscard]] virtual std::uint64_t size() const = 0;
    // Whether nothing can be written. Asked once, by device::from; then only read_at is called.
    [[nodiscard]] virtual bool read_only() const { return false; }
    // The alignment of offsets, lengths and addresses: a power of two. Asked once, by device::from.
    [[nodiscard]] virtual std::size_t alignment() const { return 1; }
    // Fills `bytes` from `offset`; it stays below size().
    virtual result<void> read_at(std::uint64_t offset, mutable_bytes bytes) = 0;
    // Writes all of `bytes` at `offset`; it stays below size().
    virtual result<void> write_at(std::uint64_t offset, const_bytes bytes) = 0;
    // Makes `len` bytes from `offset` zeros. If this isn't overridden, write_at writes them.
    virtual result<void> write_zeroes(std::uint64_t offset, std::uint64_t len) {
        static_cast<void>(offset), static_cast<void>(len);
        return fail(ATREST_ERR_UNSUPPORTED);
    }
    // Discards `len` bytes from `offset`, which nobody needs. If this isn't overridden, nothing happens.
    virtual result<void> discard(std::uint64_t offset, std::uint64_t len) {
        static_cast<void>(offset), static_cast<void>(len);
        return result<void>();
    }
    // Makes it larger, with zeros, or smaller: durably. If this isn't overridden, the device keeps its size.
    virtual result<void> set_size(std::uint64_t size) {
        static_cast<void>(size);
        return fail(ATREST_ERR_UNSUPPORTED);
    }
    // Returns when all written data is on stable storage.
    virtual result<void> sync() = 0;
};

namespace detail {

struct block_device_calls {
    static atrest_status read_at(void *user, std::uint64_t offset, void *bytes, std::size_t len) {
        return guarded([&] {
            return status_of([&] { return static_cast<block_device *>(user)->read_at(offset, {bytes, len}); });
        });
    }
    static atrest_status write_at(void *user, std::uint64_t offset, const void *bytes, std::size_t len) {
        return guarded([&] {
            return status_of([&] { return static_cast<block_device *>(user)->write_at(offset, {bytes, len}); });
        });
    }
    static atrest_status write_zeroes(void *user, std::uint64_t offset, std::uint64_t len) {
        return guarded([&] {
            return status_of([&] { return static_cast<block_device *>(user)->write_zeroes(offset, len); });
        });
    }
    static atrest_status discard(void *user, std::uint64_t offset, std::uint64_t len) {
        return guarded([&] {
            return status_of([&] { return static_cast<block_device *>(user)->discard(offset, len); });
        });
    }
    static atrest_status set_size(void *user, std::uint64_t size) {
        return guarded([&] { return status_of([&] { return static_cast<block_device *>(user)->set_size(size); }); });
    }
    static atrest_status sync(void *user) {
        return guarded([&] { return status_of([&] { return static_cast<block_device *>(user)->sync(); }); });
    }
    static void release(void *user) noexcept { delete static_cast<block_device *>(user); }
};

} // namespace detail

// The place of a volume. The volume keeps it, so the handle may be freed as soon as the volume exists.
class device : public detail::handle<atrest_device, atrest_device_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<device> open_file(path file) { return open(file, 0); }
    // With ATREST_DEVICE_*, combined by `|`.
    [[nodiscard]] static result<device> open_file(path file, std::uint32_t flags) { return open(file, flags); }
    [[nodiscard]] static result<device> open_file_read_only(path file) { return open(file, ATREST_DEVICE_READ_ONLY); }
    [[nodiscard]] static result<device> create_file(path file, std::uint64_t size) {
        return detail::handle_of<device>([&](auto out) { return atrest_device_create_file(file.get(), size, out); });
    }
    [[nodiscard]] static result<device> memory(std::size_t size) {
        return detail::handle_of<device>([&](auto out) { return atrest_device_memory(size, out); });
    }

    // A device of the caller's. It lives until this handle and every volume on it are freed; if this fails, it is
    // destroyed at once.
    [[nodiscard]] static result<device> from(std::unique_ptr<block_device> below) {
        auto callbacks = detail::init<atrest_device_callbacks>();
        callbacks.size = below ? below->size() : 0;
        callbacks.alignment = below ? below->alignment() : 1;
        callbacks.read_at = detail::block_device_calls::read_at;
        if (below && !below->read_only()) {
            callbacks.write_at = detail::block_device_calls::write_at;
            callbacks.write_zeroes = detail::block_device_calls::write_zeroes;
            callbacks.discard = detail::block_device_calls::discard;
            callbacks.set_size = detail::block_device_calls::set_size;
            callbacks.sync = detail::block_device_calls::sync;
        }
        return detail::object_of<device>(std::move(below), callbacks, detail::block_device_calls::release,
                                         atrest_device_from_callbacks);
    }
    // Another handle of the same device.
    [[nodiscard]] result<device> clone() const {
        return detail::handle_of<device>([&](auto out) { return atrest_device_clone(get(), out); });
    }

private:
    static result<device> open(path file, std::uint32_t flags) {
        return detail::handle_of<device>([&](auto out) { return atrest_device_open_file(file.get(), flags, out); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// ENCRYPTED FILES

// The prefix of an encrypted file: bytes, which go in front of the file as they are. The data that follows is under the
// cipher that goes with it. ONE PREFIX, ONE FILE: atrest.h says why.
namespace file_prefix {

inline constexpr std::size_t size = ATREST_FILE_PREFIX_SIZE;

// Makes the prefix of a new file, into `prefix`.
[[nodiscard]] inline result<stream_cipher> create(const vault &keys, text key_name, octets context,
                                                  mutable_bytes prefix) {
    std::size_t len = 0;
    return detail::handle_of<stream_cipher>([&](auto out) {
        return atrest_file_prefix_create(keys.get(), key_name.get(), context.data(), context.size(), prefix.data(),
                                         prefix.size(), &len, out);
    });
}
[[nodiscard]] inline result<stream_cipher> open(const vault &keys, const_bytes prefix, octets context) {
    return detail::handle_of<stream_cipher>([&](auto out) {
        return atrest_file_prefix_open(keys.get(), prefix.data(), prefix.size(), context.data(), context.size(), out);
    });
}

// As these, for a file of sectors.
[[nodiscard]] inline result<sector_cipher> create_sectors(const vault &keys, text key_name, octets context,
                                                          std::uint32_t sector_size, sector_unit unit,
                                                          mutable_bytes prefix) {
    std::size_t len = 0;
    return detail::handle_of<sector_cipher>([&](auto out) {
        return atrest_file_prefix_create_sectors(keys.get(), key_name.get(), context.data(), context.size(),
                                                 sector_size, static_cast<std::uint32_t>(unit), prefix.data(),
                                                 prefix.size(), &len, out);
    });
}
[[nodiscard]] inline result<sector_cipher> open_sectors(const vault &keys, const_bytes prefix, octets context,
                                                        std::uint32_t sector_size, sector_unit unit) {
    return detail::handle_of<sector_cipher>([&](auto out) {
        return atrest_file_prefix_open_sectors(keys.get(), prefix.data(), prefix.size(), context.data(),
                                               context.size(), sector_size, static_cast<std::uint32_t>(unit), out);
    });
}

// Returns the URL of the version that wraps the key of the file on `file` from now on.
inline result<std::string> rotate_kek(device &file, const vault &keys, octets context) {
    return detail::url_of([&](auto... url) {
        return atrest_file_prefix_rotate_kek(file.get(), keys.get(), context.data(), context.size(), url...);
    });
}

// The same, if the file's key has this fingerprint, which was kept apart from the file.
inline result<std::string> rotate_kek(device &file, const vault &keys, octets context,
                                       const atrest::fingerprint &expected) {
    return detail::url_of([&](auto... url) {
        return atrest_file_prefix_rotate_kek_expecting(file.get(), keys.get(), context.data(), context.size(),
                                                       expected.data(), url...);
    });
}

// The URL of the key version that wrapped the key of a file.
[[nodiscard]] inline result<std::string> key_url(const_bytes prefix) {
    return detail::text_of(
        [&](auto... out) { return atrest_file_prefix_key_url(prefix.data(), prefix.size(), out...); });
}

// The fingerprint of a file's DEK.
[[nodiscard]] inline result<atrest::fingerprint> fingerprint(const vault &keys, octets prefix, octets context) {
    return detail::value_of<atrest::fingerprint>([&](auto out) {
        return atrest_file_prefix_fingerprint(keys.get(), prefix.data(), prefix.size(), context.data(), context.size(),
                                              out->data());
    });
}

} // namespace file_prefix

// ---------------------------------------------------------------------------------------------------------------------
// WAYS INTO A VOLUME

// The credential for a volume: a vault, a DEK, a passphrase or a key file. The arguments that it was made from must
// live until the volume is open.
class credential {
public:
    credential(const vault &keys) noexcept : credential(ATREST_CREDENTIAL_VAULT) { c_.vault = keys.get(); }
    credential(const dek &key) noexcept : credential(ATREST_CREDENTIAL_DEK) { c_.dek = key.get(); }
    [[nodiscard]] static credential passphrase(octets passphrase) noexcept {
        credential by(ATREST_CREDENTIAL_PASSPHRASE);
        by.c_.passphrase = passphrase.chars();
        by.c_.passphrase_len = passphrase.size();
        return by;
    }
    [[nodiscard]] static credential key_file(path file) {
        credential by(ATREST_CREDENTIAL_KEY_FILE);
        by.key_file_ = file.get();
        return by;
    }
    // BitLocker's: a recovery password, which isn't copied; a file with a startup key; and the key on the volume itself.
    [[nodiscard]] static credential recovery_password(text password) noexcept {
        credential by(ATREST_CREDENTIAL_RECOVERY_PASSWORD);
        by.c_.recovery_password = password.get();
        return by;
    }
    [[nodiscard]] static credential startup_key(path file) {
        credential by(ATREST_CREDENTIAL_STARTUP_KEY);
        by.startup_key_ = file.get();
        return by;
    }
    [[nodiscard]] static credential clear_key() noexcept { return credential(ATREST_CREDENTIAL_CLEAR_KEY); }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_credential c() const noexcept {
        atrest_credential c = c_;
        c.key_file = key_file_.get();
        c.startup_key = startup_key_.get();
        return c;
    }

private:
    explicit credential(std::uint32_t kind) noexcept { c_.kind = kind; }

    atrest_credential c_ = detail::init<atrest_credential>();
    detail::copied key_file_, startup_key_;
};

// A new way into a volume: {vault, key name}, a passphrase or a key file. The arguments that it was made from must live
// until the call returns.
class protector {
public:
    protector(const vault &keys, text key_name) : protector(ATREST_PROTECTOR_VAULT) {
        c_.vault = keys.get();
        key_name_ = key_name.get();
    }
    [[nodiscard]] static protector passphrase(octets passphrase) {
        protector by(ATREST_PROTECTOR_PASSPHRASE);
        by.c_.passphrase = passphrase.chars();
        by.c_.passphrase_len = passphrase.size();
        return by;
    }
    [[nodiscard]] static protector key_file(path file) {
        protector by(ATREST_PROTECTOR_KEY_FILE);
        by.key_file_ = file.get();
        return by;
    }
    // BitLocker's, which isn't copied: recovery_password makes one.
    [[nodiscard]] static protector recovery_password(text password) {
        protector by(ATREST_PROTECTOR_RECOVERY_PASSWORD);
        by.c_.recovery_password = password.get();
        return by;
    }
    // BitLocker's: a file that generate_startup_key_file makes, say.
    [[nodiscard]] static protector startup_key(path file) {
        protector by(ATREST_PROTECTOR_STARTUP_KEY);
        by.startup_key_ = file.get();
        return by;
    }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_protector c() const noexcept {
        atrest_protector c = c_;
        c.key_name = key_name_.get();
        c.key_file = key_file_.get();
        c.startup_key = startup_key_.get();
        return c;
    }

private:
    explicit protector(std::uint32_t kind) noexcept { c_.kind = kind; }

    atrest_protector c_ = detail::init<atrest_protector>();
    detail::copied key_name_, key_file_, startup_key_;
};

// Options for a new keyslot. As atrest_keyslot_options.
class keyslot_options {
public:
    keyslot_options &id(std::uint32_t id) noexcept { return c_.flags |= ATREST_KEYSLOT_ID, c_.id = id, *this; }
    keyslot_options &priority(slot_priority priority) noexcept {
        return c_.priority = static_cast<std::uint32_t>(priority), *this;
    }
    keyslot_options &time_ms(std::uint32_t time) noexcept { return c_.time_ms = time, *this; }
    keyslot_options &max_memory_kib(std::uint32_t memory) noexcept { return c_.max_memory_kib = memory, *this; }
    keyslot_options &costs(const kdf &kdf) noexcept { return kdf_ = kdf, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_keyslot_options c() const noexcept {
        atrest_keyslot_options c = c_;
        c.kdf = kdf_ ? &kdf_->c() : nullptr;
        return c;
    }

private:
    atrest_keyslot_options c_ = detail::init<atrest_keyslot_options>();
    std::optional<kdf> kdf_;
};

// ---------------------------------------------------------------------------------------------------------------------
// HOW VOLUMES ARE MADE AND OPENED

// Options for formatting a volume, as atrest_format_options. The devices and the DEK must live until the call returns.
class format_options {
public:
    format_options &overwrite() noexcept { return c_.flags |= ATREST_FORMAT_OVERWRITE, *this; }
    format_options &sector_size(std::uint32_t size) noexcept { return c_.sector_size = size, *this; }
    format_options &algorithm(dek_algorithm algorithm) noexcept {
        return c_.dek_algorithm = static_cast<std::uint32_t>(algorithm), *this;
    }
    format_options &encryption_type(protected_by keys) noexcept {
        return c_.encryption_type = static_cast<std::uint32_t>(keys), *this;
    }
    format_options &data_offset(std::uint64_t offset) noexcept { return c_.data_offset = offset, *this; }
    format_options &uuid(const std::array<std::uint8_t, 16> &uuid) noexcept { return uuid_ = uuid, *this; }
    format_options &label(text label) { return label_ = label.get(), *this; }
    format_options &subsystem(text subsystem) { return subsystem_ = subsystem.get(), *this; }
    format_options &context(octets context) { return context_ = context, *this; }
    format_options &luks_version(luks version) noexcept {
        return c_.luks_version = static_cast<std::uint32_t>(version), *this;
    }
    format_options &header(const device &header) noexcept { return c_.header = header.get(), *this; }
    format_options &keyslot(const keyslot_options &keyslot) { return keyslot_ = keyslot, *this; }
    format_options &metadata_size(std::uint64_t bytes) noexcept { return c_.metadata_size = bytes, *this; }
    format_options &written_map(std::uint32_t chunk_size) noexcept { return c_.written_chunk_size = chunk_size, *this; }
    format_options &written_map_for(std::uint64_t bytes) noexcept { return c_.written_map_for = bytes, *this; }
    format_options &hazmat_dek(const dek &key) noexcept { return c_.hazmat_dek = key.get(), *this; }

    // Hands what C needs to `call`, for its duration, and returns what that returns.
    template <class F> auto with_c(F &&call) const {
        atrest_format_options c = c_;
        const atrest_keyslot_options keyslot = keyslot_ ? keyslot_->c() : atrest_keyslot_options{};
        c.keyslot = keyslot_ ? &keyslot : nullptr;
        c.uuid = uuid_ ? uuid_->data() : nullptr;
        c.label = label_.get();
        c.subsystem = subsystem_.get();
        c.context = context_.get();
        c.context_len = context_.size();
        return call(&std::as_const(c));
    }

private:
    atrest_format_options c_ = detail::init<atrest_format_options>();
    std::optional<std::array<std::uint8_t, 16>> uuid_;
    detail::copied label_, subsystem_, context_;
    std::optional<keyslot_options> keyslot_;
};

// Options for opening a volume. As atrest_open_options. The device must live until the call returns.
class open_options {
public:
    open_options &read_only() noexcept { return flag(ATREST_OPEN_READ_ONLY); }
    open_options &hazmat_allow_truncated() noexcept { return flag(ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED); }
    open_options &require_locked_memory() noexcept { return flag(ATREST_OPEN_REQUIRE_LOCKED_MEMORY); }
    open_options &discard() noexcept { return flag(ATREST_OPEN_DISCARD); }
    open_options &hazmat_allow_unencrypted() noexcept { return flag(ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED); }
    open_options &hazmat_ignore_tokens() noexcept { return flag(ATREST_OPEN_HAZMAT_IGNORE_TOKENS); }
    open_options &hazmat_ignore_written_map() noexcept { return flag(ATREST_OPEN_HAZMAT_IGNORE_WRITTEN_MAP); }
    open_options &hazmat_repair() noexcept { return flag(ATREST_OPEN_HAZMAT_REPAIR); }
    open_options &keyslot(std::uint32_t id) noexcept { return c_.keyslot = id, flag(ATREST_OPEN_KEYSLOT); }
    open_options &context(octets context) { return context_ = context, *this; }
    open_options &header(const device &header) noexcept { return c_.header = header.get(), *this; }
    open_options &kdf_max_memory_kib(std::uint32_t most) noexcept { return c_.kdf_max_memory_kib = most, *this; }
    open_options &kdf_max_kib_passes(std::uint64_t most) noexcept { return c_.kdf_max_kib_passes = most, *this; }
    open_options &kdf_max_iterations(std::uint32_t most) noexcept { return c_.kdf_max_iterations = most, *this; }
    open_options &kdf_max_lanes(std::uint32_t most) noexcept { return c_.kdf_max_lanes = most, *this; }
    open_options &kdf_max_total_ms(std::uint64_t most) noexcept { return c_.kdf_max_total_ms = most, *this; }
    open_options &expect(const fingerprint &expected) noexcept { return fingerprint_ = expected, *this; }
    open_options &expect_key(text name) { return key_ = name.get(), *this; }
    open_options &used_blocks(std::uint64_t blocks) noexcept { return c_.used_blocks = blocks, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_open_options c() const noexcept {
        atrest_open_options c = c_;
        c.context = context_.get();
        c.context_len = context_.size();
        c.expected_fingerprint = fingerprint_ ? fingerprint_->data() : nullptr;
        c.expected_key = key_.get();
        return c;
    }

private:
    open_options &flag(std::uint32_t flag) noexcept { return c_.flags |= flag, *this; }

    atrest_open_options c_ = detail::init<atrest_open_options>();
    detail::copied context_, key_;
    std::optional<fingerprint> fingerprint_;
};

// Options for making a BitLocker volume. As atrest_bitlocker_options.
class bitlocker_options {
public:
    bitlocker_options &overwrite() noexcept { return c_.flags |= ATREST_FORMAT_OVERWRITE, *this; }
    bitlocker_options &sector_size(std::uint32_t size) noexcept { return c_.sector_size = size, *this; }
    bitlocker_options &algorithm(dek_algorithm algorithm) noexcept {
        return c_.dek_algorithm = static_cast<std::uint32_t>(algorithm), *this;
    }
    bitlocker_options &description(text description) { return description_ = description.get(), *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_bitlocker_options c() const noexcept {
        atrest_bitlocker_options c = c_;
        c.description = description_.get();
        return c;
    }

private:
    atrest_bitlocker_options c_ = detail::init<atrest_bitlocker_options>();
    detail::copied description_;
};

// Writes a new recovery password of BitLocker into the caller's memory. The caller must wipe it.
inline result<void> generate_recovery_password(char (&password)[ATREST_RECOVERY_PASSWORD_SIZE]) {
    return detail::done(atrest_recovery_password_generate(password, sizeof password, nullptr));
}

// Writes a new startup key of BitLocker into a folder by the name that Windows looks for, which this returns.
inline result<std::string> generate_startup_key_file(path folder) {
    return detail::value_of<std::string>([&](auto out) {
        char name[ATREST_STARTUP_KEY_NAME_SIZE] = {};
        const atrest_status status = atrest_startup_key_generate_file(folder.get(), name, sizeof name);
        *out = name;
        return status;
    });
}

// Where data without a header lies, and how it is encrypted. As atrest_plain_options.
class plain_options {
public:
    // A cipher in dm-crypt's notation.
    explicit plain_options(text cipher) : cipher_(cipher.get()) {}
    // A disk of SPDK or ubiblk.
    [[nodiscard]] static plain_options upper_half() {
        plain_options options;
        options.c_.numbering = static_cast<std::uint32_t>(sector_numbering::upper_half);
        return options;
    }

    plain_options &numbering(sector_numbering numbering) noexcept {
        return c_.numbering = static_cast<std::uint32_t>(numbering), *this;
    }
    plain_options &sector_size(std::uint32_t size) noexcept { return c_.sector_size = size, *this; }
    plain_options &offset(std::uint64_t bytes) noexcept { return c_.offset = bytes, *this; }
    plain_options &size(std::uint64_t bytes) noexcept { return c_.size = bytes, *this; }
    plain_options &first_number(std::uint64_t units) noexcept { return c_.first_number = units, *this; }
    plain_options &read_only() noexcept { return c_.flags |= ATREST_OPEN_READ_ONLY, *this; }
    plain_options &discard() noexcept { return c_.flags |= ATREST_OPEN_DISCARD, *this; }
    plain_options &used_blocks(std::uint64_t blocks) noexcept { return c_.used_blocks = blocks, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_plain_options c() const noexcept {
        atrest_plain_options c = c_;
        c.cipher = cipher_.get();
        return c;
    }

private:
    plain_options() = default;

    atrest_plain_options c_ = detail::init<atrest_plain_options>();
    detail::copied cipher_;
};

// ATREST_RESILIENCE_*.
enum class resilience : std::uint32_t {
    checksum = ATREST_RESILIENCE_CHECKSUM,
    journal = ATREST_RESILIENCE_JOURNAL,
};

// Options for re-encrypting a volume. As atrest_reencrypt_options. The DEK must live until the call returns.
class reencrypt_options {
public:
    reencrypt_options &algorithm(dek_algorithm algorithm) noexcept {
        return c_.dek_algorithm = static_cast<std::uint32_t>(algorithm), *this;
    }
    reencrypt_options &sector_size(std::uint32_t size) noexcept { return c_.sector_size = size, *this; }
    reencrypt_options &by(resilience how) noexcept { return c_.resilience = static_cast<std::uint32_t>(how), *this; }
    reencrypt_options &keyslot(const keyslot_options &keyslot) { return keyslot_ = keyslot, *this; }
    reencrypt_options &hazmat_dek(const dek &key) noexcept { return c_.hazmat_dek = key.get(), *this; }

    // Hands what C needs to `call`, for its duration, and returns what that returns.
    template <class F> auto with_c(F &&call) const {
        atrest_reencrypt_options c = c_;
        const atrest_keyslot_options keyslot = keyslot_ ? keyslot_->c() : atrest_keyslot_options{};
        c.keyslot = keyslot_ ? &keyslot : nullptr;
        return call(&std::as_const(c));
    }

private:
    atrest_reencrypt_options c_ = detail::init<atrest_reencrypt_options>();
    std::optional<keyslot_options> keyslot_;
};

// ---------------------------------------------------------------------------------------------------------------------
// VOLUMES

// A run of bytes of a volume. Unwritten bytes read as zeros.
struct volume_extent {
    std::uint64_t len = 0;
    bool is_written = false;
};

// An encrypted device. IT DOES NOT SYNC IN THE END: call sync() first, or the last writes may not be on the disk.
class volume : public detail::handle<atrest_volume, atrest_volume_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<volume> format(const device &on, const protector &by,
                                               const format_options &options = {}) {
        const atrest_protector c = by.c();
        return options.with_c([&](auto c_options) {
            return detail::handle_of<volume>(
                [&](auto out) { return atrest_volume_format(on.get(), &c, c_options, out); });
        });
    }
    [[nodiscard]] static result<volume> open(const device &on, const credential &by, const open_options &options = {}) {
        const atrest_credential c = by.c();
        const atrest_open_options c_options = options.c();
        return detail::handle_of<volume>(
            [&](auto out) { return atrest_volume_open(on.get(), &c, &c_options, out); });
    }

    [[nodiscard]] static result<volume> format_bitlocker(const device &on, const protector &by,
                                                         const bitlocker_options &options = {}) {
        const atrest_protector c = by.c();
        const atrest_bitlocker_options c_options = options.c();
        return detail::handle_of<volume>(
            [&](auto out) { return atrest_volume_format_bitlocker(on.get(), &c, &c_options, out); });
    }
    // NOTHING PROVES the key and the options: if they are wrong, reads give noise, and writes destroy the data.
    [[nodiscard]] static result<volume> hazmat_open_plain(const device &on, const dek &key,
                                                          const plain_options &options) {
        const atrest_plain_options c_options = options.c();
        return detail::handle_of<volume>(
            [&](auto out) { return atrest_hazmat_volume_open_plain(on.get(), key.get(), &c_options, out); });
    }

    // Whole sectors, at an offset in bytes.
    result<void> read_at(std::uint64_t offset, mutable_bytes sectors) const {
        return detail::done(atrest_volume_read_at(get(), offset, sectors.data(), sectors.size()));
    }
    result<void> write_at(std::uint64_t offset, const_bytes sectors) {
        return detail::done(atrest_volume_write_at(get(), offset, sectors.data(), sectors.size()));
    }
    // The same from a buffer that may be changed, without a copy: `sectors` hold ciphertext afterwards.
    result<void> write_in_place(std::uint64_t offset, mutable_bytes sectors) {
        return detail::done(atrest_volume_write_in_place(get(), offset, sectors.data(), sectors.size()));
    }
    // Several pieces of memory one after the other, each a whole number of sectors.
    result<void> read_vectored_at(std::uint64_t offset, atrest::segments sectors) const {
        return detail::done(atrest_volume_read_vectored_at(get(), offset, sectors.data(), sectors.size()));
    }
    result<void> write_vectored_at(std::uint64_t offset, atrest::segments sectors) {
        return detail::done(atrest_volume_write_vectored_at(get(), offset, sectors.data(), sectors.size()));
    }
    // I/O that the caller does, at the offset on the device that is returned: section ENGINES of atrest.h.
    [[nodiscard]] result<std::uint64_t> begin_read(std::uint64_t offset, std::size_t len) const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_begin_read(get(), offset, len, out); });
    }
    result<void> complete_read(std::uint64_t offset, mutable_bytes sectors) const {
        return detail::done(atrest_volume_complete_read(get(), offset, sectors.data(), sectors.size()));
    }
    [[nodiscard]] result<std::uint64_t> begin_write(std::uint64_t offset, mutable_bytes sectors) {
        return detail::value_of<std::uint64_t>([&](auto out) {
            return atrest_volume_begin_write(get(), offset, sectors.data(), sectors.size(), out);
        });
    }
    // `ciphertext` has the length of `sectors`, or the call ends with ATREST_ERR_LENGTH_MISMATCH.
    [[nodiscard]] result<std::uint64_t> begin_write_from(std::uint64_t offset, const_bytes sectors,
                                                         mutable_bytes ciphertext) {
        if (sectors.size() != ciphertext.size())
            return detail::different_lengths<std::uint64_t>();
        return detail::value_of<std::uint64_t>([&](auto out) {
            return atrest_volume_begin_write_from(get(), offset, sectors.data(), ciphertext.data(), sectors.size(), out);
        });
    }
    // A range in bytes, without a buffer.
    result<void> write_zeroes(std::uint64_t offset, std::uint64_t len) {
        return detail::done(atrest_volume_write_zeroes(get(), offset, len));
    }
    // With open_options::discard only.
    result<void> discard(std::uint64_t offset, std::uint64_t len) {
        return detail::done(atrest_volume_discard(get(), offset, len));
    }
    [[nodiscard]] result<bool> discards() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_volume_discards(get(), out); });
    }
    // 0 without a map of written chunks.
    [[nodiscard]] result<std::uint32_t> written_chunk_size() const {
        return detail::value_of<std::uint32_t>(
            [&](auto out) { return atrest_volume_written_chunk_size(get(), out); });
    }
    // How many bytes from `offset` on are alike, and whether they were written.
    [[nodiscard]] result<volume_extent> extent(std::uint64_t offset) const {
        return detail::value_of<volume_extent>([&](auto out) {
            std::uint32_t is_written = 0;
            const atrest_status status = atrest_volume_extent(get(), offset, &out->len, &is_written);
            out->is_written = is_written != 0;
            return status;
        });
    }
    result<void> sync() { return detail::done(atrest_volume_sync(get())); }

    // Moves the data to a new DEK, for which these are the ways in: reencrypt_step does it.
    result<void> begin_reencryption(const std::vector<protector> &by, const reencrypt_options &options = {}) {
        std::vector<atrest_protector> c;
        std::vector<const atrest_protector *> pointers;
        c.reserve(by.size());
        for (const protector &one : by)
            pointers.push_back(&c.emplace_back(one.c()));
        return options.with_c([&](auto c_options) {
            return detail::done(
                atrest_volume_begin_reencryption(get(), pointers.data(), pointers.size(), c_options));
        });
    }
    // Encrypts a plain device where its data lies: reencrypt_step does it.
    [[nodiscard]] static result<volume> begin_encryption(const device &on, const protector &by,
                                                         const format_options &options, std::uint64_t free_at_end) {
        const atrest_protector c = by.c();
        return options.with_c([&](auto c_options) {
            return detail::handle_of<volume>(
                [&](auto out) { return atrest_volume_begin_encryption(on.get(), &c, c_options, free_at_end, out); });
        });
    }
    // Decrypts a volume with a detached header where its data lies: reencrypt_step does it.
    result<void> begin_decryption(resilience how = resilience::checksum) {
        return detail::done(atrest_volume_begin_decryption(get(), static_cast<std::uint32_t>(how)));
    }
    // Decrypts a volume whose header lies before the data, which moves to the start; the header goes onto a blank device.
    result<void> begin_decryption_beside(const device &beside, resilience how = resilience::checksum) {
        return detail::done(
            atrest_volume_begin_decryption_beside(get(), beside.get(), static_cast<std::uint32_t>(how)));
    }
    // Lets a re-encryption that cryptsetup began with the resilience "none" go on with another. If cryptsetup was killed, data
    // is lost.
    result<void> hazmat_resume_unprotected(resilience how = resilience::checksum) {
        return detail::done(atrest_hazmat_volume_resume_unprotected(get(), static_cast<std::uint32_t>(how)));
    }
    // Re-encrypts about so many bytes, while other threads read and write.
    result<atrest_reencryption_progress> reencrypt_step(std::uint64_t budget) {
        return detail::struct_of<atrest_reencryption_progress>(
            [&](auto out) { return atrest_volume_reencrypt_step(get(), budget, out); });
    }
    [[nodiscard]] result<atrest_reencryption_progress> reencryption() const {
        return detail::struct_of<atrest_reencryption_progress>(
            [&](auto out) { return atrest_volume_reencryption(get(), out); });
    }
    // Returns the new size. 0 follows the device.
    result<std::uint64_t> resize(std::uint64_t size = 0) {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_resize(get(), size, out); });
    }

    // Returns the URL of the version that wraps from now on.
    result<std::string> rotate_kek(const vault &keys) {
        return detail::url_of([&](auto... url) { return atrest_volume_rotate_kek(get(), keys.get(), url...); });
    }
    // Moves it from the vault with this id, which isn't asked, to a key of another. Returns the URL of its version.
    result<std::string> move_kek(text from, const vault &to, text key_name) {
        return detail::url_of([&](auto... url) {
            return atrest_volume_move_kek(get(), from.get(), to.get(), key_name.get(), url...);
        });
    }
    // BitLocker's: a key that opens the volume is written to it in the clear, until resume_protection, which says whether there
    // was one.
    result<std::uint32_t> hazmat_suspend_protection() {
        return detail::value_of<std::uint32_t>(
            [&](auto id) { return atrest_hazmat_volume_suspend_protection(get(), id); });
    }
    result<bool> resume_protection() {
        return detail::enum_of<bool>([&](auto out) { return atrest_volume_resume_protection(get(), out); });
    }
    // Returns the number of the new token or keyslot.
    result<std::uint32_t> add_protector(const protector &by, const keyslot_options &options = {}) {
        const atrest_protector c = by.c();
        const atrest_keyslot_options c_options = options.c();
        return detail::value_of<std::uint32_t>(
            [&](auto id) { return atrest_volume_add_protector(get(), &c, &c_options, id); });
    }
    // Returns the number of the keyslot that is for programs on libcryptsetup.
    result<std::uint32_t> bind_tokens() {
        return detail::value_of<std::uint32_t>([&](auto id) { return atrest_volume_bind_tokens(get(), id); });
    }
    // Returns the number of the new keyslot.
    result<std::uint32_t> change_keyslot(std::uint32_t id, const protector &by, const keyslot_options &options = {}) {
        const atrest_protector c = by.c();
        const atrest_keyslot_options c_options = options.c();
        return detail::value_of<std::uint32_t>(
            [&](auto new_id) { return atrest_volume_change_keyslot(get(), id, &c, &c_options, new_id); });
    }
    result<void> remove_keyslot(std::uint32_t id) { return detail::done(atrest_volume_remove_keyslot(get(), id)); }
    result<void> remove_token(std::uint32_t id) { return detail::done(atrest_volume_remove_token(get(), id)); }

    [[nodiscard]] result<std::uint64_t> size() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_size(get(), out); });
    }
    [[nodiscard]] result<std::uint32_t> sector_size() const {
        return detail::value_of<std::uint32_t>([&](auto out) { return atrest_volume_sector_size(get(), out); });
    }
    [[nodiscard]] result<std::uint64_t> data_offset() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_data_offset(get(), out); });
    }
    [[nodiscard]] result<std::string> cipher() const {
        return detail::text_of([&](auto... out) { return atrest_volume_cipher(get(), out...); });
    }
    // The weakness of the cipher; empty if it has none.
    [[nodiscard]] result<std::string> cipher_weakness() const {
        return detail::text_of([&](auto... out) { return atrest_volume_cipher_weakness(get(), out...); });
    }
    [[nodiscard]] result<bool> is_read_only() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_volume_is_read_only(get(), out); });
    }
    // How many blocks of 16 bytes its key has encrypted, to be kept for open_options::used_blocks.
    [[nodiscard]] result<std::uint64_t> usage() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_usage(get(), out); });
    }
    [[nodiscard]] result<atrest::approval> approval() const {
        return detail::approval_of([&](auto... out) { return atrest_volume_approval(get(), out...); });
    }
    [[nodiscard]] result<std::string> uuid() const {
        return detail::text_of([&](auto... out) { return atrest_volume_uuid(get(), out...); });
    }
    // Records the current size of the volume in bytes, and returns it.
    result<std::uint64_t> record_size() {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_volume_record_size(get(), out); });
    }
    // The fingerprint of the volume's DEK. Compare it before the first read or write.
    [[nodiscard]] result<atrest::fingerprint> fingerprint() const {
        return detail::value_of<atrest::fingerprint>([&](auto out) { return atrest_volume_fingerprint(get(), out->data()); });
    }
    [[nodiscard]] result<atrest::dek> dek() const {
        return detail::handle_of<atrest::dek>([&](auto out) { return atrest_volume_dek(get(), out); });
    }
    // The URLs of the key versions that can unwrap the DEK.
    [[nodiscard]] result<std::vector<std::string>> key_urls() const {
        return detail::texts_of([&](auto... visit) { return atrest_volume_key_urls(get(), visit...); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// HEADERS

// The header of a volume that is locked.
class header : public detail::handle<atrest_header, atrest_header_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<header> load(const device &on) {
        return detail::handle_of<header>([&](auto out) { return atrest_header_load(on.get(), out); });
    }
    // Writes a backup over the header of a device.
    static result<void> restore(const device &on, const_bytes backup) {
        return detail::done(atrest_header_restore(on.get(), backup.data(), backup.size()));
    }
    static result<void> hazmat_restore(const device &on, const_bytes backup) {
        return detail::done(atrest_hazmat_header_restore(on.get(), backup.data(), backup.size()));
    }

    // Also for BitLocker.
    [[nodiscard]] result<luks> format() const {
        return detail::enum_of<luks>([&](auto out) { return atrest_header_format(get(), out); });
    }
    [[nodiscard]] result<std::string> uuid() const {
        return detail::text_of([&](auto... out) { return atrest_header_uuid(get(), out...); });
    }
    [[nodiscard]] result<std::string> label() const {
        return detail::text_of([&](auto... out) { return atrest_header_label(get(), out...); });
    }
    [[nodiscard]] result<std::string> subsystem() const {
        return detail::text_of([&](auto... out) { return atrest_header_subsystem(get(), out...); });
    }
    [[nodiscard]] result<std::uint64_t> epoch() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_header_epoch(get(), out); });
    }
    [[nodiscard]] result<std::uint64_t> size() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_header_size(get(), out); });
    }
    [[nodiscard]] result<std::uint64_t> metadata_size() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_header_metadata_size(get(), out); });
    }
    [[nodiscard]] result<std::uint64_t> keyslots_size() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_header_keyslots_size(get(), out); });
    }
    // For LUKS2 only.
    [[nodiscard]] result<std::string> metadata_json() const {
        return detail::text_of([&](auto... out) { return atrest_header_metadata_json(get(), out...); });
    }
    [[nodiscard]] result<bool> needs_repair() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_header_needs_repair(get(), out); });
    }

    result<void> repair() { return detail::done(atrest_header_repair(get())); }
    // DESTROYS any data at the place of a copy of the header.
    result<void> hazmat_repair() { return detail::done(atrest_hazmat_header_repair(get())); }
    result<void> set_label(text label, text subsystem) {
        return detail::done(atrest_header_set_label(get(), label.get(), subsystem.get()));
    }
    result<void> set_priority(std::uint32_t keyslot, slot_priority priority) {
        return detail::done(atrest_header_set_priority(get(), keyslot, static_cast<std::uint32_t>(priority)));
    }
    result<void> remove_keyslot(std::uint32_t id) { return detail::done(atrest_header_remove_keyslot(get(), id)); }
    result<void> remove_token(std::uint32_t id) { return detail::done(atrest_header_remove_token(get(), id)); }
    // Returns the number of the new token.
    result<std::uint32_t> import_token(text json) {
        return detail::value_of<std::uint32_t>(
            [&](auto id) { return atrest_header_import_token(get(), json.get(), id); });
    }
    // Unlocks the DEK with a credential, from the header alone: proof that it opens the volume.
    [[nodiscard]] result<dek> unlock(const credential &by, const open_options &options = {}) const {
        const atrest_credential c = by.c();
        const atrest_open_options how = options.c();
        return detail::handle_of<dek>([&](auto out) { return atrest_header_unlock(get(), &c, &how, out); });
    }
    // LUKS1 to LUKS2 in place.
    result<void> convert_to_luks2() { return detail::done(atrest_header_convert_to_luks2(get())); }
    // DESTROYS EVERY WAY IN.
    result<void> erase() { return detail::done(atrest_header_erase(get())); }
    [[nodiscard]] result<std::vector<std::uint8_t>> backup() const {
        return detail::bytes_of(0, [&](auto... out) { return atrest_header_backup(get(), out...); });
    }

    // Calls `each` with an atrest_keyslot_info, _token_info, _segment_info or _digest_info.
    template <class F> result<void> keyslots(F &&each) const {
        return detail::each<const atrest_keyslot_info *>(
            each, [&](auto... visit) { return atrest_header_keyslots(get(), visit...); });
    }
    template <class F> result<void> tokens(F &&each) const {
        return detail::each<const atrest_token_info *>(
            each, [&](auto... visit) { return atrest_header_tokens(get(), visit...); });
    }
    template <class F> result<void> segments(F &&each) const {
        return detail::each<const atrest_segment_info *>(
            each, [&](auto... visit) { return atrest_header_segments(get(), visit...); });
    }
    template <class F> result<void> digests(F &&each) const {
        return detail::each<const atrest_digest_info *>(
            each, [&](auto... visit) { return atrest_header_digests(get(), visit...); });
    }
    [[nodiscard]] result<std::vector<std::string>> requirements() const {
        return detail::texts_of([&](auto... visit) { return atrest_header_requirements(get(), visit...); });
    }
    [[nodiscard]] result<std::vector<std::string>> flags() const {
        return detail::texts_of([&](auto... visit) { return atrest_header_flags(get(), visit...); });
    }
};

// The passphrase of the keyslot that volume::bind_tokens has made, found by a token of a LUKS2 header whose JSON and UUID
// another program has read. The key that wraps the DEK must be `expected_key`, if that isn't NULL. The caller must wipe the
// passphrase.
inline result<void> token_passphrase(const_bytes json, text uuid, std::uint32_t token, const vault &keys,
                                     std::array<std::uint8_t, ATREST_TOKEN_PASSPHRASE_LEN> &passphrase,
                                     text expected_key = nullptr) {
    auto options = detail::init<atrest_token_options>();
    options.expected_key = expected_key.get();
    std::size_t len = 0;
    return detail::done(atrest_token_passphrase(json.data(), json.size(), uuid.get(), token, keys.get(), &options,
                                                passphrase.data(), passphrase.size(), &len));
}

// ---------------------------------------------------------------------------------------------------------------------
// AZURE DISK ENCRYPTION

// A version of a secret without its value.
struct ade_secret {
    std::string version;
    // Names and values.
    std::vector<std::pair<std::string, std::string>> tags;
};

// A vault with the passphrases of disks, that the caller makes: a client of Azure's key vaults. Give it to ade_vault::from.
// The vault doesn't support functions that aren't overridden. Its functions are called and fail as those of a key_vault.
class ade_store {
public:
    ade_store() = default;
    ade_store(const ade_store &) = delete;
    ade_store &operator=(const ade_store &) = delete;
    // Called when the vault is freed.
    virtual ~ade_store() = default;

    // "https://NAME.vault.azure.net". Asked once, by ade_vault::from.
    [[nodiscard]] virtual std::string id() const = 0;
    // Finds a version of a secret, or the newest one if `version` is empty: writes its value into `value` and the rest into
    // `found`, and returns the length of the value in bytes.
    virtual result<std::size_t> get(const std::string &name, const std::string &version, ade_secret &found,
                                    mutable_bytes value) {
        static_cast<void>(name), static_cast<void>(version), static_cast<void>(found), static_cast<void>(value);
        return fail<std::size_t>(ATREST_ERR_UNSUPPORTED);
    }
    // Makes a new version of a secret with these tags, and returns its name.
    virtual result<std::string> set(const std::string &name, const_bytes value,
                                    const std::vector<std::pair<std::string, std::string>> &tags) {
        static_cast<void>(name), static_cast<void>(value), static_cast<void>(tags);
        return fail<std::string>(ATREST_ERR_UNSUPPORTED);
    }
    // Wraps a passphrase under the version and by the algorithm of `wrapped`, and fills it.
    virtual result<void> wrap(const_bytes passphrase, wrap_algorithm algorithm, wrapping &wrapped) {
        static_cast<void>(passphrase), static_cast<void>(algorithm), static_cast<void>(wrapped);
        return fail<void>(ATREST_ERR_UNSUPPORTED);
    }
    // Unwraps a passphrase, and returns how many bytes it has.
    virtual result<std::size_t> unwrap(const wrapped_dek &wrapped, mutable_bytes passphrase) {
        static_cast<void>(wrapped), static_cast<void>(passphrase);
        return fail<std::size_t>(ATREST_ERR_UNSUPPORTED);
    }
};

namespace detail {

struct ade_store_calls {
    static ade_store &of(void *user) noexcept { return *static_cast<ade_store *>(user); }
    static atrest_status get(void *user, const char *name, atrest_ade_secret *secret) {
        return guarded([&]() -> atrest_status {
            ade_secret found;
            const atrest_status status = take(secret->value_len, [&] {
                return of(user).get(name, secret->version, found, {secret->value, secret->value_cap});
            });
            if (status != ATREST_OK)
                return status;
            std::string tags;
            for (const auto &[tag, value] : found.tags)
                tags.append(tag.c_str(), tag.size() + 1).append(value.c_str(), value.size() + 1);
            if (!put(secret->version, found.version) || tags.size() >= sizeof secret->tags)
                return ATREST_ERR_LENGTH;
            std::memcpy(secret->tags, tags.c_str(), tags.size() + 1);
            return ATREST_OK;
        });
    }
    static atrest_status set(void *user, const char *name, const std::uint8_t *value, std::size_t value_len,
                             const char *tags, char *version, std::size_t version_cap) {
        return guarded([&]() -> atrest_status {
            std::vector<std::pair<std::string, std::string>> list;
            while (*tags != 0) {
                const char *tag = tags, *of_it = tag + std::strlen(tag) + 1;
                list.emplace_back(tag, of_it);
                tags = of_it + std::strlen(of_it) + 1;
            }
            std::string made;
            const atrest_status status = take(made, [&] { return of(user).set(name, {value, value_len}, list); });
            if (status != ATREST_OK)
                return status;
            if (made.size() >= version_cap)
                return ATREST_ERR_LENGTH;
            std::memcpy(version, made.c_str(), made.size() + 1);
            return ATREST_OK;
        });
    }
    static atrest_status wrap(void *user, const std::uint8_t *passphrase, std::size_t len, atrest_wrapped_dek *wrapped) {
        return guarded([&] {
            wrapping out(*wrapped);
            const auto algorithm = static_cast<wrap_algorithm>(wrapped->algorithm);
            return status_of([&] { return of(user).wrap({passphrase, len}, algorithm, out); });
        });
    }
    static atrest_status unwrap(void *user, const atrest_wrapped_dek *wrapped, std::uint8_t *passphrase, std::size_t cap,
                                std::size_t *len) {
        return guarded([&] {
            const wrapped_dek in(*wrapped);
            return take(*len, [&] { return of(user).unwrap(in, {passphrase, cap}); });
        });
    }
    static void release(void *user) noexcept { delete static_cast<ade_store *>(user); }
};

} // namespace detail

// A vault of passphrases and of the keys that wrap them.
class ade_vault : public detail::handle<atrest_ade_vault, atrest_ade_vault_free> {
public:
    using handle::handle;

    // "azurekv://NAME.vault.azure.net". A call of it takes at most so many milliseconds; 0 is its own deadline.
    [[nodiscard]] static result<ade_vault> open_url(text url, std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        return detail::handle_of<ade_vault>([&](auto out) { return atrest_ade_vault_open_url(url.get(), &c, out); });
    }
    // With secrets of the program's.
    [[nodiscard]] static result<ade_vault> open_url(text url, std::unique_ptr<secret_source> secrets,
                                                    std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        c.secret = detail::secret_source_calls::secret;
        return detail::object_of<ade_vault>(
            std::move(secrets), c, detail::secret_source_calls::release,
            [&](const atrest_vault_url_options *options, atrest_ade_vault **out) {
                return atrest_ade_vault_open_url(url.get(), options, out);
            });
    }
    // A vault of the caller's. It lives until this handle is freed; if this fails, it is destroyed at once.
    [[nodiscard]] static result<ade_vault> from(std::unique_ptr<ade_store> store) {
        auto callbacks = detail::init<atrest_ade_vault_callbacks>();
        const std::string id = store ? store->id() : std::string();
        callbacks.id = text(id).get();
        callbacks.get = detail::ade_store_calls::get;
        callbacks.set = detail::ade_store_calls::set;
        callbacks.wrap = detail::ade_store_calls::wrap;
        callbacks.unwrap = detail::ade_store_calls::unwrap;
        return detail::object_of<ade_vault>(std::move(store), callbacks, detail::ade_store_calls::release,
                                            atrest_ade_vault_from_callbacks);
    }
};

// A volume that was taken over, and the ways in that this removed and left.
struct ade_taken {
    volume opened;
    atrest_ade_taken_over ways{};
};

// A disk of Azure Disk Encryption, and where its passphrase is: in its token, unless a secret is named. As atrest_ade_disk.
// Its devices, and the vaults that it asks, must live until a call returns.
class ade_disk {
public:
    explicit ade_disk(const device &disk) noexcept { c_.device = disk.get(); }

    ade_disk &header(const device &header) noexcept { return c_.header = header.get(), *this; }
    ade_disk &secret(text url) { return secret_ = url.get(), *this; }
    ade_disk &kek(text url, wrap_algorithm algorithm = wrap_algorithm::rsa_oaep) {
        return kek_ = url.get(), c_.kek_algorithm = static_cast<std::uint32_t>(algorithm), *this;
    }
    ade_disk &ask(const ade_vault &vault) { return vaults_.push_back(vault.get()), *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_ade_disk c() const noexcept {
        atrest_ade_disk c = c_;
        c.secret_url = secret_.get();
        c.kek_url = kek_.get();
        return c;
    }

    [[nodiscard]] result<volume> open(const open_options &options = {}) const {
        const atrest_ade_disk disk = c();
        const atrest_open_options how = options.c();
        return detail::handle_of<volume>(
            [&](auto out) { return atrest_ade_open(&disk, vaults_.data(), vaults_.size(), &how, out); });
    }
    // Brings the disk under a key of `keys`.
    [[nodiscard]] result<ade_taken> take_over(const vault &keys, text key_name, bool reencrypt = false,
                                              const open_options &options = {}) const {
        const atrest_ade_disk disk = c();
        const atrest_open_options how = options.c();
        ade_taken taken{volume(), detail::init<atrest_ade_taken_over>()};
        atrest_volume *opened = nullptr;
        const atrest_status status
            = atrest_ade_take_over(&disk, vaults_.data(), vaults_.size(), keys.get(), key_name.get(),
                                   reencrypt ? ATREST_ADE_REENCRYPT : 0, &how, &taken.ways, &opened);
        if (status != ATREST_OK)
            return detail::failed<ade_taken>(status);
        taken.opened.reset(opened);
        return taken;
    }
    // A new version of the secret. Returns its URL.
    result<std::string> replace_secret(const keyslot_options &keyslot = {}, const open_options &options = {}) const {
        const atrest_ade_disk disk = c();
        const atrest_open_options how = options.c();
        const atrest_keyslot_options slot = keyslot.c();
        char url[ATREST_ADE_URL_SIZE];
        const atrest_status status
            = atrest_ade_replace_secret(&disk, vaults_.data(), vaults_.size(), &how, &slot, url, sizeof url);
        if (status != ATREST_OK)
            return detail::failed<std::string>(status);
        return std::string(url);
    }
    // A new passphrase in a new token.
    result<void> replace_token(const keyslot_options &keyslot = {}, const open_options &options = {}) const {
        const atrest_ade_disk disk = c();
        const atrest_open_options how = options.c();
        const atrest_keyslot_options slot = keyslot.c();
        return detail::done(atrest_ade_replace_token(&disk, vaults_.data(), vaults_.size(), &how, &slot));
    }
    // The value of a secret for a passphrase, under the key of kek() if there is one. The caller must wipe it.
    [[nodiscard]] result<std::size_t> seal(const_bytes passphrase, mutable_bytes value) const {
        return detail::value_of<std::size_t>([&](auto len) {
            return atrest_ade_seal(passphrase.data(), passphrase.size(), kek_.get(), c_.kek_algorithm,
                                              vaults_.data(), vaults_.size(), value.data(), value.size(), len);
        });
    }
    // A new passphrase. The caller must wipe it.
    static result<void> generate_passphrase(std::array<std::uint8_t, ATREST_ADE_PASSPHRASE_LEN> &passphrase) {
        std::size_t len = 0;
        return detail::done(atrest_ade_generate_passphrase(passphrase.data(), passphrase.size(), &len));
    }

private:
    atrest_ade_disk c_ = detail::init<atrest_ade_disk>();
    detail::copied secret_, kek_;
    std::vector<const atrest_ade_vault *> vaults_;
};

// The first passphrase of Azure Disk Encryption of a volume that has none. As atrest_ade_new_passphrase. The vaults that it asks
// must live until each call returns.
class ade_new_passphrase {
public:
    // The secret, without a version. Without it, the passphrase goes into a token.
    ade_new_passphrase &secret(text url) { return secret_ = url.get(), *this; }
    ade_new_passphrase &kek(text url, wrap_algorithm algorithm = wrap_algorithm::rsa_oaep) {
        return kek_ = url.get(), c_.kek_algorithm = static_cast<std::uint32_t>(algorithm), *this;
    }
    // The tags of a secret.
    ade_new_passphrase &machine(text name) { return machine_ = name.get(), *this; }
    ade_new_passphrase &file(text name) { return file_ = name.get(), *this; }
    // More tags, for a BitLocker volume.
    ade_new_passphrase &volume_letter(text letter) { return letter_ = letter.get(), *this; }
    ade_new_passphrase &volume_label(text label) { return label_ = label.get(), *this; }
    // The fields of a token.
    ade_new_passphrase &vault_url(text url) { return vault_ = url.get(), *this; }
    ade_new_passphrase &vault_resource(text id) { return resource_ = id.get(), *this; }
    ade_new_passphrase &attestation_url(text url) { return attestation_ = url.get(), *this; }
    ade_new_passphrase &ask(const ade_vault &vault) { return vaults_.push_back(vault.get()), *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_ade_new_passphrase c() const noexcept {
        atrest_ade_new_passphrase c = c_;
        c.secret_url = secret_.get();
        c.kek_url = kek_.get();
        c.machine_name = machine_.get();
        c.file_name = file_.get();
        c.vault_url = vault_.get();
        c.vault_resource = resource_.get();
        c.attestation_url = attestation_.get();
        c.volume_letter = letter_.get();
        c.volume_label = label_.get();
        return c;
    }

    // A secret, and a keyslot for it. Returns the URL with its version.
    result<std::string> add_secret(volume &to, const keyslot_options &keyslot = {}) const {
        const atrest_ade_new_passphrase what = c();
        const atrest_keyslot_options slot = keyslot.c();
        char url[ATREST_ADE_URL_SIZE];
        const atrest_status status
            = atrest_ade_add_secret(to.get(), &what, vaults_.data(), vaults_.size(), &slot, url, sizeof url);
        if (status != ATREST_OK)
            return detail::failed<std::string>(status);
        return std::string(url);
    }
    // A token, and a keyslot for it.
    result<void> add_token(volume &to, const keyslot_options &keyslot = {}) const {
        const atrest_ade_new_passphrase what = c();
        const atrest_keyslot_options slot = keyslot.c();
        return detail::done(atrest_ade_add_token(to.get(), &what, vaults_.data(), vaults_.size(), &slot));
    }

private:
    atrest_ade_new_passphrase c_ = detail::init<atrest_ade_new_passphrase>();
    detail::copied secret_, kek_, machine_, file_, vault_, resource_, attestation_, letter_, label_;
    std::vector<const atrest_ade_vault *> vaults_;
};

// ---------------------------------------------------------------------------------------------------------------------
// CUSTOMERS' VAULTS

// The properties of a vault that sets require. As atrest_vault_description.
struct vault_description {
    bool soft_delete = false, purge_protection = false;
    std::string region, tenant;
};

// A directory of the caller's: it finds the vaults of customers. Give it to vault_directory::from. Its functions are
// called by several threads at once, and fail as those of a key_vault do.
class vault_finder {
public:
    vault_finder() = default;
    vault_finder(const vault_finder &) = delete;
    vault_finder &operator=(const vault_finder &) = delete;
    // Called when the directory and every service that uses it are freed.
    virtual ~vault_finder() = default;

    // A handle of a vault that is accessed under `identity`: vault::as_identity, clone and from make such handles.
    // Called each time that a vault is asked. Fails with ATREST_ERR_VAULT when there is no such vault.
    [[nodiscard]] virtual result<vault> open_vault(const std::string &vault_id, const std::string &identity) = 0;
    // Describes a vault.
    [[nodiscard]] virtual result<vault_description> describe(const std::string &vault_id) = 0;
};

namespace detail {

struct vault_finder_calls {
    static atrest_status open_vault(void *user, const char *vault_id, const char *identity, atrest_vault **out) {
        return guarded([&] {
            return give<vault>(out,
                               [&] { return static_cast<vault_finder *>(user)->open_vault(vault_id, identity); });
        });
    }
    static atrest_status describe(void *user, const char *vault_id, atrest_vault_description *said) {
        return guarded([&]() -> atrest_status {
            vault_description description;
            const atrest_status status
                = take(description, [&] { return static_cast<vault_finder *>(user)->describe(vault_id); });
            if (status != ATREST_OK)
                return status;
            if (!put(said->region, description.region) || !put(said->tenant, description.tenant))
                return ATREST_ERR_LENGTH;
            said->soft_delete = description.soft_delete;
            said->purge_protection = description.purge_protection;
            return ATREST_OK;
        });
    }
    static void release(void *user) noexcept { delete static_cast<vault_finder *>(user); }
};

} // namespace detail

// A directory by which a disk service reaches customers' vaults. Services that use it keep it.
class vault_directory : public detail::handle<atrest_vault_directory, atrest_vault_directory_free> {
public:
    using handle::handle;

    // An empty directory of vaults.
    [[nodiscard]] static result<vault_directory> of_files() {
        return detail::handle_of<vault_directory>([&](auto out) { return atrest_vault_directory_new(out); });
    }
    // A directory of the caller's. It lives until this handle and everything that uses it are freed; if this fails, it
    // is destroyed at once.
    [[nodiscard]] static result<vault_directory> from(std::unique_ptr<vault_finder> finder) {
        auto callbacks = detail::init<atrest_vault_directory_callbacks>();
        callbacks.open_vault = detail::vault_finder_calls::open_vault;
        callbacks.describe = detail::vault_finder_calls::describe;
        return detail::object_of<vault_directory>(std::move(finder), callbacks, detail::vault_finder_calls::release,
                                                  atrest_vault_directory_from_callbacks);
    }

    // Adds a vault of any kind, with the properties that sets require of it. All sets use it as one caller.
    result<void> add(const vault &keys, const vault_description &said) {
        return detail::done(atrest_vault_directory_add(get(), keys.get(), text(said.region).get(),
                                                       text(said.tenant).get(), said.soft_delete,
                                                       said.purge_protection));
    }
    // Adds a vault file by its owner's handle: each set uses it under its own identity.
    result<void> add_file(const vault &file) {
        return detail::done(atrest_vault_directory_add_file(get(), file.get()));
    }
    result<void> remove(text vault_id) { return detail::done(atrest_vault_directory_remove(get(), vault_id.get())); }
    [[nodiscard]] result<std::vector<std::string>> ids() const {
        return detail::texts_of([&](auto... visit) { return atrest_vault_directory_ids(get(), visit...); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// WHERE DISKS LIE

// A backend of the caller's: a pool of block devices, or an object store. Give it to disk_backend::from. Its functions
// are called by several threads at once, and fail as those of a block_device do; ATREST_ERR_BUSY says that somebody
// else holds the device.
class device_pool {
public:
    device_pool() = default;
    device_pool(const device_pool &) = delete;
    device_pool &operator=(const device_pool &) = delete;
    // Called when the backend and every service that uses it are freed.
    virtual ~device_pool() = default;

    // Makes a device of `size` zero bytes, under an id that was never used before.
    [[nodiscard]] virtual result<device> create(const std::string &region, const std::string &id,
                                                std::uint64_t size) = 0;
    [[nodiscard]] virtual result<device> open(const std::string &region, const std::string &id) = 0;
    // A missing device is no failure. After this returns, the device must not reappear.
    virtual result<void> remove(const std::string &region, const std::string &id) = 0;
    // An existing plain image, for disk_service::import_disk to look at. Unless this and adopt_image are overridden, no
    // image is taken in.
    [[nodiscard]] virtual result<device> open_image(const std::string &region, const std::string &image) {
        static_cast<void>(region), static_cast<void>(image);
        return fail<device>(ATREST_ERR_UNSUPPORTED);
    }
    // Makes the image the device of this id, and grows it with zeros to `size` bytes. It may be that device already.
    [[nodiscard]] virtual result<device> adopt_image(const std::string &region, const std::string &id,
                                                     const std::string &image, std::uint64_t size) {
        static_cast<void>(region), static_cast<void>(id), static_cast<void>(image), static_cast<void>(size);
        return fail<device>(ATREST_ERR_UNSUPPORTED);
    }
    // The ids of all devices in a region that create() has made, for disk_service::orphans, which fails unless this is
    // overridden.
    [[nodiscard]] virtual result<std::vector<std::string>> list(const std::string &region) {
        static_cast<void>(region);
        return fail<std::vector<std::string>>(ATREST_ERR_UNSUPPORTED);
    }
};

namespace detail {

struct device_pool_calls {
    static atrest_status create(void *user, const char *region, const char *id, std::uint64_t size,
                                atrest_device **out) {
        return guarded([&] {
            return give<device>(out, [&] { return static_cast<device_pool *>(user)->create(region, id, size); });
        });
    }
    static atrest_status open(void *user, const char *region, const char *id, atrest_device **out) {
        return guarded(
            [&] { return give<device>(out, [&] { return static_cast<device_pool *>(user)->open(region, id); }); });
    }
    static atrest_status remove(void *user, const char *region, const char *id) {
        return guarded([&] { return status_of([&] { return static_cast<device_pool *>(user)->remove(region, id); }); });
    }
    static atrest_status open_image(void *user, const char *region, const char *image, atrest_device **out) {
        return guarded([&] {
            return give<device>(out, [&] { return static_cast<device_pool *>(user)->open_image(region, image); });
        });
    }
    static atrest_status adopt_image(void *user, const char *region, const char *id, const char *image,
                                     std::uint64_t size, atrest_device **out) {
        return guarded([&] {
            return give<device>(
                out, [&] { return static_cast<device_pool *>(user)->adopt_image(region, id, image, size); });
        });
    }
    static atrest_status list(void *user, const char *region, atrest_status (*each)(void *ids, const char *id),
                              void *ids) {
        return guarded([&] {
            std::vector<std::string> found;
            atrest_status status = take(found, [&] { return static_cast<device_pool *>(user)->list(region); });
            for (auto id = found.begin(); status == ATREST_OK && id != found.end(); ++id)
                status = each(ids, id->c_str());
            return status;
        });
    }
    static void release(void *user) noexcept { delete static_cast<device_pool *>(user); }
};

} // namespace detail

// The place of disks. Services that use it keep it.
class disk_backend : public detail::handle<atrest_disk_backend, atrest_disk_backend_free> {
public:
    using handle::handle;

    // Files in one folder, which must exist.
    [[nodiscard]] static result<disk_backend> folder(path folder) {
        return detail::handle_of<disk_backend>([&](auto out) { return atrest_disk_backend_folder(folder.get(), out); });
    }
    // A place by its URL, such as "file:/srv/disks".
    [[nodiscard]] static result<disk_backend> from_url(text url) {
        return detail::handle_of<disk_backend>([&](auto out) { return atrest_disk_backend_from_url(url.get(), out); });
    }
    // A backend of the caller's. It lives until this handle and everything that uses it are freed; if this fails, it is
    // destroyed at once.
    [[nodiscard]] static result<disk_backend> from(std::unique_ptr<device_pool> pool) {
        auto callbacks = detail::init<atrest_disk_backend_callbacks>();
        callbacks.create = detail::device_pool_calls::create;
        callbacks.open = detail::device_pool_calls::open;
        callbacks.remove = detail::device_pool_calls::remove;
        callbacks.open_image = detail::device_pool_calls::open_image;
        callbacks.adopt_image = detail::device_pool_calls::adopt_image;
        callbacks.list = detail::device_pool_calls::list;
        return detail::object_of<disk_backend>(std::move(pool), callbacks, detail::device_pool_calls::release,
                                               atrest_disk_backend_from_callbacks);
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// WHAT A DISK SERVICE IS ASKED FOR

// A function that reports the progress of a long call: of a copy, bytes; of a rotation, disks, snapshots and images.
// Made from anything that can be called with both numbers, which must live until the call returns. It may be called
// from several threads at once, which wait for it. If it throws, the long call ends its work, and then throws the first
// exception.
class progress {
public:
    progress() = default;
    template <class F, class = std::enable_if_t<std::is_invocable_v<F &, std::uint64_t, std::uint64_t>>>
    progress(F &&told) noexcept
        : told_(const_cast<void *>(static_cast<const void *>(std::addressof(told)))),
          call_([](void *f, std::uint64_t done, std::uint64_t total) {
              (*static_cast<std::remove_reference_t<F> *>(f))(done, total);
          }) {}

    [[nodiscard]] explicit operator bool() const noexcept { return call_ != nullptr; }
    void operator()(std::uint64_t done, std::uint64_t total) const { call_(told_, done, total); }

private:
    void *told_ = nullptr;
    void (*call_)(void *, std::uint64_t, std::uint64_t) = nullptr;
};

namespace detail {

// Reports progress for C, and keeps the first exception.
class teller {
public:
    explicit teller(const progress &told) noexcept : told_(told) {}

    // The callback for C, or NULL without a function.
    [[nodiscard]] atrest_progress c() const noexcept { return told_ ? call : nullptr; }
    void tell(std::uint64_t done, std::uint64_t total) noexcept {
#if ATREST_DETAIL_CATCHES
        try {
            told_(done, total);
        } catch (...) {
            if (!has_thrown_.test_and_set())
                thrown_ = std::current_exception();
        }
#else
        told_(done, total);
#endif
    }
    void end() {
#if ATREST_DETAIL_CATCHES
        if (thrown_)
            std::rethrow_exception(std::move(thrown_));
#endif
    }

private:
    static void call(void *user, std::uint64_t done, std::uint64_t total) {
        static_cast<teller *>(user)->tell(done, total);
    }

    const progress &told_;
#if ATREST_DETAIL_CATCHES
    std::atomic_flag has_thrown_ = ATOMIC_FLAG_INIT;
    std::exception_ptr thrown_;
#endif
};

// Makes a call that reports progress.
template <class Call> result<void> told(const progress &progress, Call &&call) {
    teller telling(progress);
    const atrest_status status = call(telling.c(), static_cast<void *>(&telling));
    telling.end();
    return done(status);
}

// Makes a call that reports progress, and returns how many keys were wrapped anew.
template <class Call> result<std::uint64_t> rewrapped(const progress &progress, Call &&call) {
    teller telling(progress);
    std::uint64_t out = 0;
    const atrest_status status = call(telling.c(), static_cast<void *>(&telling), &out);
    telling.end();
    if (status != ATREST_OK)
        return failed<std::uint64_t>(status);
    return out;
}

// The texts, for C, for as long as they live.
inline std::vector<const char *> pointers(const std::vector<copied> &texts) {
    std::vector<const char *> all;
    for (const copied &text : texts)
        all.push_back(text.get());
    return all;
}

} // namespace detail

// Options of a disk service. As atrest_disk_service_options. The handles must live until the service is open.
class disk_service_options {
public:
    // The place of disks, and the platform's vault and key.
    disk_service_options(const disk_backend &backend, const vault &platform, text platform_key) {
        c_.backend = backend.get();
        c_.platform = platform.get();
        platform_key_ = platform_key.get();
    }
    disk_service_options &vaults(const vault_directory &vaults) noexcept { return c_.vaults = vaults.get(), *this; }
    disk_service_options &time(const clock &clock) noexcept { return c_.clock = clock.get(), *this; }
    disk_service_options &require_locked_memory(bool require = true) noexcept {
        return c_.require_locked_memory = require, *this;
    }
    disk_service_options &discard(bool pass_on = true) noexcept { return c_.discard = pass_on, *this; }
    disk_service_options &written_map(bool make = true) noexcept { return c_.written_map = make, *this; }
    disk_service_options &deadline_seconds(std::uint64_t deadline) noexcept { return c_.deadline_seconds = deadline, *this; }
    disk_service_options &grace_seconds(std::uint64_t grace) noexcept { return c_.grace_seconds = grace, *this; }
    disk_service_options &interval_seconds(std::uint64_t every) noexcept { return c_.interval_seconds = every, *this; }
    disk_service_options &outage_seconds(std::uint64_t most) noexcept { return c_.outage_seconds = most, *this; }
    disk_service_options &rotation_interval_seconds(std::uint64_t every) noexcept {
        return c_.rotation_interval_seconds = every, *this;
    }
    disk_service_options &parallel(std::size_t most) noexcept { return c_.parallel = most, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_disk_service_options c() const noexcept {
        atrest_disk_service_options c = c_;
        c.platform_key = platform_key_.get();
        return c;
    }

private:
    atrest_disk_service_options c_ = detail::init<atrest_disk_service_options>();
    detail::copied platform_key_;
};

// Options of a new set. As atrest_new_set; all but the last two are needed.
class new_set {
public:
    explicit new_set(text name) : name_(name.get()) {}
    new_set &region(text region) { return region_ = region.get(), *this; }
    new_set &subscription(text subscription) { return subscription_ = subscription.get(), *this; }
    new_set &tenant(text tenant) { return tenant_ = tenant.get(), *this; }
    new_set &key_url(text url) { return key_url_ = url.get(), *this; }
    new_set &encryption_type(protected_by keys) noexcept {
        return c_.encryption_type = static_cast<std::uint32_t>(keys), *this;
    }
    new_set &auto_rotation(bool on = true) noexcept { return c_.auto_rotation = on, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_new_set c() const noexcept {
        atrest_new_set c = c_;
        c.name = name_.get();
        c.region = region_.get();
        c.subscription = subscription_.get();
        c.tenant = tenant_.get();
        c.key_url = key_url_.get();
        return c;
    }

private:
    atrest_new_set c_ = detail::init<atrest_new_set>();
    detail::copied name_, region_, subscription_, tenant_, key_url_;
};

// Options of a new disk. As atrest_new_disk.
class new_disk {
public:
    explicit new_disk(text name) : name_(name.get()) {}
    new_disk &region(text region) { return region_ = region.get(), *this; }
    new_disk &subscription(text subscription) { return subscription_ = subscription.get(), *this; }
    // Without one, the platform's key protects it.
    new_disk &set(text set) { return set_ = set.get(), *this; }
    new_disk &size(std::uint64_t size) noexcept { return c_.size = size, *this; }
    new_disk &sector_size(std::uint32_t size) noexcept { return c_.sector_size = size, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_new_disk c() const noexcept {
        atrest_new_disk c = c_;
        c.name = name_.get();
        c.region = region_.get();
        c.subscription = subscription_.get();
        c.set = set_.get();
        return c;
    }

private:
    atrest_new_disk c_ = detail::init<atrest_new_disk>();
    detail::copied name_, region_, subscription_, set_;
};

// Options of a new snapshot. As atrest_new_snapshot.
class new_snapshot {
public:
    new_snapshot(text name, text disk) : name_(name.get()), disk_(disk.get()) {}
    new_snapshot &set(text set) { return set_ = set.get(), *this; }
    new_snapshot &incremental(bool on = true) noexcept { return c_.incremental = on, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_new_snapshot c() const noexcept {
        atrest_new_snapshot c = c_;
        c.name = name_.get();
        c.disk = disk_.get();
        c.set = set_.get();
        return c;
    }

private:
    atrest_new_snapshot c_ = detail::init<atrest_new_snapshot>();
    detail::copied name_, disk_, set_;
};

// Options of a new image. As atrest_new_image.
class new_image {
public:
    explicit new_image(text name) : name_(name.get()) {}
    // Another disk, and another region.
    new_image &disk(text name) { return disks_.emplace_back(name.get()), *this; }
    new_image &region(text name) { return regions_.emplace_back(name.get()), *this; }
    // The set of the next copy, or nullptr for the platform's key: for each region, and in it for each disk.
    new_image &set(text name) { return sets_.emplace_back(name.get()), *this; }

    // Hands what C needs to `call`, for its duration, and returns what that returns.
    template <class F> auto with_c(F &&call) const {
        const auto disks = detail::pointers(disks_), regions = detail::pointers(regions_), sets = detail::pointers(sets_);
        auto c = detail::init<atrest_new_image>();
        c.name = name_.get();
        c.disks = disks.data();
        c.disks_count = disks.size();
        c.regions = regions.data();
        c.regions_count = regions.size();
        c.sets = sets.empty() ? nullptr : sets.data();
        c.sets_count = sets.size();
        return call(&std::as_const(c));
    }

private:
    detail::copied name_;
    std::vector<detail::copied> disks_, regions_, sets_;
};

// ---------------------------------------------------------------------------------------------------------------------
// OPEN DISKS

// A managed disk that is open; see disk_service::open_disk. IT DOES NOT SYNC IN THE END: call sync() first, or the last
// writes may not be on the disk. It may outlive its service.
class disk : public detail::handle<atrest_disk, atrest_disk_free> {
public:
    using handle::handle;

    // Whole sectors, at an offset in bytes.
    result<void> read_at(std::uint64_t offset, mutable_bytes sectors) const {
        return detail::done(atrest_disk_read_at(get(), offset, sectors.data(), sectors.size()));
    }
    result<void> write_at(std::uint64_t offset, const_bytes sectors) {
        return detail::done(atrest_disk_write_at(get(), offset, sectors.data(), sectors.size()));
    }
    // The same from a buffer that may be changed, without a copy: `sectors` hold ciphertext afterwards.
    result<void> write_in_place(std::uint64_t offset, mutable_bytes sectors) {
        return detail::done(atrest_disk_write_in_place(get(), offset, sectors.data(), sectors.size()));
    }
    // Several pieces of memory one after the other, each a whole number of sectors.
    result<void> read_vectored_at(std::uint64_t offset, atrest::segments sectors) const {
        return detail::done(atrest_disk_read_vectored_at(get(), offset, sectors.data(), sectors.size()));
    }
    result<void> write_vectored_at(std::uint64_t offset, atrest::segments sectors) {
        return detail::done(atrest_disk_write_vectored_at(get(), offset, sectors.data(), sectors.size()));
    }
    // I/O that the caller does, at the offset on the device that is returned: section ENGINES of atrest.h.
    [[nodiscard]] result<std::uint64_t> begin_read(std::uint64_t offset, std::size_t len) const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_disk_begin_read(get(), offset, len, out); });
    }
    result<void> complete_read(std::uint64_t offset, mutable_bytes sectors) const {
        return detail::done(atrest_disk_complete_read(get(), offset, sectors.data(), sectors.size()));
    }
    [[nodiscard]] result<std::uint64_t> begin_write(std::uint64_t offset, mutable_bytes sectors) {
        return detail::value_of<std::uint64_t>([&](auto out) {
            return atrest_disk_begin_write(get(), offset, sectors.data(), sectors.size(), out);
        });
    }
    // `ciphertext` has the length of `sectors`, or the call ends with ATREST_ERR_LENGTH_MISMATCH.
    [[nodiscard]] result<std::uint64_t> begin_write_from(std::uint64_t offset, const_bytes sectors,
                                                         mutable_bytes ciphertext) {
        if (sectors.size() != ciphertext.size())
            return detail::different_lengths<std::uint64_t>();
        return detail::value_of<std::uint64_t>([&](auto out) {
            return atrest_disk_begin_write_from(get(), offset, sectors.data(), ciphertext.data(), sectors.size(), out);
        });
    }
    // Once for each write that was begun, when the device has answered.
    result<void> complete_write() { return detail::done(atrest_disk_complete_write(get())); }
    // A range in bytes, without a buffer.
    result<void> write_zeroes(std::uint64_t offset, std::uint64_t len) {
        return detail::done(atrest_disk_write_zeroes(get(), offset, len));
    }
    // With disk_service_options::discard only.
    result<void> discard(std::uint64_t offset, std::uint64_t len) {
        return detail::done(atrest_disk_discard(get(), offset, len));
    }
    [[nodiscard]] result<bool> discards() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_disk_discards(get(), out); });
    }
    result<void> sync() { return detail::done(atrest_disk_sync(get())); }

    [[nodiscard]] result<std::string> name() const {
        return detail::text_of([&](auto... out) { return atrest_disk_name(get(), out...); });
    }
    [[nodiscard]] result<std::uint64_t> size() const {
        return detail::value_of<std::uint64_t>([&](auto out) { return atrest_disk_size(get(), out); });
    }
    [[nodiscard]] result<std::uint32_t> sector_size() const {
        return detail::value_of<std::uint32_t>([&](auto out) { return atrest_disk_sector_size(get(), out); });
    }
    [[nodiscard]] result<bool> is_suspended() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_disk_is_suspended(get(), out); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// DISK SERVICE

// Managed disks. A function whose name ends in _json returns the whole record as text. The function of the same name
// without it returns a struct of the fields that a program decides by.
class disk_service : public detail::handle<atrest_disk_service, atrest_disk_service_free> {
public:
    using handle::handle;

    [[nodiscard]] static result<disk_service> open(path store, const disk_service_options &options) {
        const atrest_disk_service_options c = options.c();
        return detail::handle_of<disk_service>(
            [&](auto out) { return atrest_disk_service_open(store.get(), &c, out); });
    }

    // A service on a store of a fleet; see fleet_store::open_service.
    result<void> renew_host_lease() const { return detail::done(atrest_disk_service_renew_host_lease(get())); }
    // Closes a disk here, so that only the host `to` can open it.
    result<void> hand_over(text disk, text to) const {
        return detail::done(atrest_disk_service_hand_over(get(), disk.get(), to.get()));
    }

    // To be called about once a minute.
    result<void> maintain() const { return detail::done(atrest_disk_service_maintain(get())); }
    // To be called every few minutes. Calls `each` with an atrest_rotated.
    template <class F> result<void> auto_rotate(F &&each, const progress &told = {}) const {
        struct both {
            detail::visitor<std::remove_reference_t<F>> visiting;
            detail::teller telling;

            static atrest_status visit(void *user, const atrest_rotated *rotated) noexcept {
                return decltype(visiting)::each(&static_cast<both *>(user)->visiting, rotated);
            }
            static void tell(void *user, std::uint64_t done, std::uint64_t total) noexcept {
                static_cast<both *>(user)->telling.tell(done, total);
            }
        } both{detail::visitor<std::remove_reference_t<F>>(each), detail::teller(told)};
        const atrest_status status
            = atrest_disk_service_auto_rotate(get(), told ? both::tell : nullptr, both::visit, &both);
        both.telling.end();
        return both.visiting.end(status);
    }
    // Calls `each` with an atrest_expiring_key.
    template <class F> result<void> expiring_keys(std::uint64_t within_seconds, F &&each) const {
        return detail::each<const atrest_expiring_key *>(each, [&](auto... visit) {
            return atrest_disk_service_expiring_keys(get(), within_seconds, visit...);
        });
    }

    // The store: a backup to a new file, and a check of all of it, which returns the defects.
    result<void> backup(path to) const { return detail::done(atrest_disk_service_backup(get(), to.get())); }
    result<std::vector<std::string>> check(atrest_store_check &found) const {
        found = detail::init<atrest_store_check>();
        return detail::texts_of(
            [&](auto... visit) { return atrest_disk_service_check(get(), visit..., &found); });
    }

    // Sets.

    result<void> create_set(const new_set &set) const {
        const atrest_new_set c = set.c();
        return detail::done(atrest_disk_service_create_set(get(), &c));
    }
    [[nodiscard]] result<atrest_set_info> encryption_set(text set) const {
        return detail::struct_of<atrest_set_info>(
            [&](auto out) { return atrest_disk_service_encryption_set(get(), set.get(), out); });
    }
    [[nodiscard]] result<std::string> encryption_set_json(text set) const {
        return detail::text_of(
            [&](auto... out) { return atrest_disk_service_encryption_set_json(get(), set.get(), out...); });
    }
    [[nodiscard]] result<std::vector<std::string>> encryption_sets() const {
        return detail::texts_of([&](auto... visit) { return atrest_disk_service_encryption_sets(get(), visit...); });
    }
    // Calls `each` with the kind and the name, a const char *, of each member of a set.
    template <class F> result<void> members(text set, F &&each) const {
        auto one = [&](std::uint32_t kind, const char *name) { return each(static_cast<atrest::resource>(kind), name); };
        return detail::each<std::uint32_t, const char *>(
            one, [&](auto... visit) { return atrest_disk_service_members(get(), set.get(), visit...); });
    }
    // These three return how many disks, snapshots and images were put under the key.
    result<std::uint64_t> rotate_platform(const progress &told = {}) const {
        return detail::rewrapped(
            told, [&](auto... out) { return atrest_disk_service_rotate_platform(get(), out...); });
    }
    result<std::uint64_t> rotate_set(text set, const progress &told = {}) const {
        return detail::rewrapped(
            told, [&](auto... out) { return atrest_disk_service_rotate_set(get(), set.get(), out...); });
    }
    result<std::uint64_t> change_key(text set, text key_url, const progress &told = {}) const {
        return detail::rewrapped(
            told, [&](auto... out) { return atrest_disk_service_change_key(get(), set.get(), key_url.get(), out...); });
    }
    result<void> clear_rotation_error(text set) const {
        return detail::done(atrest_disk_service_clear_rotation_error(get(), set.get()));
    }
    result<void> set_auto_rotation(text set, bool on) const {
        return detail::done(atrest_disk_service_set_auto_rotation(get(), set.get(), on));
    }
    result<void> move_set_to_tenant(text set, text tenant) const {
        return detail::done(atrest_disk_service_move_set_to_tenant(get(), set.get(), tenant.get()));
    }
    result<void> delete_set(text set) const { return detail::done(atrest_disk_service_delete_set(get(), set.get())); }

    // Disks, snapshots and images.

    result<void> create_disk(const new_disk &disk) const {
        const atrest_new_disk c = disk.c();
        return detail::done(atrest_disk_service_create_disk(get(), &c));
    }
    result<void> create_disk_from(atrest::resource source, text source_name, const new_disk &disk,
                                  const progress &told = {}) const {
        const atrest_new_disk c = disk.c();
        return detail::told(told, [&](auto... to) {
            return atrest_disk_service_create_disk_from(get(), static_cast<std::uint32_t>(source), source_name.get(),
                                                        &c, to...);
        });
    }
    result<void> create_snapshot(const new_snapshot &snapshot, const progress &told = {}) const {
        const atrest_new_snapshot c = snapshot.c();
        return detail::told(told, [&](auto... to) { return atrest_disk_service_create_snapshot(get(), &c, to...); });
    }
    result<void> create_image(const new_image &image, const progress &told = {}) const {
        return image.with_c([&](auto c) {
            return detail::told(told, [&](auto... to) { return atrest_disk_service_create_image(get(), c, to...); });
        });
    }
    [[nodiscard]] result<disk> open_disk(text name) const {
        return detail::handle_of<disk>(
            [&](auto out) { return atrest_disk_service_open_disk(get(), name.get(), out); });
    }
    [[nodiscard]] result<atrest_resource_info> resource(atrest::resource kind, text name) const {
        return detail::struct_of<atrest_resource_info>([&](auto out) {
            return atrest_disk_service_resource(get(), static_cast<std::uint32_t>(kind), name.get(), out);
        });
    }
    [[nodiscard]] result<std::string> resource_json(atrest::resource kind, text name) const {
        return detail::text_of([&](auto... out) {
            return atrest_disk_service_resource_json(get(), static_cast<std::uint32_t>(kind), name.get(), out...);
        });
    }
    [[nodiscard]] result<std::vector<std::string>> names(atrest::resource kind) const {
        return detail::texts_of([&](auto... visit) {
            return atrest_disk_service_names(get(), static_cast<std::uint32_t>(kind), visit...);
        });
    }
    // The copies of an image.
    [[nodiscard]] result<std::vector<std::string>> image(text image) const {
        return detail::texts_of(
            [&](auto... visit) { return atrest_disk_service_image(get(), image.get(), visit...); });
    }
    result<void> put_into_set(atrest::resource kind, text name, text set) const {
        return detail::done(atrest_disk_service_put_into_set(get(), static_cast<std::uint32_t>(kind), name.get(),
                                                             set.get()));
    }
    result<void> mark_guest_encrypted(text disk) const {
        return detail::done(atrest_disk_service_mark_guest_encrypted(get(), disk.get()));
    }
    // Makes a disk larger while it is in use.
    result<void> resize_disk(text disk, std::uint64_t size) const {
        return detail::done(atrest_disk_service_resize_disk(get(), disk.get(), size));
    }
    // The devices of the backend that are none of this service's. They may be another's.
    [[nodiscard]] result<std::vector<std::string>> orphans(text region) const {
        return detail::texts_of(
            [&](auto... visit) { return atrest_disk_service_orphans(get(), region.get(), visit...); });
    }
    result<void> remove_orphan(text region, text id) const {
        return detail::done(atrest_disk_service_remove_orphan(get(), region.get(), id.get()));
    }
    result<void> set_host_encryption(text disk, bool on) const {
        return detail::done(atrest_disk_service_set_host_encryption(get(), disk.get(), on));
    }
    result<void> move_to_subscription(atrest::resource kind, text name, text subscription) const {
        return detail::done(atrest_disk_service_move_to_subscription(get(), static_cast<std::uint32_t>(kind),
                                                                     name.get(), subscription.get()));
    }
    // atrest_disk_service_delete, whose name C++ has taken.
    result<void> delete_resource(atrest::resource kind, text name) const {
        return detail::done(atrest_disk_service_delete(get(), static_cast<std::uint32_t>(kind), name.get()));
    }
    result<void> delete_image(text image) const {
        return detail::done(atrest_disk_service_delete_image(get(), image.get()));
    }

    // Re-encryption of disks: one is ordered, and then done in steps.

    result<void> rekey_disk(text disk) const {
        return detail::done(atrest_disk_service_rekey_disk(get(), disk.get()));
    }
    // An existing plain image becomes a disk. Its size may be left out.
    result<void> import_disk(const new_disk &disk, text image) const {
        const atrest_new_disk c = disk.c();
        return detail::done(atrest_disk_service_import_disk(get(), &c, image.get()));
    }
    // An existing LUKS2 volume becomes a disk with its data; `flags` are 0 or ATREST_ADOPT_*. Every other way in is removed.
    result<void> adopt_disk(const new_disk &disk, text image, const credential &by, std::uint32_t flags = 0) const {
        const atrest_new_disk c = disk.c();
        const atrest_credential c_by = by.c();
        return detail::done(atrest_disk_service_adopt_disk(get(), &c, image.get(), &c_by, flags));
    }
    result<atrest_reencryption_progress> reencrypt_step(text disk, std::uint64_t budget) const {
        return detail::struct_of<atrest_reencryption_progress>(
            [&](auto out) { return atrest_disk_service_reencrypt_step(get(), disk.get(), budget, out); });
    }
    [[nodiscard]] result<atrest_reencryption_progress> reencryption(text disk) const {
        return detail::struct_of<atrest_reencryption_progress>(
            [&](auto out) { return atrest_disk_service_reencryption(get(), disk.get(), out); });
    }
    // Withdraws an order that has not begun.
    result<void> cancel_reencryption(text disk) const {
        return detail::done(atrest_disk_service_cancel_reencryption(get(), disk.get()));
    }
    // The disks that are not finished.
    [[nodiscard]] result<std::vector<std::string>> reencrypting() const {
        return detail::texts_of([&](auto... visit) { return atrest_disk_service_reencrypting(get(), visit...); });
    }

    // Reports.

    [[nodiscard]] result<atrest_report> report(atrest::resource kind, text name) const {
        return detail::struct_of<atrest_report>([&](auto out) {
            return atrest_disk_service_report(get(), static_cast<std::uint32_t>(kind), name.get(), out);
        });
    }
    [[nodiscard]] result<std::string> report_json(atrest::resource kind, text name) const {
        return detail::text_of([&](auto... out) {
            return atrest_disk_service_report_json(get(), static_cast<std::uint32_t>(kind), name.get(), out...);
        });
    }
    [[nodiscard]] result<atrest_set_report> report_set(text set) const {
        return detail::struct_of<atrest_set_report>(
            [&](auto out) { return atrest_disk_service_report_set(get(), set.get(), out); });
    }
    [[nodiscard]] result<std::string> report_set_json(text set) const {
        return detail::text_of(
            [&](auto... out) { return atrest_disk_service_report_set_json(get(), set.get(), out...); });
    }
    [[nodiscard]] result<atrest_set_report> report_platform() const {
        return detail::struct_of<atrest_set_report>(
            [&](auto out) { return atrest_disk_service_report_platform(get(), out); });
    }
    [[nodiscard]] result<std::string> report_platform_json() const {
        return detail::text_of(
            [&](auto... out) { return atrest_disk_service_report_platform_json(get(), out...); });
    }
    [[nodiscard]] result<std::string> metrics_json() const {
        return detail::text_of([&](auto... out) { return atrest_disk_service_metrics_json(get(), out...); });
    }
};

// ---------------------------------------------------------------------------------------------------------------------
// CARE OF A STORE

// Checks a store that no service has open, and returns the defects. As atrest_store_check_of_file.
inline result<std::vector<std::string>> check_store_file(path store, atrest_store_check &found) {
    found = detail::init<atrest_store_check>();
    return detail::texts_of([&](auto... visit) { return atrest_store_check_of_file(store.get(), visit..., &found); });
}

// The sources for rebuilding a store. As atrest_rebuild_sources.
class rebuild_sources {
public:
    // Another device, and another old store.
    rebuild_sources &device(text region, text id) {
        regions_.emplace_back(region.get());
        return ids_.emplace_back(id.get()), *this;
    }
    rebuild_sources &store(path old) { return stores_.emplace_back(old.get()), *this; }
    rebuild_sources &subscription(text name) { return subscription_ = name.get(), *this; }

    // Hands what C needs to `call`, for its duration, and returns what that returns.
    template <class F> auto with_c(F &&call) const {
        const auto ids = detail::pointers(ids_), regions = detail::pointers(regions_), stores = detail::pointers(stores_);
        auto c = detail::init<atrest_rebuild_sources>();
        c.ids = ids.data();
        c.ids_count = ids.size();
        c.regions = regions.data();
        c.regions_count = regions.size();
        c.stores = stores.data();
        c.stores_count = stores.size();
        c.subscription = subscription_.get();
        return call(&std::as_const(c));
    }

private:
    std::vector<detail::copied> ids_, regions_, stores_;
    detail::copied subscription_;
};

// Makes a new store, and calls `each` with an atrest_rebuilt for every device and record. As atrest_store_rebuild.
template <class F>
result<void> rebuild_store(path store, const disk_service_options &options, const rebuild_sources &from, F &&each) {
    const atrest_disk_service_options c = options.c();
    return detail::each<const atrest_rebuilt *>(each, [&](auto... visit) {
        return from.with_c([&](auto sources) { return atrest_store_rebuild(store.get(), &c, sources, visit...); });
    });
}

// ---------------------------------------------------------------------------------------------------------------------
// FLEETS OF MANY HOSTS

// Options of a host that shares a store. As atrest_host_options.
class host_options {
public:
    explicit host_options(text name) : name_(name.get()) {}
    // In milliseconds: at least three times the store's deadline.
    host_options &lease_ms(std::uint64_t lease) noexcept { return c_.lease_ms = lease, *this; }
    // disk_service::renew_host_lease is called after each third of the lease.
    host_options &renews_by_hand(bool by_hand = true) noexcept { return c_.renews_by_hand = by_hand, *this; }

    // For C, for as long as this lives and isn't changed.
    [[nodiscard]] atrest_host_options c() const noexcept {
        atrest_host_options c = c_;
        c.name = name_.get();
        return c;
    }

private:
    atrest_host_options c_ = detail::init<atrest_host_options>();
    detail::copied name_;
};

// The store of a service's records: a file, or an engine that services of many hosts share.
class fleet_store : public detail::handle<atrest_fleet_store, atrest_fleet_store_free> {
public:
    using handle::handle;

    // By its URL, such as "postgres://disks@db1,db2/disks". A call of it takes at most so many milliseconds; 0 is its own deadline.
    [[nodiscard]] static result<fleet_store> from_url(text url, std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        return detail::handle_of<fleet_store>([&](auto out) { return atrest_fleet_store_from_url(url.get(), &c, out); });
    }
    // With the program's password, which is asked for now and never again.
    [[nodiscard]] static result<fleet_store> from_url(text url, std::unique_ptr<secret_source> secrets,
                                                      std::uint32_t deadline_ms = 0) {
        auto c = detail::init<atrest_vault_url_options>();
        c.deadline_ms = deadline_ms;
        c.secret = detail::secret_source_calls::secret;
        return detail::object_of<fleet_store>(
            std::move(secrets), c, detail::secret_source_calls::release,
            [&](const atrest_vault_url_options *options, atrest_fleet_store **out) {
                return atrest_fleet_store_from_url(url.get(), options, out);
            });
    }
    [[nodiscard]] result<bool> is_shared() const {
        return detail::enum_of<bool>([&](auto out) { return atrest_fleet_store_is_shared(get(), out); });
    }
    // For a file `host` is ignored.
    [[nodiscard]] result<disk_service> open_service(const host_options &host, const disk_service_options &options) const {
        const atrest_host_options c_host = host.c();
        const atrest_disk_service_options c = options.c();
        return detail::handle_of<disk_service>(
            [&](auto out) { return atrest_fleet_store_open_service(get(), &c_host, &c, out); });
    }
    // Calls `each` with an atrest_host for every host. Call it again to learn which leases live.
    template <class F> result<void> hosts(F &&each) const {
        return detail::each<const atrest_host *>(
            each, [&](auto... visit) { return atrest_fleet_store_hosts(get(), visit...); });
    }
    // Calls `each` with an atrest_attachment for the first devices that hosts have open, at most 1000.
    template <class F> result<void> attachments(F &&each, std::size_t limit = 1000) const {
        return detail::each<const atrest_attachment *>(each, [&](auto... visit) {
            return atrest_fleet_store_attachments(get(), nullptr, limit, visit...);
        });
    }
    // The same for those after an id.
    template <class F> result<void> attachments_after(text id, F &&each, std::size_t limit = 1000) const {
        return detail::each<const atrest_attachment *>(each, [&](auto... visit) {
            return atrest_fleet_store_attachments(get(), id.get(), limit, visit...);
        });
    }
    // Checks the store, and returns the defects.
    result<std::vector<std::string>> check(atrest_store_check &found) const {
        found = detail::init<atrest_store_check>();
        return detail::texts_of([&](auto... visit) { return atrest_fleet_store_check(get(), visit..., &found); });
    }
    // Copies all records to another store, compares both, and returns their number. No service may have either open.
    result<std::uint64_t> copy_to(const fleet_store &to) const {
        return detail::value_of<std::uint64_t>(
            [&](auto out) { return atrest_fleet_store_copy_to(get(), to.get(), out); });
    }
    // Makes a store usable again after it was copied to another one. NOT after a service has used the other one.
    result<void> reopen_moved() const {
        return detail::done(atrest_fleet_store_reopen_moved(get()));
    }
};

// The capability table, whole, or the rows that apply to a disk.
[[nodiscard]] inline result<std::string> capability_table_json() {
    return detail::text_of([](auto... out) { return atrest_capability_table_json(0, 0, out...); });
}
[[nodiscard]] inline result<std::string> capability_table_json(protected_by keys, bool in_guest) {
    return detail::text_of([&](auto... out) {
        return atrest_capability_table_json(static_cast<std::uint32_t>(keys), in_guest, out...);
    });
}
[[nodiscard]] inline result<std::string> capability_table_text() {
    return detail::text_of([](auto... out) { return atrest_capability_table_text(0, 0, out...); });
}
[[nodiscard]] inline result<std::string> capability_table_text(protected_by keys, bool in_guest) {
    return detail::text_of([&](auto... out) {
        return atrest_capability_table_text(static_cast<std::uint32_t>(keys), in_guest, out...);
    });
}

} // inline namespace of the way to fail
} // namespace atrest

#undef ATREST_DETAIL_WAY
#undef ATREST_DETAIL_CATCHES
#undef ATREST_DETAIL_COLD

#endif
