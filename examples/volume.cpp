// An encrypted volume: made, written, closed, opened again by its vault, read; then the vault's key is rotated.
//
//     c++ -std=c++17 volume.cpp -latrest -o volume && ./volume FOLDER
#include <atrest.hpp>
#include <cstring>
#include <iostream>

static int life_of_a_volume(const std::string &folder)
{
    // A vault with a key that wraps the keys of disks.
    const auto unlock = atrest::unlock::passphrase("correct horse battery staple");
    atrest::vault vault = atrest::vault::create_file(folder + "/keys.vault", unlock);
    const std::string url = vault.create_key("disks");

    // A new volume. Its data key is generated here, wrapped by the vault, and stored in the volume's header.
    const std::string disk = folder + "/disk.img";
    {
        char sectors[4096] = "secret plans";
        const auto options = atrest::format_options().label("plans").context("disk-17");
        auto volume = atrest::volume::format(atrest::device::create_file(disk, 32 << 20), {vault, "disks"}, options);
        volume.write_at(0, {sectors, sizeof sectors});
        volume.sync();
        std::cout << "wrote a volume whose key is wrapped by " << url << '\n';
    }

    // Later: the vault opens it, if it is the disk that is meant.
    const auto options = atrest::open_options().context("disk-17");
    auto volume = atrest::volume::open(atrest::device::open_file(disk), vault, options);
    char sectors[4096];
    volume.read_at(0, sectors);
    std::cout << "read \"" << sectors << "\"\n";

    // A new version of the vault's key takes over; no sector is touched.
    vault.rotate_key("disks");
    std::cout << "now wrapped by " << volume.rotate_kek(vault) << '\n';
    return std::strcmp(sectors, "secret plans") != 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 || (argc == 2 && argv[1][0] == '-')) {
        std::cerr << "usage: " << argv[0] << " [FOLDER]\n";
        return argc > 2 || std::strcmp(argv[1], "--help") != 0 ? 2 : 0;
    }
    try {
        return life_of_a_volume(argc > 1 ? argv[1] : ".");
    } catch (const atrest::error &error) {
        std::cerr << error.message() << " (" << error.name() << ")\n";
        return 1;
    }
}
