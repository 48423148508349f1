// Vaults and devices that are C++ objects: their lifetime, and the handling of their failures.
#include "cpp_check.hpp"

#include <atomic>
#include <map>

#if defined(__cpp_exceptions)
#include <system_error>
#endif

namespace {

using bytes = std::vector<std::uint8_t>;

// How a callback fails, at the test's will.
enum class failing { no, by_status, by_status_ok, by_bad_alloc, by_other, by_no_exception_class };

std::atomic<int> alive{0};

// Fails on request, as a user's callback would fail in its own way.
atrest::result<void> fail_as_told(failing how, atrest_status status)
{
    switch (how) {
    case failing::no:
        break;
    case failing::by_status:
        return atrest::fail(status, "no luck");
    case failing::by_status_ok:
        return atrest::fail(ATREST_OK, "a failure all the same");
#if defined(__cpp_exceptions)
    case failing::by_bad_alloc:
        throw std::bad_alloc();
    case failing::by_other:
        throw std::system_error(std::make_error_code(std::errc::io_error));
    case failing::by_no_exception_class:
        throw 42;
#else
    default:
        return atrest::fail(ATREST_ERR_OTHER);
#endif
    }
    return atrest::result<void>();
}

class memory_disk final : public atrest::block_device {
public:
    struct state {
        bytes data = bytes(20 << 20);
        failing read = failing::no, write = failing::no, sync = failing::no;
        atrest_status status = ATREST_ERR_IO;
        bool read_only = false;
        int syncs = 0;
        std::uint64_t discarded = 0;
    };

    explicit memory_disk(state &how) : state_(how) { alive++; }
    ~memory_disk() override { alive--; }

    std::uint64_t size() const override { return state_.data.size(); }
    bool read_only() const override { return state_.read_only; }
    atrest::result<void> read_at(std::uint64_t offset, atrest::mutable_bytes out) override
    {
        std::memcpy(out.data(), &state_.data[static_cast<std::size_t>(offset)], out.size());
        return fail_as_told(state_.read, state_.status);
    }
    atrest::result<void> write_at(std::uint64_t offset, atrest::const_bytes in) override
    {
        std::memcpy(&state_.data[static_cast<std::size_t>(offset)], in.data(), in.size());
        return fail_as_told(state_.write, state_.status);
    }
    atrest::result<void> discard(std::uint64_t offset, std::uint64_t len) override
    {
        std::memset(&state_.data[static_cast<std::size_t>(offset)], 0xdd, static_cast<std::size_t>(len));
        state_.discarded += len;
        return fail_as_told(state_.write, state_.status);
    }
    atrest::result<void> sync() override
    {
        state_.syncs++;
        return fail_as_told(state_.sync, state_.status);
    }

private:
    state &state_;
};

class key_service final : public atrest::key_vault {
public:
    struct state {
        std::map<std::string, bytes, std::less<>> keys{{"v1", bytes(32, 0x11)}};
        std::string latest = "v1", id = "https://contoso.vault.example";
        failing wrap = failing::no, unwrap = failing::no, describe = failing::no;
        atrest_status status = ATREST_ERR_KEY_DISABLED;
        bool describes = true, in_place = false;
    };

    explicit key_service(state &how) : state_(how) { alive++; }
    ~key_service() override { alive--; }

    std::string id() const override { return state_.id; }

    atrest::result<void> wrap(atrest::const_bytes dek, atrest::wrapping &wrapped) override
    {
        if (wrapped.key_name() != "disks" || wrapped.vault_id() != state_.id)
            return atrest::fail(ATREST_ERR_NO_SUCH_KEY);
        if (state_.wrap != failing::no)
            return fail_as_told(state_.wrap, state_.status);
        std::array<std::uint8_t, ATREST_DEK_MAX + 8> own{};
        const atrest::mutable_bytes out = state_.in_place ? wrapped.room() : own;
        const std::size_t len = GOT(atrest::aes_kw_wrap(state_.keys[state_.latest], dek, out));
        return wrapped.fill(state_.latest, atrest::wrap_algorithm::a256kw, {out.data(), len});
    }

    atrest::result<std::size_t> unwrap(const atrest::wrapped_dek &wrapped, atrest::mutable_bytes dek) override
    {
        if (wrapped.vault_id() != state_.id)
            return atrest::fail<std::size_t>(ATREST_ERR_NOT_THIS_VAULT);
        if (state_.unwrap == failing::by_status)
            return atrest::fail<std::size_t>(state_.status, "no luck");
        if (!fail_as_told_too(state_.unwrap))
            return atrest::fail<std::size_t>(ATREST_ERR_OTHER);
        const auto key = state_.keys.find(wrapped.version());
        if (key == state_.keys.end() || wrapped.algorithm() != atrest::wrap_algorithm::a256kw)
            return atrest::fail<std::size_t>(ATREST_ERR_NO_SUCH_KEY);
        return atrest::aes_kw_unwrap(key->second, wrapped.bytes(), dek);
    }

    atrest::result<atrest::key_description> describe(const std::string &key_name, const std::string &version) override
    {
        if (!state_.describes)
            return key_vault::describe(key_name, version);
        if (key_name != "disks")
            return atrest::fail<atrest::key_description>(ATREST_ERR_NO_SUCH_KEY);
        if (state_.describe == failing::by_status || state_.describe == failing::by_status_ok)
            return atrest::fail<atrest::key_description>(state_.describe == failing::by_status ? state_.status : 0);
        if (!fail_as_told_too(state_.describe))
            return atrest::fail<atrest::key_description>(ATREST_ERR_OTHER);
        atrest::key_description said;
        said.version = version.empty() ? state_.latest : version;
        said.expires = 99;
        said.created = 7;
        return said;
    }

private:
    // Throws where that can be; otherwise says whether to go on.
    static bool fail_as_told_too(failing how)
    {
#if defined(__cpp_exceptions)
        if (how == failing::by_bad_alloc)
            throw std::bad_alloc();
        if (how != failing::no)
            throw 42;
#endif
        return how == failing::no;
    }

    state &state_;
};

// ---------------------------------------------------------------------------------------------------------------------

void vaults()
{
    key_service::state keys;
    atrest::vault vault = GOT(atrest::vault::from(std::make_unique<key_service>(keys)));
    CHECK(alive == 1 && GOT(vault.id()) == "https://contoso.vault.example");
    const atrest::dek dek = GOT(atrest::dek::generate());
    for (const bool in_place : {false, true}) {
        keys.in_place = in_place;
        const bytes envelope = GOT(dek.seal(vault, "disks", "disk-17"));
        std::array<std::uint8_t, 64> key{}, again{};
        GOT(dek.hazmat_bytes(key));
        GOT(GOT(atrest::dek::unseal(vault, envelope, "disk-17")).hazmat_bytes(again));
        CHECK(key == again);
        CHECK(GOT(atrest::envelope_key_url(envelope)) == "https://contoso.vault.example/keys/disks/v1");
    }
    GOT(vault.describe("disks", [](const atrest_key_version &version) {
        CHECK(std::string(version.version) == "v1" && version.enabled == 1 && version.expires == 99);
        CHECK(version.created == 7 && version.not_before == 0 && version.kind == ATREST_KEY_AES_256);
    }));
    GOT(vault.describe("disks", "v0", [](const atrest_key_version &version) { CHECK(version.version[1] == '0'); }));
    FAILS(ATREST_ERR_NO_SUCH_KEY, vault.describe("tapes", [](const atrest_key_version &) {}));
    keys.describes = false;
    FAILS(ATREST_ERR_UNSUPPORTED, vault.describe("disks", [](const atrest_key_version &) {}));
    keys.describes = true;
    FAILS(ATREST_ERR_UNSUPPORTED, vault.create_key("disks"));
    FAILS(ATREST_ERR_NO_SUCH_KEY, dek.seal(vault, "tapes", "disk-17"));

    // Failures: a status passes through where it may, the rest is an outage.
    const bytes envelope = GOT(dek.seal(vault, "disks", "disk-17"));
    keys.wrap = keys.unwrap = keys.describe = failing::by_status;
    FAILS(ATREST_ERR_KEY_DISABLED, dek.seal(vault, "disks", "disk-17"));
    FAILS(ATREST_ERR_KEY_DISABLED, atrest::dek::unseal(vault, envelope, "disk-17"));
    FAILS(ATREST_ERR_KEY_DISABLED, vault.describe("disks", [](const atrest_key_version &) {}));
    keys.unwrap = failing::no;
    for (const failing how : {failing::by_status_ok, failing::by_bad_alloc, failing::by_other,
                              failing::by_no_exception_class}) {
        keys.wrap = keys.describe = how;
        FAILS(ATREST_ERR_CALLBACK_FAILED, dek.seal(vault, "disks", "disk-17"));
        FAILS(ATREST_ERR_CALLBACK_FAILED, vault.describe("disks", [](const atrest_key_version &) {}));
#if defined(__cpp_exceptions)
        if (how != failing::by_status_ok) {
            keys.unwrap = how;
            FAILS(ATREST_ERR_CALLBACK_FAILED, atrest::dek::unseal(vault, envelope, "disk-17"));
            keys.unwrap = failing::no;
        }
#endif
    }
    keys.wrap = keys.describe = failing::no;
    GOT(atrest::dek::unseal(vault, envelope, "disk-17"));

    // A text that doesn't fit isn't cut off.
    keys.latest = std::string(ATREST_NAME_SIZE, 'v');
    keys.keys[keys.latest] = bytes(32, 0x22);
    FAILS(ATREST_ERR_CALLBACK_FAILED, dek.seal(vault, "disks", "disk-17"));
    CHECK(std::strstr(atrest_last_error_message(), "8") != nullptr);
    keys.latest.pop_back();
    keys.keys[keys.latest] = bytes(32, 0x22);
    GOT(dek.seal(vault, "disks", "disk-17"));

    // A volume keeps no vault: the vault ends with its object.
    CHECK(alive == 1);
    vault.reset();
    CHECK(alive == 0);

    // An object that makes no vault doesn't stay.
    keys.id = "not an id";
    FAILS(ATREST_ERR_INVALID_NAME, atrest::vault::from(std::make_unique<key_service>(keys)));
    keys.id = std::string("https://contoso\0.example", 24);
    FAILS(ATREST_ERR_NOT_UTF8, atrest::vault::from(std::make_unique<key_service>(keys)));
    CHECK(alive == 0);
}

void devices()
{
    const atrest::dek dek = GOT(atrest::dek::generate());
    key_service::state keys;
    const atrest::vault vault = GOT(atrest::vault::from(std::make_unique<key_service>(keys)));
    memory_disk::state disk;
    atrest::device device = GOT(atrest::device::from(std::make_unique<memory_disk>(disk)));
    CHECK(alive == 2);
    atrest::volume volume = GOT(atrest::volume::format(device, {vault, "disks"}));
    device.reset();
    CHECK(alive == 2 && disk.syncs > 0);

    const bytes plain(4096, 0x5a);
    bytes sectors(4096);
    GOT(volume.write_at(0, plain));
    GOT(volume.sync());
    GOT(volume.read_at(0, sectors));
    CHECK(sectors == plain);
    CHECK(bytes(disk.data.begin() + (16 << 20), disk.data.begin() + (16 << 20) + 4096) != plain);

    for (const failing how : {failing::by_status, failing::by_status_ok, failing::by_bad_alloc, failing::by_other,
                              failing::by_no_exception_class}) {
        disk.read = disk.write = disk.sync = how;
        FAILS(ATREST_ERR_CALLBACK_FAILED, volume.read_at(0, sectors));
        FAILS(ATREST_ERR_CALLBACK_FAILED, volume.write_at(0, plain));
        FAILS(ATREST_ERR_CALLBACK_FAILED, volume.sync());
        FAILS(ATREST_ERR_CALLBACK_FAILED, volume.rotate_kek(vault));
        FAILS(ATREST_ERR_CALLBACK_FAILED, atrest::header::load(GOT(atrest::device::from(
                                              std::make_unique<memory_disk>(disk)))));
        CHECK(alive == 2);
    }
    // The message has the status.
    disk.status = ATREST_ERR_NO_ROOM;
    disk.read = failing::by_status;
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.read_at(0, sectors));
    // And the callback's own text, by a failure or by an exception.
    CHECK(std::strstr(atrest_last_error_message(), "no luck") != nullptr);
#if defined(__cpp_exceptions)
    disk.read = failing::by_other;
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.read_at(0, sectors));
    CHECK(std::strstr(atrest_last_error_message(),
                      std::make_error_code(std::errc::io_error).message().c_str()) != nullptr);
    disk.read = failing::by_no_exception_class;
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.read_at(0, sectors));
    CHECK(std::strstr(atrest_last_error_message(), "no luck") == nullptr);
    disk.read = failing::by_status;
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.read_at(0, sectors));
#endif
    CHECK(std::strstr(atrest_last_error_message(), std::to_string(ATREST_ERR_NO_ROOM).c_str()) != nullptr);
    disk.read = disk.write = disk.sync = failing::no;
    GOT(volume.read_at(0, sectors));
    CHECK(sectors == plain);
    GOT(volume.write_zeroes(4096, 4096));
    GOT(volume.read_at(4096, sectors));
    CHECK(sectors == bytes(4096) && disk.discarded == 0);
    volume.reset();
    CHECK(alive == 1);

    device = GOT(atrest::device::from(std::make_unique<memory_disk>(disk)));
    volume = GOT(atrest::volume::open(device, vault, atrest::open_options().discard()));
    device.reset();
    GOT(volume.discard(4096, 8192));
    CHECK(disk.discarded == 8192 && disk.data[(16 << 20) + 4096] == 0xdd);
    disk.write = failing::by_status;
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.discard(4096, 8192));
    FAILS(ATREST_ERR_CALLBACK_FAILED, volume.write_zeroes(4096, 8192));
    disk.write = failing::no;
    GOT(volume.read_at(0, sectors));
    CHECK(sectors == plain);
    volume.reset();

    disk.read_only = true;
    device = GOT(atrest::device::from(std::make_unique<memory_disk>(disk)));
    volume = GOT(atrest::volume::open(device, vault, atrest::open_options().read_only()));
    GOT(volume.read_at(0, sectors));
    CHECK(sectors == plain);
    FAILS(ATREST_ERR_READ_ONLY, volume.write_at(0, plain));
    volume.reset();

    // The signature of an ext4 file system, where the first copy of the header was.
    disk.read_only = false;
    std::memset(disk.data.data(), 0, 4096);
    disk.data[1080] = 0x53, disk.data[1081] = 0xef;
    const bytes before = disk.data;
    device = GOT(atrest::device::from(std::make_unique<memory_disk>(disk)));
    FAILS(ATREST_ERR_FOREIGN_DATA, atrest::volume::open(device, vault));
    CHECK(std::strstr(atrest_last_error_message(), "ext4") != nullptr);
    GOT(atrest::volume::open(device, vault, atrest::open_options().read_only()));
    atrest::header header = GOT(atrest::header::load(device));
    FAILS(ATREST_ERR_FOREIGN_DATA, header.repair());
    CHECK(disk.data == before);
    GOT(header.hazmat_repair());
    GOT(atrest::volume::open(device, vault));
}

// An exception of the function given to a list arrives, and the library goes on as before.
void lists()
{
#if defined(__cpp_exceptions)
    key_service::state keys;
    const atrest::vault vault = GOT(atrest::vault::from(std::make_unique<key_service>(keys)));
    const atrest::device device = GOT(atrest::device::memory(20 << 20));
    GOT(atrest::volume::format(device, {vault, "disks"}));
    const atrest::header header = GOT(atrest::header::load(device));
    int thrown = 0;
    try {
        static_cast<void>(header.tokens([](const atrest_token_info &) { throw std::string("mine"); }));
    } catch (const std::string &mine) {
        CHECK(mine == "mine");
        thrown++;
    }
    try {
        static_cast<void>(vault.describe("disks", [](const atrest_key_version &) -> bool { throw 7; }));
    } catch (int seven) {
        CHECK(seven == 7);
        thrown++;
    }
    CHECK(thrown == 2);
    GOT(header.tokens([&](const atrest_token_info &) { thrown++; }));
    CHECK(thrown == 3);
#endif
}

#if defined(__cpp_exceptions)
class unsure_disk final : public atrest::block_device {
public:
    unsure_disk() { alive++; }
    ~unsure_disk() override { alive--; }
    std::uint64_t size() const override { throw 5; }
    atrest::result<void> read_at(std::uint64_t, atrest::mutable_bytes) override { return atrest::result<void>(); }
    atrest::result<void> write_at(std::uint64_t, atrest::const_bytes) override { return atrest::result<void>(); }
    atrest::result<void> sync() override { return atrest::result<void>(); }
};
#endif

// What is asked while a handle is made throws at whoever makes it, and nothing stays.
void failed_at_once()
{
#if defined(__cpp_exceptions)
    bool thrown = false;
    try {
        static_cast<void>(atrest::device::from(std::make_unique<unsure_disk>()));
    } catch (int) {
        thrown = true;
    }
    CHECK(thrown && alive == 0);
#endif
}

} // namespace

int main()
{
    vaults();
    CHECK(alive == 0);
    devices();
    CHECK(alive == 0);
    lists();
    failed_at_once();
    CHECK(alive == 0);
    std::printf("%d checks passed\n", passed);
}
