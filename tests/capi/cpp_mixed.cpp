// One program whose files report failures in different ways. It is compiled three times, with PART as 0 (exceptions), 1
// (ATREST_NO_EXCEPTIONS) and 2 (-fno-exceptions), and linked into one. If two ways shared the name of a function, the
// linker would keep one for both.
#include <atrest.hpp>
#include <cstdio>

// A part reads a sector that isn't there, of a volume that it gets from C, and tells of the failure in its own way.
int part_0(atrest_volume *volume);
int part_1(atrest_volume *volume);
int part_2(atrest_volume *volume);

#define NAME_OF(part) part_##part
#define NAME(part) NAME_OF(part)

namespace {

class broken_disk final : public atrest::block_device {
public:
    std::uint64_t size() const override { return 1 << 20; }
    atrest::result<void> read_at(std::uint64_t, atrest::mutable_bytes) override
    {
#if PART == 2
        return atrest::fail(ATREST_ERR_IO);
#else
        throw 5;
#endif
    }
    atrest::result<void> write_at(std::uint64_t, atrest::const_bytes) override { return atrest::fail(ATREST_ERR_IO); }
    atrest::result<void> sync() override { return atrest::fail(ATREST_ERR_IO); }
};

} // namespace

int NAME(PART)(atrest_volume *c_volume)
{
    const atrest::volume volume(c_volume);
    unsigned char sector[512];
#if PART == 0
    int failures = 0;
    try {
        volume.read_at(1 << 30, sector);
    } catch (const atrest::error &error) {
        failures += error.status() == ATREST_ERR_OUT_OF_BOUNDS;
    }
    try {
        static_cast<void>(atrest::header::load(atrest::device::from(std::make_unique<broken_disk>())));
    } catch (const atrest::error &error) {
        failures += error.status() == ATREST_ERR_CALLBACK_FAILED;
    }
    return failures;
#else
    const atrest::result<void> read = volume.read_at(1 << 30, sector);
    const auto device = atrest::device::from(std::make_unique<broken_disk>());
    const auto header = atrest::header::load(*device);
    return (read.status() == ATREST_ERR_OUT_OF_BOUNDS) + (header.status() == ATREST_ERR_CALLBACK_FAILED);
#endif
}

#if PART == 0
int main()
{
    int failures = 0;
    for (const auto part : {part_0, part_1, part_2}) {
        const atrest::device disk = atrest::device::memory(4 << 20);
        const auto options = atrest::format_options().luks_version(atrest::luks::luks1).keyslot(
            atrest::keyslot_options().costs(atrest::kdf::pbkdf2(1000)));
        failures += part(atrest::volume::format(disk, atrest::protector::passphrase("p"), options).release());
    }
    std::printf("%d failures told of\n", failures);
    return failures != 6;
}
#endif
