// The cost of calls through atrest.hpp: cpp.rs compiles this with optimisation and compares the instructions of each
// pair, c_X and cpp_X.
#include <atrest.hpp>

#ifndef ATREST_NO_EXCEPTIONS
using outcome = void;
[[noreturn]] __attribute__((cold)) void c_failed(atrest_status status);
#define IN_C(call)                                                                                  \
    if (const atrest_status status = call; status != ATREST_OK)                                     \
        c_failed(status)
#define IN_CPP(call) call
#else
using outcome = bool;
#define IN_C(call) return (call) == ATREST_OK
#define IN_CPP(call) return (call).ok()
#endif

// Handles as a program in C would hold them.
struct c_volume { atrest_volume *handle; };
struct c_cipher { atrest_sector_cipher *handle; };
struct c_stream_cipher { atrest_stream_cipher *handle; };
struct c_open_disk { atrest_disk *handle; };

using u64 = std::uint64_t;
using u8 = std::uint8_t;

extern "C" {

outcome c_read(const c_volume &v, u64 at, u8 *p, std::size_t n) { IN_C(atrest_volume_read_at(v.handle, at, p, n)); }
outcome cpp_read(const atrest::volume &v, u64 at, u8 *p, std::size_t n) { IN_CPP(v.read_at(at, {p, n})); }

outcome c_write(c_volume &v, u64 at, const u8 *p, std::size_t n) { IN_C(atrest_volume_write_at(v.handle, at, p, n)); }
outcome cpp_write(atrest::volume &v, u64 at, const u8 *p, std::size_t n) { IN_CPP(v.write_at(at, {p, n})); }

outcome c_sync(c_volume &v) { IN_C(atrest_volume_sync(v.handle)); }
outcome cpp_sync(atrest::volume &v) { IN_CPP(v.sync()); }

outcome c_encrypt(const c_cipher &c, u64 first, u8 *p, std::size_t n)
{
    IN_C(atrest_sector_cipher_encrypt(c.handle, first, p, n));
}
outcome cpp_encrypt(const atrest::sector_cipher &c, u64 first, u8 *p, std::size_t n)
{
    IN_CPP(c.encrypt(first, {p, n}));
}

outcome c_decrypt(const c_cipher &c, u64 first, const u8 *from, u8 *to)
{
    IN_C(atrest_sector_cipher_decrypt_to(c.handle, first, from, to, 4096));
}
outcome cpp_decrypt(const atrest::sector_cipher &c, u64 first, const u8 *from, u8 *to)
{
    IN_CPP(c.decrypt_to(first, {from, 4096}, {to, 4096}));
}

outcome c_unit(const c_cipher &c, const atrest::tweak &tweak, u8 *p, std::size_t n)
{
    IN_C(atrest_sector_cipher_encrypt_unit(c.handle, tweak.data(), p, n));
}
outcome cpp_unit(const atrest::sector_cipher &c, const atrest::tweak &tweak, u8 *p, std::size_t n)
{
    IN_CPP(c.encrypt_unit(tweak, {p, n}));
}

outcome c_stream(const c_stream_cipher &c, u64 at, u8 *p, std::size_t n)
{
    IN_C(atrest_stream_cipher_apply(c.handle, at, p, n));
}
outcome cpp_stream(const atrest::stream_cipher &c, u64 at, u8 *p, std::size_t n) { IN_CPP(c.apply(at, {p, n})); }

outcome c_disk(const c_open_disk &d, u64 at, u8 *p, std::size_t n) { IN_C(atrest_disk_read_at(d.handle, at, p, n)); }
outcome cpp_disk(const atrest::disk &d, u64 at, u8 *p, std::size_t n) { IN_CPP(d.read_at(at, {p, n})); }

} // extern "C"
