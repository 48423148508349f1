// Managed disks through atrest.hpp: clocks, directories, backends and the service, the library's and the caller's.
#include "cpp_check.hpp"

#include <atomic>
#include <map>
#include <mutex>

namespace {

using atrest::resource;
using names = std::vector<std::string>;

constexpr const char *CONTOSO = "https://contoso.vault.example";

std::string folder;
std::atomic<int> alive{0};
std::atomic<bool> broken{false};

std::string in_folder(const std::string &name)
{
    return folder + "/" + name;
}

std::string key(int version)
{
    return std::string(CONTOSO) + "/keys/disks/" + std::to_string(version);
}

// Fails, by an exception if exceptions are enabled.
template <class T> atrest::result<T> break_down()
{
#if defined(__cpp_exceptions)
    throw 5;
#else
    return atrest::fail<T>(ATREST_ERR_OTHER);
#endif
}

// ---------------------------------------------------------------------------------------------------------------------
// What a service can be made of

class wound_clock final : public atrest::time_source {
public:
    explicit wound_clock(const std::atomic<std::uint64_t> &hands) : hands_(hands) { alive++; }
    ~wound_clock() override { alive--; }
    std::uint64_t now() noexcept override { return hands_; }

private:
    const std::atomic<std::uint64_t> &hands_;
};

class both_clocks final : public atrest::steady_time_source {
public:
    both_clocks() { alive++; }
    ~both_clocks() override { alive--; }
    std::uint64_t now() noexcept override { return 1800000000; }
    std::uint64_t uptime() noexcept override { return 1000; }
};

class one_vault final : public atrest::vault_finder {
public:
    explicit one_vault(atrest::vault vault) : vault_(std::move(vault)) { alive++; }
    ~one_vault() override { alive--; }

    atrest::result<atrest::vault> open_vault(const std::string &vault_id, const std::string &identity) override
    {
        if (broken)
            return break_down<atrest::vault>();
        if (vault_id != CONTOSO)
            return atrest::fail<atrest::vault>(ATREST_ERR_VAULT);
        return vault_.as_identity(identity);
    }

    atrest::result<atrest::vault_description> describe(const std::string &vault_id) override
    {
        if (broken)
            return break_down<atrest::vault_description>();
        if (vault_id != CONTOSO)
            return atrest::fail<atrest::vault_description>(ATREST_ERR_VAULT);
        atrest::vault_description said;
        said.soft_delete = said.purge_protection = true;
        said.region = region;
        said.tenant = "contoso";
        return said;
    }

    static inline std::string region = "north";

private:
    atrest::vault vault_;
};

class memory_pool final : public atrest::device_pool {
public:
    memory_pool() { alive++; }
    ~memory_pool() override { alive--; }

    atrest::result<atrest::device> create(const std::string &region, const std::string &id, std::uint64_t size) override
    {
        if (broken)
            return break_down<atrest::device>();
        const std::lock_guard<std::mutex> lock(mutex_);
        CHECK(region == "north" && id.size() == 36 && devices_.count(id) == 0);
        atrest::device &mine = devices_[id];
        mine = GOT(atrest::device::memory(static_cast<std::size_t>(size)));
        return mine.clone();
    }

    atrest::result<atrest::device> open(const std::string &region, const std::string &id) override
    {
        if (broken)
            return break_down<atrest::device>();
        const std::lock_guard<std::mutex> lock(mutex_);
        CHECK(region == "north" && devices_.count(id) == 1);
        if (gives_nothing)
            return atrest::device();
        return devices_[id].clone();
    }

    atrest::result<void> remove(const std::string &, const std::string &id) override
    {
        if (broken)
            return break_down<void>();
        const std::lock_guard<std::mutex> lock(mutex_);
        devices_.erase(id);
        return atrest::result<void>();
    }

    // An image of a pool is a device of zeros, of this size.
    atrest::result<atrest::device> open_image(const std::string &, const std::string &image) override
    {
        if (broken || image != "plain")
            return break_down<atrest::device>();
        return atrest::device::memory(1 << 20);
    }

    atrest::result<atrest::device> adopt_image(const std::string &region, const std::string &id,
                                               const std::string &image, std::uint64_t size) override
    {
        CHECK(image == "plain" && size > 1 << 20);
        return create(region, id, size);
    }

    atrest::result<std::vector<std::string>> list(const std::string &region) override
    {
        CHECK(region == "north");
        if (broken)
            return break_down<std::vector<std::string>>();
        const std::lock_guard<std::mutex> lock(mutex_);
        std::vector<std::string> ids{"6f6f6f6f-0000-4000-8000-000000000001"};
        for (const auto &device : devices_)
            ids.push_back(device.first);
        return ids;
    }

    static inline bool gives_nothing = false;

private:
    std::mutex mutex_;
    std::map<std::string, atrest::device> devices_;
};

atrest::vault make_vault(const std::string &name, const std::string &id, const atrest::clock &clock)
{
    const auto options = atrest::vault_options().id(id).region("north").tenant("contoso").purge_protection();
    const atrest::vault made = GOT(atrest::vault::create_file(in_folder(name), with_passphrase("p"), options));
    atrest::vault vault = GOT(made.with_clock(clock));
    GOT(vault.create_key("disks"));
    return vault;
}

atrest::new_disk small(const std::string &name)
{
    return atrest::new_disk(name).region("north").subscription("one").size(64 << 10);
}

atrest::new_disk copy(const std::string &name)
{
    return small(name).size(0);
}

void make_set(const atrest::disk_service &service, atrest::vault &contoso, const std::string &name)
{
    const auto set = atrest::new_set(name).region("north").subscription("one").tenant("contoso").key_url(key(1));
    GOT(service.create_set(set));
    using atrest::operations;
    GOT(contoso.grant(GOT(service.encryption_set(name)).identity,
                      operations::get | operations::wrap_key | operations::unwrap_key));
}

// ---------------------------------------------------------------------------------------------------------------------

template <class H> void is_owner()
{
    static_assert(!std::is_copy_constructible_v<H> && std::is_nothrow_move_constructible_v<H>);
    static_assert(sizeof(H) == sizeof(void *));
}

void clocks()
{
    is_owner<atrest::clock>(), is_owner<atrest::vault_directory>(), is_owner<atrest::disk_backend>();
    is_owner<atrest::disk_service>(), is_owner<atrest::disk>();
    atrest::clock manual = GOT(atrest::clock::manual(100));
    GOT(manual.advance(10));
    CHECK(GOT(manual.now()) == 110);
    GOT(manual.set(5));
    CHECK(GOT(manual.now()) == 5);
    std::atomic<std::uint64_t> hands{7};
    {
        const atrest::clock steady = GOT(atrest::clock::from_steady(std::make_unique<both_clocks>()));
        CHECK(alive == 1 && GOT(steady.now()) == 1800000000);
    }
    CHECK(alive == 0);
    {
        atrest::clock wound = GOT(atrest::clock::from(std::make_unique<wound_clock>(hands)));
        CHECK(alive == 1 && GOT(wound.now()) == 7);
        hands = 8;
        CHECK(GOT(wound.now()) == 8);
        FAILS(ATREST_ERR_UNSUPPORTED, wound.set(9));
    }
    CHECK(alive == 0);
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::clock::from(nullptr));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::vault_directory::from(nullptr));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::disk_backend::from(nullptr));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::clock().now());
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::vault_directory().ids());
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::disk_service().maintain());
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::disk_service().rotate_set("set"));
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::disk().size());
    FAILS(ATREST_ERR_NULL_ARGUMENT, atrest::disk().sync());
}

// All that a service does, on a folder and vault files.
void files()
{
    atrest::clock clock = GOT(atrest::clock::manual(1800000000));
    atrest::vault contoso = make_vault("contoso.vault", CONTOSO, clock);
    const atrest::vault platform = make_vault("platform.vault", "https://platform.vault.example", clock);
    atrest::vault_directory vaults = GOT(atrest::vault_directory::of_files());
    GOT(vaults.add_file(GOT(contoso.clone())));
    FAILS(ATREST_ERR_RESOURCE_EXISTS, vaults.add_file(contoso));
    CHECK(GOT(vaults.ids()) == names{CONTOSO});
    GOT(vaults.remove(CONTOSO));
    CHECK(GOT(vaults.ids()).empty());
    GOT(vaults.add_file(contoso));

    const atrest::disk_backend backend = GOT(atrest::disk_backend::folder(folder));
    const auto options = atrest::disk_service_options(backend, platform, "disks").vaults(vaults).time(clock)
                             .grace_seconds(1000).interval_seconds(100).outage_seconds(1000)
                             .rotation_interval_seconds(10).parallel(2);
    atrest::disk_service service = GOT(atrest::disk_service::open(in_folder("store"), options));
    FAILS(ATREST_ERR_BUSY, atrest::disk_service::open(in_folder("store"), options));
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::disk_service::open(
                                         in_folder("other"), atrest::disk_service_options(options).grace_seconds(1)));

    make_set(service, contoso, "set");
    make_set(service, contoso, "other");
    CHECK(GOT(service.encryption_sets()) == names{"other", "set"});
    const atrest_set_info set = GOT(service.encryption_set("set"));
    CHECK(set.active_key == key(1) && set.encryption_type == ATREST_CUSTOMER_KEY && set.created == 1800000000);
    CHECK(GOT(service.encryption_set_json("set")).find(key(1)) != std::string::npos);
    FAILS(ATREST_ERR_NO_SUCH_RESOURCE, service.encryption_set("none"));

    GOT(service.create_disk(small("plain")));
    GOT(service.create_disk(small("secret").set("set").sector_size(4096)));
    FAILS(ATREST_ERR_RESOURCE_EXISTS, service.create_disk(small("plain")));
    CHECK(GOT(service.resource(resource::disk, "secret")).sector_size == 4096);
    CHECK(std::string_view(GOT(service.resource(resource::disk, "secret")).set) == "set");
    CHECK(GOT(service.resource_json(resource::disk, "secret")).find("\"secret\"") != std::string::npos);
    CHECK(GOT(service.names(resource::disk)) == names{"plain", "secret"});

    std::array<unsigned char, 4096> plain, sectors{};
    plain.fill(0x5a);
    {
        atrest::disk disk = GOT(service.open_disk("secret"));
        CHECK(GOT(disk.name()) == "secret" && GOT(disk.size()) == 64 << 10 && GOT(disk.sector_size()) == 4096);
        GOT(disk.write_at(4096, plain));
        GOT(disk.sync());
        GOT(disk.read_at(4096, sectors));
        CHECK(sectors == plain && !GOT(disk.is_suspended()));
        FAILS(ATREST_ERR_MISALIGNED, disk.read_at(1, sectors));
        const atrest_segment whole[1] = {{sectors.data(), sectors.size()}};
        GOT(disk.write_vectored_at(8192, whole));
        GOT(disk.write_in_place(8192, sectors));
        CHECK(sectors != plain);
        const auto changed = sectors;
        GOT(disk.read_vectored_at(8192, whole));
        CHECK(sectors == plain);
        const std::uint64_t at = GOT(disk.begin_write(8192, sectors));
        CHECK(sectors == changed && GOT(disk.begin_read(8192, 4096)) == at);
        CHECK(GOT(disk.begin_write_from(8192, plain, sectors)) == at && sectors == changed);
        GOT(disk.complete_read(8192, sectors));
        CHECK(sectors == plain);
        GOT(disk.write_zeroes(12288, 4096));
        GOT(disk.read_at(12288, sectors));
        CHECK(sectors == decltype(sectors){} && !GOT(disk.discards()));
        GOT(disk.discard(4096, 4096));
        GOT(disk.read_at(4096, sectors));
        CHECK(sectors == plain);
        FAILS(ATREST_ERR_OUT_OF_BOUNDS, disk.write_zeroes(64 << 10, 4096));
        GOT(disk.complete_write());
        GOT(disk.complete_write());
        FAILS(ATREST_ERR_INVALID_OPTION, disk.complete_write());
    }

    // Copies, with progress.
    std::atomic<int> told{0};
    auto count = [&](std::uint64_t done, std::uint64_t total) {
        CHECK(done <= total);
        told++;
    };
    GOT(service.create_snapshot(atrest::new_snapshot("first", "secret").incremental(), count));
    CHECK(told > 0);
    GOT(service.create_snapshot(atrest::new_snapshot("whole", "secret").set("other")));
    told = 0;
    GOT(service.create_disk_from(resource::snapshot, "whole", copy("again").set("set"), count));
    CHECK(told > 0);
    sectors.fill(0);
    GOT(GOT(service.open_disk("again")).read_at(4096, sectors));
    CHECK(sectors == plain);
    told = 0;
    const auto image = atrest::new_image("image").disk("secret").disk("plain").region("north").set("set").set(nullptr);
    GOT(service.create_image(image, count));
    CHECK(told > 0);
    CHECK(GOT(service.image("image")) == names{"image/north/0", "image/north/1"});
    CHECK(std::string_view(GOT(service.resource(resource::image, "image/north/0")).set) == "set");
    CHECK(GOT(service.resource(resource::image, "image/north/1")).set[0] == 0);

    std::vector<std::pair<resource, std::string>> members;
    GOT(service.members("set", [&](resource kind, const char *name) { members.emplace_back(kind, name); }));
    const std::vector<std::pair<resource, std::string>> in_set{{resource::disk, "again"}, {resource::disk, "secret"},
                                                               {resource::snapshot, "first"},
                                                               {resource::image, "image/north/0"}};
    CHECK(members == in_set);

    // An exception of the progress callback arrives when all is done.
#if defined(__cpp_exceptions)
    bool thrown = false;
    try {
        static_cast<void>(service.create_snapshot(atrest::new_snapshot("third", "plain"),
                                                  [](std::uint64_t, std::uint64_t) { throw 7; }));
    } catch (int seven) {
        thrown = seven == 7;
    }
    CHECK(thrown && GOT(service.names(resource::snapshot)) == (names{"first", "third", "whole"}));
    GOT(service.delete_resource(resource::snapshot, "third"));
#endif

    // Rotation, on request and automatic.
    GOT(contoso.rotate_key("disks"));
    told = 0;
    CHECK(GOT(service.rotate_set("set", count)) == 4 && told > 0);
    CHECK(GOT(service.encryption_set("set")).active_key == key(2));
    CHECK(GOT(service.change_key("other", key(2))) == 1);
    CHECK(GOT(service.rotate_set("set")) == 0);
    CHECK(GOT(service.rotate_platform(count)) == 0);
    CHECK(GOT(service.report_platform()).finished == 1);
    CHECK(!GOT(service.report_platform_json()).empty());
    CHECK(GOT(service.metrics_json()).find("\"rotations\"") != std::string::npos);
    GOT(service.set_auto_rotation("set", true));
    GOT(contoso.rotate_key("disks"));
    GOT(clock.advance(20));
    int rotated = 0;
    told = 0;
    const auto each = [&](const atrest_rotated &one) {
        CHECK(one.status == ATREST_OK && one.key_url == key(3) && one.rewrapped == 4);
        rotated++;
    };
    GOT(service.auto_rotate(each, count));
    CHECK(rotated == 1 && told > 0);
    GOT(contoso.rotate_key("disks"));
    GOT(clock.advance(20));
    GOT(service.auto_rotate([&](const atrest_rotated &) { return false; }));
    CHECK(GOT(service.encryption_set("set")).active_key == key(4));
    GOT(service.clear_rotation_error("set"));
    GOT(contoso.set_version(key(4), atrest::version_change().expires(1800001000)));
    std::string expiring;
    GOT(service.expiring_keys(1000, [&](const atrest_expiring_key &one) { expiring += one.set; }));
    CHECK(expiring == "set");

    // A disk gets a new DEK, and a plain image becomes a disk: both in steps.
    CHECK(GOT(service.reencryption("secret")).total == 0);
    GOT(service.rekey_disk("secret"));
    CHECK(GOT(service.reencrypting()) == std::vector<std::string>{"secret"});
    FAILS(ATREST_ERR_BUSY, service.rekey_disk("secret"));
    FAILS(ATREST_ERR_INVALID_OPTION, service.cancel_reencryption("secret"));
    while (GOT(service.reencrypt_step("secret", 1 << 20)).under_way != 0) {
    }
    CHECK(GOT(service.reencryption("secret")).under_way == 0 && GOT(service.reencrypting()).empty());
    FAILS(ATREST_ERR_NOT_FOUND, service.import_disk(copy("imported"), "no such image"));

    // Reports.
    const atrest_report report = GOT(service.report(resource::disk, "secret"));
    CHECK(report.status == ATREST_PROTECTION_FINISHED && report.access == ATREST_ACCESS_CLOSED);
    CHECK(!GOT(service.report_json(resource::disk, "secret")).empty());
    const atrest_set_report of_set = GOT(service.report_set("set"));
    CHECK(of_set.done == 4 && of_set.total == 4 && of_set.finished == 1);
    CHECK(GOT(service.report_set_json("set")).find("\"set\"") != std::string::npos);
    const auto customer = atrest::protected_by::customer_key;
    CHECK(GOT(atrest::capability_table_json()).size() > GOT(atrest::capability_table_json(customer, false)).size());
    CHECK(GOT(atrest::capability_table_text()).size() > GOT(atrest::capability_table_text(customer, true)).size());

    // Moves, and the reasons for their refusals.
    GOT(service.put_into_set(resource::disk, "plain", "other"));
    GOT(service.create_disk(small("guest")));
    GOT(service.mark_guest_encrypted("guest"));
    CHECK(GOT(service.resource(resource::disk, "guest")).guest_encrypted == 1);
    FAILS(ATREST_ERR_NOT_ALLOWED, service.put_into_set(resource::disk, "guest", "set"));
    CHECK(atrest::last_rule() == ATREST_RULE_ENCRYPTED_IN_GUEST);
    GOT(service.move_to_subscription(resource::disk, "guest", "two"));
    FAILS(ATREST_ERR_NOT_ALLOWED, service.move_to_subscription(resource::disk, "secret", "two"));

    // A key that is disabled ends the use of its disks, and no others.
    {
        atrest::disk open = GOT(service.open_disk("secret"));
        std::vector<std::string> events;
        GOT(atrest::set_log(
            [&events](atrest::log_level level, const char *message) {
                events.push_back((level == atrest::log_level::error ? "error: " : "") + std::string(message));
            },
            atrest::log_level::info));
        GOT(contoso.set_version(key(4), atrest::version_change().enabled(false)));
        GOT(clock.advance(150));
        GOT(service.maintain());
        CHECK(GOT(open.is_suspended()));
        FAILS(ATREST_ERR_DISK_SUSPENDED, open.read_at(4096, sectors));
        GOT(contoso.set_version(key(4), atrest::version_change().enabled(true)));
        GOT(clock.advance(150));
        GOT(service.maintain());
        GOT(open.read_at(4096, sectors));
        GOT(atrest::set_log(nullptr));
        // The operator gets one event when the key goes and one when it is back.
        CHECK(events.size() == 2 && events[0].find("error: the key") == 0
              && events[0].find("may not be used") != std::string::npos
              && events[1].find("may be used again") != std::string::npos);

        // A disk outlives its service.
        service.reset();
        GOT(open.read_at(4096, sectors));
        CHECK(sectors == plain);
    }
    service = GOT(atrest::disk_service::open(in_folder("store"), options));

    // The store: backed up while it is open, looked through, and rebuilt from a disk and the backup.
    {
        atrest_store_check found, copied;
        GOT(service.backup(in_folder("backup")));
        FAILS(ATREST_ERR_ALREADY_EXISTS, service.backup(in_folder("backup")));
        CHECK(GOT(service.check(found)).empty() && found.sets == 2 && found.defects == 0);
        CHECK(GOT(atrest::check_store_file(in_folder("backup"), copied)).empty());
        CHECK(copied.changes == found.changes && copied.resources == found.resources);
        FAILS(ATREST_ERR_BUSY, atrest::check_store_file(in_folder("store"), found));
        const atrest_resource_info info = GOT(service.resource(resource::disk, "secret"));
        atrest::rebuild_sources sources;
        sources.device("north", info.id).device("north", "none").store(in_folder("backup")).subscription("one");
        std::string restored, unproven;
        const auto tell = [&](const atrest_rebuilt &one) {
            if (one.outcome != ATREST_REBUILT_MISSING)
                (one.outcome == ATREST_REBUILT_RESTORED ? restored : unproven) += one.name;
        };
        GOT(atrest::rebuild_store(in_folder("rebuilt"), options, sources, tell));
        CHECK(restored == "secret" && unproven == "none");
        CHECK(GOT(atrest::check_store_file(in_folder("rebuilt"), copied)).empty() && copied.resources == 1);
        FAILS(ATREST_ERR_ALREADY_EXISTS, atrest::rebuild_store(in_folder("rebuilt"), options, sources, tell));
    }
    FAILS(ATREST_ERR_NOT_ALLOWED, service.delete_set("set"));
    GOT(service.delete_image("image"));
    for (const char *disk : {"secret", "again", "plain", "guest"})
        GOT(service.delete_resource(resource::disk, disk));
    GOT(service.delete_resource(resource::snapshot, "first"));
    GOT(service.delete_resource(resource::snapshot, "whole"));
    GOT(service.move_set_to_tenant("other", "fabrikam"));
    GOT(service.delete_set("set"));
    CHECK(GOT(service.encryption_sets()) == names{"other"});
}

// The same on objects of the caller's, and the handling of their failures.
void objects()
{
    std::atomic<std::uint64_t> hands{1800000000};
    std::optional<atrest::disk> last;
    {
        const atrest::clock clock = GOT(atrest::clock::from(std::make_unique<wound_clock>(hands)));
        atrest::vault contoso = make_vault("contoso2.vault", CONTOSO, clock);
        const atrest::vault platform = make_vault("platform2.vault", "https://platform.vault.example", clock);
        const auto vaults = GOT(atrest::vault_directory::from(std::make_unique<one_vault>(GOT(contoso.clone()))));
        const auto backend = GOT(atrest::disk_backend::from(std::make_unique<memory_pool>()));
        CHECK(alive == 3);
        FAILS(ATREST_ERR_UNSUPPORTED, vaults.ids());
        const auto options = atrest::disk_service_options(backend, platform, "disks").vaults(vaults).time(clock);
        const auto service = GOT(atrest::disk_service::open(in_folder("store2"), options));
        make_set(service, contoso, "set");
        GOT(service.create_disk(small("disk").set("set")));

        broken = true;
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.create_disk(small("more").set("set")));
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.create_disk(small("more")));
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.open_disk("disk"));
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.change_key("set", key(1)));
        broken = false;
        memory_pool::gives_nothing = true;
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.open_disk("disk"));
        memory_pool::gives_nothing = false;
        one_vault::region = std::string(ATREST_NAME_SIZE, 'n');
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.change_key("set", key(1)));
        one_vault::region = "north";
        GOT(service.change_key("set", key(1)));
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.import_disk(copy("imported"), "another"));
        const auto by = atrest::credential::passphrase("of the guest");
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.adopt_disk(copy("imported"), "another", by));
        FAILS(ATREST_ERR_NOT_LUKS, service.adopt_disk(copy("imported"), "plain", by, ATREST_ADOPT_REENCRYPT));
        GOT(service.import_disk(copy("imported").set("set"), "plain"));
        while (GOT(service.reencrypt_step("imported", 1 << 20)).under_way != 0) {
        }
        CHECK(GOT(service.reencryption("imported")).total == 1 << 20);
        std::array<unsigned char, 4096> sectors{1};
        GOT(GOT(service.open_disk("imported")).read_at(4096, sectors));
        CHECK(sectors == decltype(sectors){});
        GOT(service.delete_resource(resource::disk, "imported"));
        CHECK(GOT(service.names(resource::disk)) == names{"disk"});
        GOT(atrest::disk_backend::from_url("file:/tmp"));
        FAILS(ATREST_ERR_INVALID_OPTION, atrest::disk_backend::from_url("gopher:"));
        GOT(service.resize_disk("disk", 1 << 20));
        FAILS(ATREST_ERR_INVALID_OPTION, service.resize_disk("disk", 4096));
        CHECK(GOT(GOT(service.open_disk("disk")).size()) == 1 << 20);
        CHECK(GOT(service.orphans("north")) == names{"6f6f6f6f-0000-4000-8000-000000000001"});
        GOT(service.remove_orphan("north", "6f6f6f6f-0000-4000-8000-000000000001"));
        broken = true;
        FAILS(ATREST_ERR_CALLBACK_FAILED, service.orphans("north"));
        broken = false;
        last = GOT(service.open_disk("disk"));
    }
    // The disk keeps all of it.
    CHECK(alive == 3);
    std::array<std::uint8_t, 512> sector{}, again{};
    GOT(last->write_at(512, sector));
    GOT(last->read_at(512, again));
    CHECK(sector == again);
    last.reset();
    CHECK(alive == 0);
}

// ---------------------------------------------------------------------------------------------------------------------
// Stores of fleets: a file here, on which a service has no other hosts

class no_password final : public atrest::secret_source {
public:
    no_password() { alive++; }
    ~no_password() override { alive--; }
    atrest::result<std::size_t> secret(const std::string &, atrest::mutable_bytes) override
    {
        return atrest::fail<std::size_t>(ATREST_ERR_NOT_FOUND);
    }
};

void fleets()
{
    const auto backend = GOT(atrest::disk_backend::folder(folder));
    const auto clock = GOT(atrest::clock::manual(1800000000));
    const auto platform = make_vault("fleet platform", "https://fleet.vault.example", clock);
    const auto options = atrest::disk_service_options(backend, platform, "disks");
    const auto host = atrest::host_options("one").lease_ms(60000).renews_by_hand();
    FAILS(ATREST_ERR_INVALID_OPTION, atrest::fleet_store::from_url("postgres://root:secret@host/x"));
    const auto store = GOT(atrest::fleet_store::from_url("file:" + in_folder("fleet1"), 5000));
    const auto other =
        GOT(atrest::fleet_store::from_url("file:" + in_folder("fleet2"), std::make_unique<no_password>()));
    CHECK(alive == 0);
    CHECK(!GOT(store.is_shared()));
    atrest_store_check found;
    FAILS(ATREST_ERR_NOT_FOUND, store.check(found));
    FAILS(ATREST_ERR_NOT_FOUND, store.copy_to(other));
    FAILS(ATREST_ERR_NOT_FOUND, store.reopen_moved());
    {
        const auto service = GOT(store.open_service(host, options));
        GOT(service.create_disk(small("web")));
        FAILS(ATREST_ERR_INVALID_OPTION, service.renew_host_lease());
        FAILS(ATREST_ERR_INVALID_OPTION, service.hand_over("web", "two"));
        FAILS(ATREST_ERR_BUSY, store.check(found));
    }
    FAILS(ATREST_ERR_INVALID_OPTION, store.hosts([](const atrest_host &) {}));
    FAILS(ATREST_ERR_INVALID_OPTION, store.attachments([](const atrest_attachment &) {}));
    FAILS(ATREST_ERR_INVALID_OPTION, store.attachments_after("a", [](const atrest_attachment &) {}, 10));
    CHECK(GOT(store.check(found)).empty() && found.resources == 1);
    CHECK(GOT(store.copy_to(GOT(atrest::fleet_store::from_url("file:" + in_folder("fleet3"))))) >= 2);
    FAILS(ATREST_ERR_IO, store.open_service(host, options));
    GOT(store.reopen_moved());
    CHECK(GOT(GOT(store.open_service(host, options)).names(resource::disk)) == names{"web"});
    CHECK(GOT(store.copy_to(other)) >= 2);
    const auto service = GOT(other.open_service(host, options));
    CHECK(GOT(service.names(resource::disk)) == names{"web"});
}

} // namespace

int main(int, char **argv)
{
    folder = argv[1];
    clocks();
    files();
    objects();
    fleets();
    std::printf("%d checks passed\n", passed);
}
