// All of atrest.hpp, used once, and its handling of misuse.
#include "cpp_check.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <numeric>
#if __cplusplus >= 202002L
#include <span>
#endif

namespace {

using atrest::const_bytes;
using atrest::mutable_bytes;
using bytes = std::vector<std::uint8_t>;

std::string folder;

std::string in_folder(const char *name)
{
    return folder + "/" + name;
}

bytes pattern(std::size_t len)
{
    bytes out(len);
    std::iota(out.begin(), out.end(), std::uint8_t{1});
    return out;
}

// ---------------------------------------------------------------------------------------------------------------------
// Views

template <class To, class From> constexpr bool from = std::is_convertible_v<From, To>;

static_assert(from<const_bytes, const bytes &> && from<const_bytes, bytes> && from<mutable_bytes, bytes &>);
static_assert(!from<mutable_bytes, const bytes &> && !from<mutable_bytes, bytes>, "a temporary is nowhere to write to");
static_assert(from<const_bytes, std::vector<std::byte>> && from<const_bytes, std::vector<char>>);
static_assert(from<const_bytes, const std::array<std::uint8_t, 3> &> && from<mutable_bytes, std::array<char, 3> &>);
static_assert(from<const_bytes, std::string> && from<const_bytes, std::string_view>);
static_assert(from<mutable_bytes, std::string &> && !from<mutable_bytes, std::string_view>);
static_assert(from<const_bytes, const std::uint8_t (&)[3]> && from<const_bytes, std::byte (&)[3]>);
static_assert(from<mutable_bytes, std::uint8_t (&)[3]> && !from<mutable_bytes, const std::uint8_t (&)[3]>);
static_assert(!from<const_bytes, const char (&)[3]>, "does the zero byte count?");
static_assert(!from<const_bytes, char (&)[3]> && from<mutable_bytes, char (&)[3]>);
static_assert(!from<const_bytes, const char *>);
static_assert(from<const_bytes, mutable_bytes> && !from<mutable_bytes, const_bytes>);
static_assert(!from<const_bytes, std::vector<int>> && !from<const_bytes, std::vector<bool>>);
static_assert(!from<mutable_bytes, std::vector<std::string> &> && !from<const_bytes, int>);
static_assert(from<atrest::text, std::string> && !from<atrest::text, std::string_view>);
static_assert(from<atrest::segments, const std::vector<atrest_segment> &>);
#if __cplusplus >= 202002L
static_assert(from<const_bytes, std::span<const std::byte>> && from<const_bytes, std::span<std::uint8_t, 4>>);
static_assert(from<mutable_bytes, std::span<std::byte>> && from<mutable_bytes, const std::span<std::uint8_t> &>);
static_assert(!from<mutable_bytes, std::span<const std::byte>>);
static_assert(from<const_bytes, std::u8string_view>);
#endif

bool shows(const_bytes view, const void *start, std::size_t len)
{
    return view.data() == start && view.size() == len && view.end() == view.begin() + len;
}

bool may_change(mutable_bytes view, void *start, std::size_t len)
{
    return view.data() == start && view.size() == len && view.end() == view.begin() + len;
}

void views()
{
    bytes vector = pattern(5);
    const std::array<std::byte, 3> array{};
    std::uint8_t plain[7] = {};
    char chars[9] = "eight";
    std::string string = "text";
    CHECK(shows(vector, vector.data(), 5) && may_change(vector, vector.data(), 5));
    CHECK(shows(array, array.data(), 3));
    CHECK(shows(plain, plain, 7) && may_change(plain, plain, 7));
    CHECK(may_change(chars, chars, 9));
    CHECK(shows(string, string.data(), 4) && shows(std::string_view(string).substr(1), string.data() + 1, 3));
    CHECK(shows({plain, 2}, plain, 2) && may_change({plain, 2}, plain, 2));
    CHECK(shows({}, nullptr, 0) && may_change({}, nullptr, 0) && shows(bytes(), bytes().data(), 0));
    const atrest::octets text = chars, whole(chars, 9), none = static_cast<const char *>(nullptr);
    CHECK(shows(text, chars, 5) && shows(whole, chars, 9) && none.size() == 0);
    CHECK(shows(atrest::octets(vector), vector.data(), 5) && shows(atrest::octets(string), string.data(), 4));
#if __cplusplus >= 202002L
    CHECK(shows(std::span(vector), vector.data(), 5) && may_change(std::span(vector).first(2), vector.data(), 2));
    CHECK(shows(std::as_bytes(std::span(plain)), plain, 7));
    CHECK(may_change(std::as_writable_bytes(std::span(plain)), plain, 7));
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// Handles

template <class H> void is_owner()
{
    static_assert(!std::is_copy_constructible_v<H> && !std::is_copy_assignable_v<H>);
    static_assert(std::is_nothrow_move_constructible_v<H> && std::is_nothrow_move_assignable_v<H>);
    static_assert(std::is_nothrow_default_constructible_v<H> && sizeof(H) == sizeof(void *));
    static_assert(!std::is_convertible_v<typename H::c_type *, H>, "it isn't taken over by accident");
    const H none;
    CHECK(!none && none.get() == nullptr);
}

void moves()
{
    is_owner<atrest::vault>(), is_owner<atrest::dek>(), is_owner<atrest::sector_cipher>();
    is_owner<atrest::device>(), is_owner<atrest::volume>(), is_owner<atrest::header>();
    is_owner<atrest::stream_cipher>();

    atrest::dek first = GOT(atrest::dek::generate());
    atrest_dek *const raw = first.get();
    atrest::dek second = std::move(first);
    CHECK(second.get() == raw && second && first.get() == nullptr && !first);
    FAILS(ATREST_ERR_NULL_ARGUMENT, first.algorithm());
    first = std::move(second);
    CHECK(first.get() == raw && !second);
    atrest::dek &same = first;
    first = std::move(same);
    CHECK(first.get() == raw);
    std::swap(first, second);
    CHECK(second.get() == raw && !first);

    // The target of an assignment frees its old object: C knows handles that were freed.
    std::uint32_t algorithm = 0;
    second = GOT(atrest::dek::generate(atrest::dek_algorithm::aes_128_xts));
    CHECK(atrest_dek_algorithm(raw, &algorithm) == ATREST_ERR_INVALID_HANDLE);
    CHECK(GOT(second.algorithm()) == atrest::dek_algorithm::aes_128_xts);

    atrest_dek *const given = second.release();
    CHECK(!second && given != nullptr);
    atrest::dek third(given);
    CHECK(GOT(third.algorithm()) == atrest::dek_algorithm::aes_128_xts);
    third.reset();
    CHECK(!third && atrest_dek_algorithm(given, &algorithm) == ATREST_ERR_INVALID_HANDLE);
    third.reset();

    atrest_dek *freed = nullptr;
    {
        const atrest::dek scoped = GOT(atrest::dek::generate());
        freed = scoped.get();
    }
    CHECK(atrest_dek_algorithm(freed, &algorithm) == ATREST_ERR_INVALID_HANDLE);
}

// Each function of each handle, empty: a failure, and no crash.
void empty_handles()
{
    const atrest_status null = ATREST_ERR_NULL_ARGUMENT;
    std::uint8_t sector[512] = {};
    auto nothing = [](auto &&...) {};

    atrest::vault vault;
    FAILS(null, vault.id());
    FAILS(null, vault.create_key("k"));
    FAILS(null, vault.rotate_key("k"));
    FAILS(null, vault.keys(nothing));
    FAILS(null, vault.grants(nothing));
    FAILS(null, vault.delete_key("k"));
    FAILS(null, vault.audit_head());
    FAILS(null, vault.as_identity("me"));

    const atrest::dek dek;
    FAILS(null, dek.algorithm());
    FAILS(null, dek.fingerprint());
    FAILS(null, dek.seal(vault, "k", "disk"));
    FAILS(null, dek.hazmat_bytes(sector));
    FAILS(null, atrest::dek::unseal(vault, sector, "disk"));

    FAILS(null, atrest::sector_cipher::make(dek, 512, atrest::sector_unit::of_512));
    const atrest::sector_cipher cipher;
    FAILS(null, cipher.encrypt(0, sector));
    FAILS(null, cipher.decrypt_to(0, sector, sector));
    FAILS(null, cipher.encrypt_unit(atrest::tweak{}, sector));

    const atrest::device device;
    FAILS(null, atrest::volume::open(device, vault));
    FAILS(null, atrest::volume::format(device, {vault, "k"}));
    FAILS(null, atrest::header::load(device));
    FAILS(null, atrest::header::restore(device, sector));

    atrest::volume volume;
    FAILS(null, volume.read_at(0, sector));
    FAILS(null, volume.write_at(0, sector));
    FAILS(null, volume.sync());
    FAILS(null, volume.size());
    FAILS(null, volume.uuid());
    FAILS(null, volume.fingerprint());
    FAILS(null, volume.dek());
    FAILS(null, volume.key_urls());
    FAILS(null, volume.rotate_kek(vault));
    FAILS(null, volume.add_protector({vault, "k"}));

    atrest::header header;
    FAILS(null, header.format());
    FAILS(null, header.label());
    FAILS(null, header.keyslots(nothing));
    FAILS(null, header.flags());
    FAILS(null, header.backup());
    FAILS(null, header.erase());
    FAILS(null, header.needs_repair());

    // An empty vault or DEK in a call with a device.
    const atrest::device disk = GOT(atrest::device::memory(1 << 20));
    FAILS(null, atrest::volume::format(disk, {vault, "k"}));
    FAILS(null, atrest::vault::from(nullptr));
    FAILS(null, atrest::device::from(nullptr));
}

// ---------------------------------------------------------------------------------------------------------------------
// Errors and texts

void errors()
{
    const atrest::error error(ATREST_ERR_WRONG_KEY, "not mine");
    CHECK(error.status() == ATREST_ERR_WRONG_KEY && std::string(error.name()) == "ATREST_ERR_WRONG_KEY");
    CHECK(std::string(error.message()) == "not mine" && std::string(error.what()) == "ATREST_ERR_WRONG_KEY: not mine");
    const atrest::error copy = error;
    CHECK(std::string(copy.message()) == "not mine");
    const atrest::error bare(ATREST_ERR_IO);
    CHECK(std::string(bare.message()).empty() && std::string(bare.what()) == "ATREST_ERR_IO");
    CHECK(std::string(atrest::error(4711).name()) == "unknown status");
    FAILS(ATREST_ERR_IO, atrest::fail<int>(ATREST_ERR_IO));
    FAILS(ATREST_ERR_IO, atrest::fail(ATREST_ERR_IO, "why"));
    static_assert(std::is_nothrow_copy_constructible_v<atrest::error>);

    const std::string cut = std::string("disks\0and more", 14);
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("texts.vault"), with_passphrase("p")));
    FAILS(ATREST_ERR_NOT_UTF8, vault.create_key(cut));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::device::create_file(in_folder("cut") + cut, 1 << 20));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::device::create_file(nullptr, 1 << 20));
    CHECK(!std::filesystem::exists(in_folder("cutdisks")));
    FAILS(ATREST_ERR_NOT_UTF8, vault.describe("disks", cut, [](const atrest_key_version &) {}));
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::vault::open_file(in_folder("texts.vault"), atrest::unlock::key_file(cut)));
    FAILS(ATREST_ERR_WRONG_PASSPHRASE, atrest::vault::open_file(in_folder("texts.vault"), with_passphrase("q")));
    FAILS(ATREST_ERR_NOT_FOUND, atrest::vault::open_file(in_folder("no.vault"), with_passphrase("p")));
    GOT(atrest::vault::open_file(std::filesystem::path(folder) / "texts.vault", with_passphrase("p")));
    GOT(atrest::vault::open_or_create_file(in_folder("texts.vault"), with_passphrase("p")));
    CHECK(!std::string(atrest::version()).empty());
    GOT(atrest::self_test());
    CHECK(!atrest::is_approved_only());
    GOT(atrest::set_log([](atrest::log_level, const char *) { CHECK(false); }));
    GOT(atrest::set_log(nullptr));
    GOT(atrest::approval::reset());
    CHECK(GOT(atrest::approval::since_reset()).text == "approved");
    GOT(atrest::vault::open_file(in_folder("texts.vault"), with_passphrase("p")));
    const atrest::approval approval = GOT(atrest::approval::since_reset());
    CHECK(approval.is == atrest::approval::kind::not_approved && approval.text.find("Argon2id") == 0);
    CHECK(atrest::memory_protection::now().locked + atrest::memory_protection::now().unlocked > 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Vaults

void vaults()
{
    GOT(atrest::vault::generate_key_file(in_folder("root.key")));
    const auto by = atrest::unlock::key_file(in_folder("root.key"));
    const auto options = atrest::vault_options().id("https://contoso.vault.example").region("north").tenant("contoso")
                             .retention_days(7).refuse_expired();
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("all.vault"), by, options));
    vault = atrest::vault();
    vault = GOT(atrest::vault::open_file(in_folder("all.vault"), by));
    CHECK(GOT(vault.id()) == "https://contoso.vault.example");
    auto by_passphrase = atrest::unlock::passphrase("p").kdf(64, 1, 1);
    CHECK(by_passphrase.c().kdf == nullptr && by_passphrase.c().kdf_lanes == 1);
    by_passphrase.kdf(atrest::kdf::pbkdf2(1000, atrest::hash_kind::sha512));
    const atrest::unlock copied = by_passphrase;
    CHECK(copied.c().kdf->iterations == 1000 && copied.c().kdf != by_passphrase.c().kdf && copied.c().kdf_lanes == 0);
    GOT(vault.change_unlock(copied));
    FAILS(ATREST_ERR_WRONG_PASSPHRASE, atrest::vault::open_file(in_folder("all.vault"), by));
    GOT(atrest::vault::open_file(in_folder("all.vault"), atrest::unlock::passphrase("p")));
    FAILS(ATREST_ERR_INVALID_OPTION, vault.change_unlock(by_passphrase.kdf(atrest::kdf::argon2i(64, 1, 1))));
    GOT(vault.change_unlock(by));
    // Longer than the first guess of the wrapper.
    const std::string long_id = "https://" + std::string(200, 'v') + ".example";
    const auto long_options = atrest::vault_options().id(long_id);
    CHECK(GOT(GOT(atrest::vault::create_file(in_folder("long.vault"), by, long_options)).id()) == long_id);

    const std::string keys = "https://contoso.vault.example/keys/";
    CHECK(GOT(vault.create_key("disks")) == keys + "disks/1");
    CHECK(GOT(vault.create_key("more", atrest::key_kind::aes_256)) == keys + "more/1");
    CHECK(GOT(vault.rotate_key("disks")) == keys + "disks/2");
    CHECK(GOT(vault.import_key("mine", pattern(32))) == keys + "mine/1");
    CHECK(GOT(vault.import_version("mine", pattern(32))) == keys + "mine/2");
    FAILS(ATREST_ERR_KEK_LENGTH, vault.import_key("short", pattern(31)));
    FAILS(ATREST_ERR_BAD_ENUM, vault.create_key("odd", atrest::key_kind(99)));
    FAILS(ATREST_ERR_KEY_EXISTS, vault.create_key("disks"));
    // Both RSA functions. Their results depend on the build of the library.
#ifdef ATREST_NO_EXCEPTIONS
    CHECK(!vault.import_rsa_key("rsa", pattern(99)) && !vault.import_rsa_version("rsa", pattern(99)));
#else
    for (const bool is_new : {true, false}) {
        try {
            is_new ? vault.import_rsa_key("rsa", pattern(99)) : vault.import_rsa_version("rsa", pattern(99));
            CHECK(false);
        } catch (const atrest::error &error) {
            CHECK(error.status() != ATREST_OK);
        }
    }
#endif

    std::vector<std::string> listed;
    GOT(vault.keys([&](const atrest_key_version &version) { listed.push_back(version.url); }));
    CHECK(listed.size() == 5);
    listed.clear();
    GOT(vault.keys([&](const atrest_key_version &version) {
        listed.push_back(version.url);
        return listed.size() < 2;
    }));
    CHECK(listed.size() == 2);

    GOT(vault.set_version(keys + "disks/1", atrest::version_change().enabled(false).not_before(5).expires(7)));
    GOT(vault.describe("disks", "1", [&](const atrest_key_version &version) {
        CHECK(version.enabled == 0 && version.not_before == 5 && version.expires == 7);
        CHECK(version.kind == ATREST_KEY_AES_256);
    }));
    GOT(vault.set_version(keys + "disks/1", atrest::version_change().expires(0).authenticated(true)));
    FAILS(ATREST_ERR_INVALID_OPTION, vault.set_version(keys + "disks/1", atrest::version_change().authenticated(false)));
    GOT(vault.describe("disks", "1", [&](const atrest_key_version &version) {
        CHECK(version.enabled == 0 && version.not_before == 5 && version.expires == 0);
    }));
    GOT(vault.describe("disks", [&](const atrest_key_version &version) { CHECK(version.version[0] == '2'); }));

    GOT(vault.delete_key("more"));
    std::string deleted;
    GOT(vault.deleted_keys([&](const atrest_deleted_key &key) { deleted = key.key_name; }));
    CHECK(deleted == "more");
    GOT(vault.recover_key("more"));
    GOT(vault.delete_key("more"));
    GOT(vault.hazmat_purge_key("more"));
    FAILS(ATREST_ERR_NO_SUCH_KEY, vault.recover_key("more"));
    GOT(vault.hazmat_destroy_version(keys + "mine/1"));
    GOT(vault.enable_purge_protection());
    FAILS(ATREST_ERR_PURGE_PROTECTED, vault.hazmat_destroy_version(keys + "mine/2"));

    using atrest::operations;
    GOT(vault.grant("app", operations::get | operations::wrap_key | operations::unwrap_key));
    const atrest::vault app = GOT(vault.as_identity("app"));
    const atrest::dek dek = GOT(atrest::dek::generate());
    const bytes envelope = GOT(dek.seal(app, "disks", "disk-17"));
    GOT(vault.revoke_operations("app", operations::unwrap_key));
    FAILS(ATREST_ERR_ACCESS_DENIED, atrest::dek::unseal(app, envelope, "disk-17"));
    int grants = 0;
    GOT(vault.grants([&](const char *identity, operations what) {
        CHECK(std::string(identity) == "app" && what == (operations::get | operations::wrap_key));
        CHECK((what & operations::unwrap_key) == operations{});
        grants++;
        return false;
    }));
    CHECK(grants == 1);
    FAILS(ATREST_ERR_UNSUPPORTED, app.keys([](const atrest_key_version &) {}));

    const std::string head = GOT(vault.audit_head());
    GOT(vault.rotate_key("disks"));
    std::uint64_t entries = 0, denied = 0;
    GOT(vault.audit(head, [&](const atrest_audit_entry &entry) {
        CHECK(entry.seq == ++entries);
        denied += entry.identity != nullptr && std::string_view(entry.outcome) != "ok";
    }));
    CHECK(entries > 10 && denied == 1);
    FAILS(ATREST_ERR_INVALID_OPTION, vault.audit("no head", [](const atrest_audit_entry &) {}));
    std::uint64_t proven = 0;
    GOT(vault.audit_past_damage(head, [&](const atrest_audit_entry &entry) {
        CHECK(entry.seq == ++proven && entry.after == 0);
    }));
    CHECK(proven == entries);
    // An object with a number beyond the end.
    proven = 0;
    FAILS(ATREST_ERR_DAMAGED_VAULT, vault.audit_past_damage("9" + head, [&](const atrest_audit_entry &) { proven++; }));
    CHECK(proven == entries);
    GOT(vault.archive_audit(in_folder("old.audit")));
    GOT(vault.backup(in_folder("copy.vault")));
    FAILS(ATREST_ERR_ALREADY_EXISTS, vault.backup(in_folder("copy.vault")));
    std::string id;
    GOT(atrest::vault::peek_file(in_folder("copy.vault"), [&](const atrest_vault_properties &said) { id = said.id; }));
    CHECK(id == GOT(vault.id()));
    FAILS(ATREST_ERR_NOT_FOUND, atrest::vault::peek_file(in_folder("none"), [](const atrest_vault_properties &) {}));
    std::uint64_t left = 0;
    GOT(vault.audit([&](const atrest_audit_entry &) { left++; }));
    CHECK(left < entries);
}

// ---------------------------------------------------------------------------------------------------------------------
// Keys and ciphers

void deks_and_ciphers()
{
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("deks.vault"), with_passphrase("p")));
    const std::string url = GOT(vault.create_key("disks"));
    const atrest::dek dek = GOT(atrest::dek::generate());
    CHECK(GOT(dek.algorithm()) == atrest::dek_algorithm::aes_256_xts);
    const bytes context = pattern(20);
    const bytes envelope = GOT(dek.seal(vault, "disks", context));
    CHECK(!envelope.empty() && envelope.size() < ATREST_ENVELOPE_MAX);
    CHECK(GOT(atrest::envelope_key_url(envelope)) == url);
    FAILS(ATREST_ERR_CONTEXT_MISMATCH, atrest::dek::unseal(vault, envelope, "another"));
    const atrest::dek again = GOT(atrest::dek::unseal(vault, envelope, context));

    std::array<std::uint8_t, 64> key{}, key_again{};
    CHECK(GOT(dek.hazmat_bytes(key)) == 64 && GOT(again.hazmat_bytes(key_again)) == 64 && key == key_again);
    FAILS(ATREST_ERR_BUFFER_TOO_SHORT, dek.hazmat_bytes({key.data(), 63}));
    const atrest::dek third = GOT(atrest::dek::hazmat_from_bytes(key));
    FAILS(ATREST_ERR_EQUAL_KEY_HALVES, atrest::dek::hazmat_from_bytes(bytes(64)));

    const atrest::sector_cipher one = GOT(atrest::sector_cipher::make(dek, 4096, atrest::sector_unit::of_512));
    const atrest::sector_cipher two = GOT(atrest::sector_cipher::make(third, 4096, atrest::sector_unit::sector));
    const bytes plain = pattern(8192);
    bytes sectors = plain, other(8192);
    GOT(one.encrypt(8, sectors));
    CHECK(sectors != plain);
    GOT(one.encrypt_to(8, plain, other));
    CHECK(other == sectors);
    const atrest::sector_cipher same = GOT(atrest::sector_cipher::make(key, 4096, atrest::sector_unit::of_512));
    GOT(same.encrypt_to(8, plain, other));
    CHECK(other == sectors);
    FAILS(ATREST_ERR_KEY_LENGTH, atrest::sector_cipher::make(bytes(63), 4096, atrest::sector_unit::of_512));
    // Sector 8 of 512 bytes and sector 1 of 4096 have other tweaks: 8, 16 and 1, 2.
    GOT(two.decrypt_to(1, sectors, other));
    CHECK(other != plain);
    GOT(one.decrypt_to(8, sectors, other));
    CHECK(other == plain);
    GOT(one.encrypt_streaming(8, plain, other));
    CHECK(other == sectors);
    GOT(one.decrypt_streaming(8, sectors, other));
    CHECK(other == plain);
    GOT(one.decrypt(8, sectors));
    CHECK(sectors == plain);
    FAILS(ATREST_ERR_LENGTH_MISMATCH, one.encrypt_to(8, {plain.data(), 4096}, other));
    FAILS(ATREST_ERR_PARTIAL_SECTOR, one.encrypt(8, {sectors.data(), 4095}));
    // Pages numbered 0, 1, 2 are refused where numbers count units of 512 bytes.
    FAILS(ATREST_ERR_SECTOR_NUMBER, one.encrypt(1, sectors));
    FAILS(ATREST_ERR_SECTOR_NUMBER, one.decrypt_to(2, sectors, other));
    const atrest::sector_cipher any
        = GOT(atrest::sector_cipher::make(dek, 4096, atrest::sector_unit::of_512_any_offset));
    GOT(any.encrypt_to(8, plain, other));
    GOT(one.encrypt(8, sectors));
    CHECK(other == sectors);
    GOT(any.decrypt(8, sectors));
    GOT(any.encrypt_to(1, plain, other));
    GOT(any.decrypt(1, other));
    CHECK(other == plain);
    FAILS(ATREST_ERR_OVERLAP, one.encrypt_to(8, {sectors.data(), 4096}, {sectors.data() + 16, 4096}));
    FAILS(ATREST_ERR_SECTOR_SIZE, atrest::sector_cipher::make(dek, 100, atrest::sector_unit::of_512));

    const std::uint64_t used = GOT(one.usage());
    CHECK(used >= 1024 && used < atrest::blocks_due && GOT(two.usage()) == 0);
    GOT(two.count_in(atrest::blocks_max));
    FAILS(ATREST_ERR_KEY_EXHAUSTED, two.encrypt(1, sectors));

    const atrest::tweak number{9};
    bytes unit = pattern(100), moved(100);
    GOT(one.encrypt_unit(number, unit));
    GOT(one.encrypt_unit_to(number, pattern(100), moved));
    CHECK(unit == moved && unit != pattern(100));
    GOT(one.decrypt_unit_to(number, unit, moved));
    CHECK(moved == pattern(100));
    GOT(one.decrypt_unit(number, unit));
    CHECK(unit == pattern(100));

    GOT(one.encrypt_to(0, plain, other));
    sectors = plain;
    const atrest_segment halves[] = {{sectors.data(), 4096}, {sectors.data() + 4096, 4096}};
    const std::vector<atrest_segment> whole = {{other.data(), 8192}};
    GOT(one.encrypt_segments(0, halves));
    CHECK(sectors == other);
    GOT(one.decrypt_segments(0, halves));
    CHECK(sectors == plain);
    GOT(one.decrypt_segments_to(0, whole, halves));
    CHECK(sectors == plain);
    other.assign(8192, 0);
    GOT(one.encrypt_segments_to(0, halves, whole));
    GOT(one.decrypt_segments(0, {whole.data(), 1}));
    CHECK(other == plain);
}

void streams()
{
    const atrest::dek dek = GOT(atrest::dek::generate(atrest::dek_algorithm::aes_256_ctr));
    const atrest::stream_cipher cipher = GOT(atrest::stream_cipher::make(dek, atrest::nonce{1, 2, 3}));
    const bytes plain = pattern(100);
    bytes data = plain, other(40);
    GOT(cipher.apply(7, data));
    CHECK(data != plain);
    GOT(cipher.apply_to(17, {data.data() + 10, 40}, other));
    CHECK(other == bytes(plain.begin() + 10, plain.begin() + 50));
    FAILS(ATREST_ERR_LENGTH_MISMATCH, cipher.apply_to(0, data, other));
    FAILS(ATREST_ERR_STREAM_OVERFLOW, cipher.apply(UINT64_MAX - 9, data));
    CHECK(GOT(cipher.usage()) == 7);
    FAILS(ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest::sector_cipher::make(dek, 512, atrest::sector_unit::of_512));
    FAILS(ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest::stream_cipher::make(GOT(atrest::dek::generate()), atrest::nonce{}));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::stream_cipher().apply(0, data));
}

void files()
{
    namespace file_prefix = atrest::file_prefix;
    atrest::vault keys = GOT(atrest::vault::create_file(in_folder("files.vault"), with_passphrase("p")));
    GOT(keys.create_key("disks"));
    const bytes plain = pattern(1024);
    bytes prefix(file_prefix::size), stream = plain, sectors = plain;
    GOT(GOT(file_prefix::create(keys, "disks", "db-7", prefix)).apply(5, stream));
    CHECK(stream != plain);
    GOT(GOT(file_prefix::open(keys, prefix, "db-7")).apply(5, stream));
    CHECK(stream == plain);
    CHECK(GOT(file_prefix::key_url(prefix)).find("/keys/disks/") != std::string::npos);
    FAILS(ATREST_ERR_CONTEXT_MISMATCH, file_prefix::open(keys, prefix, "db-8"));
    FAILS(ATREST_ERR_INVALID_PREFIX, file_prefix::open(keys, {prefix.data(), 100}, "db-7"));
    FAILS(ATREST_ERR_BUFFER_TOO_SHORT, file_prefix::create(keys, "disks", "db-7", stream));

    const auto unit = atrest::sector_unit::sector;
    FAILS(ATREST_ERR_UNSUPPORTED_ALGORITHM, file_prefix::open_sectors(keys, prefix, "db-7", 512, unit));
    GOT(GOT(file_prefix::create_sectors(keys, "disks", "db-7", 512, unit, prefix)).encrypt(3, sectors));
    CHECK(sectors != plain);
    GOT(GOT(file_prefix::open_sectors(keys, prefix, "db-7", 512, unit)).decrypt(3, sectors));
    CHECK(sectors == plain);

    { std::ofstream(in_folder("file"), std::ios::binary).write(reinterpret_cast<char *>(prefix.data()), file_prefix::size); }
    atrest::device file = GOT(atrest::device::open_file(in_folder("file")));
    const std::string second = GOT(keys.rotate_key("disks"));
    CHECK(GOT(file_prefix::rotate_kek(file, keys, "db-7")) == second);
    atrest::device nothing = GOT(atrest::device::memory(file_prefix::size));
    FAILS(ATREST_ERR_INVALID_PREFIX, file_prefix::rotate_kek(nothing, keys, "db-7"));
}

void key_wrap()
{
    const bytes kek = pattern(32), key = pattern(32);
    bytes out(40), back(32);
    CHECK(GOT(atrest::aes_kw_wrap(kek, key, out)) == 40);
    CHECK(GOT(atrest::aes_kw_unwrap(kek, out, back)) == 32 && back == key);
    out[0] ^= 1;
    FAILS(ATREST_ERR_UNWRAP_FAILED, atrest::aes_kw_unwrap(kek, out, back));
    // RFC 5649, 6.
    const std::uint8_t kwp_kek[24] = {0x58, 0x40, 0xdf, 0x6e, 0x29, 0xb0, 0x2a, 0xf1, 0xab, 0x49, 0x3b, 0x70,
                                      0x5b, 0xf1, 0x6e, 0xa1, 0xae, 0x83, 0x38, 0xf4, 0xdc, 0xc1, 0x76, 0xa8};
    const std::array<std::uint8_t, 7> seven = {0x46, 0x6f, 0x72, 0x50, 0x61, 0x73, 0x69};
    const bytes wrapped = {0xaf, 0xbe, 0xb0, 0xf0, 0x7d, 0xfb, 0xf5, 0x41,
                           0x92, 0x00, 0xf2, 0xcc, 0xb5, 0x0b, 0xb2, 0x4f};
    CHECK(GOT(atrest::aes_kwp_wrap(kwp_kek, seven, out)) == 16);
    CHECK(bytes(out.begin(), out.begin() + 16) == wrapped);
    CHECK(GOT(atrest::aes_kwp_unwrap(kwp_kek, wrapped, back)) == 7);
    CHECK(std::memcmp(back.data(), seven.data(), 7) == 0);
    FAILS(ATREST_ERR_BUFFER_TOO_SHORT, atrest::aes_kw_wrap(kek, key, {out.data(), 39}));
}

// ---------------------------------------------------------------------------------------------------------------------
// Volumes and headers

atrest::format_options every_option()
{
    // Made of texts that are gone when it is used.
    return atrest::format_options()
        .sector_size(4096).algorithm(atrest::dek_algorithm::aes_128_xts)
        .encryption_type(atrest::protected_by::platform_and_customer_keys).data_offset(16 << 20)
        .uuid({0x12, 0x34}).label(std::string("a label of ") + "some length").subsystem(std::string("a subsystem"))
        .context(std::string("the context of this disk, longer than any short string"));
}

void volumes()
{
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("volumes.vault"), with_passphrase("p")));
    const std::string url = GOT(vault.create_key("disks"));
    const std::string context = "the context of this disk, longer than any short string";
    atrest::format_options format = every_option();
    const atrest::format_options same = format;
    atrest::device device = GOT(atrest::device::create_file(in_folder("disk.img"), 32 << 20));
    atrest::volume volume = GOT(atrest::volume::format(device, {vault, std::string("dis") + "ks"}, same));
    device.reset();
    CHECK(GOT(volume.size()) == 16 << 20 && GOT(volume.sector_size()) == 4096 && GOT(volume.data_offset()) == 16 << 20);
    CHECK(GOT(volume.cipher()) == "aes-xts-plain64");
    CHECK(GOT(volume.uuid()) == "12340000-0000-0000-0000-000000000000");
    CHECK(GOT(volume.fingerprint()) == GOT(GOT(volume.dek()).fingerprint()));
    CHECK(GOT(GOT(volume.dek()).algorithm()) == atrest::dek_algorithm::aes_128_xts);
    CHECK(GOT(volume.key_urls()) == std::vector<std::string>{url});

    const bytes plain = pattern(4096);
    bytes sectors(4096);
    GOT(volume.write_at(8192, plain));
    GOT(volume.sync());
    GOT(volume.read_at(8192, sectors));
    CHECK(sectors == plain);
    FAILS(ATREST_ERR_MISALIGNED, volume.read_at(1, sectors));
    bytes changed = plain;
    GOT(volume.write_in_place(0, changed));
    CHECK(changed != plain);
    const atrest_segment whole[1] = {{sectors.data(), sectors.size()}};
    GOT(volume.read_vectored_at(0, whole));
    CHECK(sectors == plain);
    GOT(volume.write_vectored_at(4096, whole));
    CHECK(GOT(volume.begin_read(4096, 4096)) == GOT(volume.data_offset()) + 4096);
    CHECK(GOT(volume.begin_write(0, sectors)) == GOT(volume.data_offset()) && sectors == changed);
    CHECK(GOT(volume.begin_write_from(0, plain, sectors)) == GOT(volume.data_offset()) && sectors == changed);
    GOT(volume.complete_read(0, sectors));
    CHECK(sectors == plain);
    GOT(volume.write_zeroes(0, 8192));
    GOT(volume.read_at(0, sectors));
    CHECK(sectors == bytes(4096) && !GOT(volume.discards()));
    GOT(volume.discard(8192, 4096));
    GOT(volume.read_at(8192, sectors));
    CHECK(sectors == plain);
    FAILS(ATREST_ERR_MISALIGNED, volume.write_zeroes(0, 512));
    FAILS(ATREST_ERR_OUT_OF_BOUNDS, volume.discard(16 << 20, 4096));
    bytes shorter(512);
    FAILS(ATREST_ERR_LENGTH_MISMATCH, volume.begin_write_from(0, plain, shorter));
    FAILS(ATREST_ERR_OUT_OF_BOUNDS, volume.write_at(16 << 20, sectors));

    CHECK(GOT(volume.written_chunk_size()) == 0 && GOT(volume.extent(4096)).len == (16 << 20) - 4096);
    CHECK(GOT(volume.extent(4096)).is_written);
    FAILS(ATREST_ERR_OUT_OF_BOUNDS, volume.extent((16 << 20) + 1));
    {
        atrest::device blank = GOT(atrest::device::memory(20 << 20));
        const atrest::format_options mapped =
            atrest::format_options().data_offset(1 << 20).written_map(64 << 10).written_map_for(1 << 30);
        atrest::volume sparse = GOT(atrest::volume::format(blank, {vault, std::string("disks")}, mapped));
        GOT(sparse.write_at(64 << 10, plain));
        CHECK(GOT(sparse.written_chunk_size()) == 64 << 10);
        CHECK(GOT(sparse.extent(0)).len == 64 << 10 && !GOT(sparse.extent(0)).is_written);
        CHECK(GOT(sparse.extent(70000)).len == (128 << 10) - 70000 && GOT(sparse.extent(70000)).is_written);
        CHECK(GOT(sparse.extent(19 << 20)).len == 0);
        const auto rescued = atrest::open_options().read_only().hazmat_ignore_written_map();
        GOT(sparse.sync());
        sparse.reset();
        CHECK(GOT(GOT(atrest::volume::open(blank, vault, rescued)).written_chunk_size()) == 0);
    }

    CHECK(GOT(volume.resize(1 << 20)) == 1 << 20);
    FAILS(ATREST_ERR_INVALID_OPTION, volume.resize(1));
    GOT(volume.resize());
    const auto before = GOT(volume.fingerprint());
    FAILS(ATREST_ERR_INVALID_OPTION, volume.begin_reencryption({}));
    GOT(volume.begin_reencryption({atrest::protector(vault, "disks")}, atrest::reencrypt_options()
                                                                          .algorithm(atrest::dek_algorithm::aes_256_xts)
                                                                          .sector_size(4096)
                                                                          .by(atrest::resilience::journal)
                                                                          .keyslot(cheap())));
    CHECK(GOT(volume.reencryption()).under_way == 1);
    while (GOT(volume.reencrypt_step(4 << 20)).under_way != 0) {}
    CHECK(GOT(volume.fingerprint()) != before && GOT(volume.reencryption()).total == 0);
    FAILS(ATREST_ERR_UNSUPPORTED_HEADER, volume.begin_decryption());
    {
        const auto plain_device = GOT(atrest::device::memory(4096 << 4)), apart = GOT(atrest::device::memory(16 << 20));
        auto beside = atrest::format_options().header(apart).keyslot(cheap());
        auto taken = GOT(atrest::volume::begin_encryption(plain_device, atrest::protector::passphrase("x"), beside, 0));
        while (GOT(taken.reencrypt_step(1 << 20)).under_way != 0) {}
        GOT(taken.begin_decryption(atrest::resilience::checksum));
        while (GOT(taken.reencrypt_step(1 << 20)).under_way != 0) {}
        FAILS(ATREST_ERR_DEVICE_TOO_SMALL, volume.begin_decryption_beside(plain_device));
        FAILS(ATREST_ERR_INVALID_OPTION, volume.hazmat_resume_unprotected(atrest::resilience::journal));
    }
    GOT(volume.read_at(8192, sectors));
    CHECK(sectors == plain);

    GOT(vault.rotate_key("disks"));
    CHECK(GOT(volume.rotate_kek(vault)) == url.substr(0, url.size() - 1) + "2");
    CHECK(GOT(volume.add_protector(atrest::protector::passphrase("first"), cheap())) == 0);
    { std::ofstream(in_folder("pass")) << "second"; }
    CHECK(GOT(volume.add_protector(atrest::protector::key_file(in_folder("pass")), cheap().id(5))) == 5);
    CHECK(GOT(volume.change_keyslot(0, atrest::protector::passphrase(std::string("third")), cheap())) == 1);
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, volume.change_keyslot(0, atrest::protector::passphrase("x"), cheap()));
    GOT(volume.remove_keyslot(5));
    const std::uint32_t token = GOT(volume.add_protector({vault, "disks"}));
    GOT(volume.remove_token(token));
    volume.reset();

    // Opened in each way.
    device = GOT(atrest::device::open_file(in_folder("disk.img")));
    FAILS(ATREST_ERR_BUSY, atrest::device::open_file(in_folder("disk.img")));
    const auto with_context = atrest::open_options().context(context);
    FAILS(ATREST_ERR_CONTEXT_MISMATCH, atrest::volume::open(device, vault, atrest::open_options().context("another")));
    volume = GOT(atrest::volume::open(device, vault, with_context));
    GOT(volume.read_at(8192, sectors));
    CHECK(sectors == plain);
    const atrest::dek dek = GOT(volume.dek());
    GOT(atrest::volume::open(device, dek));
    CHECK(GOT(GOT(atrest::volume::open(device, vault, atrest::open_options().discard())).discards()));
    {
        const atrest::volume worn = GOT(atrest::volume::open(device, vault, atrest::open_options().used_blocks(77).hazmat_ignore_tokens()));
        CHECK(GOT(worn.usage()) == 77 && GOT(worn.approval()).is == atrest::approval::kind::approved);
    }
    GOT(atrest::volume::open(device, atrest::credential::passphrase("third")));
    FAILS(ATREST_ERR_WRONG_PASSPHRASE, atrest::volume::open(device, atrest::credential::passphrase("first")));
    FAILS(ATREST_ERR_WRONG_PASSPHRASE, atrest::volume::open(device, atrest::credential::key_file(in_folder("pass"))));
    GOT(atrest::volume::open(device, atrest::credential::passphrase("third"), atrest::open_options().keyslot(1)));
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR,
          atrest::volume::open(device, atrest::credential::passphrase("third"), atrest::open_options().keyslot(2)));
    const auto limited = atrest::open_options().kdf_max_memory_kib(64).kdf_max_kib_passes(64).kdf_max_lanes(1);
    GOT(atrest::volume::open(device, atrest::credential::passphrase("third"), limited));
    FAILS(ATREST_ERR_UNSUPPORTED_HEADER, atrest::volume::open(device, atrest::credential::passphrase("third"),
                                                              atrest::open_options().kdf_max_iterations(999)));
    device.reset();
    volume.reset();
    device = GOT(atrest::device::open_file_read_only(in_folder("disk.img")));
    volume = GOT(atrest::volume::open(device, vault, atrest::open_options().read_only()));
    FAILS(ATREST_ERR_READ_ONLY, volume.write_at(0, sectors));
    volume.reset();

    // A header of its own; a DEK that is there; overwriting.
    const atrest::device data = GOT(atrest::device::memory(1 << 20)), apart = GOT(atrest::device::memory(16 << 20));
    const auto detached = atrest::format_options().header(apart).hazmat_dek(dek).metadata_size(64 << 10);
    GOT(GOT(atrest::volume::format(data, {vault, "disks"}, detached)).write_at(0, plain));
    FAILS(ATREST_ERR_DEVICE_NOT_BLANK, atrest::volume::format(data, {vault, "disks"}, detached));
    CHECK(GOT(GOT(atrest::header::load(apart)).metadata_size()) == 64 << 10);
    FAILS(ATREST_ERR_NOT_LUKS, atrest::volume::open(data, vault));
    volume = GOT(atrest::volume::open(data, dek, atrest::open_options().header(apart)));
    CHECK(GOT(volume.size()) == 1 << 20);
    volume.reset();
    volume = GOT(atrest::volume::format(data, {vault, "disks"}, atrest::format_options(detached).overwrite()));
    volume.reset();
    const auto luks1 = atrest::format_options().luks_version(atrest::luks::luks1).keyslot(cheap()).overwrite();
    const atrest::device old = GOT(atrest::device::memory(4 << 20));
    volume = GOT(atrest::volume::format(old, atrest::protector::passphrase("old"), luks1));
    CHECK(GOT(GOT(atrest::header::load(old)).format()) == atrest::luks::luks1);
    FAILS(ATREST_ERR_UNSUPPORTED, GOT(atrest::header::load(old)).epoch());

    // Unknown numbers, and flags that loosen.
    FAILS(ATREST_ERR_BAD_ENUM, atrest::volume::format(old, {vault, "disks"},
                                                      atrest::format_options().luks_version(atrest::luks(9))));
    const auto loose = atrest::open_options().hazmat_allow_truncated().hazmat_allow_unencrypted().hazmat_repair();
    CHECK(loose.c().flags == (ATREST_OPEN_HAZMAT_ALLOW_TRUNCATED | ATREST_OPEN_HAZMAT_ALLOW_UNENCRYPTED |
                              ATREST_OPEN_HAZMAT_REPAIR));
    CHECK(atrest::open_options().require_locked_memory().c().flags == ATREST_OPEN_REQUIRE_LOCKED_MEMORY);
    const atrest::kdf measured = GOT(atrest::kdf::benchmark(atrest::kdf_kind::pbkdf2, 1));
    CHECK(measured.c().iterations >= 1000 && measured.c().hash == ATREST_HASH_SHA256);
    CHECK(atrest::kdf::argon2id(1, 2, 3).c().memory_kib == 1 && atrest::kdf::argon2id(1, 2, 3).c().lanes == 3);
    const atrest::kdf argon2i = atrest::kdf::argon2i(1, 2, 3);
    CHECK(argon2i.c().kind == ATREST_KDF_ARGON2I && argon2i.c().passes == 2);
    const auto slot = cheap().time_ms(4).max_memory_kib(5).priority(atrest::slot_priority::prefer);
    CHECK(slot.c().time_ms == 4 && slot.c().max_memory_kib == 5 && slot.c().priority == ATREST_PRIORITY_PREFER);
    CHECK(slot.c().kdf->iterations == 1000 && slot.c().flags == 0);
}

void headers()
{
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("headers.vault"), with_passphrase("p")));
    const std::string url = GOT(vault.create_key("disks"));
    const atrest::device device = GOT(atrest::device::memory(20 << 20));
    GOT(GOT(atrest::volume::format(device, {vault, "disks"}, every_option()))
            .add_protector(atrest::protector::passphrase("p"), cheap()));

    atrest::header header = GOT(atrest::header::load(device));
    CHECK(GOT(header.format()) == atrest::luks::luks2);
    CHECK(GOT(header.uuid()) == "12340000-0000-0000-0000-000000000000");
    CHECK(GOT(header.label()) == "a label of some length" && GOT(header.subsystem()) == "a subsystem");
    CHECK(GOT(header.epoch()) > 0 && GOT(header.metadata_size()) == 16384 && !GOT(header.needs_repair()));
    CHECK(GOT(header.size()) == 2 * GOT(header.metadata_size()) + GOT(header.keyslots_size()));
    GOT(header.repair());
    GOT(header.set_label("other", ""));
    CHECK(GOT(header.label()) == "other" && GOT(header.subsystem()).empty());
    GOT(header.set_priority(0, atrest::slot_priority::ignore));

    int seen = 0;
    GOT(header.keyslots([&](const atrest_keyslot_info &slot) {
        CHECK(slot.id == 0 && slot.priority == ATREST_PRIORITY_IGNORE && slot.iterations == 1000);
        seen += 1;
    }));
    GOT(header.tokens([&](const atrest_token_info &token) {
        CHECK(std::string_view(token.kind) == "atrest" && token.key_url == url);
        seen += 10;
    }));
    GOT(header.segments([&](const atrest_segment_info &segment) {
        CHECK(segment.offset == 16 << 20);
        seen += 100;
    }));
    GOT(header.digests([&](const atrest_digest_info &digest) {
        CHECK(std::string_view(digest.kind) == "pbkdf2");
        seen += 1000;
    }));
    CHECK(seen == 1111);
    CHECK(GOT(header.requirements()).empty() && GOT(header.flags()).empty());

    const bytes backup = GOT(header.backup());
    CHECK(backup.size() == GOT(header.size()));
    const std::uint32_t token = GOT(header.import_token(R"({"type":"mine","keyslots":[]})"));
    GOT(header.remove_token(token));
    GOT(header.remove_keyslot(0));
    GOT(header.erase());
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, header.remove_keyslot(0));
    GOT(atrest::header::restore(device, backup));
    GOT(atrest::volume::open(device, vault));
    const atrest::device blank = GOT(atrest::device::memory(20 << 20));
    FAILS(ATREST_ERR_NOT_LUKS, atrest::header::restore(blank, backup));
    GOT(atrest::header::hazmat_restore(blank, backup));
    GOT(atrest::volume::open(blank, vault));
}

// A passphrase of the program's, and how many of its kind live.
class passphrases final : public atrest::secret_source {
public:
    explicit passphrases(int &alive) : alive_(alive) { alive_++; }
    ~passphrases() override { alive_--; }

    atrest::result<std::size_t> secret(const std::string &name, atrest::mutable_bytes out) override {
        if (name != "ATREST_PASSPHRASE")
            return atrest::fail<std::size_t>(ATREST_ERR_NOT_FOUND);
        out.data()[0] = 'p';
        return std::size_t{1};
    }

private:
    int &alive_;
};

void several_vaults()
{
    atrest::vault one = GOT(atrest::vault::create_file(in_folder("one.vault"), with_passphrase("p")));
    GOT(one.create_key("disks"));
    GOT(GOT(one.with_audit_rotation(1 << 20)).rotate_key("disks"));
    const std::string url = "file:" + in_folder("one.vault");
    int alive = 0;
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::vault::open_url(url));
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::vault::open_url("nowhere:", std::make_unique<passphrases>(alive)));
    CHECK(alive == 0);
    CHECK(GOT(GOT(atrest::vault::open_url(url, std::make_unique<passphrases>(alive), 1000)).id()) == GOT(one.id()));
    CHECK(alive == 0);

    atrest::vault two = GOT(atrest::vault::create_file(in_folder("two.vault"), with_passphrase("p")));
    GOT(two.create_key("disks"));
    atrest::vault any = GOT(atrest::vault::any({&one, &two}));
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::vault::any({}));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::vault::any({&one, nullptr}));
    const atrest::device device = GOT(atrest::device::memory(20 << 20));
    {
        atrest::volume volume = GOT(atrest::volume::format(device, {one, "disks"}));
        const std::string moved = GOT(volume.move_kek(GOT(one.id()), two, "disks"));
        CHECK(moved.rfind(GOT(two.id()), 0) == 0);
        FAILS(ATREST_ERR_NOT_THIS_VAULT, volume.move_kek(GOT(one.id()), two, "disks"));
    }
    FAILS(ATREST_ERR_NOT_THIS_VAULT, atrest::volume::open(device, one));
    GOT(atrest::volume::open(device, any));

    // A library without quorums says so.
    atrest_vault *made = nullptr;
    const atrest_vault *const members[] = {one.get(), two.get()};
    const bool has_quorums = atrest_vault_quorum("quorum:board", 2, members, nullptr, 2, &made) == ATREST_OK;
    atrest_vault_free(made);
    if (has_quorums) {
        const atrest::vault quorum = GOT(atrest::vault::quorum("quorum:board", 2, {&one, &two}, {"", "disks"}));
        const atrest::device board = GOT(atrest::device::memory(20 << 20));
        GOT(atrest::volume::format(board, {quorum, "disks"}));
        GOT(atrest::volume::open(board, quorum));
        FAILS(ATREST_ERR_NOT_THIS_VAULT, atrest::volume::open(board, one));
    } else {
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::vault::quorum("quorum:board", 2, {&one, &two}));
    }

    atrest::vault_directory directory = GOT(atrest::vault_directory::of_files());
    GOT(directory.add(any, {true, true, "north", "contoso"}));
    FAILS(ATREST_ERR_RESOURCE_EXISTS, directory.add(any, {true, true, "north", "contoso"}));
    CHECK(GOT(directory.ids()).size() == 1);
}

// What machines have encrypted for themselves. Without the features of the library, it says which one is missing.
void guest()
{
    char recovery[ATREST_RECOVERY_PASSWORD_SIZE] = "";
    const auto password = atrest::protector::passphrase("secret");
    const atrest::device device = GOT(atrest::device::memory(4 << 20));
    const auto options = atrest::bitlocker_options().algorithm(atrest::dek_algorithm::aes_128_xts).description("D:");
    if (atrest_recovery_password_generate(recovery, sizeof recovery, nullptr) == ATREST_ERR_UNSUPPORTED) {
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::volume::format_bitlocker(device, password, options));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::generate_recovery_password(recovery));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::volume::open(device, atrest::credential::clear_key()));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::volume::open(device, atrest::credential::startup_key(in_folder("x.bek"))));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::volume::open(device, atrest::credential::recovery_password("1")));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::generate_startup_key_file(in_folder(".")));
    } else {
        GOT(atrest::generate_recovery_password(recovery));
        atrest::volume volume = GOT(atrest::volume::format_bitlocker(device, password, options));
        CHECK(GOT(volume.add_protector(atrest::protector::recovery_password(recovery))) == 1);
        CHECK(GOT(GOT(volume.dek()).algorithm()) == atrest::dek_algorithm::aes_128_xts);
        FAILS(ATREST_ERR_DEVICE_NOT_BLANK, atrest::volume::format_bitlocker(device, password));
        volume = GOT(atrest::volume::open(device, atrest::credential::recovery_password(recovery)));
        CHECK(!GOT(volume.is_read_only()) && GOT(volume.cipher_weakness()).empty());
        const atrest::header header = GOT(atrest::header::load(device));
        CHECK(GOT(header.format()) == atrest::luks::bitlocker && GOT(header.label()) == "D:");
        std::vector<std::string> kinds;
        GOT(header.keyslots([&](const atrest_keyslot_info &info) { kinds.push_back(info.kind); }));
        CHECK(kinds == std::vector<std::string>{"password", "recovery password"});
        FAILS(ATREST_ERR_UNSUPPORTED_HEADER, header.backup());
        FAILS(ATREST_ERR_UNSUPPORTED, header.metadata_json());
        FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest::volume::open(device, atrest::credential::clear_key()));
        FAILS(ATREST_ERR_NOT_FOUND, atrest::volume::open(device, atrest::credential::startup_key(in_folder("x.bek"))));
        const std::string key = in_folder(GOT(atrest::generate_startup_key_file(in_folder("."))).c_str());
        CHECK(GOT(volume.add_protector(atrest::protector::startup_key(key))) == 2);
        GOT(atrest::volume::open(device, atrest::credential::startup_key(key)));
        CHECK(!GOT(volume.resume_protection()));
        CHECK(GOT(volume.hazmat_suspend_protection()) == 3);
        GOT(atrest::volume::open(device, atrest::credential::clear_key()));
        CHECK(GOT(volume.resume_protection()));
        FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest::volume::open(device, atrest::credential::clear_key()));
        const auto again = atrest::bitlocker_options().overwrite().sector_size(4096);
        CHECK(GOT(GOT(atrest::volume::format_bitlocker(device, password, again)).sector_size()) == 4096);
    }

    // The digest of "abc" is FIPS 180-4's.
    const auto algorithm = GOT(atrest::dek_algorithm_for_cipher("aes-cbc-plain64", 32));
    CHECK(algorithm == atrest::dek_algorithm::aes_256_cbc);
    FAILS(ATREST_ERR_KEY_LENGTH, atrest::dek_algorithm_for_cipher("aes-cbc-plain64", 33));
    const atrest::dek key = GOT(atrest::dek::hazmat_plain(algorithm, "sha256", "abc"));
    bytes digest(32);
    CHECK(GOT(key.hazmat_bytes(digest)) == 32 && digest[0] == 0xba && digest[31] == 0xad);
    CHECK(GOT(GOT(atrest::dek::hazmat_from_bytes(atrest::dek_algorithm::aes_192_cbc, bytes(24))).algorithm())
          == atrest::dek_algorithm::aes_192_cbc);
    FAILS(ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest::dek::hazmat_plain(algorithm, "md5", "abc"));

    const atrest::device disk = GOT(atrest::device::memory(1 << 20));
    const bytes data = pattern(4096);
    bytes back(4096);
    const auto plain = atrest::plain_options("aes-cbc-plain64").offset(4096).size(65536).first_number(8).used_blocks(7);
    {
        atrest::volume volume = GOT(atrest::volume::hazmat_open_plain(disk, key, plain));
        CHECK(GOT(volume.size()) == 65536 && GOT(volume.data_offset()) == 4096 && GOT(volume.usage()) == 7);
        CHECK(GOT(volume.cipher_weakness()).find("flip chosen bits") != std::string::npos);
        GOT(volume.write_at(0, data));
    }
    const auto look = atrest::plain_options(plain).read_only();
    atrest::volume volume = GOT(atrest::volume::hazmat_open_plain(disk, key, look));
    GOT(volume.read_at(0, back));
    CHECK(back == data && GOT(volume.is_read_only()));
    FAILS(ATREST_ERR_READ_ONLY, volume.write_at(0, data));
    // Sectors of 4096 bytes that are counted by ones: the first has the number that the first of 512 bytes has.
    const auto large = atrest::plain_options("aes-cbc-plain64").numbering(atrest::sector_numbering::sectors)
                           .sector_size(4096).offset(4096).first_number(64).discard();
    volume = GOT(atrest::volume::hazmat_open_plain(disk, key, large));
    GOT(volume.read_at(0, back));
    CHECK(std::equal(back.begin(), back.begin() + 512, data.begin()) && back != data);
    const atrest::dek xts = GOT(atrest::dek::generate());
    volume = GOT(atrest::volume::hazmat_open_plain(disk, xts, atrest::plain_options::upper_half().sector_size(4096)));
    CHECK(GOT(volume.cipher()).find("SPDK") != std::string::npos);
    FAILS(ATREST_ERR_UNSUPPORTED_ALGORITHM, atrest::volume::hazmat_open_plain(disk, key, atrest::plain_options::upper_half()));
}

// Secrets of a vault file, and the passphrase that programs on libcryptsetup open a volume by.
void secrets()
{
    const auto by = with_passphrase("p");
    atrest::vault vault = GOT(atrest::vault::create_file(in_folder("secrets.vault"), by));
    const std::vector<std::pair<std::string, std::string>> tags = {{"disk", "17"}, {"host", ""}};
    const std::string first("of a disk", 9), second("\0anew\0", 6);
    CHECK(GOT(vault.set_secret("guest", first, tags)) == "1");
    CHECK(GOT(vault.set_secret("guest", second)) == "2");
    bytes value(ATREST_VAULT_SECRET_MAX);
    const auto newest = GOT(vault.secret("guest", value));
    CHECK(newest.version == "2" && newest.tags.empty() && newest.length == 6);
    CHECK(std::memcmp(value.data(), second.data(), 6) == 0 && value[6] == 0);
    const auto older = GOT(GOT(atrest::vault::open_file(in_folder("secrets.vault"), by)).secret("guest", "1", value));
    CHECK(older.version == "1" && older.tags == tags && older.length == 9);
    CHECK(std::memcmp(value.data(), first.data(), 9) == 0);
    FAILS(ATREST_ERR_BUFFER_TOO_SHORT, vault.secret("guest", mutable_bytes(value.data(), 5)));
    FAILS(ATREST_ERR_NO_SUCH_KEY, vault.secret("guest", "3", value));
    FAILS(ATREST_ERR_NOT_UTF8, vault.set_secret("guest", first, {{std::string("a\0b", 3), "c"}}));
    FAILS(ATREST_ERR_INVALID_OPTION, vault.set_secret("guest", first, {{"a", "b"}, {"a", "b"}}));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::vault().set_secret("guest", first));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::vault().secret("guest", value));

    GOT(vault.set_secret_version("guest", "1", atrest::version_change().enabled(false).expires(1u << 31)));
    FAILS(ATREST_ERR_KEY_DISABLED, vault.secret("guest", "1", value));
    std::string listed;
    GOT(vault.secrets([&](const atrest_secret_version &version) {
        listed += std::string(version.secret_name) + "/" + version.version + (version.enabled ? " " : "! ");
        CHECK(version.tags_count == (version.enabled ? 0u : 2u) && version.expires == (version.enabled ? 0u : 1u << 31));
    }));
    CHECK(listed == "guest/1! guest/2 ");
    GOT(vault.delete_secret("guest"));
    FAILS(ATREST_ERR_KEY_DELETED, vault.secret("guest", value));
    GOT(vault.deleted_secrets([&](const atrest_deleted_key &secret) { listed = secret.key_name; }));
    CHECK(listed == "guest");
    GOT(vault.recover_secret("guest"));
    GOT(vault.delete_secret("guest"));
    GOT(vault.hazmat_purge_secret("guest"));
    FAILS(ATREST_ERR_NO_SUCH_KEY, vault.recover_secret("guest"));

    GOT(vault.create_key("disks"));
    const atrest::device device = GOT(atrest::device::memory(17 << 20));
    atrest::volume volume = GOT(atrest::volume::format(device, {vault, "disks"}));
    std::array<std::uint8_t, ATREST_TOKEN_PASSPHRASE_LEN> passphrase{};
    const std::string uuid = GOT(volume.uuid());
    auto json = [&] { return GOT(GOT(atrest::header::load(device)).metadata_json()); };
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, atrest::token_passphrase(json(), uuid, 0, vault, passphrase));
    const std::uint32_t keyslot = GOT(volume.bind_tokens());
    FAILS(ATREST_ERR_OTHER_KEY, atrest::token_passphrase(json(), uuid, 0, vault, passphrase, "tapes"));
    GOT(atrest::token_passphrase(json(), uuid, 0, vault, passphrase, "disks"));
    volume = atrest::volume();
    const auto alone = atrest::open_options().keyslot(keyslot);
    CHECK(GOT(GOT(atrest::volume::open(device, atrest::credential::passphrase(passphrase), alone)).size()) == 1 << 20);
}

// A vault with one secret, in memory. Its wrap is none: what matters is what arrives.
class memory_store : public atrest::ade_store {
public:
    using list = std::vector<std::pair<std::string, std::string>>;
    explicit memory_store(std::vector<std::pair<bytes, list>> &versions) : versions_(versions) {}

    std::string id() const override { return "https://contoso.vault.azure.net"; }
    atrest::result<std::size_t> get(const std::string &name, const std::string &version, atrest::ade_secret &found,
                                    mutable_bytes value) override {
        if (name != "x" || versions_.empty())
            return atrest::fail<std::size_t>(ATREST_ERR_NO_SUCH_KEY, "there is no such secret");
        const std::size_t at = version.empty() ? versions_.size() - 1 : static_cast<std::size_t>(std::stoul(version));
        found.version = std::to_string(at);
        found.tags = versions_[at].second;
        std::memcpy(value.data(), versions_[at].first.data(), versions_[at].first.size());
        return versions_[at].first.size();
    }
    atrest::result<std::string> set(const std::string &, const_bytes value, const list &tags) override {
        versions_.emplace_back(bytes(value.begin(), value.end()), tags);
        return std::to_string(versions_.size() - 1);
    }
    atrest::result<void> wrap(const_bytes passphrase, atrest::wrap_algorithm algorithm, atrest::wrapping &wrapped) override {
        return wrapped.fill(std::string(wrapped.version()), algorithm, passphrase);
    }
    atrest::result<std::size_t> unwrap(const atrest::wrapped_dek &wrapped, mutable_bytes passphrase) override {
        if (wrapped.algorithm() != atrest::wrap_algorithm::rsa_oaep_256)
            return atrest::fail<std::size_t>(ATREST_ERR_UNWRAP_FAILED, "another algorithm");
        std::memcpy(passphrase.data(), wrapped.bytes().data(), wrapped.bytes().size());
        return wrapped.bytes().size();
    }

private:
    std::vector<std::pair<bytes, list>> &versions_;
};

void ade()
{
    std::vector<std::pair<bytes, memory_store::list>> versions;
    const atrest::device device = GOT(atrest::device::memory(17 << 20));
    std::array<std::uint8_t, ATREST_ADE_PASSPHRASE_LEN> passphrase{};
    std::size_t length = 0;
    if (atrest_ade_generate_passphrase(passphrase.data(), passphrase.size(), &length) == ATREST_ERR_UNSUPPORTED) {
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_vault::from(std::make_unique<memory_store>(versions)));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_disk(device).open());
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_disk(device).replace_token());
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_disk::generate_passphrase(passphrase));
        auto plain = GOT(atrest::volume::format(device, atrest::protector::passphrase(passphrase),
                                                atrest::format_options().keyslot(cheap())));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_new_passphrase().add_secret(plain));
        FAILS(ATREST_ERR_UNSUPPORTED, atrest::ade_new_passphrase().add_token(plain));
        return;
    }
    const atrest::ade_vault store = GOT(atrest::ade_vault::from(std::make_unique<memory_store>(versions)));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::ade_vault::from(nullptr));
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::ade_vault::open_url("file:/none"));
    const std::string kek = "https://contoso.vault.azure.net/keys/disks/7";
    GOT(atrest::ade_disk::generate_passphrase(passphrase));
    const auto cheap = atrest::keyslot_options().costs(atrest::kdf::pbkdf2(1000));
    GOT(atrest::volume::format(device, atrest::protector::passphrase(passphrase), atrest::format_options().keyslot(cheap)));

    auto disk = atrest::ade_disk(device);
    disk.secret("https://contoso.vault.azure.net/secrets/x/0").ask(store);
    FAILS(ATREST_ERR_NO_SUCH_KEY, disk.open());
    bytes value(512);
    const auto under = atrest::ade_disk(disk).kek(kek, atrest::wrap_algorithm::rsa_oaep_256);
    value.resize(GOT(under.seal(passphrase, value)));
    versions.emplace_back(value, memory_store::list{{"DiskEncryptionKeyEncryptionAlgorithm", "RSA-OAEP-256"},
                                                    {"DiskEncryptionKeyEncryptionKeyURL", kek}, {"MachineName", ""}});
    CHECK(GOT(GOT(disk.open()).size()) == 1 << 20);
    CHECK(GOT(disk.replace_secret(cheap)) == "https://contoso.vault.azure.net/secrets/x/1");
    CHECK(versions.size() == 2 && versions[0].second == versions[1].second);
    FAILS(ATREST_ERR_WRONG_PASSPHRASE, disk.open());
    FAILS(ATREST_ERR_INVALID_OPTION, disk.replace_token(cheap));
    disk.secret("https://contoso.vault.azure.net/secrets/x");
    FAILS(ATREST_ERR_UNWRAP_FAILED, atrest::ade_disk(disk).kek(kek).open());

    atrest::vault keys = GOT(atrest::vault::create_file(in_folder("ade.vault"), with_passphrase("p")));
    GOT(keys.create_key("disks"));
    auto taken = GOT(disk.take_over(keys, "disks", true));
    CHECK(GOT(taken.opened.size()) == 1 << 20 && taken.ways.left_keyslots == 0 && taken.ways.left_tokens == 0);
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, disk.open());
    const std::string number = std::to_string(GOT(taken.opened.bind_tokens()));
    CHECK(GOT(GOT(atrest::header::load(device)).metadata_json()).find("\"keyslots\":[\"" + number + "\"]") != std::string::npos);

    // It comes back, by a first secret and a first token.
    versions.clear();
    auto first = atrest::ade_new_passphrase();
    first.kek(kek, atrest::wrap_algorithm::rsa_oaep_256).vault_url("https://contoso.vault.azure.net/").vault_resource("/s").ask(store);
    first.attestation_url("https://attest");
    GOT(first.add_token(taken.opened, cheap));
    const std::string json = GOT(GOT(atrest::header::load(device)).metadata_json());
    for (const char *said : {"\"KeyVaultURL\":\"https://contoso.vault.azure.net/\"", "\"KekVaultResourceId\":\"/s\"",
                             "\"AttestationURL\":\"https://attest\"", "\"KeyEncryptionKeyURL\":"})
        CHECK(json.find(said) != std::string::npos);
    FAILS(ATREST_ERR_INVALID_OPTION, first.add_secret(taken.opened, cheap));
    first.secret("https://contoso.vault.azure.net/secrets/x").machine("vm-1").file("LinuxPassPhraseFileName_1_0");
    FAILS(ATREST_ERR_INVALID_OPTION, first.add_token(taken.opened, cheap));
    CHECK(GOT(first.add_secret(taken.opened, cheap)) == "https://contoso.vault.azure.net/secrets/x/0");
    CHECK(GOT(first.add_secret(taken.opened, cheap)) == "https://contoso.vault.azure.net/secrets/x/0");
    const std::string uuid = GOT(GOT(atrest::header::load(device)).uuid());
    CHECK(versions.size() == 1
          && versions[0].second
                 == memory_store::list({{"DiskEncryptionKeyEncryptionAlgorithm", "RSA-OAEP-256"},
                                        {"DiskEncryptionKeyEncryptionKeyURL", kek},
                                        {"DiskEncryptionKeyFileName", "LinuxPassPhraseFileName_1_0"},
                                        {"MachineName", "vm-1"},
                                        {"VolumeUUID", uuid}}));
    FAILS(ATREST_ERR_RESOURCE_EXISTS, first.machine("vm-2").add_secret(taken.opened, cheap));
    taken.opened = atrest::volume();
    disk.secret("https://contoso.vault.azure.net/secrets/x/0");
    CHECK(GOT(GOT(disk.open()).size()) == 1 << 20);
    auto by_token = atrest::ade_disk(device);
    CHECK(GOT(GOT(by_token.ask(store).open()).size()) == 1 << 20);

    // A disk of Windows: its startup key.
    versions.clear();
    const atrest::device windows = GOT(atrest::device::memory(4 << 20));
    auto volume = GOT(atrest::volume::format_bitlocker(windows, atrest::protector::passphrase("secret")));
    auto key = atrest::ade_new_passphrase();
    key.secret("https://contoso.vault.azure.net/secrets/x").machine("vm-1").volume_letter("F:\\").volume_label("data").ask(store);
    CHECK(GOT(key.add_secret(volume)) == "https://contoso.vault.azure.net/secrets/x/0");
    const std::string id = GOT(GOT(atrest::header::load(windows)).uuid());
    CHECK(versions[0].second.size() == 5 && versions[0].second[0].second.find(".BEK") == 36);
    CHECK(memory_store::list(versions[0].second.begin() + 1, versions[0].second.end())
          == memory_store::list({{"MachineName", "vm-1"}, {"VolumeLabel", "data"}, {"VolumeLetter", "F:\\"}, {"VolumeUUID", id}}));
    volume = atrest::volume();
    auto of_windows = atrest::ade_disk(windows);
    of_windows.secret("https://contoso.vault.azure.net/secrets/x/0").ask(store);
    CHECK(GOT(of_windows.replace_secret()) == "https://contoso.vault.azure.net/secrets/x/1");
    FAILS(ATREST_ERR_NO_SUCH_PROTECTOR, of_windows.open());
    of_windows.secret("https://contoso.vault.azure.net/secrets/x/1");
    CHECK(GOT(GOT(of_windows.open()).size()) > 3 << 20);
    FAILS(ATREST_ERR_UNSUPPORTED_HEADER, of_windows.take_over(keys, "disks"));
}

} // namespace

int main(int, char **argv)
{
    folder = argv[1];
    views();
    moves();
    empty_handles();
    errors();
    vaults();
    deks_and_ciphers();
    streams();
    files();
    key_wrap();
    volumes();
    headers();
    several_vaults();
    guest();
    secrets();
    ade();
    std::printf("%d checks passed\n", passed);
}
